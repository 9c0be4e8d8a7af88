//! Carrying out commands: from what was typed to the node's parts, and from their answers to JSON.

use std::{ops::RangeInclusive, path::Path, time::Duration};

use parlor_proto::{
    ids::{SessionId, TicketHash},
    program::{CopiesRule, Pack},
    session::{
        Contact, Link, TAKEOVER, TAKEOVER_MAX, TAKEOVER_MIN,
        link::{LINK_LIFE, LINK_LIFE_MAX, LINK_LIFE_MIN, LinkError},
    },
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::{
    Availability, CardCommand, Command, ContactCommand, Get, HostCommand, Invite, ProgramCommand, Publish,
    TicketCommand, bill::bill, proof::proof, qr, watch::watch,
};
use crate::{
    Node,
    billing::{BookError, OutboxError},
    clock,
    contacts::ContactError,
    group::{PostError, PostKey},
    overlay::Closed,
    runtime::web::UpdateContent,
    session::{FollowError, SessionError, SessionView, Wish},
    store::{HeldTicket, LibraryEntry, StoreError},
    supply::{card, get::GetError, library, origin, transfer::Progress},
    whole_file::{self, Existing, Readers},
};

/// How often a `get` tells how far it is.
const PROGRESS: Duration = Duration::from_millis(100);
/// Fewest characters of an id that name something.
const SHORTEST_PREFIX: usize = 4;

/// Why a command failed: one line for the user.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CommandError {
    #[error(transparent)]
    Contact(#[from] ContactError),
    #[error(transparent)]
    Publish(#[from] origin::PublishError),
    #[error(transparent)]
    Supply(#[from] origin::SupplyError),
    #[error(transparent)]
    Get(#[from] GetError),
    #[error(transparent)]
    Library(#[from] library::LibraryError),
    #[error(transparent)]
    Card(#[from] card::CardError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error(transparent)]
    Book(#[from] BookError),
    #[error(transparent)]
    Total(#[from] parlor_proto::billing::TotalTooLarge),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Network(#[from] Closed),
    #[error("there is no session {0:?}: `parlor sessions` lists them")]
    NoSuchSession(String),
    #[error("there is no ticket {0:?}: `parlor ticket list` shows them")]
    NoSuchTicket(String),
    #[error("there is no proof {0:?}: `parlor proof list` shows them")]
    NoSuchProof(String),
    #[error("{0}: {1}")]
    Proof(String, #[source] parlor_proto::rights::ProofError),
    #[error("{0:?} is the beginning of several ids: write more of it")]
    Ambiguous(String),
    #[error("{0:?} is too short for an id: write at least {SHORTEST_PREFIX} characters of it")]
    Short(String),
    #[error("{0} cannot be written: {1}")]
    File(String, #[source] std::io::Error),
    #[error("{0} is there already: choose another file, or replace it with --force")]
    Exists(String),
    #[error("{0} cannot be read: {1}")]
    Read(String, #[source] std::io::Error),
    #[error("packs are not supported yet by this version of parlor")]
    NoPacks,
    #[error("{0:?} is not a time between {least} and {most}: write 30s or 10m, say", least = duration(TAKEOVER_MIN), most = duration(TAKEOVER_MAX))]
    Takeover(String),
    #[error("{0:?} is not a time between {least} and {most}: write 30m or 7days, say", least = duration(LINK_LIFE_MIN), most = duration(LINK_LIFE_MAX))]
    Expires(String),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("the answer cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the export cannot be written: {0}")]
    Csv(#[from] csv::Error),
    #[error(
        "--key is for programs without an agent: what an agent is told is not kept, so it cannot be known again"
    )]
    KeyForAgent,
    #[error("whoever asked has gone")]
    Gone,
}

/// Carries out a command. What it returns is the answer; before that, events may go to `lines`.
pub async fn execute(
    node: &Node,
    command: Command,
    lines: &mpsc::Sender<Value>,
) -> Result<Option<Value>, CommandError> {
    let (context, sessions) = (node.context(), node.sessions());
    let answer = match command {
        Command::Id => id(node).await?,
        Command::Status => status(node).await?,
        Command::Peers => peers(node).await?,
        Command::Contact(command) => contact(node, command).await?,
        Command::Availability(command) => {
            if let Some(setting) = command.setting {
                node.set_availability(setting).await?;
            }
            json!({"availability": node.availability().await?})
        }
        Command::Publish(publish) => publish_program(node, publish).await?,
        Command::Catalog(catalog) => {
            let who = match catalog.who {
                Some(who) => context.resolve(&who).await?,
                None => context.me(),
            };
            catalog_of(node, who).await?
        }
        Command::Get(get) => get_program(node, get, lines).await?,
        Command::Programs => {
            let programs = context.store.programs().await?;
            let tickets = context.store.tickets().await?;
            let mut items = Vec::new();
            for entry in &programs {
                items.push(program(node, entry, &tickets).await);
            }
            json!({"programs": items})
        }
        Command::Program(ProgramCommand::Remove { name }) => {
            let entry = library::find(context, &name).await?;
            sessions.remove_program(entry.program).await?;
            json!({"program": entry.program, "name": entry.name, "removed": true})
        }
        Command::Ticket(command) => ticket(node, command).await?,
        Command::Card(CardCommand::Write { name, file, force }) => {
            if !force && file.symlink_metadata().is_ok() {
                return Err(CommandError::Exists(file.display().to_string()));
            }
            let program = card::write(context, &name, &file).await?;
            json!({"program": program, "file": file})
        }
        Command::Card(CardCommand::Read { file }) => {
            let content = card::read(context, &file).await?;
            json!({"program": content.program, "name": content.name, "ticket": content.ticket,
                   "host": content.host, "contact": content.contact})
        }
        Command::Host(command) => host(node, command).await?,
        Command::Invite(invite) => {
            let session = find_session(node, &invite.session).await?;
            if invite.link {
                return Ok(Some(link(node, session, invite).await?));
            }
            let contacts = contacts(node, &invite.who).await?;
            sessions.wish(session, Wish::Invite(contacts)).await?;
            view(node, session).await?
        }
        Command::Remove(remove) => {
            let peer = context.resolve(&remove.who).await?;
            wish(node, &remove.session, Wish::Remove(peer)).await?
        }
        Command::HandOver(to) => {
            let peer = context.resolve(&to.who).await?;
            wish(node, &to.session, Wish::HandOver(peer)).await?
        }
        Command::Inbox => {
            let invitations: Vec<_> =
                sessions.list().await?.into_iter().filter_map(|session| session.invitation).collect();
            json!({"invitations": invitations})
        }
        Command::Join(join) if Link::is_meant(&join.session) => {
            let link: Link = join.session.parse()?;
            sessions.follow_link(&link).await?;
            view(node, link.session).await?
        }
        Command::Join(join) => wish(node, &join.session, Wish::Join).await?,
        Command::Decline(of) => wish(node, &of.session, Wish::Decline).await?,
        Command::Start(of) => wish(node, &of.session, Wish::Start).await?,
        Command::Suspend(of) => wish(node, &of.session, Wish::Suspend).await?,
        Command::Resume(of) => wish(node, &of.session, Wish::Resume).await?,
        Command::End(end) => wish(node, &end.session, Wish::End { keep: !end.discard }).await?,
        Command::Sessions => json!({"sessions": sessions.list().await?}),
        Command::Session(of) => view(node, find_session(node, &of.session).await?).await?,
        Command::Open(open) => {
            let session = find_session(node, &open.session).await?;
            let launch = sessions.launch(session).await?;
            let answer = json!({"session": session, "url": launch.url});
            if !open.print {
                context.browser.show(launch);
            }
            answer
        }
        Command::Send(send) => {
            let session = find_session(node, &send.session).await?;
            let group = node.running_group(session).await?;
            if send.key.is_some() && sessions.view(session).await?.agent {
                return Err(CommandError::KeyForAgent);
            }
            if sessions.tell_agent(session, send.text.clone()).await? {
                return Ok(Some(json!({"session": session})));
            }
            let update = UpdateContent::of(serde_json::value::to_raw_value(&send.text)?).to_payload();
            let serial = match &send.key {
                Some(key) => group.post_once(PostKey::of_user(key), update, false).await?,
                None => group.post(update).await?,
            };
            json!({"session": session, "serial": serial})
        }
        Command::Watch(of) => {
            watch(node, find_session(node, &of.session).await?, lines).await?;
            return Ok(None);
        }
        Command::Proof(command) => proof(node, command).await?,
        Command::Bill(command) => bill(node, command).await?,
        Command::Outbox => json!({"receipts": context.outbox.unacknowledged().await?}),
        Command::Events => {
            let mut events = context.events.subscribe();
            loop {
                match events.recv().await {
                    Ok(event) => {
                        let line = serde_json::to_value(&event)?;
                        lines.send(line).await.map_err(|_| CommandError::Gone)?;
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return Ok(None),
                }
            }
        }
    };
    Ok(Some(answer))
}

async fn id(node: &Node) -> Result<Value, CommandError> {
    let addrs: Vec<_> = node.context().overlay.addresses().await?.iter().map(ToString::to_string).collect();
    Ok(json!({"peer": node.context().me(), "name": node.context().nickname, "addrs": addrs}))
}

async fn status(node: &Node) -> Result<Value, CommandError> {
    let sessions = node.sessions().list().await?;
    let live =
        sessions.iter().filter(|session| ["running", "inviting", "suspended"].contains(&session.state));
    let (fetched, served) = node.context().traffic.read();
    let peers = node.context().overlay.peers().await?;
    Ok(json!({
        "peer": node.context().me(),
        "name": node.context().nickname,
        "version": env!("CARGO_PKG_VERSION"),
        "availability": node.availability().await?,
        "sessions": live.count(),
        "invitations": sessions.iter().filter(|session| session.invitation.is_some()).count(),
        "peers": peers.iter().filter(|peer| peer.connected).count(),
        "outbox": node.context().outbox.unacknowledged().await?.len(),
        "uptime": node.uptime().as_secs(),
        "transfers": {"fetched": fetched, "served": served},
        "traffic": node.context().overlay.traffic(),
        "relays": node.context().overlay.relays().await?,
    }))
}

async fn peers(node: &Node) -> Result<Value, CommandError> {
    let mut peers = Vec::new();
    for peer in node.context().overlay.peers().await? {
        let contact = node.context().store.contact_of(peer.peer).await?;
        peers.push(json!({
            "peer": peer.peer,
            "name": peer.nickname,
            "contact": contact.map(|contact| contact.name),
            "connected": peer.connected,
            "path": peer.path,
            "found": peer.found,
            "addrs": peer.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
    }
    Ok(json!({"peers": peers}))
}

fn contact_json(contact: &crate::store::Contact) -> Value {
    json!({"name": contact.name, "peer": contact.peer, "trust": contact.trusted, "addrs": contact.addresses})
}

async fn contact(node: &Node, command: ContactCommand) -> Result<Value, CommandError> {
    Ok(match command {
        ContactCommand::Add { name, who, trust } => {
            contact_json(&node.context().add_contact(&name, &who, trust).await?)
        }
        ContactCommand::List => {
            let contacts = node.context().store.contacts().await?;
            json!({"contacts": contacts.iter().map(contact_json).collect::<Vec<_>>()})
        }
        ContactCommand::Remove { name } => {
            node.context().remove_contact(&name).await?;
            json!({"name": name, "removed": true})
        }
    })
}

async fn publish_program(node: &Node, publish: Publish) -> Result<Value, CommandError> {
    let terms = origin::PublishTerms {
        copies: publish.copies,
        copies_max: publish.copies_max,
        price: publish.price,
        billing: publish.billing,
        lease: publish.lease,
    };
    let offer = origin::publish(node.context(), &publish.path, terms).await?;
    Ok(json!({
        "program": offer.program,
        "name": offer.name,
        "copies": copies_json(offer.terms.copies),
        "price": offer.terms.tariff.to_string(),
        "billing": offer.terms.billing,
    }))
}

async fn catalog_of(node: &Node, who: parlor_proto::identity::PeerId) -> Result<Value, CommandError> {
    let catalog = node.supplies().catalog(who).await?;
    let offers = catalog.programs.into_iter().take(parlor_proto::wire::MAX_OFFERS).map(|offer| {
        json!({
            "name": offer.name, "program": offer.program, "version": offer.version,
            "summary": offer.summary, "size": offer.size, "copies": copies_json(offer.copies),
            "price": offer.tariff.to_string(),
            "lease": offer.lease.map(|lease| humantime::format_duration(lease.length).to_string()),
        })
    });
    Ok(json!({"origin": who, "programs": offers.collect::<Vec<_>>()}))
}

async fn get_program(node: &Node, get: Get, lines: &mpsc::Sender<Value>) -> Result<Value, CommandError> {
    let origin = node.context().resolve(&get.who).await?;
    let (progress, mut steps) = watch::channel(Progress::default());
    let getting = node.supplies().get(origin, &get.name, get.copies, progress);
    tokio::pin!(getting);
    let mut tell = tokio::time::interval(PROGRESS);
    let ticket = loop {
        tokio::select! {
            ticket = &mut getting => break ticket?,
            _ = tell.tick() => if steps.has_changed().unwrap_or(false) {
                let Progress { done, total, .. } = *steps.borrow_and_update();
                let line = json!({"event": "progress", "done": done, "total": total});
                // Whoever asked may be slow, or have gone: the supply goes on.
                let _ = lines.try_send(line);
            }
        }
    };
    Ok(json!({
        "ticket": ticket.hash(), "name": ticket.name, "program": ticket.program, "copies": ticket.copies,
        "price": ticket.terms.tariff.to_string(), "origin": ticket.origin,
        "expires": clock::rfc3339(ticket.expires),
    }))
}

/// One number where it is fixed, else the range.
fn copies_json(rule: CopiesRule) -> Value {
    match rule {
        CopiesRule::Exactly(copies) => json!(copies),
        CopiesRule::Range { min, max } => json!({"min": min, "max": max}),
        CopiesRule::Free => json!({"min": 1}),
    }
}

fn pack_json(pack: &Pack) -> Value {
    json!({"for": pack.program, "levels": pack.levels})
}

async fn program(node: &Node, entry: &LibraryEntry, tickets: &[HeldTicket]) -> Value {
    let bundle = node.context().bundle(entry.program).await.ok().flatten();
    let manifest = bundle.as_ref().map(|bundle| bundle.program().manifest());
    let role = bundle.as_ref().and_then(|bundle| bundle.complete());
    let held = tickets.iter().filter(|held| held.ledger.ticket().program == entry.program);
    json!({
        "program": entry.program,
        "name": entry.name,
        "title": manifest.map(|manifest| manifest.title.to_string()),
        "version": manifest.map(|manifest| manifest.version.clone()),
        "summary": manifest.and_then(|manifest| manifest.summary.clone()),
        "pack": manifest.and_then(|manifest| manifest.pack.as_ref()).map(pack_json),
        "size": bundle.as_ref().zip(role).map(|(bundle, role)| bundle.program().size_for(role)),
        "left": held.clone().count().gt(&0).then(|| held.map(|held| held.ledger.left()).sum::<u32>()),
        "origin": entry.origin,
        "added_at": clock::rfc3339(entry.added_at),
    })
}

fn ticket_json(held: &HeldTicket) -> Value {
    let (ledger, ticket) = (&held.ledger, held.ledger.ticket());
    json!({
        "ticket": ticket.hash(), "name": ticket.name, "program": ticket.program, "origin": ticket.origin,
        "copies": ledger.copies(), "used": ledger.used(), "left": ledger.left(),
        "price": ticket.terms.tariff.to_string(), "expires": clock::rfc3339(ticket.expires),
    })
}

async fn ticket(node: &Node, command: TicketCommand) -> Result<Value, CommandError> {
    let tickets = node.context().store.tickets().await?;
    match command {
        TicketCommand::List => Ok(json!({"tickets": tickets.iter().map(ticket_json).collect::<Vec<_>>()})),
        TicketCommand::Show { ticket, cose, force } => {
            let hash = |held: &HeldTicket| held.ledger.ticket().hash();
            let wanted: TicketHash =
                unique(&ticket, tickets.iter().map(hash)).map_err(|error| match error {
                    NotUnique::None => CommandError::NoSuchTicket(ticket.clone()),
                    NotUnique::Many => CommandError::Ambiguous(ticket.clone()),
                    NotUnique::Short => CommandError::Short(ticket.clone()),
                })?;
            let held = tickets.iter().find(|held| hash(held) == wanted);
            let held = held.ok_or(CommandError::NoSuchTicket(ticket))?;
            if let Some(file) = &cose {
                write_file(file, held.ledger.ticket().bytes(), force).await?;
            }
            let mut shown = show_ticket(held);
            if let Some(file) = cose {
                shown["cose"] = json!(file);
            }
            Ok(shown)
        }
    }
}

fn show_ticket(held: &HeldTicket) -> Value {
    let ticket = held.ledger.ticket();
    let slots = held.ledger.slots().map(|slot| {
        json!({"slot": slot.hash(), "k": slot.k, "generation": slot.generation, "member": slot.member,
               "issued_at": clock::rfc3339(slot.issued_at)})
    });
    let mut json = ticket_json(held);
    json["host"] = json!(ticket.host);
    json["billing"] = json!(ticket.billing);
    json["not_before"] = json!(clock::rfc3339(ticket.not_before));
    json["slots"] = slots.collect();
    json
}

/// Writes a user's file, whole or not at all; `force`: also in the place of one that is there.
pub(super) async fn write_file(file: &Path, bytes: &[u8], force: bool) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CommandError::Exists(file.display().to_string()),
        _ => CommandError::File(file.display().to_string(), error),
    };
    let existing = if force { Existing::Replace } else { Existing::Keep };
    let (to, bytes) = (file.to_owned(), bytes.to_vec());
    let writing =
        tokio::task::spawn_blocking(move || whole_file::write(&to, &bytes, Readers::AsUsual, existing));
    writing.await.unwrap_or_else(|ended| Err(std::io::Error::other(ended))).map_err(failed)
}

async fn host(node: &Node, command: HostCommand) -> Result<Value, CommandError> {
    if command.pack.is_some() {
        return Err(CommandError::NoPacks);
    }
    let takeover = match command.takeover {
        Some(text) => within(&text, TAKEOVER_MIN..=TAKEOVER_MAX).ok_or(CommandError::Takeover(text))?,
        None => TAKEOVER,
    };
    let context = node.context();
    let entry = library::find(context, &command.name).await?;
    let invite = contacts(node, &command.invite).await?;
    // What the user brought needs nobody's leave: this node is its origin.
    if entry.origin.is_none() && !has_ticket_for(node, &entry, &invite).await? {
        origin::issue_to_self(context, &entry).await?;
    }
    view(node, node.sessions().host(entry.program, invite, takeover).await?).await
}

/// A length of time as people write it.
fn within(text: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|time| range.contains(time))
}

fn duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// Whether a ticket is good now and has copies for all of these, or as many as a new one would have.
async fn has_ticket_for(node: &Node, entry: &LibraryEntry, invite: &[Contact]) -> Result<bool, StoreError> {
    let (context, now) = (node.context(), clock::now());
    let tickets = context.store.tickets().await?;
    Ok(tickets.iter().map(|held| &held.ledger).any(|ledger| {
        let ticket = ledger.ticket();
        ticket.program == entry.program
            && ticket.check(context.me(), now).is_ok()
            && (ledger.used() == 0 || library::has_copies_for(ledger, invite))
    }))
}

async fn contacts(node: &Node, who: &[String]) -> Result<Vec<Contact>, CommandError> {
    let mut contacts: Vec<Contact> = Vec::new();
    for who in who {
        let peer = node.context().resolve(who).await?;
        if contacts.iter().any(|contact| contact.peer == peer) {
            continue;
        }
        let name = node.context().store.contact_of(peer).await?.map(|contact| contact.name);
        contacts.push(Contact { peer, name: name.unwrap_or_default(), addresses: Vec::new() });
    }
    Ok(contacts)
}

/// An invitation to be handed on.
async fn link(node: &Node, session: SessionId, invite: Invite) -> Result<Value, CommandError> {
    let life = match invite.expires {
        Some(text) => within(&text, LINK_LIFE_MIN..=LINK_LIFE_MAX).ok_or(CommandError::Expires(text))?,
        None => LINK_LIFE,
    };
    let bound = match &invite.bound {
        Some(who) => Some(node.context().resolve(who).await?),
        None => None,
    };
    let link = node.sessions().make_link(session, bound, life).await?;
    let mut answer = json!({
        "session": session, "link": link.to_string(), "expires": clock::rfc3339(link.expires), "for": link.bound,
    });
    if invite.qr {
        answer["qr"] = json!(qr::svg(&link.to_string()));
    }
    Ok(answer)
}

async fn wish(node: &Node, session: &str, wish: Wish) -> Result<Value, CommandError> {
    let session = find_session(node, session).await?;
    node.sessions().wish(session, wish).await?;
    view(node, session).await
}

async fn view(node: &Node, session: SessionId) -> Result<Value, CommandError> {
    let view: SessionView = node.sessions().view(session).await?;
    Ok(serde_json::to_value(view)?)
}

async fn find_session(node: &Node, text: &str) -> Result<SessionId, CommandError> {
    let sessions = node.sessions().list().await?;
    unique(text, sessions.iter().map(|session| session.session)).map_err(|error| match error {
        NotUnique::None => CommandError::NoSuchSession(text.to_owned()),
        NotUnique::Many => CommandError::Ambiguous(text.to_owned()),
        NotUnique::Short => CommandError::Short(text.to_owned()),
    })
}

pub(super) enum NotUnique {
    Short,
    None,
    Many,
}

/// The one id that begins with `text`.
pub(super) fn unique<T: ToString>(text: &str, ids: impl Iterator<Item = T>) -> Result<T, NotUnique> {
    if text.len() < SHORTEST_PREFIX {
        return Err(NotUnique::Short);
    }
    let mut found = ids.filter(|id| id.to_string().starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(NotUnique::Many),
        (None, _) => Err(NotUnique::None),
    }
}

impl Availability {
    /// Under which it is kept.
    pub(crate) const SETTING: &'static str = "availability";
}
