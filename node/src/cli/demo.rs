//! `demo`: the whole life of a session on this machine, from publish to the bill.
//!
//! For: seeing what Parlor is, in one command; headless, as a check that everything works. Five nodes in one
//! process, each with a home of its own in a temporary directory, on loopback only, doing exactly what the
//! other verbs do.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use parlor_proto::ids::SessionId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, broadcast},
};

use super::{DONE, fail, output::Output};
use crate::{
    Config, Node, StartError,
    console::{
        BillCommand, Command, CommandError, ContactCommand, End, Get, HostCommand, Join, OfSession, Open,
        Publish, Send,
    },
    session::SessionError,
};

/// How the demonstration runs.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// A scripted run without a browser; the last line says how it went
    #[arg(long)]
    headless: bool,
}

/// The program of the demonstration, carried in the binary.
const CHAT: &[(&str, &[u8])] = &[
    ("index.html", include_bytes!("../../../examples/programs/chat/index.html")),
    ("manifest.toml", include_bytes!("../../../examples/programs/chat/manifest.toml")),
    ("icon.png", include_bytes!("../../../examples/programs/chat/icon.png")),
    ("chat.css", include_bytes!("../../../examples/programs/chat/chat.css")),
    ("live.js", include_bytes!("../../../examples/programs/chat/live.js")),
    ("main.js", include_bytes!("../../../examples/programs/chat/main.js")),
    ("model.js", include_bytes!("../../../examples/programs/chat/model.js")),
    ("view.js", include_bytes!("../../../examples/programs/chat/view.js")),
];

const COPIES: u32 = 2;
/// How long one step may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// How often the files are removed, before that counts as failed.
const REMOVALS: usize = 20;

/// Why the demonstration did not succeed.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the demonstration's files: {0}")]
    Files(#[from] io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Command(Box<CommandError>),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("{0} did not come about")]
    Late(&'static str),
    #[error("it was told to end")]
    Ended,
    #[error("{what}: {found} instead of {wanted}")]
    Wrong { what: &'static str, found: Box<Value>, wanted: Box<Value> },
}

impl From<CommandError> for DemoError {
    fn from(error: CommandError) -> Self {
        Self::Command(Box::new(error))
    }
}

pub(super) async fn demo(options: Demo, json: bool) -> u8 {
    let teller = Teller { json: json || options.headless, output: Mutex::new(Output::new()) };
    let outcome = perform(&options, &teller).await;
    let code = match outcome {
        Ok(()) => DONE,
        Err(error) => {
            teller.step("demo", json!({"ok": false, "why": error.to_string()}), "");
            fail(&error)
        }
    };
    match teller.finish() {
        printed if code == DONE => printed,
        _ => code,
    }
}

/// Plays it to its end, or until a signal says that it is over; either way nothing of it stays.
async fn perform(options: &Demo, teller: &Teller) -> Result<(), DemoError> {
    // Before there is anything that a signal could leave behind.
    let mut signals = Signals::listen()?;
    let stage = Stage::set()?;
    let outcome = tokio::select! {
        outcome = Box::pin(play(options, &stage, teller)) => outcome,
        () = signals.told_to_end(&stage) => Err(DemoError::Ended),
    };
    let struck = stage.strike().await;
    outcome.and(struck.map_err(DemoError::from))
}

/// Says what happens, for people or as JSON.
struct Teller {
    json: bool,
    output: Mutex<Output>,
}

impl Teller {
    fn step(&self, event: &str, mut details: Value, text: &str) {
        if self.json {
            let mut line = json!({"event": event});
            if let (Some(line), Some(details)) = (line.as_object_mut(), details.as_object_mut()) {
                line.append(details);
            }
            self.say(&line.to_string());
        } else if !text.is_empty() {
            self.say(text);
        }
    }

    fn say(&self, line: &str) {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).line(line);
    }

    fn finish(self) -> u8 {
        self.output.into_inner().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

/// Where the nodes live, and which are up: however the demonstration ends, nothing of it stays.
struct Stage {
    dir: TempDir,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// Ctrl-C has a meaning of its own: it ends the session that is shown.
    is_showing: AtomicBool,
    seen_enough: Notify,
}

impl Stage {
    fn set() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("parlor-demo-").tempdir()?;
        let (nodes, is_showing, seen_enough) = Default::default();
        Ok(Self { dir, nodes, is_showing, seen_enough })
    }

    async fn start(&self, name: &str) -> Result<Arc<Node>, StartError> {
        let home = self.dir.path().join(name);
        let config = Config { nickname: Some(name.to_owned()), ..Config::on_loopback(home) };
        let node = Node::start(config).await?.node;
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&node));
        Ok(node)
    }

    /// Stops the nodes, and removes what they wrote.
    async fn strike(self) -> io::Result<()> {
        let nodes = self.nodes.into_inner().unwrap_or_else(PoisonError::into_inner);
        for node in nodes {
            // One that does not stop in time does not keep the others' files here.
            let _ = tokio::time::timeout(PATIENCE, node.stop()).await;
        }

        // A node that was just being started may still write something.
        let dir = self.dir.keep();
        let mut removed = fs::remove_dir_all(&dir);
        for _ in 1..REMOVALS {
            if removed.is_ok() {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            removed = fs::remove_dir_all(&dir);
        }
        removed
    }
}

/// The signals that end it.
struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when one of them says so.
    async fn told_to_end(&mut self, stage: &Stage) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => return,
                _ = self.interrupt.recv() => match stage.is_showing.swap(false, Ordering::Relaxed) {
                    true => stage.seen_enough.notify_one(),
                    false => return,
                },
            }
        }
    }
}

/// The five nodes.
struct Cast {
    origin: Arc<Node>,
    billing: Arc<Node>,
    host: Arc<Node>,
    members: [Arc<Node>; 2],
}

async fn play(options: &Demo, stage: &Stage, teller: &Teller) -> Result<(), DemoError> {
    let program = stage.dir.path().join("chat");
    fs::create_dir(&program)?;
    for (name, content) in CHAT {
        fs::write(program.join(name), content)?;
    }
    let cast = enter(stage).await?;
    teller.step(
        "nodes",
        json!({"nodes": 5}),
        "Five nodes are up on this machine: origin, billing, Ann (host), Ben, Cleo.",
    );
    supply(&cast, &program, teller).await?;
    cast.origin.stop().await;
    teller.step("origin-stopped", json!({}), "The origin is switched off. From here on nobody needs it.");
    let session = gather(&cast, teller).await?;
    talk(&cast, session).await?;
    teller.step(
        "talked",
        json!({"session": session}),
        "Everyone heard everyone: three updates and three realtime messages.",
    );
    if !options.headless {
        show(&cast, session, stage, teller).await?;
    }
    let outcome = settle(&cast, session, options.headless).await?;
    let bill = bill_for_people(&cast, &outcome["statement"]);
    teller.step("demo", outcome, &bill);
    Ok(())
}

async fn enter(stage: &Stage) -> Result<Cast, DemoError> {
    let cast = Cast {
        origin: stage.start("Origin").await?,
        billing: stage.start("Billing").await?,
        host: stage.start("Ann").await?,
        members: [stage.start("Ben").await?, stage.start("Cleo").await?],
    };
    let [ben, cleo] = &cast.members;
    introduce(&cast.host, "Origin", &cast.origin).await?;
    for (name, member) in [("Ben", ben), ("Cleo", cleo)] {
        introduce(&cast.host, name, member).await?;
        introduce(member, "Billing", &cast.billing).await?;
    }
    introduce(&cast.host, "Billing", &cast.billing).await?;
    Ok(cast)
}

/// Enters `whom` into the address book of `node`.
async fn introduce(node: &Node, name: &str, whom: &Node) -> Result<(), DemoError> {
    let addresses = whom.context().overlay.addresses().await.map_err(CommandError::from)?;
    let who = addresses.first().map_or_else(|| whom.peer().to_string(), ToString::to_string);
    let add = ContactCommand::Add { name: name.to_owned(), who, trust: false };
    node.execute(Command::Contact(add)).await?;
    Ok(())
}

/// ST1-13.
async fn supply(cast: &Cast, program: &Path, teller: &Teller) -> Result<(), DemoError> {
    let publish = Publish {
        path: program.to_owned(),
        copies: Some(COPIES),
        copies_max: None,
        price: Some("copy=100EUR,reception=5EUR".into()),
        billing: vec![cast.billing.peer().to_string()],
        lease: None,
    };
    let offer = cast.origin.execute(Command::Publish(publish)).await?;
    teller.step(
        "published",
        offer,
        "The origin publishes chat: 2 copies, 1.00 EUR each, and 0.05 EUR a reception.",
    );
    let get = Get { who: "Origin".into(), name: "chat".into(), copies: None };
    let ticket = cast.host.execute(Command::Get(get)).await?;
    teller.step("got", ticket, "Ann has the program, and a signed ticket for 2 copies.");
    Ok(())
}

/// ST14-19, 20-26.
async fn gather(cast: &Cast, teller: &Teller) -> Result<SessionId, DemoError> {
    let invite = vec!["Ben".to_owned(), "Cleo".to_owned()];
    let host = HostCommand { name: "chat".into(), invite, takeover: None, pack: None };
    let opened = cast.host.execute(Command::Host(host)).await?;
    let session = opened["session"].as_str().and_then(|text| text.parse().ok());
    let session: SessionId = session.ok_or(DemoError::Late("the session"))?;
    teller.step("invited", json!({"session": session}), "Ann invites Ben and Cleo.");
    for member in &cast.members {
        until("the invitation", async || {
            let inbox = member.execute(Command::Inbox).await?;
            Ok(inbox["invitations"].as_array().is_some_and(|invitations| !invitations.is_empty()))
        })
        .await?;
        let join = Join { session: session.to_string() };
        member.execute(Command::Join(join)).await?;
    }
    for node in everyone(cast) {
        until("the start", async || Ok(view(node, session).await?["state"] == "running")).await?;
    }
    let all = |view: &Value| {
        view["members"].as_array().is_some_and(|all| all.iter().all(|m| m["state"] == "joined"))
    };
    until("everyone's joining", async || Ok(all(&view(&cast.host, session).await?))).await?;
    teller.step(
        "running",
        json!({"session": session}),
        "Ben and Cleo have their copies, every byte verified; chat runs.",
    );
    Ok(session)
}

/// Updates and realtime messages, from everyone to everyone.
async fn talk(cast: &Cast, session: SessionId) -> Result<(), DemoError> {
    let nodes = everyone(cast);
    let mut hearing = Vec::new();
    for node in nodes {
        hearing.push(node.running_group(session).await?.realtime());
    }
    for (node, text) in nodes.iter().zip(["Hello, it is Ann.", "Ben here!", "And Cleo."]) {
        let send = Send { session: session.to_string(), text: text.to_owned(), key: None };
        node.execute(Command::Send(send)).await?;
    }
    for node in nodes {
        let group = node.running_group(session).await?;
        until("everyone's updates", async || Ok(*group.newest().borrow() == nodes.len() as u64)).await?;
    }
    for (speaker, node) in nodes.iter().enumerate() {
        let group = node.running_group(session).await?;
        for (listener, heard) in hearing.iter_mut().enumerate().filter(|(listener, _)| *listener != speaker) {
            // A realtime message may be lost, so it is said until it is heard.
            let said = format!("{speaker} to {listener}");
            let hear = async {
                loop {
                    group.send_realtime(said.clone().into()).await;
                    let next = tokio::time::timeout(Duration::from_millis(500), heard.recv()).await;
                    match next {
                        Ok(Ok(message)) if message.data == said && message.sender == node.peer() => return,
                        Ok(Err(broadcast::error::RecvError::Closed)) => std::future::pending().await,
                        _ => {}
                    }
                }
            };
            tokio::time::timeout(PATIENCE, hear).await.map_err(|_| DemoError::Late("a realtime message"))?;
        }
    }
    Ok(())
}

/// Everyone's tab, until Ctrl-C.
async fn show(cast: &Cast, session: SessionId, stage: &Stage, teller: &Teller) -> Result<(), DemoError> {
    teller.say("\nChat with yourself; one tab is Ann's, one Ben's, one Cleo's (open each once):");
    for node in everyone(cast) {
        let open = Open { session: session.to_string(), print: true };
        let url = node.execute(Command::Open(open)).await?;
        teller.say(&format!("  {:5} {}", node.context().nickname, url["url"].as_str().unwrap_or_default()));
    }
    teller.say("\nCtrl-C ends the session and shows the bill.");
    stage.is_showing.store(true, Ordering::Relaxed);
    stage.seen_enough.notified().await;
    teller.say("");
    Ok(())
}

/// ST27-29, and the bill.
async fn settle(cast: &Cast, session: SessionId, headless: bool) -> Result<Value, DemoError> {
    let slots = view(&cast.host, session).await?["slots"].clone();
    let end = End { session: session.to_string(), keep: true, discard: false };
    cast.host.execute(Command::End(end)).await?;
    for member in &cast.members {
        until("the end", async || Ok(view(member, session).await?["state"] == "ended")).await?;
    }
    for node in everyone(cast) {
        until("the acknowledgements", async || {
            Ok(node.execute(Command::Outbox).await?["receipts"].as_array().is_some_and(Vec::is_empty))
        })
        .await?;
    }
    let bill = BillCommand::Statement { payer: None };
    let statement = cast.billing.execute(Command::Bill(bill)).await?["statement"].clone();
    check("slots used", &slots["used"], json!(COPIES))?;
    check("receptions billed", &statement["receptions"], json!(COPIES + 1))?;
    let updates = cast.host.context().store.log(session).await.map_err(CommandError::from)?.1;
    if headless {
        check("updates", &json!(updates), json!(3))?;
    }
    Ok(json!({
        "ok": true,
        "session": session,
        "origin": "stopped before the group started",
        "nodes": everyone(cast).len(),
        "updates": updates,
        "realtime": "both ways between all",
        "slots": slots,
        "receptions": statement["receptions"],
        "statement": statement,
    }))
}

/// The statement as a person reads it.
fn bill_for_people(cast: &Cast, statement: &Value) -> String {
    let mut text = "The bill, as the billing peer has it from everyone's signed receipts:".to_owned();
    for line in statement["payers"].as_array().into_iter().flatten() {
        let payer = everyone(cast).into_iter().find(|node| line["payer"] == node.peer().to_string());
        let name = payer.map_or("?", |node| &node.context().nickname);
        let amount = line["total"]["amount"].as_u64().unwrap_or(0);
        let (units, cents) = (amount / 100, amount % 100);
        let copies = match line["copies"].as_u64() {
            Some(copies @ 1..) => format!("{copies} copies approved, "),
            _ => String::new(),
        };
        text += &format!("\n  {name:5} {copies}{} received: {units}.{cents:02} EUR", line["receptions"]);
    }
    text + &format!(
        "\n  {} copies in all, for a ticket of {COPIES} and the host's own.",
        statement["receptions"]
    )
}

fn check(what: &'static str, found: &Value, wanted: Value) -> Result<(), DemoError> {
    if *found == wanted {
        Ok(())
    } else {
        Err(DemoError::Wrong { what, found: Box::new(found.clone()), wanted: Box::new(wanted) })
    }
}

fn everyone(cast: &Cast) -> [&Arc<Node>; 3] {
    let [ben, cleo] = &cast.members;
    [&cast.host, ben, cleo]
}

async fn view(node: &Node, session: SessionId) -> Result<Value, DemoError> {
    let of = OfSession { session: session.to_string() };
    Ok(node.execute(Command::Session(of)).await?)
}

async fn until(
    what: &'static str,
    mut is_so: impl AsyncFnMut() -> Result<bool, DemoError>,
) -> Result<(), DemoError> {
    let wait = async {
        while !is_so().await? {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or(Err(DemoError::Late(what)))
}
