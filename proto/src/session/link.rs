//! Links: an invitation to somebody whose node this one has never met.
//!
//! For: the text that people hand on ([`Link`], `parlor:…`), its secret, and why it does not open. Not for: asking
//! the host (`/parlor/link/1`, see [`crate::wire`]) and what the host makes of it (`host/links.rs`); nor for the
//! right to a copy: whoever opens a link is invited, as anybody else is, and the rest is the usual flow.
//!
//! The idea: a link says where the host is, and carries a random secret that the host knows the hash of. Who shows
//! the secret first gets the seat. So it is worth as much as the way by which it was handed on is safe, once, and
//! not for long.
//!
//! The text is base32: in capitals it stays in the alphanumeric mode of a QR code (11 bits for two characters, of
//! which base32 uses 10), needs no escaping anywhere, is selected as one word, and survives a program that changes
//! the case of letters. The scheme is in small letters, as Android compares schemes by their case. The last four
//! bytes check the rest, so that a link that lost its end on the way is told from one that the host does not know.

use std::{fmt, str::FromStr, time::Duration};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{identity::PeerId, ids::SessionId, time::Timestamp};

/// What every link begins with.
pub const SCHEME: &str = "parlor:";
/// Longest link, characters, the scheme among them.
pub const MAX_LINK: usize = 1024;
/// Most addresses of the host in a link.
pub const MAX_LINK_ADDRESSES: usize = 8;
/// Longest of them, bytes of a binary multiaddr.
pub const MAX_LINK_ADDRESS: usize = 128;
/// How long a link is good for, unless its maker says otherwise.
pub const LINK_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time.
pub const LINK_LIFE_MIN: Duration = Duration::from_secs(1);
/// The longest: what was forgotten does not stay open for ever.
pub const LINK_LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The first byte.
const VERSION: u8 = 1;
/// Bytes at the end of a link, of any version, that check the ones before.
const CHECK: usize = 4;
const SECRET_CONTEXT: &str = "parlor link secret v1";

/// What opens a link. Whoever has it gets in, so it is shown nowhere but in the link.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSecret(#[serde(with = "serde_bytes")] pub [u8; 16]);

impl LinkSecret {
    /// By which the host knows it again. Who reads the host's disk cannot open the link with that.
    pub(super) fn hash(&self) -> [u8; 32] {
        blake3::derive_key(SECRET_CONTEXT, &self.0)
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

/// What a link says. [`fmt::Display`] is the link itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Who made it, and invites.
    pub host: PeerId,
    /// To which session.
    pub session: SessionId,
    /// What opens it.
    pub secret: LinkSecret,
    /// After this it opens nothing, by the host's clock. Whole seconds.
    pub expires: Timestamp,
    /// Who alone may open it; anybody, but one, if nobody is named.
    pub bound: Option<PeerId>,
    /// Where the host is, the most useful first: binary multiaddrs without the host's `/p2p` at the end.
    pub addresses: Vec<Vec<u8>>,
}

/// A [`Link`] as it is written: an array, whose order is the meaning of its items.
#[derive(Serialize, Deserialize)]
struct Written(PeerId, SessionId, LinkSecret, u64, Option<PeerId>, Vec<ByteBuf>);

/// Text that is no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkError {
    #[error("this is no link: one begins with `{SCHEME}`")]
    NoLink,
    #[error("the link is damaged or incomplete: copy all of it, once more")]
    Damaged,
    #[error("the link was made by a newer version of parlor: update this one")]
    Newer,
}

/// Why a link does not open, as the host says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LinkRefusal {
    /// Of no session here, of no such secret, or too late: the host does not say which.
    #[error("the host does not know this link, or it has expired: ask for a new one")]
    Unknown,
    /// Somebody else was first.
    #[error("somebody else has used this link: each is good for one. Ask for a new one")]
    Taken,
    /// It is bound to another node; or the host has put this one out of the session.
    #[error("this link is not for this node: ask for one of your own")]
    NotForYou,
    /// The host has none, or no seat.
    #[error("the host has no copy left to give: ask it to get more, or to free one")]
    NoCopiesLeft,
    /// The session has ended.
    #[error("the session of this link is over: ask for a link to the next one")]
    Over,
}

impl Link {
    /// The same, with addresses left out that are too long, or too many, from the end, until the link has at most
    /// [`MAX_LINK`] characters.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.expires = Timestamp::from_secs(self.expires.as_secs());
        self.addresses.retain(|address| (1..=MAX_LINK_ADDRESS).contains(&address.len()));
        self.addresses.truncate(MAX_LINK_ADDRESSES);
        while self.to_string().len() > MAX_LINK && self.addresses.pop().is_some() {}
        self
    }

    /// Whether a text is meant to be a link, good or not.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        scheme(text.trim()).is_some()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let addresses = self.addresses.iter().cloned().map(ByteBuf::from).collect();
        let expires = self.expires.as_secs();
        let written = Written(self.host, self.session, self.secret, expires, self.bound, addresses);
        let bytes = cbor4ii::serde::to_vec(vec![VERSION], &written);
        // Writing to memory cannot fail, and nothing here refuses to be serialized.
        let mut bytes = bytes.expect("a link serializes");
        bytes.extend(check(&bytes));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, LinkError> {
        let (body, end) = bytes.split_last_chunk::<CHECK>().ok_or(LinkError::Damaged)?;
        if check(body) != *end {
            return Err(LinkError::Damaged);
        }
        let (version, body) = body.split_first().ok_or(LinkError::Damaged)?;
        if *version != VERSION {
            return Err(LinkError::Newer);
        }
        let written: Written = cbor4ii::serde::from_slice(body).map_err(|_| LinkError::Damaged)?;
        let Written(host, session, secret, expires, bound, addresses) = written;
        let addresses = addresses.into_iter().map(ByteBuf::into_vec).collect();
        let link = Self { host, session, secret, expires: Timestamp::from_secs(expires), bound, addresses };
        // One form and no other: nothing follows, and nothing is too long.
        if link.to_bytes() == bytes && link.clone().bounded() == link {
            Ok(link)
        } else {
            Err(LinkError::Damaged)
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", BASE32_NOPAD.encode(&self.to_bytes()))
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        let digits = scheme(text).ok_or(LinkError::NoLink)?;
        if text.len() > MAX_LINK {
            return Err(LinkError::Damaged);
        }
        let bytes = BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes());
        Self::from_bytes(&bytes.map_err(|_| LinkError::Damaged)?)
    }
}

/// What follows the scheme.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK]);
    check
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::identity::Identity;

    fn peer(seed: u8) -> PeerId {
        Identity::from_seed(&[seed; 32]).peer()
    }

    /// As of a host with one interface: QUIC and TCP at 192.168.77.10.
    fn link() -> Link {
        Link {
            host: peer(1),
            session: SessionId([2; 16]),
            secret: LinkSecret([3; 16]),
            expires: Timestamp::from_secs(1_800_000_000),
            bound: None,
            addresses: vec![
                vec![4, 192, 168, 77, 10, 0x91, 2, 0x9b, 0x8d, 0xcd, 3],
                vec![4, 192, 168, 77, 10, 6, 0x9b, 0x8d],
            ],
        }
    }

    #[test]
    fn a_link_is_short_and_keeps_its_form() {
        let text = link().to_string();
        // Golden: this is what is out there.
        let golden = concat!(
            "parlor:",
            "AGDFQJQAEQEACERARKEOHXLUBHYZL7KS3MWTZOS5OLFGOCN7DWKBEG7TOSEADNAPN5OFAAQCAIBAEAQCAIBAEA",
            "QCAIBAEASQAMBQGAYDAMBQGAYDAMBQGAYDAMNGWSOSAD3IESYEYCUE2CURAKNY3TIDJACMBKCNBIDJXDKP45JTM",
        );
        assert_eq!(text, golden);
        assert_eq!(text.len(), 180);
        assert_eq!(text.parse(), Ok(link()));
        assert!(text[SCHEME.len()..].chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()));
        // A relayed address and a bound peer more.
        let relayed =
            [&[4, 192, 0, 2, 1, 0x91, 2, 0x9b, 0x8d, 0xcd, 3, 0xa5, 3, 38][..], &[7; 38], &[0xa2, 2]];
        let mut larger = link();
        larger.addresses.push(relayed.concat());
        larger.bound = Some(peer(9));
        assert!(larger.to_string().len() < 350, "{}", larger.to_string().len());
    }

    #[test]
    fn case_and_space_around_it_do_not_matter() {
        let text = link().to_string();
        assert_eq!(text.to_lowercase().parse(), Ok(link()));
        assert_eq!(text.to_uppercase().parse(), Ok(link()));
        assert_eq!(format!(" {text}\n").parse(), Ok(link()));
    }

    #[test]
    fn what_is_no_link_is_told_in_one_line() {
        let text = link().to_string();
        for (garbage, why) in [
            ("", LinkError::NoLink),
            ("parlor", LinkError::NoLink),
            ("https://example.org/", LinkError::NoLink),
            ("parlör:AAAA", LinkError::NoLink),
            ("parlor:", LinkError::Damaged),
            ("parlor:!", LinkError::Damaged),
            ("parlor:AAAAAAAA", LinkError::Damaged),
            (&text[..text.len() - 1], LinkError::Damaged),
            (&text[..40], LinkError::Damaged),
            (&format!("{text}A"), LinkError::Damaged),
            (&format!("parlor:{}", "A".repeat(100_000)), LinkError::Damaged),
        ] {
            assert_eq!(garbage.parse::<Link>(), Err(why), "{garbage:.60}");
            assert!(!why.to_string().contains('\n'));
        }
        assert!(Link::is_meant(" PARLOR:x") && !Link::is_meant("646d2e"));
    }

    fn written(body: &[u8]) -> String {
        let bytes = [body, &check(body)].concat();
        format!("{SCHEME}{}", BASE32_NOPAD.encode(&bytes))
    }

    #[test]
    fn a_newer_links_reader_is_told_to_update() {
        assert_eq!(written(&[2, 1, 2, 3]).parse::<Link>(), Err(LinkError::Newer));
        assert_eq!(written(&[VERSION]).parse::<Link>(), Err(LinkError::Damaged));
    }

    #[test]
    fn one_form_only() {
        let bytes = link().to_bytes();
        let body = &bytes[..bytes.len() - CHECK];
        assert_eq!(written(body).parse(), Ok(link()));
        assert_eq!(
            written(&[body, &[0]].concat()).parse::<Link>(),
            Err(LinkError::Damaged),
            "something follows"
        );
        for (spoil, what) in [
            (
                (|link| link.addresses = vec![vec![4; 5]; MAX_LINK_ADDRESSES + 1]) as fn(&mut Link),
                "many addresses",
            ),
            (|link| link.addresses = vec![vec![4; MAX_LINK_ADDRESS + 1]], "a long address"),
            (|link| link.addresses = vec![Vec::new()], "an empty address"),
        ] {
            let mut spoilt = link();
            spoil(&mut spoilt);
            assert_eq!(spoilt.to_string().parse::<Link>(), Err(LinkError::Damaged), "{what}");
            assert_eq!(spoilt.clone().bounded().to_string().parse(), Ok(spoilt.bounded()), "{what}");
        }
    }

    #[test]
    fn the_last_addresses_go_if_it_gets_too_long() {
        let addresses: Vec<_> = (0..20).map(|i| vec![i; MAX_LINK_ADDRESS]).collect();
        let link = Link { addresses, bound: Some(peer(4)), ..link() }.bounded();
        assert!(link.to_string().len() <= MAX_LINK);
        let kept: Vec<_> = link.addresses.iter().map(|address| address[0]).collect();
        assert_eq!(kept, [0, 1, 2]);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", link()).contains("3, 3"), "{:?}", link());
    }

    prop_compose! {
        fn any_link()(
            seeds in any::<(u8, Option<u8>)>(), session: [u8; 16], secret: [u8; 16], expires in 0..u64::MAX / 1000,
            addresses in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12),
        ) -> Link {
            let (host, bound) = (peer(seeds.0), seeds.1.map(peer));
            let (session, secret) = (SessionId(session), LinkSecret(secret));
            Link { host, session, secret, expires: Timestamp::from_secs(expires), bound, addresses }
        }
    }

    proptest! {
        #[test]
        fn what_is_bounded_comes_back(link in any_link()) {
            let link = link.bounded();
            let text = link.to_string();
            prop_assert!(text.len() <= MAX_LINK);
            prop_assert_eq!(text.parse::<Link>(), Ok(link));
        }

        #[test]
        fn no_text_does_harm(text: String) {
            let _ = text.parse::<Link>();
            let _ = format!("{SCHEME}{text}").parse::<Link>();
        }

        /// The checksum is no secret: who writes garbage can make it fit.
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = Link::from_bytes(&bytes);
            let body = [&[VERSION][..], &bytes].concat();
            if let Ok(link) = Link::from_bytes(&[&body[..], &check(&body)].concat()) {
                prop_assert_eq!(link.to_string().parse(), Ok(link));
            }
        }

        #[test]
        fn a_changed_character_is_noticed(at in 0usize..185, by in 1u8..32) {
            let text = link().to_string();
            let at = SCHEME.len() + at % (text.len() - SCHEME.len());
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
            let mut bytes = text.clone().into_bytes();
            let digit = alphabet.iter().position(|c| *c == bytes[at]).unwrap();
            bytes[at] = alphabet[(digit + usize::from(by)) % 32];
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(changed.parse::<Link>().is_err(), "{} {}", text, changed);
        }

        /// Well-formed CBOR of the right shape, of any content.
        #[test]
        fn no_spoilt_link_does_harm(at: prop::sample::Index, with: u8) {
            let bytes = link().to_bytes();
            let mut body = bytes[..bytes.len() - CHECK].to_vec();
            let at = at.index(body.len());
            body[at] = with;
            if let Ok(read) = written(&body).parse::<Link>() {
                prop_assert_eq!(read.to_bytes(), [&body[..], &check(&body)].concat());
            }
        }
    }
}
