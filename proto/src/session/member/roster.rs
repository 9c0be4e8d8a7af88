//! Who else is in the group, and by which right: a slot of the ticket, and a membership of the session.

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, MemberState};
use crate::{
    identity::PeerId,
    ids::SessionId,
    rights::{EquivocationProof, Signed, Slot, Ticket, Verified},
    session::{
        MAX_SEATS, Message, Roster, RosterEntry, SeatState,
        election::VoteRequest,
        membership::verified,
        message::Change,
        step::{Context, Output, Refused, StepError},
    },
};

pub(super) const CHEAT: &str = "a host gave one slot to two members";

pub(in crate::session) type Seated = (Option<Verified<Slot>>, RosterEntry);

impl Member {
    /// ST18. Who has no verified slot of this ticket, or no membership of this session, is not in the roster, whatever
    /// the host says; two slots that contradict each other prove that it cheats.
    pub(super) fn take_roster(
        &mut self,
        roster: Roster,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if roster.host.peer != self.host().peer || roster.term != self.term() {
            return Ok(());
        }
        let host_slot = roster.host_slot.and_then(|slot| slot_of(slot, roster.host.peer, &self.ticket));
        if host_slot.is_none() && roster.host.peer != self.ticket.host {
            return Ok(());
        }
        self.invited.host = roster.host.bounded();
        self.succession.agreed(roster.takeover, roster.former_hosts);
        if let Some(proof) = self.contradiction(host_slot.as_ref(), &roster.members) {
            outputs.push(Output::Cheat(Box::new(proof)));
            return self.go(CHEAT, context, outputs);
        }

        let told = roster.members.len();
        let others = self.checked(roster.members);
        if others.len() < told {
            outputs.push(Output::Refused { from: self.host().peer, what: Refused::Roster });
        }
        let kept = self.others_in_keys(&others);
        self.host_membership = host_slot.as_ref().and_then(|slot| {
            let membership = roster.host_membership.as_ref();
            verified(membership, slot, self.session, &self.hosts()).map(|membership| membership.to_signed())
        });
        (self.others, self.host_slot) = (others, host_slot);
        self.others.extend(kept);
        self.compare_keys(context.now);
        Ok(())
    }

    /// Returns the entries whose slot and membership stand up. What has not changed is not verified again.
    fn checked(&self, entries: Vec<RosterEntry>) -> Vec<Seated> {
        let known: BTreeMap<PeerId, &Seated> =
            self.others.iter().map(|seated| (seated.1.contact.peer, seated)).collect();
        let rule = self.admission();

        let check = |entry: RosterEntry| match known.get(&entry.contact.peer) {
            Some((slot, before)) if before.slot == entry.slot && before.membership == entry.membership => {
                let contact = entry.contact.bounded();
                Some((slot.clone(), RosterEntry { contact, ..entry }))
            }
            _ => rule.seated(entry),
        };
        entries.into_iter().take(MAX_SEATS).filter_map(check).collect()
    }

    /// Returns what shows a right to be in this session, as far as this node knows its hosts.
    pub(in crate::session) fn admission(&self) -> AdmissionRule<'_> {
        AdmissionRule { session: self.session, ticket: &self.ticket, hosts: self.hosts() }
    }

    /// Returns everyone who is or was host, as far as this node knows.
    fn hosts(&self) -> BTreeSet<PeerId> {
        let former = self.former_hosts().iter().copied();
        former.chain([self.host().peer, self.ticket.host]).collect()
    }

    /// Whom a roster leaves out, though the keys are theirs too: it may be older than keys that came another way,
    /// and a host must not hide anybody.
    fn others_in_keys(&self, told: &[Seated]) -> Vec<Seated> {
        let Some(keys) = self.keys.current().filter(|keys| keys.term() == self.term()) else {
            return Vec::new();
        };
        let is_told = |peer| told.iter().any(|(_, entry)| entry.contact.peer == peer);
        let left_out = |seated: &&Seated| {
            let peer = seated.1.contact.peer;
            keys.members().contains_key(&peer) && !is_told(peer) && peer != self.host().peer
        };
        self.others.iter().filter(left_out).cloned().collect()
    }

    /// Returns the proof that a host gave one slot to two members, if what this node knows and what it is told now show
    /// that; also of somebody who does not belong to this session.
    pub(super) fn contradiction(
        &self,
        host_slot: Option<&Verified<Slot>>,
        told: &[RosterEntry],
    ) -> Option<EquivocationProof> {
        let known = || self.slot.iter().chain(&self.host_slot).chain(slots(&self.others));
        let news = told.iter().take(MAX_SEATS).filter_map(|entry| {
            let slot = entry.slot.as_ref()?;
            let is_known = known().any(|known| known.bytes() == slot.bytes());
            if is_known { None } else { slot_of(slot.clone(), entry.contact.peer, &self.ticket) }
        });
        let news: Vec<Verified<Slot>> = news.collect();

        let all: Vec<_> = known().chain(host_slot).chain(&news).collect();
        let with_earlier = |(i, slot): (usize, &&Verified<Slot>)| {
            all[..i].iter().find_map(|other| EquivocationProof::find(other, slot))
        };
        all.iter().enumerate().find_map(with_earlier)
    }

    /// This node wants nothing more of the session, and says so.
    pub(super) fn go(
        &mut self,
        why: &str,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.channel.say(Message::Leave, context.now);
        self.finish(MemberState::Left, Some(why.into()), context, outputs)
    }

    /// Everyone who is in the group now, as far as the host has told: who else has its keys has no right to them.
    pub(super) fn seated(&self) -> BTreeSet<PeerId> {
        let others = self.others.iter().filter(|(_, entry)| entry.state.in_group());
        others.map(|(_, entry)| entry.contact.peer).chain([self.me, self.host().peer]).collect()
    }

    /// Whom a change of the keys lets in, of those whose slots come along and stand up.
    pub(super) fn let_in_by(&self, change: &Change, added: &[PeerId]) -> Vec<Seated> {
        let entries = change.added.iter().take(MAX_SEATS);
        let entries = entries.filter(|entry| added.contains(&entry.contact.peer));
        let rule = self.admission();
        entries.filter_map(|entry| rule.seated(entry.clone())).collect()
    }

    /// Somebody is in the group, whether the host has said so yet or not.
    pub(super) fn seat(&mut self, (slot, mut entry): Seated) {
        if !entry.state.in_group() {
            entry.state = SeatState::Accepted;
        }
        let known = self.others.iter().position(|(_, known)| known.contact.peer == entry.contact.peer);
        match known {
            Some(known) if self.others[known].1.state.in_group() => {}
            Some(known) => self.others[known] = (slot, entry),
            None if self.others.len() < MAX_SEATS => self.others.push((slot, entry)),
            None => {}
        }
    }

    /// Whom a change of the keys puts out: the host may not get to say so any more.
    pub(super) fn put_out(&mut self, peer: PeerId) {
        let known = self.others.iter_mut().find(|(_, known)| known.contact.peer == peer);
        if let Some((_, known)) = known.filter(|(_, known)| known.state.in_group()) {
            known.state = SeatState::Left;
        }
    }

    /// Everyone in the group but the host; this node too. Who gave its slot back is not, once somebody else has
    /// it.
    pub(super) fn in_group(&self) -> impl Iterator<Item = &Seated> {
        let passed_on = |slot: &Slot| {
            slots(&self.others).any(|other| other.k == slot.k && other.generation > slot.generation)
        };
        self.others.iter().filter(move |(slot, entry)| {
            entry.state.in_group()
                && entry.contact.peer != self.host().peer
                && !slot.as_ref().is_some_and(|slot| passed_on(slot))
        })
    }

    /// Where a peer stands in the agreed order: the ticket's host, then by slot.
    pub(in crate::session) fn place(&self, peer: PeerId) -> u32 {
        let of = |slot: &Verified<Slot>| slot.member == peer;
        let slot = self.slot.iter().chain(&self.host_slot).chain(slots(&self.others)).find(|slot| of(slot));
        place(peer, slot, &self.ticket)
    }
}

/// Where somebody stands in the agreed order, by its slot.
pub(in crate::session) fn place(
    peer: PeerId,
    slot: Option<&Verified<Slot>>,
    ticket: &Verified<Ticket>,
) -> u32 {
    match slot {
        _ if peer == ticket.host => 0,
        Some(slot) => slot.k.saturating_add(1),
        None => u32::MAX,
    }
}

pub(super) fn slots(seated: &[Seated]) -> impl Iterator<Item = &Verified<Slot>> {
    seated.iter().filter_map(|(slot, _)| slot.as_ref())
}

/// The slot, if it is this peer's and of this ticket.
fn slot_of(slot: Signed<Slot>, peer: PeerId, ticket: &Verified<Ticket>) -> Option<Verified<Slot>> {
    slot.verify().ok().filter(|slot| slot.member == peer && slot.check(ticket).is_ok())
}

/// What shows a right to be in a session: a slot of its ticket, and a membership that one of its hosts signed. The
/// ticket's host needs neither.
pub(in crate::session) struct AdmissionRule<'a> {
    pub(in crate::session) session: SessionId,
    pub(in crate::session) ticket: &'a Verified<Ticket>,
    /// Those who are or were host, as far as this node knows.
    pub(in crate::session) hosts: BTreeSet<PeerId>,
}

impl AdmissionRule<'_> {
    /// Returns the entry with its verified slot, if whoever it is about has a right to be in the session.
    pub(in crate::session) fn seated(&self, mut entry: RosterEntry) -> Option<Seated> {
        let peer = entry.contact.peer;
        let slot = match entry.slot.clone() {
            Some(slot) => Some(slot_of(slot, peer, self.ticket)?),
            None if peer == self.ticket.host => None,
            None => return None,
        };

        if let Some(slot) = slot.as_ref().filter(|_| peer != self.ticket.host) {
            verified(entry.membership.as_ref(), slot, self.session, &self.hosts)?;
        }
        entry.contact = entry.contact.bounded();
        Some((slot, entry))
    }

    /// Returns the same of somebody of whom no host has told, by what it shows itself.
    pub(in crate::session) fn shown(&self, request: &VoteRequest) -> Option<Seated> {
        let VoteRequest { slot, membership, candidate, .. } = request.clone();
        let state = SeatState::Accepted;
        self.seated(RosterEntry { slot, membership, contact: candidate, state, gave_back: false })
    }
}
