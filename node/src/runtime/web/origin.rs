//! Which program a request is for: one origin an instance.
//!
//! For: [`Label`], the unguessable first part of an instance's host name, and reading it back from a request. Not
//! for: whether the browser may see the program (see [`super::launch`]).
//!
//! The idea: browsers keep storage, cookies and script access apart by origin, and resolve every name below
//! `localhost` to loopback without asking anybody. Only exactly `LABEL.localhost:PORT` is accepted as `Host`, so that a
//! foreign name that is made to resolve to loopback (DNS rebinding) leads nowhere.

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, Uri, header};

/// An instance's name in its origin: 128 random bits, 32 lower-case hex digits. Whoever mounts the instance keeps it,
/// because the program's storage in the browser is found under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label([u8; 16]);

/// Text that is not a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the label of a web program: 32 lower-case hex digits are wanted")]
pub struct ParseLabelError;

impl Label {
    /// From bytes that must be random, of a cryptographic generator.
    #[must_use]
    pub const fn from_bytes(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The origin of that instance, `http://LABEL.localhost:PORT`.
    #[must_use]
    pub fn origin(&self, port: u16) -> String {
        format!("http://{self}.localhost:{port}")
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Label {
    // It is half a secret: not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({}…)", hex::encode(&self.0[..2]))
    }
}

impl FromStr for Label {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<Self, ParseLabelError> {
        // One spelling only: two spellings of a name would be two origins.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseLabelError);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseLabelError)?;
        Ok(Self(bytes))
    }
}

/// The label in a request's `Host`, if that is exactly `LABEL.localhost:PORT` and said only once.
pub(super) fn label_of(headers: &HeaderMap, uri: &Uri, port: u16) -> Option<Label> {
    // A request line may carry an authority of its own, which would beat `Host` (RFC 9112, 3.2.2).
    if uri.authority().is_some() {
        return None;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, None) = (hosts.next()?.to_str().ok()?, hosts.next()) else {
        return None;
    };
    let (name, at) = host.rsplit_once(':')?;
    if at != port.to_string() {
        return None;
    }
    name.strip_suffix(".localhost")?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::HeaderValue;

    use super::*;

    fn read(host: &str) -> Option<Label> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        label_of(&headers, &Uri::from_static("/x"), 8080)
    }

    #[test]
    fn only_the_exact_host_names_an_instance() {
        let label = Label::from_bytes([0xab; 16]);
        let host = format!("{label}.localhost:8080");
        assert_eq!(read(&host), Some(label));
        for wrong in [
            format!("{label}.localhost"),
            format!("{label}.localhost:8081"),
            format!("{label}.localhost:08080"),
            format!("{label}.localhost:8080:8080"),
            format!("{label}.localhost.:8080"),
            format!("{label}.localhost.example.org:8080"),
            format!("x.{label}.localhost:8080"),
            host.to_uppercase(),
            format!("{}.localhost:8080", label.to_string().to_uppercase()),
            "localhost:8080".into(),
            "127.0.0.1:8080".into(),
            "[::1]:8080".into(),
            ".localhost:8080".into(),
        ] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_hosts_or_an_authority_name_none() {
        let label = Label::from_bytes([1; 16]);
        let host = HeaderValue::from_str(&format!("{label}.localhost:8080")).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, host.clone());
        let absolute = Uri::from_static("http://evil.example/x");
        assert_eq!(label_of(&headers, &absolute, 8080), None);
        headers.append(header::HOST, host);
        assert_eq!(label_of(&headers, &Uri::from_static("/"), 8080), None);
        assert_eq!(label_of(&HeaderMap::new(), &Uri::from_static("/"), 8080), None);
    }

    #[test]
    fn labels_have_one_spelling() {
        let label = Label::from_bytes([0xcd; 16]);
        assert_eq!(label.to_string().parse(), Ok(label));
        assert_eq!(label.to_string().to_uppercase().parse::<Label>(), Err(ParseLabelError));
        assert_eq!("cd".parse::<Label>(), Err(ParseLabelError));
        assert_eq!(label.origin(80), format!("http://{label}.localhost:80"));
    }
}
