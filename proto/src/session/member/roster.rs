//! Who else is in the group, and by which right: "admission is the slot" (design, section 3).

use super::{Member, MemberState};
use crate::{
    identity::PeerId,
    rights::{EquivocationProof, Signed, Slot, Ticket, Verified},
    session::{
        Contact, MAX_SEATS, Message, Roster, RosterEntry, SeatState,
        message::Change,
        step::{Context, Output, Refused, StepError},
    },
};

pub(super) const CHEAT: &str = "a host gave one slot to two members";

pub(in crate::session) type Seated = (Option<Verified<Slot>>, RosterEntry);

impl Member {
    /// ST18. Who has no verified slot of this ticket is not in the roster, whatever the host says; two slots that
    /// contradict each other prove that it cheats.
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
        let seated = |entry| seated(entry, &self.ticket);
        let told = roster.members.len();
        let others: Vec<Seated> = roster.members.into_iter().take(MAX_SEATS).filter_map(seated).collect();
        if others.len() < told {
            outputs.push(Output::Refused { from: self.host().peer, what: Refused::Roster });
        }
        if let Some(proof) = self.contradiction(host_slot.as_ref(), &others) {
            outputs.push(Output::Cheat(Box::new(proof)));
            return self.go(CHEAT, context, outputs);
        }
        let kept = self.others_in_keys(&others);
        (self.others, self.host_slot) = (others, host_slot);
        self.others.extend(kept);
        Ok(())
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

    /// Among what this node knows and what it is told now.
    pub(super) fn contradiction(
        &self,
        host_slot: Option<&Verified<Slot>>,
        others: &[Seated],
    ) -> Option<EquivocationProof> {
        let known = self.slot.iter().chain(&self.host_slot).chain(slots(&self.others));
        let all: Vec<_> = known.chain(host_slot).chain(slots(others)).collect();
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

    /// Whether this peer has, or had, a right to be in the group: as far as anybody can tell without the host.
    pub(super) fn has_right(&self, peer: PeerId) -> bool {
        peer == self.me
            || peer == self.ticket.host
            || peer == self.host().peer
            || self.others.iter().any(|(_, entry)| entry.contact.peer == peer)
    }

    /// Whom a change of the keys lets in, of those whose slots come along and stand up.
    pub(super) fn let_in_by(&self, change: &Change, added: &[PeerId]) -> Vec<Seated> {
        let entries = change.added.iter().take(MAX_SEATS);
        let entries = entries.filter(|entry| added.contains(&entry.contact.peer));
        entries.filter_map(|entry| seated(entry.clone(), &self.ticket)).collect()
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

/// Somebody of whom no host has told, by the slot that it shows.
pub(in crate::session) fn seated_by(
    slot: Option<Signed<Slot>>,
    contact: Contact,
    ticket: &Verified<Ticket>,
) -> Option<Seated> {
    seated(RosterEntry { slot, contact, state: SeatState::Accepted, gave_back: false }, ticket)
}

/// The entry, if whoever it is about has a right to be there.
pub(in crate::session) fn seated(mut entry: RosterEntry, ticket: &Verified<Ticket>) -> Option<Seated> {
    let peer = entry.contact.peer;
    let slot = match entry.slot.clone() {
        Some(slot) => Some(slot_of(slot, peer, ticket)?),
        None if peer == ticket.host => None,
        None => return None,
    };
    entry.contact = entry.contact.bounded();
    Some((slot, entry))
}
