//! The last move of every step: what the node should be doing for a session against what it does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parlor_proto::{group::Hosts, identity::PeerId, ids::SessionId, rights::Right, session::Contact};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Command, TransferView,
    agents::{self, Agents, Around, Link},
    driver::{Driver, Run},
    instance::WebInstance,
    keys::{Attendance, Beacons},
    view,
};
use crate::{
    context::{Context, Event},
    group::Group,
    runtime::web::Label,
    store::{Bundle, BundleError},
    supply::{library, transfer},
};

/// How often a transfer's progress is told.
const TELL: Duration = Duration::from_millis(200);
/// The longest wait between tries of a transfer.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What is being done for one session.
#[derive(Default)]
pub(super) struct Doing {
    pub(super) group: Option<Group>,
    members: BTreeSet<PeerId>,
    attendance: Option<Attendance>,
    beacons: Option<Beacons>,
    pub(super) is_host: Arc<AtomicBool>,
    pub(super) transfer: Option<Transfer>,
    pub(super) mounted: Option<Label>,
    opened: bool,
    /// The session's program, once it is here.
    pub(super) program: Option<Arc<Bundle>>,
    /// The search for it.
    looking: Option<AbortOnDropHandle<()>>,
    pub(super) link: Arc<Link>,
    pub(super) agents: Agents,
}

/// A transfer under way; dropped, it stops.
pub(super) struct Transfer {
    task: AbortOnDropHandle<()>,
    /// Who serves it.
    host: PeerId,
    pub(super) view: TransferView,
}

impl Transfer {
    /// Stops it, and returns once it has stopped.
    pub(super) async fn stop(self) {
        self.task.abort();
        // It was aborted, or had come to its end.
        let _ = self.task.await;
    }
}

/// What should be done.
struct Wanted {
    group: Option<Vec<Contact>>,
    fetch: Option<Right>,
    run: bool,
}

fn wanted(run: &Run) -> Wanted {
    let role = &run.record.role;
    let fetch = role.as_member().and_then(|member| member.fetches());
    Wanted { group: role.group(), fetch, run: role.runs() }
}

impl Driver {
    pub(super) async fn reconcile(&mut self, session: SessionId) {
        let Some(run) = self.runs.get(&session) else { return };
        let wanted = wanted(run);
        // First: a page whose update the closing group refuses would think that it is refused for good.
        if !wanted.run {
            self.reconcile_web(session, false);
        }
        self.reconcile_group(session, wanted.group).await;
        self.reconcile_transfer(session, wanted.fetch);
        self.reconcile_program(session, wanted.run);
        self.reconcile_agents(session, wanted.run).await;
        self.reconcile_web(session, wanted.run);
    }

    /// The topic is open to exactly the members, and connections to them are kept.
    async fn reconcile_group(&mut self, session: SessionId, wanted: Option<Vec<Contact>>) {
        let Some(contacts) = wanted else { return self.close_group(session).await };
        for contact in &contacts {
            self.context.locate(contact).await;
        }
        let peers: BTreeSet<PeerId> = contacts.iter().map(|contact| contact.peer).collect();
        if !self.open_group(session).await {
            return;
        }
        // Before anybody can say anything: who is not known is not heard.
        self.inform_group(session, &peers).await;
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (doing, overlay) = (&mut run.doing, &self.context.overlay);
        for peer in peers.difference(&doing.members) {
            overlay.group_allow(session, *peer).await;
            overlay.keep(*peer).await;
        }
        for peer in doing.members.difference(&peers) {
            overlay.group_revoke(session, *peer).await;
            overlay.unkeep(*peer).await;
        }
        doing.members = peers;
    }

    async fn close_group(&mut self, session: SessionId) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (doing, context) = (&mut run.doing, &self.context);
        (doing.attendance, doing.beacons) = (None, None);
        context.hosted.set(session, BTreeSet::new());
        if let Some(group) = doing.group.take() {
            group.close().await;
            self.groups.write().unwrap_or_else(PoisonError::into_inner).remove(&session);
            context.overlay.group_close(session).await;
            for peer in std::mem::take(&mut doing.members) {
                context.overlay.unkeep(peer).await;
            }
        }
    }

    /// Whether it is open then.
    async fn open_group(&mut self, session: SessionId) -> bool {
        let Some(run) = self.runs.get_mut(&session) else { return false };
        if run.doing.group.is_some() {
            return true;
        }
        let (identity, store) = (self.context.identity.clone(), self.context.store.clone());
        let (overlay, keys) = (self.context.overlay.clone(), run.record.role.keys().cloned());
        match Group::open(session, identity, store, overlay.clone(), keys, &self.context.tasks).await {
            Ok(group) => {
                let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
                groups.insert(session, group.clone());
                run.doing.attendance = Some(Attendance::of(&group, &self.commands, &self.context.tasks));
                run.doing.group = Some(group);
            }
            Err(error) => {
                tracing::error!(%session, %error, "a group cannot be opened");
                return false;
            }
        }
        overlay.group_open(session, Vec::new()).await;
        true
    }

    /// The group learns who may speak in it and who is host; the host is heard.
    async fn inform_group(&mut self, session: SessionId, members: &BTreeSet<PeerId>) {
        let context = Arc::clone(&self.context);
        let Some(run) = self.runs.get_mut(&session) else { return };
        let Some(group) = run.doing.group.clone() else { return };
        let mut authors = BTreeMap::from([(context.me(), context.nickname.clone())]);
        for (peer, own_name) in view::authors(&run.record) {
            if peer != context.me() {
                authors.insert(peer, context.name_of(peer, &own_name).await);
            }
        }
        let (role, doing) = (&run.record.role, &mut run.doing);
        group.set_authors(authors);
        group.set_members(members.clone());
        let host = role.as_member().map_or(context.me(), |member| member.host().peer);
        group.set_hosts(Hosts { now: Some((host, role.term())), ever: role.hosts(context.me()) });
        let slots = role.as_host().map(|host| host.slots_in_use().collect());
        context.hosted.set(session, slots.unwrap_or_default());
        let is_host = role.as_host().is_some();
        doing.is_host.store(is_host, Ordering::Relaxed);
        doing.link.set_members(view::group_members(&group, role, members));
        if !is_host {
            doing.beacons = None;
        } else if doing.beacons.as_ref().is_none_or(|beacons| beacons.term != role.term()) {
            doing.beacons = Some(Beacons::of(group.downgrade(), role, &context.tasks));
        }
    }

    /// ST23.
    fn reconcile_transfer(&mut self, session: SessionId, wanted: Option<Right>) {
        let (context, commands) = (Arc::clone(&self.context), self.commands.clone());
        let Some(run) = self.runs.get_mut(&session) else { return };
        match wanted {
            None => run.doing.transfer = None,
            Some(right) => {
                let Some(member) = run.record.role.as_member() else { return };
                let (total, billing) = (member.invitation().size, member.invitation().billing.clone());
                let host = member.host().peer;
                let (link, is_host) = (Arc::clone(&run.doing.link), Arc::clone(&run.doing.is_host));
                // What is here already stays, when somebody else is host and goes on serving.
                if run.doing.transfer.as_ref().is_some_and(|transfer| transfer.host == host) {
                    return;
                }
                let tasks = context.tasks.clone();
                let task = tasks.spawn_finite("a session's transfer", async move {
                    // From here on there is something to bill, and the host's word was taken for more than this.
                    if let Err(error) = context.note_places(&billing).await {
                        tracing::warn!(%session, %error, "where billing is was not noted");
                    }
                    receive(context, session, right, host, (link, is_host), commands).await;
                });
                let view = TransferView { done: 0, total, fetched: 0, waits: None };
                run.doing.transfer = Some(Transfer { task: AbortOnDropHandle::new(task), host, view });
            }
        }
    }

    /// The program is at hand when it runs. One that is not, is looked for in a task of its own: to load it takes its
    /// time, and other sessions do not wait for that.
    fn reconcile_program(&mut self, session: SessionId, wanted: bool) {
        let (context, commands) = (Arc::clone(&self.context), self.commands.clone());
        let Some(run) = self.runs.get_mut(&session) else { return };
        let (role, doing) = (&run.record.role, &mut run.doing);
        if role.is_over() {
            (doing.program, doing.looking) = (None, None);
        } else if wanted && doing.program.is_none() && doing.looking.is_none() {
            let (program, tasks) = (role.ticket().program, context.tasks.clone());
            let task = tasks.spawn_finite("the search for a session's program", async move {
                let found = context.bundle(program).await;
                send(&commands, Command::Found(session, found)).await;
            });
            doing.looking = Some(AbortOnDropHandle::new(task));
        }
    }

    /// The session's program was looked for.
    pub(super) async fn found(
        &mut self,
        session: SessionId,
        found: Result<Option<Arc<Bundle>>, BundleError>,
    ) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        run.doing.looking = None;
        match found {
            Ok(Some(bundle)) if bundle.complete().is_some() => {
                self.has_program(session, bundle);
                self.reconcile(session).await;
            }
            Ok(_) => tracing::error!(%session, "the program's files are not where they were"),
            Err(error) => tracing::error!(%session, %error, "the program's files cannot be used"),
        }
    }

    /// The session's program is here, whole.
    pub(super) fn has_program(&mut self, session: SessionId, bundle: Arc<Bundle>) {
        if let Some(run) = self.runs.get_mut(&session) {
            run.doing.program = Some(bundle);
        }
    }

    /// ST26: the web part is there as long as the program runs.
    fn reconcile_web(&mut self, session: SessionId, wanted: bool) {
        let Some(run) = self.runs.get_mut(&session) else { return };
        let doing = &mut run.doing;
        if !wanted {
            if let Some(label) = doing.mounted.take() {
                self.web.server.unmount(label);
            }
            return;
        }
        let (Some(group), None) = (&doing.group, doing.mounted) else { return };
        let ticket = run.record.role.ticket();
        let (name, is_host) = (ticket.name.clone(), Arc::clone(&doing.is_host));
        let Some(bundle) = doing.program.clone() else { return };
        let Ok(label) = run.record.label.parse() else {
            tracing::error!(%session, "the web part's address is unreadable");
            return;
        };
        let link = Arc::clone(&doing.link);
        let instance = WebInstance::new(group.clone(), bundle, name, (is_host, link));
        self.web.server.mount(label, Arc::new(instance));
        doing.mounted = Some(label);
        if self.web.open_browser && !doing.opened {
            doing.opened = true;
            match self.web.server.launch(label, None) {
                Ok(launch) => self.context.browser.show(launch),
                Err(error) => tracing::warn!(%session, %error, "the web part cannot be shown"),
            }
        }
    }

    pub(super) fn transferring(&mut self, session: SessionId, view: TransferView) {
        let Some(transfer) = self.runs.get_mut(&session).and_then(|run| run.doing.transfer.as_mut()) else {
            return;
        };
        let (done, total) = (view.done, view.total);
        transfer.view = view;
        self.context.tell(Event::Transfer { session, done, total });
    }
}

/// ST23-24: until every byte is here and the program is set up, or it is certain that it will not be.
async fn receive(
    context: Arc<Context>,
    session: SessionId,
    right: Right,
    host: PeerId,
    shared: (Arc<Link>, Arc<AtomicBool>),
    commands: mpsc::WeakSender<Command>,
) {
    let (progress, steps) = watch::channel(transfer::Progress::default());
    let _telling = AbortOnDropHandle::new(tokio::spawn(tell(session, steps, commands.clone())));
    let mut wait = Duration::from_millis(500);
    let result = loop {
        let sources = vec![host];
        let error = match transfer::fetch(&context, &right, sources, &progress).await {
            Ok(bundle) => match library::note(&context, &bundle, Some(right.ticket().origin)).await {
                Ok(()) => {
                    let ticket = right.ticket();
                    let of = (ticket.origin, ticket.name.as_str());
                    let around = Around::new(session, &context, Arc::clone(&bundle), of, shared.clone());
                    let ready = agents::set_up(&context, &around, &bundle).await;
                    break ready.map(|_| bundle).map_err(|error| error.to_string());
                }
                Err(error) => error.to_string(),
            },
            Err(error) if error.is_final() => break Err(error.to_string()),
            Err(error) => error.to_string(),
        };
        tracing::info!(%session, error, "a transfer waits");
        let transfer::Progress { done, total, fetched } = *progress.borrow();
        let view = TransferView { done, total, fetched, waits: Some(error) };
        send(&commands, Command::Transferring(session, view)).await;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
    };
    send(&commands, Command::Received(session, result)).await;
}

/// Not every chunk is news.
async fn tell(
    session: SessionId,
    mut steps: watch::Receiver<transfer::Progress>,
    commands: mpsc::WeakSender<Command>,
) {
    while steps.changed().await.is_ok() {
        let transfer::Progress { done, total, fetched } = *steps.borrow_and_update();
        let view = TransferView { done, total, fetched, waits: None };
        send(&commands, Command::Transferring(session, view)).await;
        tokio::time::sleep(TELL).await;
    }
}

async fn send(commands: &mpsc::WeakSender<Command>, command: Command) {
    if let Some(commands) = commands.upgrade() {
        // Fails only while the node stops.
        let _ = commands.send(command).await;
    }
}
