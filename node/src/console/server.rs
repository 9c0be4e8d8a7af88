//! The two ways in: a Unix socket for the command line, and a loopback port for the console page.
//!
//! The socket is its owner's alone (mode 0600). The port can be reached by every page in
//! the user's browser, so that it asks for a token that only the console's address carries, accepts no other
//! `Host` than its own (DNS rebinding), and answers no page of another origin. The token is of one start: a page that is
//! left open shows it to whoever listens there once the node is gone.

use std::{convert::Infallible, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{Command, execute};
use crate::{Node, store::StoreError};

/// Lines of an answer that wait for a slow reader. Beyond, the command waits too.
const LINES: usize = 64;

/// The page is the node's own: everything it needs comes from here, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The console page's port.
pub struct Console {
    /// Where it listens.
    pub address: SocketAddr,
    /// Opens the console: the address with its token. Whoever has it controls the node.
    pub url: String,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConsoleError {
    #[error("the console cannot listen on {0}: {1}: choose another with --console")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the console may listen on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Guard {
    token: String,
    /// By number alone: what is called `localhost` may be somebody else's port of the same number, on the other loopback.
    host: String,
}

/// Serves the control API on the home's Unix socket, until `stop`.
pub fn serve_socket(node: Arc<Node>, socket: &Path, stop: CancellationToken) -> std::io::Result<()> {
    // The home is locked: a socket that is there already is a dead node's.
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    // The home may be open to others, or too deep for the socket to lie in it.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let app = Router::new().route("/control", post(control)).with_state(node);
    let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    tokio::spawn(async { serving.await });
    Ok(())
}

impl Console {
    /// Serves the console page and the control API on `wanted`, until `stop`.
    pub async fn start(
        node: Arc<Node>,
        wanted: SocketAddr,
        token: String,
        stop: CancellationToken,
    ) -> Result<Self, ConsoleError> {
        if !wanted.ip().is_loopback() {
            return Err(ConsoleError::NotLoopback(wanted));
        }
        let listen = |error| ConsoleError::Listen(wanted, error);
        let listener = TcpListener::bind(wanted).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let guard = Arc::new(Guard { token: token.clone(), host: address.to_string() });
        let app = Router::new()
            .route("/control", post(control))
            .layer(middleware::from_fn_with_state(Arc::clone(&guard), with_token))
            .route("/", get(|| async { asset("text/html; charset=utf-8", include_str!("page/index.html")) }))
            .route("/console.css", get(|| async { asset("text/css", include_str!("page/console.css")) }))
            .route("/console.js", get(|| async { asset("text/javascript", include_str!("page/console.js")) }))
            .layer(middleware::from_fn_with_state(guard, own_host))
            .with_state(node);
        let serving = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
        tokio::spawn(async { serving.await });
        Ok(Self { address, url: format!("http://{address}/#token={token}") })
    }
}

/// A command in, lines of JSON out.
async fn control(State(node): State<Arc<Node>>, Json(command): Json<Command>) -> Response {
    let (lines, receiver) = mpsc::channel::<Value>(LINES);
    // All others come to their end, whoever still waits for it: they may have changed half of something.
    let goes_on_for_ever = matches!(command, Command::Watch(_) | Command::Events);
    tokio::spawn(async move {
        let last = tokio::select! {
            done = execute(&node, command, &lines) => match done {
                Ok(Some(answer)) => answer,
                Ok(None) => return,
                Err(error) => {
                    if lines.is_closed() {
                        tracing::warn!(%error, "a command failed whose caller had gone");
                    }
                    serde_json::json!({"error": {"message": error.to_string()}})
                }
            },
            // Whoever asked has gone.
            () = lines.closed(), if goes_on_for_ever => return,
        };
        // Fails when whoever asked has gone.
        let _ = lines.send(last).await;
    });
    let body = ReceiverStream::new(receiver).map(|line| Ok::<_, Infallible>(format!("{line}\n")));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}

async fn own_host(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_none_or(|host| host != guard.host) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn with_token(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if !is_own_origin(request.headers(), &guard) || !has_token(request.headers(), &guard) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

fn is_own_origin(headers: &HeaderMap, guard: &Guard) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    host.is_some_and(|host| host == guard.host)
}

fn has_token(headers: &HeaderMap, guard: &Guard) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Compared as hashes, whose comparison takes the same time wherever they differ.
    blake3::hash(shown.as_bytes()) == blake3::hash(guard.token.as_bytes())
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], content).into_response()
}
