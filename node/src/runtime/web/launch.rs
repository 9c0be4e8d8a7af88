//! Who may see a program: the user's own browser, and no other program of this computer.
//!
//! For: [`Launches`], the one-time tokens that `open` hands out, and [`Credentials`], the cookie they are swapped for.
//! Not for: which program (see [`super::origin`]).
//!
//! The idea: a token travels through command lines and browser histories, so it works once and not for long. What it
//! buys never leaves the browser: an `HttpOnly`, `SameSite=Strict` cookie of that one host name. The cookie is a keyed
//! hash of the label, so that a tab stays valid when the node is restarted with the same key.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};

use super::origin::Label;

/// How long a launch token is good for.
pub const LAUNCH_TTL: Duration = Duration::from_secs(5 * 60);

/// Tokens that wait for their browser; more, and the oldest is void.
pub(super) const MAX_LAUNCHES: usize = 64;

const COOKIE: &str = "parlor";

/// A launch token: 128 random bits, in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(pub(super) [u8; 16]);

#[derive(Debug)]
struct Launch {
    token: Token,
    label: Label,
    target: String,
    issued: Instant,
}

/// Tokens that were handed out and not yet used, oldest first.
#[derive(Debug, Default)]
pub(super) struct Launches(VecDeque<Launch>);

impl Launches {
    /// Remembers a token for the page `target` (an absolute path) of an instance.
    pub(super) fn add(&mut self, token: Token, label: Label, target: String, now: Instant) {
        self.0.retain(|launch| now.duration_since(launch.issued) < LAUNCH_TTL);
        if self.0.len() == MAX_LAUNCHES {
            self.0.pop_front();
        }
        self.0.push_back(Launch { token, label, target, issued: now });
    }

    /// Uses a token up: the path it leads to; `None` if it is unknown, used, too old or of another instance.
    pub(super) fn take(&mut self, token: &str, label: Label, now: Instant) -> Option<String> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(token, &mut bytes).ok()?;
        let at = self.0.iter().position(|launch| launch.token == Token(bytes))?;
        let launch = self.0.remove(at)?;
        (launch.label == label && now.duration_since(launch.issued) < LAUNCH_TTL).then_some(launch.target)
    }

    /// Voids the tokens of an instance.
    pub(super) fn forget(&mut self, label: Label) {
        self.0.retain(|launch| launch.label != label);
    }
}

/// The per-instance credentials.
pub(super) struct Credentials([u8; 32]);

impl Credentials {
    /// From a secret key of the node.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn of(&self, label: Label) -> blake3::Hash {
        blake3::keyed_hash(&self.0, format!("parlor web credential {label}").as_bytes())
    }

    /// The `Set-Cookie` that gives a browser the credential, until it is closed.
    pub(super) fn cookie(&self, label: Label) -> String {
        format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", self.of(label).to_hex())
    }

    /// Whether a request carries the credential of that instance.
    pub(super) fn admits(&self, headers: &HeaderMap, label: Label) -> bool {
        let wanted = self.of(label);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .filter_map(|value| blake3::Hash::from_hex(value).ok())
            // `Hash` compares in constant time. A page may set cookies of that name too: any that fits will do.
            .any(|given| given == wanted)
    }
}

/// The path of this origin that an `href` relative to the program's root means. Whatever it says, it stays within.
pub(super) fn target_of(href: Option<&str>) -> String {
    let clean: String = href.unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    // What is left starts with exactly one slash, so it is neither `//host` nor `scheme:`.
    match clean.trim_start_matches(['/', '\\']) {
        "" => "/index.html".into(),
        rest => format!("/{rest}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;

    use super::*;

    const A: Label = Label::from_bytes([1; 16]);
    const B: Label = Label::from_bytes([2; 16]);

    fn hex_of(byte: u8) -> String {
        hex::encode([byte; 16])
    }

    #[test]
    fn a_token_works_once_in_time_and_for_its_instance() {
        let start = Instant::now();
        let mut launches = Launches::default();
        for byte in 1..=4 {
            launches.add(Token([byte; 16]), A, format!("/{byte}"), start);
        }
        assert_eq!(launches.take(&hex_of(1), A, start), Some("/1".into()));
        assert_eq!(launches.take(&hex_of(1), A, start), None, "used");
        assert_eq!(launches.take(&hex_of(2), B, start), None, "of another instance");
        assert_eq!(launches.take(&hex_of(2), A, start), None, "and used up by the attempt");
        assert_eq!(launches.take(&hex_of(3), A, start + LAUNCH_TTL), None, "too old");
        launches.forget(A);
        assert_eq!(launches.take(&hex_of(4), A, start), None, "forgotten");
        assert_eq!(launches.take("nonsense", A, start), None);
    }

    #[test]
    fn waiting_tokens_are_bounded() {
        let now = Instant::now();
        let mut launches = Launches::default();
        for n in 0..=u8::try_from(MAX_LAUNCHES).unwrap() {
            launches.add(Token([n; 16]), A, "/".into(), now);
        }
        assert_eq!(launches.0.len(), MAX_LAUNCHES);
        assert_eq!(launches.take(&hex_of(0), A, now), None, "the oldest is void");
        assert!(launches.take(&hex_of(1), A, now).is_some());
    }

    #[test]
    fn a_credential_fits_one_instance_of_one_node() {
        let ours = Credentials::new([7; 32]);
        let cookie = ours.cookie(A);
        let pair = cookie.split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("x=1; parlor=forged; {pair}").parse().unwrap());
        assert!(ours.admits(&headers, A));
        assert!(Credentials::new([7; 32]).admits(&headers, A), "also after a restart");
        assert!(!ours.admits(&headers, B));
        assert!(!Credentials::new([8; 32]).admits(&headers, A));
        headers.insert(header::COOKIE, HeaderValue::from_static("parlor=; parlor"));
        assert!(!ours.admits(&headers, A));
        assert!(!ours.admits(&HeaderMap::new(), A));
    }

    #[test]
    fn an_href_stays_within_the_program() {
        for (href, target) in [
            (None, "/index.html"),
            (Some(""), "/index.html"),
            (Some("/"), "/index.html"),
            (Some("index.html#about"), "/index.html#about"),
            (Some("/a/b?c"), "/a/b?c"),
            (Some("//evil.example/"), "/evil.example/"),
            (Some("/\\evil.example"), "/evil.example"),
            (Some("\\\\/evil"), "/evil"),
            (Some("\n//evil"), "/evil"),
            (Some("javascript:alert(1)"), "/javascript:alert(1)"),
        ] {
            assert_eq!(target_of(href), target, "{href:?}");
        }
    }
}
