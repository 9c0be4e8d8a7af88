//! The pages and the script that are the node's own, not a program's.
//!
//! For: the boot page, `webxdc.js`, and what a person sees when something cannot be shown. Not for: the console.

use axum::{
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::json;

use super::{
    instance::Instance,
    messages::{MAX_REALTIME_LEN, MAX_UPDATE_LEN, UPDATE_INTERVAL},
    proof::Secret,
};

const WEBXDC: &str = include_str!("assets/webxdc.js");
const BOOT: &str = include_str!("assets/boot.html");
const MESSAGE: &str = include_str!("assets/message.html");

/// `webxdc.js` of that instance: the script and, as its argument, what it must know at once.
pub(super) fn webxdc(instance: &dyn Instance, secret: &Secret) -> Response {
    let config = json!({
        "selfAddr": instance.self_addr(),
        "selfName": instance.self_name(),
        "isAppSender": instance.is_app_sender(),
        "title": instance.title(),
        "sendUpdateInterval": UPDATE_INTERVAL.as_millis(),
        "sendUpdateMaxSize": MAX_UPDATE_LEN,
        "realtimeMaxSize": MAX_REALTIME_LEN,
        "bridge": super::server::BRIDGE_PATH,
        "secret": secret.to_hex(),
    });
    let script = format!("{WEBXDC}({config});\n");
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], script).into_response()
}

/// The page that a launch shows for a moment, with the new credential: it goes on to `target` (a path) by itself.
///
/// A page and not a redirect: a redirect that another site started does not carry a `SameSite=Strict` cookie.
pub(super) fn boot(title: &str, target: &str, cookie: String) -> Response {
    // `<` would end the script element.
    let target = json!(target).to_string().replace('<', "\\u003c");
    let page = BOOT.replace("{{title}}", &escape(title)).replace("{{target}}", &target);
    ([(header::SET_COOKIE, cookie)], Html(page)).into_response()
}

/// 403: this browser was not let in.
pub(super) fn denied() -> Response {
    message(
        StatusCode::FORBIDDEN,
        "Not open here",
        "This program is shown only to the browser it was opened in. Open it with “parlor open” or from the console.",
    )
}

/// 403: another page, or a kind of request that no program may make.
pub(super) fn refused() -> Response {
    message(StatusCode::FORBIDDEN, "Refused", "A program of Parlor cannot be asked for this.")
}

/// 404.
pub(super) fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Not found", "The program has no such file.")
}

/// 405.
pub(super) fn wrong_method() -> Response {
    let page = message(StatusCode::METHOD_NOT_ALLOWED, "Refused", "A program's files can only be read.");
    ([(header::ALLOW, "GET, HEAD")], page).into_response()
}

/// 421: nothing is served under that host name.
pub(super) fn misdirected() -> Response {
    message(
        StatusCode::MISDIRECTED_REQUEST,
        "Nothing runs here",
        "The session is over, or the address is wrong. “parlor sessions” lists what runs.",
    )
}

/// 500: a file that is there cannot be read.
pub(super) fn broken() -> Response {
    message(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Cannot be read",
        "A file of the program cannot be read from disk.",
    )
}

/// 503: too many tabs.
pub(super) fn busy() -> Response {
    message(StatusCode::SERVICE_UNAVAILABLE, "Too many tabs", "Close some of the program's tabs first.")
}

fn message(status: StatusCode, title: &str, text: &str) -> Response {
    let page = MESSAGE.replace("{{title}}", &escape(title)).replace("{{text}}", &escape(text));
    (status, Html(page)).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
