//! The HTTP server of all web programs on this node.
//!
//! For: [`WebServer`]: mounting instances, handing out launch addresses, and the one path that every request takes.
//! Not for: what is in the answers (see [`super::files`], [`super::pages`], [`super::bridge`]).
//!
//! The idea: one handler, no routes. Each request passes the same checks in the same order, and each answer, whatever
//! it is, passes [`seal`] on its way out.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use axum::{
    Router,
    extract::{FromRequestParts as _, Request, State, WebSocketUpgrade},
    http::{HeaderMap, Method, header, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    bridge, files,
    headers::seal,
    instance::Instance,
    launch::{Credentials, Launch, Launches, Token, target_of},
    listener,
    messages::MAX_FRAME_LEN,
    origin::{Label, label_of},
    pages,
    proof::{self, Claim},
};

/// Where the bridge is, on each program's origin.
pub(super) const BRIDGE_PATH: &str = "/.parlor/bridge";

/// Bridges (open tabs) of one instance at a time.
pub(super) const MAX_BRIDGES: usize = 16;

/// Bridges, of all instances, whose pages have yet to prove themselves.
pub(super) const MAX_UNPROVEN: usize = 32;

/// Why there is no web server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No port of loopback can be listened on.
    #[error("no local port for web programs can be opened")]
    Listen(#[source] io::Error),
}

/// Why a program cannot be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Nothing is mounted under that label.
    #[error("the program is not running here")]
    NotMounted,
}

/// One mounted instance.
pub(super) struct Mount {
    pub(super) instance: Arc<dyn Instance>,
    bridges: Arc<Semaphore>,
    pub(super) closed: CancellationToken,
}

struct Shared {
    port: u16,
    credentials: Credentials,
    mounts: RwLock<HashMap<Label, Arc<Mount>>>,
    launches: Mutex<Launches>,
    unproven: Arc<Semaphore>,
}

impl Shared {
    fn mounted(&self, label: Label) -> Option<Arc<Mount>> {
        self.mounts.read().unwrap_or_else(PoisonError::into_inner).get(&label).cloned()
    }

    /// A token in hex, and what is cancelled once it is used or void.
    fn new_launch(&self, label: Label, href: Option<&str>) -> (String, CancellationToken) {
        let token: [u8; 16] = rand::random();
        let done = self.launches().add(Token(token), label, target_of(href), Instant::now());
        (hex::encode(token), done)
    }

    fn launches(&self) -> MutexGuard<'_, Launches> {
        self.launches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the web parts of programs, each on its own origin. Dropping it stops it.
pub struct WebServer {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl WebServer {
    /// Starts listening on loopback, on `wanted_port` if it is free (0: any). The port belongs to the origin, and a
    /// browser keeps a program's storage under the origin: ask for the same one each time.
    ///
    /// `key` is a secret of the node. With the same key and port as before, tabs that are open go on after a restart.
    pub async fn start(wanted_port: u16, key: [u8; 32]) -> Result<Self, StartError> {
        let (port, listeners) = listener::bind(wanted_port).await.map_err(StartError::Listen)?;
        let shared = Arc::new(Shared {
            port,
            credentials: Credentials::new(key, port, rand::random()),
            mounts: RwLock::default(),
            launches: Mutex::default(),
            unproven: Arc::new(Semaphore::new(MAX_UNPROVEN)),
        });
        let stop = CancellationToken::new();
        for listener in listeners {
            let app = Router::new().fallback(answer).with_state(shared.clone());
            let stopped = stop.clone().cancelled_owned();
            // axum's serve never fails; it ends when told to.
            tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(stopped).into_future());
        }
        Ok(Self { shared, stop })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// Serves an instance under that label. One mounted there before is unmounted.
    pub fn mount(&self, label: Label, instance: Arc<dyn Instance>) {
        let mount = Mount {
            instance,
            bridges: Arc::new(Semaphore::new(MAX_BRIDGES)),
            closed: CancellationToken::new(),
        };
        let mut mounts = self.shared.mounts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = mounts.insert(label, Arc::new(mount)) {
            old.closed.cancel();
        }
    }

    /// Serves it no longer; its bridges are closed and its launch addresses void.
    pub fn unmount(&self, label: Label) {
        let old = self.shared.mounts.write().unwrap_or_else(PoisonError::into_inner).remove(&label);
        if let Some(old) = old {
            old.closed.cancel();
        }
        self.shared.launches().forget(label);
    }

    /// An address that shows the program in the browser that opens it first, within [`super::LAUNCH_TTL`]. `href` is a
    /// place in the program, relative to its root (an update's `href`); `None` is its `index.html`.
    pub fn launch(&self, label: Label, href: Option<&str>) -> Result<Launch, LaunchError> {
        if self.shared.mounted(label).is_none() {
            return Err(LaunchError::NotMounted);
        }
        let (token, done) = self.shared.new_launch(label, href);
        Ok(Launch { url: format!("{}/?launch={token}", label.origin(self.shared.port)), done })
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.stop.cancel();
        for (_, mount) in self.shared.mounts.write().unwrap_or_else(PoisonError::into_inner).drain() {
            mount.closed.cancel();
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Nobody has a reason to send a body; dropping it unread makes the HTTP library close the connection.
    let (mut parts, _) = request.into_parts();
    let mut response = admit(&shared, &mut parts).await;
    seal(response.headers_mut());
    response
}

/// The checks that every request passes, in this order; then what it asked for.
async fn admit(shared: &Arc<Shared>, parts: &mut Parts) -> Response {
    let label = label_of(&parts.headers, &parts.uri, shared.port);
    let Some((label, mount)) = label.and_then(|label| Some((label, shared.mounted(label)?))) else {
        return pages::misdirected();
    };
    // A service worker would outlive the tab, and the program.
    if parts.headers.contains_key("service-worker") {
        return pages::refused();
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return pages::wrong_method();
    }
    if parts.uri.path() == "/"
        && parts.method == Method::GET
        && let Some(token) = launch_token(parts)
        && let Some(target) = shared.launches().take(token, label, Instant::now())
    {
        return pages::boot(&mount.instance.title(), &target, shared.credentials.cookie(label));
    }
    // Who comes again proves itself over the bridge: its credential may be of a start before this one.
    let comes_again = parts.uri.path() == BRIDGE_PATH && comes_again(parts);
    if !comes_again && !shared.credentials.admits(&parts.headers, label) {
        return pages::denied();
    }
    if !from_same_origin(&parts.headers) {
        return pages::refused();
    }
    match parts.uri.path() {
        BRIDGE_PATH => open_bridge(shared, label, mount, parts).await,
        "/webxdc.js" => pages::webxdc(&*mount.instance, &shared.credentials.secret(label)),
        path => serve_file(&*mount.instance, path, parts).await,
    }
}

fn launch_token(parts: &Parts) -> Option<&str> {
    parts.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("launch="))
}

/// Whether the browser says that the program itself, or the user, asks. Not all browsers say.
fn from_same_origin(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().all(|site| site == "same-origin" || site == "none")
}

async fn serve_file(instance: &dyn Instance, url_path: &str, parts: &Parts) -> Response {
    let named = files::relative(url_path).and_then(|path| Some((instance.file(&path)?, path)));
    // Browsers ask for this name; webxdc has two others for the same thing.
    let found = named.or_else(|| {
        let icons = ["icon.png", "icon.jpg"].into_iter().filter(|_| url_path == "/favicon.ico");
        icons.filter_map(|icon| Some((instance.file(icon)?, icon.to_owned()))).next()
    });
    match found {
        Some((at, path)) => files::serve(&path, &at, &parts.method, &parts.headers).await,
        None => pages::not_found(),
    }
}

/// A WebSocket is not bound by the same-origin policy, so that `Origin` must say whose page opens it.
async fn open_bridge(shared: &Arc<Shared>, label: Label, mount: Arc<Mount>, parts: &mut Parts) -> Response {
    let origin = parts.headers.get(header::ORIGIN);
    if origin.is_none_or(|origin| origin != label.origin(shared.port).as_str()) {
        return pages::refused();
    }
    let Some(page) = page_id(parts) else {
        return pages::refused();
    };
    let again = comes_again(parts);
    let places = if again { &shared.unproven } else { &mount.bridges };
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        return pages::busy();
    };
    let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade.max_message_size(MAX_FRAME_LEN).max_frame_size(MAX_FRAME_LEN),
        Err(rejection) => return rejection.into_response(),
    };
    let shared = Arc::clone(shared);
    upgrade.on_upgrade(move |mut socket| async move {
        if !again {
            bridge::run(socket, mount, page).await;
            return drop(place);
        }
        let claim = Claim { secret: shared.credentials.secret(label), port: shared.port, page };
        let is_proven = proof::exchange(&mut socket, &claim, || shared.new_launch(label, None).0).await;
        drop(place);
        match Arc::clone(&mount.bridges).try_acquire_owned() {
            Ok(_place) if is_proven => bridge::run(socket, mount, page).await,
            Ok(_) => bridge::refuse(socket).await,
            Err(_) => bridge::put_off(socket).await,
        }
    })
}

/// `?page=HEX&again`: a page that has been connected before.
fn comes_again(parts: &Parts) -> bool {
    parts.uri.query().is_some_and(|query| query.ends_with("&again"))
}

/// `?page=HEX`, which `webxdc.js` makes up once a load; with `&again` behind it, or nothing.
fn page_id(parts: &Parts) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let page = parts.uri.query()?.strip_prefix("page=")?;
    hex::decode_to_slice(page.strip_suffix("&again").unwrap_or(page), &mut bytes).ok()?;
    Some(bytes)
}
