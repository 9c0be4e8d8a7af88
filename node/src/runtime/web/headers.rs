//! What every response says about where its page may go: nowhere.
//!
//! For: [`seal`], which puts the isolation headers on a response, and [`is_sealed`], which tells whether a written
//! response has them. Not for: who may ask (see [`super::launch`]).
//!
//! The idea: one response of an origin without these headers is enough to get out of it (a frame, a popup or a worker
//! made of that response has no policy, and pages of one origin script each other). So they are put on at one place,
//! on success and failure alike.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// `unsafe-inline` and `unsafe-eval`: webxdc apps are written that way, and there is nobody else's script to keep out.
/// `frame-src` and `object-src` are narrower than the rest, because a PDF viewer in a frame obeys no policy.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self' data: blob:; \
    script-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; \
    style-src 'self' 'unsafe-inline' data: blob:; \
    font-src 'self' data: blob:; img-src 'self' data: blob:; media-src 'self' data: blob:; \
    connect-src 'self' data: blob:; worker-src 'self' data: blob:; \
    frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/// Everything but fullscreen (and pointer lock, which no policy governs).
const PERMISSIONS_POLICY: &str = "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), \
    clipboard-read=(), clipboard-write=(), compute-pressure=(), display-capture=(), \
    encrypted-media=(), fullscreen=(self), gamepad=(), geolocation=(), gyroscope=(), hid=(), \
    identity-credentials-get=(), idle-detection=(), keyboard-map=(), local-fonts=(), magnetometer=(), \
    microphone=(), midi=(), otp-credentials=(), payment=(), picture-in-picture=(), \
    publickey-credentials-create=(), publickey-credentials-get=(), screen-wake-lock=(), serial=(), \
    storage-access=(), usb=(), window-management=(), xr-spatial-tracking=()";

const POLICIES: [(HeaderName, &str); 12] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    // Chromium >= 152: closes what a CSP does not govern (WebRTC, navigation, popups, DNS).
    (HeaderName::from_static("connection-allowlist"), "(response-origin)"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("origin-agent-cluster"), "?1"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_DNS_PREFETCH_CONTROL, "off"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
    // A cached copy would outlive the credential, and the program.
    (header::CACHE_CONTROL, "no-store"),
];

/// Puts the isolation headers on a response, in place of what it says itself.
pub(super) fn seal(headers: &mut HeaderMap) {
    for (name, value) in POLICIES {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Whether the head of a response, as written to the connection, went through [`seal`].
pub(super) fn is_sealed(head: &[u8]) -> bool {
    let name = b"\r\nconnection-allowlist:";
    head.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_overrides_what_a_response_says() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src *"));
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("img-src *"));
        seal(&mut headers);
        let policies: Vec<_> = headers.get_all(header::CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, [CONTENT_SECURITY_POLICY]);
        assert_eq!(headers.len(), POLICIES.len());
    }

    #[test]
    fn no_policy_names_another_origin() {
        for (name, value) in POLICIES {
            assert!(!value.contains('*') && !value.contains("http"), "{name}: {value}");
        }
    }
}
