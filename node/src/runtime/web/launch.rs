//! Who may see a program: the user's own browser, and no other program of this computer.
//!
//! For: [`Launches`], the one-time tokens that `open` hands out, and [`Credentials`], the cookie they are swapped for.
//! Not for: which program (see [`super::origin`]).
//!
//! The idea: a token travels through files and browser histories, so it works once and not for long. What it buys is an
//! `HttpOnly`, `SameSite=Strict` cookie of that one host name. But a browser sends a cookie to every port of its host:
//! once this node is gone, whoever listens in its place gets it from the next tab that looks for the node. So the cookie
//! is a keyed hash of the label, the port, and what is random about this start: by then it is worth nothing. A tab that is
//! left open from before comes back with a proof instead (see [`super::proof`]).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{origin::Label, proof::Secret};

/// How long a launch token is good for.
pub const LAUNCH_TTL: Duration = Duration::from_secs(5 * 60);

/// Tokens that wait for their browser; more, and the oldest is void.
pub(super) const MAX_LAUNCHES: usize = 64;

const COOKIE: &str = "parlor";

/// A launch token: 128 random bits, in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(pub(super) [u8; 16]);

/// An address that shows a program once.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Whoever opens it first is let in.
    pub url: String,
    /// Cancelled once the address is used, or void.
    pub done: CancellationToken,
}

#[derive(Debug)]
struct Waiting {
    token: Token,
    label: Label,
    target: String,
    issued: Instant,
    _done: DropGuard,
}

/// Tokens that were handed out and not yet used, oldest first.
#[derive(Debug, Default)]
pub(super) struct Launches(VecDeque<Waiting>);

impl Launches {
    /// Remembers a token for the page `target` (an absolute path) of an instance. What is returned is cancelled once it is
    /// used or void.
    pub(super) fn add(
        &mut self,
        token: Token,
        label: Label,
        target: String,
        now: Instant,
    ) -> CancellationToken {
        self.0.retain(|launch| now.duration_since(launch.issued) < LAUNCH_TTL);
        if self.0.len() == MAX_LAUNCHES {
            self.0.pop_front();
        }
        let done = CancellationToken::new();
        let _done = done.clone().drop_guard();
        self.0.push_back(Waiting { token, label, target, issued: now, _done });
        done
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

/// The per-instance credentials of one start on one port.
pub(super) struct Credentials {
    key: [u8; 32],
    port: u16,
    start: [u8; 32],
}

impl Credentials {
    /// From a secret key of the node; `start` is random.
    pub(super) fn new(key: [u8; 32], port: u16, start: [u8; 32]) -> Self {
        Self { key, port, start }
    }

    fn of(&self, label: Label) -> blake3::Hash {
        let (port, start) = (self.port, hex::encode(self.start));
        blake3::keyed_hash(&self.key, format!("parlor web credential {label} {port} {start}").as_bytes())
    }

    /// What a page of the instance proves itself with after a restart on the same port: the same for every start.
    pub(super) fn secret(&self, label: Label) -> Secret {
        let text = format!("parlor web page {label} {}", self.port);
        Secret(*blake3::keyed_hash(&self.key, text.as_bytes()).as_bytes())
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
        let (mut launches, mut waiting) = (Launches::default(), Vec::new());
        for byte in 1..=4 {
            waiting.push(launches.add(Token([byte; 16]), A, format!("/{byte}"), start));
        }
        assert!(waiting.iter().all(|done| !done.is_cancelled()));
        assert_eq!(launches.take(&hex_of(1), A, start), Some("/1".into()));
        assert_eq!(launches.take(&hex_of(1), A, start), None, "used");
        assert_eq!(launches.take(&hex_of(2), B, start), None, "of another instance");
        assert_eq!(launches.take(&hex_of(2), A, start), None, "and used up by the attempt");
        assert_eq!(launches.take(&hex_of(3), A, start + LAUNCH_TTL), None, "too old");
        launches.forget(A);
        assert_eq!(launches.take(&hex_of(4), A, start), None, "forgotten");
        assert_eq!(launches.take("nonsense", A, start), None);
        assert!(
            waiting.iter().all(CancellationToken::is_cancelled),
            "whoever waits for it hears of each end"
        );
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
    fn a_credential_fits_one_instance_of_one_start_on_one_port() {
        let of = |key, port, start| Credentials::new([key; 32], port, [start; 32]);
        let ours = of(7, 80, 1);
        let cookie = ours.cookie(A);
        let pair = cookie.split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("x=1; parlor=forged; {pair}").parse().unwrap());
        assert!(ours.admits(&headers, A));
        assert!(!ours.admits(&headers, B));
        assert!(!of(8, 80, 1).admits(&headers, A), "another node");
        assert!(!of(7, 81, 1).admits(&headers, A), "another port");
        assert!(!of(7, 80, 2).admits(&headers, A), "another start");
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
