//! One running node: all parts put together, and what reaches it from other nodes handed to the right one.
//!
//! For: starting, stopping and embedding a node. Not for: anything that a part does by itself.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use parlor_proto::{
    group::UpdatesResponse,
    identity::{Identity, PeerId},
    ids::SessionId,
    session::bounded,
    wire::{MAX_NAME, Request, Response},
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    billing::{self, Book, Outbox, Service},
    clock,
    console::{self, Availability, Command, CommandError, Console, ConsoleError},
    content::Source,
    context::{Context, Event},
    critical::{CriticalTasks, TaskEnded},
    group::Group,
    home::{Home, HomeError, control_socket},
    metrics,
    overlay::{self, Address, InboundRequest, Internet, MAX_RELAYS, Overlay, RelayLimits},
    runtime::{agent::Sandbox, browser::Browser, web::WebServer},
    session::{SessionError, Sessions, Web},
    store::{Before, BundleError, Bundles, Store, StoreError},
    supply::{get::Supplies, library, origin, sweep, transfer::RightHolders},
};

/// How to run a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub home: PathBuf,
    /// What the node calls itself; kept for the next time.
    pub nickname: Option<String>,
    /// Where to listen; all interfaces, QUIC and TCP, if empty.
    pub listen: Vec<String>,
    /// Whether to look for other nodes in the local network, and to ask its router for open ports.
    pub mdns: bool,
    /// Relays to be reached through: multiaddrs ending in `/p2p/<peer>`.
    pub relays: Vec<String>,
    /// Addresses that lead here and that the node cannot know by itself.
    pub announce: Vec<String>,
    /// Whether the node is a relay for others, and how much it gives.
    pub serve_relay: Option<RelayLimits>,
    /// Where what is counted can be read; nowhere if left out.
    pub metrics: Option<SocketAddr>,
    /// Where the console listens; any loopback port if left out.
    pub console: Option<SocketAddr>,
    /// The billing peer's database; in the home if left out.
    pub billing_db: Option<String>,
    /// Whether to go on with an empty database if that of the home is gone.
    pub new_database: bool,
    /// A directory of programs and cards to take in.
    pub preload: Option<PathBuf>,
    /// Whether web parts open in the browser by themselves.
    pub open_browser: bool,
}

impl Config {
    /// The defaults for a home.
    #[must_use]
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            nickname: None,
            listen: Vec::new(),
            mdns: true,
            relays: Vec::new(),
            announce: Vec::new(),
            serve_relay: None,
            metrics: None,
            console: None,
            billing_db: None,
            new_database: false,
            preload: None,
            open_browser: false,
        }
    }

    /// Loopback only, and silent in the local network: for tests and demonstrations.
    #[must_use]
    pub fn on_loopback(home: impl Into<PathBuf>) -> Self {
        let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"].map(str::to_owned);
        Self { listen: listen.into(), mdns: false, ..Self::new(home) }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StartError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Database(#[from] crate::store::OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bundles(#[from] BundleError),
    #[error("{0} {1}: {2}")]
    Address(&'static str, String, #[source] overlay::AddressError),
    #[error(
        "--relay {0}: which node is it? Its address ends in /p2p/ and its peer id (parlor id says it there)"
    )]
    NamelessRelay(String),
    #[error("--relay: a node has at most {MAX_RELAYS} relays")]
    ManyRelays,
    #[error("--metrics {0}: {1}")]
    Metrics(SocketAddr, #[source] std::io::Error),
    #[error(transparent)]
    Overlay(#[from] overlay::StartError),
    #[error(transparent)]
    Billing(#[from] billing::OpenError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error("web programs cannot be served: {0}")]
    Web(#[from] crate::runtime::web::StartError),
    #[error("agents cannot be run: {0}")]
    Sandbox(#[from] crate::runtime::agent::SandboxError),
    #[error("the browser's folder in the home cannot be used: {0}")]
    Browser(#[source] std::io::Error),
    #[error("the control socket {0}: {1}")]
    Socket(PathBuf, #[source] std::io::Error),
    #[error("--preload {0}: {1}")]
    Preload(PathBuf, #[source] std::io::Error),
}

/// A running node, until [`Node::stop`].
pub struct Node {
    context: Arc<Context>,
    supplies: Arc<Supplies>,
    sessions: Sessions,
    billing: Service,
    started: Instant,
    stop: CancellationToken,
    socket: PathBuf,
    /// Locked until [`Node::stop`]; a node that is just dropped unlocks it last.
    home: Mutex<Option<Home>>,
}

/// A node, and where its console is.
pub struct Started {
    /// The node.
    pub node: Arc<Node>,
    /// Opens the console; whoever has it controls the node.
    pub console: String,
}

impl Node {
    /// Starts a node, which goes on with whatever its home says was under way.
    pub async fn start(config: Config) -> Result<Started, StartError> {
        let listen = addresses("--listen", &config.listen)?;
        let internet = internet(&config)?;
        let home = Home::open(&config.home)?;
        // The database comes first: a home that has an identity has had one.
        let before = Before {
            exists: home.has_identity() && !config.new_database,
            was_interrupted: !home.was_stopped(),
        };
        let store = Store::open_after(&home.database(), before).await?;
        let identity = identity(&home, &store).await?;
        let nickname = nickname(&store, config.nickname).await?;
        let programs = home.programs();
        let bundles = tokio::task::spawn_blocking(move || Bundles::open(&programs));
        let bundles = Arc::new(bundles.await.expect("opening bundles does not panic")?);
        let book = match &config.billing_db {
            Some(url) => Book::open(url).await?,
            None => Book::open_file(&home.database()).await?,
        };
        let tasks = CriticalTasks::default();
        let network = overlay::Config {
            identity: identity.clone(),
            listen,
            port: port_of_last_time(&store).await?,
            mdns: config.mdns,
            nickname: nickname.clone(),
            memory: false,
            internet,
        };
        let (overlay, events) = Overlay::start_in(network, &tasks).await?;
        if config.listen.is_empty() {
            keep_port(&store, &overlay).await?;
        }
        let outbox = Outbox::new(store.pool().clone());
        let context = Arc::new(Context {
            identity: identity.clone(),
            nickname,
            store,
            bundles,
            overlay,
            outbox,
            events: Context::event_channel(),
            traffic: crate::context::Traffic::default(),
            hosted: crate::context::Hosted::default(),
            sandbox: Sandbox::new(&home.compiled())?,
            tasks,
            browser: Browser::new(home.browser()).map_err(StartError::Browser)?,
            sweep: Arc::default(),
        });
        let web = Web { server: web_server(&context).await?, open_browser: config.open_browser };
        let availability = stored_availability(&context.store).await?;
        context.locate_contacts().await?;
        if let Some(dir) = &config.preload {
            let failed = |error| StartError::Preload(dir.clone(), error);
            Box::pin(library::preload(&context, dir)).await.map_err(failed)?;
        }
        let sessions = Sessions::start(Arc::clone(&context), web, availability).await?;
        let supplies = Arc::new(Supplies::new(Arc::clone(&context)));
        let stop = CancellationToken::new();
        supplies.resume(&stop).await?;
        let socket = control_socket(home.root());
        let node = Arc::new(Self {
            context,
            supplies,
            sessions,
            billing: Service::new(book, identity),
            started: Instant::now(),
            stop,
            socket: socket.clone(),
            home: Mutex::new(Some(home)),
        });
        node.run(events);
        console::serve_socket(Arc::clone(&node), &socket, node.stop.clone())
            .map_err(|error| StartError::Socket(socket, error))?;
        if let Some(address) = config.metrics {
            let overlay = node.context.overlay.clone();
            let served = metrics::serve(address, overlay, node.stop.clone()).await;
            served.map_err(|error| StartError::Metrics(address, error))?;
        }
        let console = start_console(&node, config.console).await?;
        Ok(Started { node, console: console.url })
    }

    /// Stops: says goodbye to nobody, because everything that counts is on disk; but agents put their state aside. When
    /// it returns, nothing of this node writes to its home any more.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.sessions.stop().await;
        self.context.overlay.clone().shutdown().await;
        let bundles = Arc::clone(&self.context.bundles);
        let closed = tokio::task::spawn_blocking(move || bundles.close()).await;
        closed.expect("waiting for who writes does not panic");
        // A socket that is left behind does no harm.
        let _ = std::fs::remove_file(&self.socket);
        self.billing.book().close().await;
        if let Err(error) = self.context.store.tidy().await {
            tracing::warn!(%error, "the database was not tidied");
        }
        self.context.store.close().await;
        // Nothing is written any more: whoever holds this node still does not keep the next one out.
        let home = self.home.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(home) = home
            && let Err(error) = home.note_stop()
        {
            tracing::warn!(%error, "the stop is not noted: the database is checked at the next start");
        }
    }

    /// Returns once the node was stopped; or why it cannot go on: then it is to be stopped, and started again.
    ///
    /// # Errors
    /// A task without which the node is of no use has ended.
    pub async fn wait(&self) -> Result<(), TaskEnded> {
        tokio::select! {
            ended = self.context.tasks.failure() => Err(ended),
            () = self.stop.cancelled() => Ok(()),
        }
    }

    /// What all parts share.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// All sessions.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// All supplies.
    #[must_use]
    pub fn supplies(&self) -> &Arc<Supplies> {
        &self.supplies
    }

    /// The billing peer in this node.
    #[must_use]
    pub fn billing(&self) -> &Service {
        &self.billing
    }

    /// Since the node was started.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// This node's name for others.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.context.me()
    }

    /// Carries out a command and waits for its answer, as the command line does. Events on the way (progress)
    /// are dropped; for `watch` use [`console::execute`].
    pub async fn execute(&self, command: Command) -> Result<Value, CommandError> {
        let (lines, mut dropped) = mpsc::channel(16);
        let draining = tokio::spawn(async move { while dropped.recv().await.is_some() {} });
        let answer = console::execute(self, command, &lines).await;
        draining.abort();
        Ok(answer?.unwrap_or_default())
    }

    /// The group of a session that runs on this node now.
    pub async fn running_group(&self, session: SessionId) -> Result<Group, SessionError> {
        let view = self.sessions.view(session).await?;
        if view.state != "running" {
            return Err(SessionError::NotRunning);
        }
        self.sessions.group(session).ok_or(SessionError::NotRunning)
    }

    /// What becomes of invitations.
    pub async fn availability(&self) -> Result<Availability, StoreError> {
        stored_availability(&self.context.store).await
    }

    /// Changes that, from now on.
    pub async fn set_availability(&self, availability: Availability) -> Result<(), SessionError> {
        let text = serde_json::json!(availability);
        self.context.store.set_setting(Availability::SETTING, text.as_str().unwrap_or_default()).await?;
        self.sessions.set_availability(availability).await
    }

    /// The tasks that belong to no part: handing on what the network brings, and the outbox's courier.
    fn run(self: &Arc<Self>, events: mpsc::Receiver<overlay::Event>) {
        let source =
            Arc::new(Source::new(Arc::clone(&self.context.bundles), RightHolders(Arc::clone(&self.context))));
        let (node, stop, tasks) = (Arc::downgrade(self), self.stop.clone(), &self.context.tasks);
        let (held, stopped) = (node.clone(), stop.clone());
        let was_asked = move || stopped.is_cancelled() || held.strong_count() == 0;
        tasks.spawn("the network's events", was_asked, async move {
            let mut events = events;
            while let Some(event) = events.recv().await {
                let Some(node) = node.upgrade() else { return };
                node.event(event, &source).await;
            }
        });
        let tidying = self.context.store.clone().keep_tidy(self.stop.clone());
        self.context.tasks.spawn_finite("tidying the database", tidying);
        let context = &self.context;
        let sweeping =
            sweep::run(Arc::downgrade(context), Arc::clone(&context.bundles), Arc::clone(&context.sweep));
        let stopped = stop.clone();
        tasks.spawn_finite("the sweep of files", async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = sweeping => {}
            }
        });
        context.sweep_soon();
        let (outbox, overlay) = (self.context.outbox.clone(), self.context.overlay.clone());
        let (billing, me) = (self.billing.clone(), self.context.me());
        let courier = billing::outbox::courier::run(outbox, clock::now, move |peer, request| {
            let (overlay, billing) = (overlay.clone(), billing.clone());
            async move {
                if peer == me {
                    return Ok::<_, overlay::RequestError>(billing.handle(me, request, clock::now()).await);
                }
                match overlay.request(peer, Request::Billing(Box::new(request))).await? {
                    Response::Billing(response) => Ok(*response),
                    // The overlay answers a request with a response of its protocol.
                    _ => Ok(parlor_proto::billing::BillingResponse::Later),
                }
            }
        });
        let stopped = stop.clone();
        tasks.spawn("the outbox", move || stopped.is_cancelled(), async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = courier => {}
            }
        });
    }

    async fn event(self: &Arc<Self>, event: overlay::Event, source: &Arc<Source<RightHolders>>) {
        match event {
            overlay::Event::Connected(peer) => {
                self.sessions.reached(peer).await;
                if let Err(error) = self.context.outbox.peer_connected(peer, clock::now()).await {
                    tracing::error!(%error, "the outbox cannot be read");
                }
                self.context.tell(Event::Changed);
            }
            overlay::Event::Disconnected(_) | overlay::Event::Found { .. } => {
                self.context.tell(Event::Changed)
            }
            overlay::Event::Request(request) => {
                let node = Arc::clone(self);
                tokio::spawn(async move { node.answer(request).await });
            }
            overlay::Event::Stream { peer, stream } => {
                let (source, context) = (Arc::clone(source), Arc::clone(&self.context));
                tokio::spawn(async move {
                    let stream = tokio_util::compat::TokioAsyncReadCompatExt::compat(stream);
                    match source.serve(peer, stream).await {
                        Ok(bytes) => context.traffic.add_served(bytes),
                        Err(error) => tracing::debug!(?peer, %error, "serving ended"),
                    }
                });
            }
            overlay::Event::GroupMessage { session, author, payload } => {
                if let Some(group) = self.sessions.group(session) {
                    group.heard(author, &payload);
                }
            }
            overlay::Event::GroupPeer { session, peer, present } => {
                if let Some(group) = self.sessions.group(session) {
                    group.present(peer, present).await;
                    self.sessions.presence_changed(session).await;
                }
            }
        }
    }

    async fn answer(&self, request: InboundRequest) {
        let from = request.from;
        let response = match &request.request {
            Request::Catalog(_) => match origin::catalog(&self.context).await {
                Ok(catalog) => Response::Catalog(catalog),
                Err(error) => return tracing::error!(%error, "the catalog cannot be read"),
            },
            Request::Supply(supply) => {
                Response::Supply(Box::new(origin::answer(&self.context, from, (**supply).clone()).await))
            }
            Request::Session(session) => {
                Response::Session(self.sessions.request(from, session.clone()).await)
            }
            Request::Updates(updates) => match self.sessions.group(updates.session) {
                Some(group) => match group.serve(from, updates).await {
                    Ok(response) => Response::Updates(response),
                    Err(error) => return tracing::error!(%error, "updates cannot be read"),
                },
                None => Response::Updates(UpdatesResponse::default()),
            },
            // Without an answer the request is refused: it may be asked again.
            Request::Commits(commits) => match self.sessions.commits(from, commits.clone()).await {
                Some(response) => Response::Commits(response),
                None => return,
            },
            Request::Vote(vote) => match self.sessions.vote(from, (**vote).clone()).await {
                Some(response) => Response::Vote(Box::new(response)),
                None => return,
            },
            Request::Link(link) => match self.sessions.open_link(from, link.clone()).await {
                Some(response) => Response::Link(response),
                None => return,
            },
            Request::Billing(billing) => {
                let now = clock::now();
                Response::Billing(Box::new(self.billing.handle(from, (**billing).clone(), now).await))
            }
        };
        request.respond(response);
    }
}

fn addresses(option: &'static str, texts: &[String]) -> Result<Vec<Address>, StartError> {
    let parsed =
        |text: &String| text.parse().map_err(|error| StartError::Address(option, text.clone(), error));
    texts.iter().map(parsed).collect()
}

/// How the node is to be reached from beyond its own network.
fn internet(config: &Config) -> Result<Internet, StartError> {
    let relays = addresses("--relay", &config.relays)?;
    if let Some(nameless) = relays.iter().find(|relay| relay.peer().is_none()) {
        return Err(StartError::NamelessRelay(nameless.to_string()));
    }
    if relays.len() > MAX_RELAYS {
        return Err(StartError::ManyRelays);
    }
    Ok(Internet {
        relays,
        announce: addresses("--announce", &config.announce)?,
        map_ports: config.mdns,
        serve: config.serve_relay.clone(),
    })
}

/// The home's identity, which must be the one that the database is of.
async fn identity(home: &Home, store: &Store) -> Result<Identity, StartError> {
    const SETTING: &str = "peer";
    let known = store.setting(SETTING).await?;
    if let Some(peer) = known.clone().filter(|_| !home.has_identity()) {
        return Err(HomeError::NoIdentity { home: home.root().to_owned(), peer }.into());
    }
    let identity = home.identity(rand::random)?;
    let own = identity.peer().to_string();
    match known {
        Some(peer) if peer != own => {
            Err(HomeError::AnotherIdentity { home: home.root().to_owned(), peer }.into())
        }
        Some(_) => Ok(identity),
        None => {
            store.set_setting(SETTING, &own).await?;
            Ok(identity)
        }
    }
}

/// The name that is asked for, else the last one, else the machine's user.
async fn nickname(store: &Store, wanted: Option<String>) -> Result<String, StoreError> {
    const SETTING: &str = "nickname";
    let wanted = wanted.map(|name| name_for_others(&name));
    if let Some(wanted) = wanted {
        store.set_setting(SETTING, &wanted).await?;
        return Ok(wanted);
    }
    let user = || std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
    Ok(store.setting(SETTING).await?.unwrap_or_else(|| name_for_others(&user())))
}

/// What peers accept as a name: one line, of bounded length.
fn name_for_others(name: &str) -> String {
    bounded(name.trim().to_owned(), MAX_NAME)
}

const PORT: &str = "listen-port";
/// Where a new node's port is: below those that systems give to outgoing connections.
const FIRST_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Contacts know this node by the port that it had.
async fn port_of_last_time(store: &Store) -> Result<u16, StoreError> {
    let stored = store.setting(PORT).await?.and_then(|port| port.parse().ok());
    Ok(stored.unwrap_or_else(|| rand::random_range(FIRST_PORTS)))
}

async fn keep_port(store: &Store, overlay: &Overlay) -> Result<(), StoreError> {
    // A network that has ended already is told of by `Node::wait`.
    let Ok(addresses) = overlay.addresses().await else { return Ok(()) };
    match addresses.iter().find_map(overlay::Address::port) {
        Some(port) => store.set_setting(PORT, &port.to_string()).await,
        None => Ok(()),
    }
}

async fn stored_availability(store: &Store) -> Result<Availability, StoreError> {
    let stored = store.setting(Availability::SETTING).await?;
    Ok(stored.and_then(|text| serde_json::from_value(text.into()).ok()).unwrap_or_default())
}

/// On the same port as before, if that is free: a browser keeps a program's storage under it.
async fn web_server(context: &Context) -> Result<WebServer, StartError> {
    const SETTING: &str = "web-port";
    let wanted = context.store.setting(SETTING).await?.and_then(|port| port.parse().ok()).unwrap_or(0);
    let key = blake3::derive_key("parlor web credentials v1", &context.identity.seed());
    let server = WebServer::start(wanted, key).await?;
    context.store.set_setting(SETTING, &server.port().to_string()).await?;
    Ok(server)
}

/// On the port that is asked for, else on the same as before if that is free.
async fn start_console(node: &Arc<Node>, wanted: Option<SocketAddr>) -> Result<Console, StartError> {
    const SETTING: &str = "console-port";
    let store = &node.context.store;
    let before: u16 = store.setting(SETTING).await?.and_then(|port| port.parse().ok()).unwrap_or(0);
    let token = hex::encode(rand::random::<[u8; 16]>());
    let start = |address| Console::start(Arc::clone(node), address, token.clone(), node.stop.clone());
    let console = match wanted {
        Some(address) => start(address).await?,
        None => match start(SocketAddr::from(([127, 0, 0, 1], before))).await {
            Err(ConsoleError::Listen(..)) => start(SocketAddr::from(([127, 0, 0, 1], 0))).await?,
            started => started?,
        },
    };
    store.set_setting(SETTING, &console.address.port().to_string()).await?;
    Ok(console)
}
