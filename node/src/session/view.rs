//! Sessions as users and programs see them: what `sessions`, `session` and `inbox` print.

use std::collections::{BTreeMap, BTreeSet};

use parlor_proto::{
    identity::PeerId,
    ids::{ProgramId, SessionId},
    program::Role,
    session::{self, HostState, Member, MemberState, RosterEntry, SeatState, host::Seat},
};
use serde::Serialize;

use super::{SessionError, driver::Driver};
use crate::{clock, group::Group, runtime::agent, store::SessionRecord};

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionView {
    /// Which.
    pub session: SessionId,
    /// The program, by content.
    pub program: ProgramId,
    /// The program, by name.
    pub name: String,
    /// `host` or `member`.
    pub role: &'static str,
    /// How far it is on this node.
    pub state: &'static str,
    /// Why it is no further, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it pauses.
    pub suspended: bool,
    /// Who invites.
    pub host: MemberView,
    /// Everyone else.
    pub members: Vec<MemberView>,
    /// Whether an agent of the program runs on this node.
    pub agent: bool,
    /// How often the host has changed.
    pub term: u32,
    /// Seconds without a sign of the host after which another one takes over.
    pub takeover_seconds: u64,
    /// Of the session's ticket.
    pub slots: SlotsView,
    /// While the program is being received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferView>,
    /// Since when, RFC 3339.
    pub created_at: String,
    /// What an invitation says, as long as it waits for an answer.
    #[serde(skip)]
    pub invitation: Option<InvitationView>,
}

impl SessionView {
    /// Whether nothing follows any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        ["ended", "declined", "expired", "refused", "failed", "left", "removed"].contains(&self.state)
    }
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// Who.
    pub peer: PeerId,
    /// As the user calls it, else as it does itself.
    pub name: String,
    /// As in [`SeatState::as_str`].
    pub state: &'static str,
    /// Why it is no further, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SlotsView {
    /// That the ticket approves.
    pub copies: u32,
    /// Given out, as far as this node knows.
    pub used: u32,
    /// Not given out yet.
    pub left: u32,
}

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferView {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes wanted.
    pub total: u64,
    /// Bytes that came over the network since the node started on it.
    pub fetched: u64,
    /// What it waits for, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
}

/// One invitation of the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvitationView {
    /// To which session.
    pub session: SessionId,
    /// The program, by name.
    pub name: String,
    /// The program, by content.
    pub program: ProgramId,
    /// For people.
    pub version: String,
    /// Bytes to fetch; 0 if the program is here.
    pub size: u64,
    /// Who invites.
    pub host: MemberView,
    /// That the host can hand out in all.
    pub copies: u32,
    /// What it costs, as in `--price`; empty for nothing.
    pub price: String,
    /// Until when an answer counts, RFC 3339.
    pub expires: String,
}

/// The session's state and its members', in words.
pub(super) fn states(
    record: &SessionRecord,
    group: Option<&Group>,
) -> (&'static str, BTreeMap<PeerId, &'static str>) {
    match &record.role {
        session::Role::Host(host) => {
            let members = host.seats().iter();
            let members = members.map(|(peer, seat)| (*peer, seen(seat.state, *peer, group).as_str()));
            let state = match host.state() {
                HostState::Ended => "ended",
                _ if host.is_suspended() => "suspended",
                HostState::Inviting => "inviting",
                HostState::Running => "running",
            };
            (state, members.collect())
        }
        session::Role::Member(member) => {
            let state = |entry: &RosterEntry| seen(entry.state, entry.contact.peer, group).as_str();
            let roster = member.roster().map(|entry| (entry.contact.peer, state(entry)));
            let pauses = member.is_suspended() && !member.state().is_final();
            (if pauses { "suspended" } else { member.state().as_str() }, roster.collect())
        }
    }
}

/// A member's state, as the host says it and as far as this node sees it for itself: who cannot be reached
/// is away, whatever the host last knew.
fn seen(state: SeatState, peer: PeerId, group: Option<&Group>) -> SeatState {
    match group {
        Some(group) if state == SeatState::Joined && !group.is_present(peer) => SeatState::Away,
        _ => state,
    }
}

/// This node's own state, which it knows better than the host does.
fn own_state(member: &Member, told: SeatState) -> SeatState {
    match member.state() {
        MemberState::Running | MemberState::Ready if member.is_suspended() => SeatState::Away,
        MemberState::Running => SeatState::Joined,
        MemberState::Left => SeatState::Left,
        MemberState::Removed => SeatState::Removed,
        _ => told,
    }
}

/// Why the session is no further on this node.
pub(super) fn why(record: &SessionRecord) -> Option<String> {
    match &record.role {
        session::Role::Host(_) => None,
        session::Role::Member(member) => member.why().map(str::to_owned),
    }
}

/// What everyone in the session calls itself.
pub(super) fn names(record: &SessionRecord) -> BTreeMap<PeerId, String> {
    match &record.role {
        session::Role::Host(host) => {
            host.seats().iter().map(|(peer, seat)| (*peer, seat.contact.name.clone())).collect()
        }
        session::Role::Member(member) => {
            let host = member.host();
            let roster = member.roster().map(|entry| (entry.contact.peer, entry.contact.name.clone()));
            roster.chain([(host.peer, host.name.clone())]).collect()
        }
    }
}

/// Whose updates belong to the session: all who have or had a slot, and the host.
pub(super) fn authors(record: &SessionRecord) -> BTreeMap<PeerId, String> {
    let mut names = names(record);
    if let session::Role::Host(host) = &record.role {
        let ever_in = |peer: &PeerId| host.seats().get(peer).is_some_and(Seat::has_slot);
        names.retain(|peer, _| ever_in(peer) || *peer == host.ticket().host);
    }
    names
}

impl Driver {
    pub(super) async fn view(&self, session: SessionId) -> Result<SessionView, SessionError> {
        let run = self.runs.get(&session).ok_or(SessionError::NoSuchSession(session))?;
        let (record, group) = (&run.record, run.doing.group.as_ref());
        let (state, _) = states(record, group);
        let (program, name, role, suspended, host, members, slots) = match &record.role {
            session::Role::Host(machine) => {
                let ticket = machine.ticket();
                let ledger = self.context.store.ledger(ticket.hash()).await?;
                let (used, left) = ledger.map_or((0, 0), |ledger| (ledger.used(), ledger.left()));
                let own = if machine.runs() { SeatState::Joined } else { SeatState::Ready };
                let mut members = Vec::new();
                for (peer, seat) in machine.seats() {
                    let why = seat.why.clone();
                    let state = seen(seat.state, *peer, group);
                    members.push(self.member(*peer, &seat.contact.name, state, why).await);
                }
                let host = self.member(self.context.me(), &self.context.nickname, own, None).await;
                let slots = SlotsView { copies: ticket.copies, used, left };
                (ticket.program, ticket.name.clone(), "host", machine.is_suspended(), host, members, slots)
            }
            session::Role::Member(machine) => {
                let (ticket, invited) = (machine.ticket(), machine.invitation());
                let mut members = Vec::new();
                for entry in machine.roster() {
                    let (peer, own_name) = (entry.contact.peer, &entry.contact.name);
                    let state = if peer == self.context.me() {
                        own_state(machine, entry.state)
                    } else {
                        seen(entry.state, peer, group)
                    };
                    members.push(self.member(peer, own_name, state, None).await);
                }
                let own = if machine.state() == MemberState::Running {
                    SeatState::Joined
                } else {
                    SeatState::Ready
                };
                let own = seen(own, invited.host.peer, group);
                let host = self.member(invited.host.peer, &invited.host.name, own, None).await;
                let used = machine.roster().filter_map(|entry| Some(entry.slot.as_ref()?.unverified().k));
                let used = used.collect::<std::collections::BTreeSet<_>>().len() as u32;
                let left = ticket.copies.saturating_sub(used);
                let slots = SlotsView { copies: ticket.copies, used, left };
                (ticket.program, ticket.name.clone(), "member", machine.is_suspended(), host, members, slots)
            }
        };
        Ok(SessionView {
            session,
            program,
            name,
            role,
            state,
            why: why(record),
            suspended,
            host,
            members,
            agent: run.doing.link.has_agent(),
            term: record.role.term(),
            takeover_seconds: record.role.takeover().as_secs(),
            slots,
            transfer: run.doing.transfer.as_ref().map(|transfer| transfer.view.clone()),
            created_at: clock::rfc3339(record.created_at),
            invitation: self.invitation(record).await,
        })
    }

    pub(super) async fn list(&self) -> Vec<SessionView> {
        let mut records: Vec<_> = self.runs.values().map(|run| &run.record).collect();
        records.sort_by_key(|record| (record.created_at, record.session));
        let mut views = Vec::new();
        for record in records {
            match self.view(record.session).await {
                Ok(view) => views.push(view),
                Err(error) => tracing::error!(session = %record.session, %error, "a session cannot be shown"),
            }
        }
        views
    }

    async fn invitation(&self, record: &SessionRecord) -> Option<InvitationView> {
        let member = record.role.as_member()?;
        let (ticket, invited) = (member.ticket(), member.invitation());
        if member.state() != MemberState::Invited || invited.expires < clock::now() {
            return None;
        }
        let here = self.context.bundles.complete(ticket.program) >= Some(Role::Everyone);
        Some(InvitationView {
            session: record.session,
            name: ticket.name.clone(),
            program: ticket.program,
            version: invited.version.clone(),
            size: if here { 0 } else { invited.size },
            host: self.member(invited.host.peer, &invited.host.name, SeatState::Joined, None).await,
            copies: ticket.copies,
            price: ticket.terms.tariff.to_string(),
            expires: clock::rfc3339(invited.expires),
        })
    }

    async fn member(
        &self,
        peer: PeerId,
        own_name: &str,
        state: SeatState,
        why: Option<String>,
    ) -> MemberView {
        let name = self.context.name_of(peer, own_name).await;
        MemberView { peer, name, state: state.as_str(), why }
    }
}

/// Who is in the group, as a program is told of it.
pub(super) fn group_members(
    group: &Group,
    role: &session::Role,
    members: &BTreeSet<PeerId>,
) -> Vec<agent::Member> {
    let host = role.as_member().map_or(group.me(), |member| member.host().peer);
    let all = members.iter().copied().chain([group.me()]);
    let member = |peer: PeerId| agent::Member {
        addr: group.address_of(peer),
        name: group.name_of(peer),
        is_host: peer == host,
    };
    all.map(member).collect()
}
