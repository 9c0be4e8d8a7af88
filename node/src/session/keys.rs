//! The group's keys and its host, as far as the node has to do with them: beacons, commits, votes.
//!
//! For: carrying out what the machines ask for, and bringing them what the group hears. Not for: deciding
//! anything: see `parlor_proto::session`.
//!
//! The idea: a host says every few seconds that it is there, and whoever hears it, directly or by others, does
//! not look for another. Frames in an epoch that this node does not know make it ask for commits. None of this
//! touches the disk before a machine says so.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parlor_proto::{
    group::keys::GroupKeys,
    identity::PeerId,
    ids::SessionId,
    session::{Input, Role, VoteRequest, VoteResponse, election::RequestEffect},
    wire::{CommitsRequest, CommitsResponse, Request, Response},
};
use rand::seq::IteratorRandom as _;
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Command,
    driver::{Driver, Run},
    trace::Odd,
};
use crate::{
    clock,
    critical::CriticalTasks,
    group::{Group, WeakGroup},
};

/// How many beacons fit into the time after which a host counts as lost: most may go lost.
const BEACONS: u32 = 8;
/// The shortest time between two beacons.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_secs(15);

/// What is done for a group besides its messages; dropped, it stops.
pub(super) struct Attendance {
    _heard: AbortOnDropHandle<()>,
    _behind: AbortOnDropHandle<()>,
}

impl Attendance {
    /// Tells the driver of what the group hears of its host and of later keys.
    pub(super) fn of(group: &Group, commands: &mpsc::WeakSender<Command>, tasks: &CriticalTasks) -> Self {
        let session = group.session();
        let mut beacons = group.beacons();
        let to_driver = commands.clone();
        let heard = tasks.spawn_finite("a group's beacons", async move {
            loop {
                match beacons.recv().await {
                    Ok(beacon) => send(&to_driver, Command::HostHeard(session, beacon)).await,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        let (mut wanted, to_driver) = (group.wanted_epoch(), commands.clone());
        let behind = tasks.spawn_finite("a group's keys", async move {
            while wanted.changed().await.is_ok() {
                let input = Input::Behind(*wanted.borrow_and_update());
                send(&to_driver, Command::Input(session, Box::new(input))).await;
                // However often somebody names another number.
                tokio::time::sleep(SHORTEST).await;
            }
        });
        Self { _heard: AbortOnDropHandle::new(heard), _behind: AbortOnDropHandle::new(behind) }
    }
}

/// Says that this node is there as host; dropped, it is silent.
pub(super) struct Beacons {
    pub(super) term: u32,
    _task: AbortOnDropHandle<()>,
}

impl Beacons {
    pub(super) fn of(group: WeakGroup, role: &Role, tasks: &CriticalTasks) -> Self {
        let (term, pause) = (role.term(), (role.takeover() / BEACONS).clamp(SHORTEST, LONGEST));
        let task = tasks.spawn_finite("a host's beacons", async move {
            let mut ticks = tokio::time::interval(pause);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(group) = group.upgrade() else { return };
                group.send_beacon(term).await;
            }
        });
        Self { term, _task: AbortOnDropHandle::new(task) }
    }
}

impl Driver {
    /// What is sealed from here on is for whoever is in these keys.
    pub(super) fn enter(&self, session: SessionId, keys: Arc<GroupKeys>) {
        let group = self.runs.get(&session).and_then(|run| run.doing.group.as_ref());
        if let Some(Err(error)) = group.map(|group| group.enter(keys)) {
            tracing::error!(%session, %error, "the group's new keys cannot be used");
        }
    }

    /// Asks the host; if that is out of reach, whoever is known to be ahead, and another member.
    pub(super) fn pull_commits(&self, session: SessionId, after: u64, ahead: Option<PeerId>) {
        let Some(run) = self.runs.get(&session) else { return };
        let (Some(member), Some(commands)) = (run.record.role.as_member(), self.commands.upgrade()) else {
            return;
        };
        let host = member.host().peer;
        let present: BTreeSet<PeerId> = run.present().into_iter().filter(|peer| *peer != host).collect();
        let other = present.into_iter().choose(&mut rand::rng());
        let overlay = self.context.overlay.clone();
        tokio::spawn(async move {
            for from in std::iter::once(host).chain(ahead).chain(other) {
                let request = Request::Commits(CommitsRequest { session, after });
                match overlay.request(from, request).await {
                    Ok(Response::Commits(answer)) => {
                        let input = Box::new(Input::Commits { from, answer });
                        // Fails only while the node stops.
                        let _ = commands.send(Command::Input(session, input)).await;
                        return;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%session, ?from, %error, "no commits from there"),
                }
            }
        });
    }

    /// Answers a member that missed changes of the keys.
    pub(super) fn commits(&mut self, from: PeerId, request: &CommitsRequest) -> CommitsResponse {
        let Some(run) = self.runs.get(&request.session) else { return CommitsResponse::default() };
        let answer = run.record.role.commits_after(from, request.after);
        if answer.newest == 0 {
            self.oddities.tell(request.session, from, Odd::Commits);
        }
        answer
    }

    /// Asks a member for its vote.
    pub(super) fn ask_vote(&self, from: PeerId, request: VoteRequest) {
        let Some(commands) = self.commands.upgrade() else { return };
        let (overlay, session) = (self.context.overlay.clone(), request.session);
        tokio::spawn(async move {
            match overlay.request(from, Request::Vote(Box::new(request))).await {
                Ok(Response::Vote(answer)) => {
                    let input = Box::new(Input::VoteAnswered { from, answer: *answer });
                    // Fails only while the node stops.
                    let _ = commands.send(Command::Input(session, input)).await;
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%session, ?from, %error, "no vote from there"),
            }
        });
    }

    /// Gives a vote, or says why not: once it is on disk.
    pub(super) async fn vote(&mut self, from: PeerId, request: VoteRequest) -> VoteResponse {
        let session = request.session;
        let role = self.runs.get(&session).map(|run| &run.record.role);
        let is_in =
            |role: &Role| role.group().is_some_and(|group| group.iter().any(|contact| contact.peer == from));
        if role.is_some_and(|role| !is_in(role)) {
            self.oddities.tell(session, from, Odd::Vote);
        }
        let (me, now) = (self.context.me(), clock::now());
        let effect = match self.runs.get_mut(&session) {
            Some(run) => run.record.role.weigh(me, from, &request, now),
            None => RequestEffect::Stranger,
        };
        if effect == RequestEffect::Stranger {
            return VoteResponse::UNKNOWN;
        }

        // What changes nothing costs nothing on the disk.
        if effect == RequestEffect::Step {
            let is_cheat = !matches!(self.context.store.is_cheat(&from.to_string()).await, Ok(false));
            let input = Input::VoteAsked { from, request: request.clone() };
            if is_cheat || !self.input_or_log(session, input).await {
                return VoteResponse::UNKNOWN;
            }
        }
        let answer = |run: &Run| run.record.role.vote_for(me, from, &request, clock::now());
        self.runs.get(&session).map_or(VoteResponse::UNKNOWN, answer)
    }

    /// Somebody came onto the session's topic, or went.
    pub(super) async fn presence(&mut self, session: SessionId) {
        if let Some(run) = self.runs.get_mut(&session) {
            let present = run.present();
            run.record.role.set_present(present);
        }
        self.tell_changes(session).await;
    }
}

async fn send(commands: &mpsc::WeakSender<Command>, command: Command) {
    if let Some(commands) = commands.upgrade() {
        // Fails only while the node stops.
        let _ = commands.send(command).await;
    }
}
