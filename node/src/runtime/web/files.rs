//! A program's files over HTTP.
//!
//! For: [`relative`], which reads a URL's path, and [`serve`], which answers with a file or a part of it. Not for:
//! which files a program has (see [`super::Instance::file`]).

use std::{io, path::Path};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom},
};
use tokio_util::io::ReaderStream;

use super::pages;

/// Longest path of a file in a program, bytes.
const MAX_PATH_LEN: usize = 1024;

/// The file that a URL's path names, decoded once; `/` names `index.html`. `None`: it can name no file. Segments that
/// are empty, `.` or `..` (however encoded) are refused, not resolved.
pub(super) fn relative(url_path: &str) -> Option<String> {
    if url_path.len() > 3 * MAX_PATH_LEN {
        return None;
    }
    let path = percent_decode_str(url_path.strip_prefix('/')?).decode_utf8().ok()?;
    if path.is_empty() {
        return Some("index.html".into());
    }
    let plain = path.len() <= MAX_PATH_LEN
        && !path.contains(|c: char| c.is_control() || c == '\\')
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    plain.then(|| path.into_owned())
}

/// The media type of a file, by its name; and whether it must not be shown in the browser.
fn media_type(path: &str) -> (String, bool) {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    let essence = guess.essence_str();
    match (guess.type_().as_str(), guess.subtype().as_str()) {
        // A PDF viewer obeys none of our headers.
        ("application", "pdf") => ("application/octet-stream".into(), true),
        ("text", _) | ("application", "javascript" | "json" | "xml" | "manifest+json") => {
            (format!("{essence}; charset=utf-8"), false)
        }
        _ => (essence.into(), false),
    }
}

/// What part of `len` bytes is asked for, as first and last byte. `None`: all. `Err`: none that there is.
/// One range is understood (RFC 9110, 14.2); anything else counts as not asked, which is allowed.
fn range(headers: &HeaderMap, len: u64) -> Result<Option<(u64, u64)>, ()> {
    let Some(spec) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(len.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, len.saturating_sub(1)),
        (Err(_), Ok(0)) if first.is_empty() => return Err(()),
        (Err(_), Ok(suffix)) if first.is_empty() => (len.saturating_sub(suffix), len.saturating_sub(1)),
        _ => return Ok(None),
    };
    if first < len { Ok(Some((first, last))) } else { Err(()) }
}

/// Answers with the file `path` of the program, which lies at `at`.
pub(super) async fn serve(path: &str, at: &Path, method: &Method, headers: &HeaderMap) -> Response {
    match open(at).await {
        Ok(Some((file, len))) => answer(path, file, len, method, headers).await,
        Ok(None) => pages::not_found(),
        Err(error) => {
            tracing::warn!(%error, path, "web programs: a file cannot be read");
            pages::broken()
        }
    }
}

async fn open(at: &Path) -> io::Result<Option<(File, u64)>> {
    let file = match File::open(at).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata().await?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

async fn answer(path: &str, mut file: File, len: u64, method: &Method, headers: &HeaderMap) -> Response {
    let (kind, download) = media_type(path);
    let (status, first, count) = match range(headers, len) {
        Ok(None) => (StatusCode::OK, 0, len),
        Ok(Some((first, last))) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Err(()) => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response();
        }
    };
    let body = if method == Method::HEAD {
        Body::empty()
    } else if let Err(error) = file.seek(SeekFrom::Start(first)).await {
        tracing::warn!(%error, path, "web programs: a file cannot be read");
        return pages::broken();
    } else {
        Body::from_stream(ReaderStream::new(file.take(count)))
    };
    let mut response = (status, body).into_response();
    let out = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        out.insert(header::CONTENT_TYPE, kind);
    }
    out.insert(header::CONTENT_LENGTH, count.into());
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if download {
        out.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    }
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(part) = HeaderValue::from_str(&format!("bytes {first}-{}/{len}", first + count - 1))
    {
        out.insert(header::CONTENT_RANGE, part);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_file_plainly_or_not_at_all() {
        assert_eq!(relative("/").as_deref(), Some("index.html"));
        assert_eq!(relative("/a%20b/%C3%A9.js").as_deref(), Some("a b/é.js"));
        assert_eq!(relative("/a%252e%252e").as_deref(), Some("a%2e%2e"), "decoded once");
        assert_eq!(relative("/...").as_deref(), Some("..."));
        for trick in [
            "",
            "x",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a/",
            "/.",
            "/..",
            "/a/../b",
            "/%2e%2e/b",
            "/a/%2E%2e",
            "/a%2f..%2fb",
            "/a%2f%2fb",
            "/%00",
            "/a%00.html",
            "/a%0a",
            "/a\\b",
            "/a%5c..%5cb",
            "/%ff",
            "/%c0%ae%c0%ae/x",
        ] {
            assert_eq!(relative(trick), None, "{trick}");
        }
        assert_eq!(relative(&format!("/{}", "a".repeat(MAX_PATH_LEN + 1))), None);
    }

    #[test]
    fn media_types_have_a_charset_and_pdf_is_never_shown() {
        assert_eq!(media_type("a/index.html"), ("text/html; charset=utf-8".into(), false));
        assert_eq!(media_type("x.mjs").0, "application/javascript; charset=utf-8");
        assert_eq!(media_type("x.json").0, "application/json; charset=utf-8");
        assert_eq!(media_type("x.wasm"), ("application/wasm".into(), false));
        assert_eq!(media_type("x.png").0, "image/png");
        assert_eq!(media_type("x").0, "application/octet-stream");
        assert_eq!(media_type("x.PDF"), ("application/octet-stream".into(), true));
    }

    #[test]
    fn ranges() {
        let asked = |spec: &'static str, len| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static(spec));
            range(&headers, len)
        };
        assert_eq!(range(&HeaderMap::new(), 10), Ok(None));
        assert_eq!(asked("bytes=0-3", 10), Ok(Some((0, 3))));
        assert_eq!(asked("bytes=2-", 10), Ok(Some((2, 9))));
        assert_eq!(asked("bytes=2-99", 10), Ok(Some((2, 9))));
        assert_eq!(asked("bytes=-4", 10), Ok(Some((6, 9))));
        assert_eq!(asked("bytes=-40", 10), Ok(Some((0, 9))));
        assert_eq!(asked("bytes=10-", 10), Err(()));
        assert_eq!(asked("bytes=-0", 10), Err(()));
        assert_eq!(asked("bytes=0-", 0), Err(()));
        for ignored in
            ["bytes=3-2", "bytes=1-2,4-5", "lines=1-2", "bytes=x-2", "bytes=-", "bytes=99999999999999999999-"]
        {
            assert_eq!(asked(ignored, 10), Ok(None), "{ignored}");
        }
    }
}
