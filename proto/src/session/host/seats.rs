//! Seats: who is asked, gets a copy, is ready, goes (ST14-18).

use super::{Host, HostError, HostState, INVITATION_LIFE, Seat};
use crate::{
    group::keys::KeyOffer,
    identity::PeerId,
    rights::{Release, Right, Signed, Slot, Verified, sign},
    session::{
        Channel, Contact, DeclineReason, Invitation, MAX_SEATS, Membership, Message, Roster, RosterEntry,
        SeatState,
        membership::verified,
        message::{Acceptance, Admission, Grant, reason},
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

impl Host {
    /// ST14-15.
    pub(super) fn invite(
        &mut self,
        contacts: Vec<Contact>,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        let new = contacts.iter().filter(|contact| !self.seats.contains_key(&contact.peer)).count();
        if self.seats.len() + new > MAX_SEATS {
            return Err(HostError::Full.into());
        }
        if contacts.iter().any(|contact| contact.peer == context.me.peer) {
            return Err(HostError::Myself.into());
        }
        self.begin_keys(context, outputs)?;
        let expires = context.now + INVITATION_LIFE;
        let invitation = Invitation {
            ticket: self.ticket.to_signed(),
            host: context.me.clone(),
            billing: context.billing.to_vec(),
            handover: self.handover(context),
            mandates: self.office.mandates(),
            version: self.version.clone(),
            size: self.size,
            expires,
        };
        for contact in contacts {
            let seat = self.seats.entry(contact.peer).or_insert_with(|| Seat::new(contact, expires));
            if seat.state.in_group() || seat.state == SeatState::Invited || seat.channel.is_closed() {
                continue;
            }
            (seat.state, seat.why, seat.expires) = (SeatState::Invited, None, expires);
            seat.channel.say(Message::Invite(Box::new(invitation.clone())), context.now);
        }
        Ok(())
    }

    /// One message of a member that has a seat.
    pub(super) fn heard(
        &mut self,
        from: PeerId,
        message: Message,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let Some(seat) = self.seats.get_mut(&from) else {
            return Ok(());
        };
        match message {
            Message::Accept(acceptance) if acceptance.contact.peer == from => {
                let Acceptance { contact, package } = *acceptance;
                // From here on it is called what it calls itself, not what the host's address book does.
                seat.contact = contact.bounded();
                self.grant(from, &package, context, outputs)?;
            }
            Message::Decline(why) if matches!(seat.state, SeatState::Invited | SeatState::Accepted) => {
                let why = match why {
                    DeclineReason::Busy => "busy",
                    DeclineReason::User => "declined",
                };
                self.give_up(from, SeatState::Declined, Some(why.into()), context, outputs)?;
            }
            Message::Ready if seat.state == SeatState::Accepted => self.ready(from, context),
            // After a change of hosts: what a member was, and what it is, need not be the same.
            Message::Ready if self.office.term() > 0 && seat.state.in_group() => self.ready(from, context),
            // Resumed: as if it had just got ready. That it paused may never have been said, if it was short.
            Message::Resume if matches!(seat.state, SeatState::Away | SeatState::Ready) => {
                self.ready(from, context);
            }
            Message::Started if seat.state == SeatState::Ready => {
                seat.state = SeatState::Joined;
                self.tell_roster(context);
            }
            Message::Suspend if matches!(seat.state, SeatState::Ready | SeatState::Joined) => {
                seat.state = SeatState::Away;
                self.tell_roster(context);
            }
            Message::Fail(why) if seat.state.in_group() => {
                self.give_up(from, SeatState::Failed, Some(reason(why)), context, outputs)?;
            }
            Message::Leave if seat.state.in_group() => {
                self.give_up(from, SeatState::Left, None, context, outputs)?;
            }
            Message::Release(release) => self.released(from, release, context, outputs)?,
            Message::Offer(package) if seat.state.in_group() => {
                self.offered(from, package, context, outputs)?;
            }
            // Anything else is out of step: a member that misbehaves, or one that speaks after it was let go.
            _ => {}
        }
        Ok(())
    }

    /// ST29 of a member: its copy can go to somebody else.
    fn released(
        &mut self,
        from: PeerId,
        release: Signed<Release>,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        // One that does not stand up frees nothing, but who says so has gone all the same.
        let said = release.unverified();
        // A release may be overtaken by the same member's coming in elsewhere, on the same slot.
        let is_free = said.member == from && !context.elsewhere.contains(&said.slot);
        let own = self.seats.get(&from).and_then(|seat| seat.slot.as_ref().map(|slot| slot.hash()));
        let is_own = own == Some(said.slot) && release.clone().verify().is_ok();
        let held = context.ledger.as_ref().and_then(|ledger| ledger.slot_of(from)).cloned();
        let ledger = context.ledger.as_mut();
        let released = is_free && ledger.is_some_and(|ledger| ledger.release(release.clone()).is_ok());
        if released {
            outputs.extend(held.and_then(|slot| self.taken_back(slot, release)));
        }
        let Some(seat) = self.seats.get_mut(&from) else {
            return Ok(());
        };
        let is_news = (released || is_own) && !std::mem::replace(&mut seat.gave_back, true);
        let stays_out = seat.state != SeatState::Invited && !seat.state.in_group();
        if seat.state == SeatState::Invited {
            self.give_up(from, SeatState::Declined, Some("gave its copy back".into()), context, outputs)?;
        } else if seat.state.in_group() {
            let why = released.then(|| "gave its copy back".to_owned());
            self.give_up(from, SeatState::Left, why, context, outputs)?;
        }
        if is_news && stays_out {
            // Whoever is host next must not let it in by this slot again.
            self.tell_roster(context);
        }
        Ok(())
    }

    /// A slot that was just taken back, for the billing peers: whoever gets the number next is no second holder.
    fn taken_back(&self, slot: Verified<Slot>, release: Signed<Release>) -> Option<Output> {
        let release = release.verify().ok().filter(|release| release.gives_back(&slot))?;
        let right = Right::of_member(self.ticket.clone(), slot).ok()?;
        Some(Output::Released(Box::new((right, release))))
    }

    /// ST16-17: the next slot, or no copy left. Whoever accepts too late is told so, and waits for nothing.
    fn grant(
        &mut self,
        member: PeerId,
        package: &[u8],
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let (ended, now) = (self.state == HostState::Ended, context.now);
        let Some(seat) = self.seats.get_mut(&member) else {
            return Ok(());
        };
        let refusal = if seat.state.in_group() {
            // An earlier answer was taken for the one to the newest invitation, or it left under another host, who
            // has asked it again: the member still waits.
            seat.state = SeatState::Accepted;
            None
        } else if ended {
            Some((SeatState::Refused, "the session has ended".to_owned()))
        } else if self.office.is_handed_over() {
            let why = "another member is about to be the host: wait for its invitation";
            Some((SeatState::Refused, why.to_owned()))
        } else if !matches!(seat.state, SeatState::Invited | SeatState::Expired) {
            Some((seat.state, "the invitation does not stand any more".to_owned()))
        } else if seat.state == SeatState::Expired || seat.expires <= now {
            Some((SeatState::Expired, "the invitation has expired".to_owned()))
        } else if KeyOffer::check(member, package).is_err() {
            Some((SeatState::Failed, "its key package does not stand up".to_owned()))
        } else {
            self.take_slot(member, context).err().map(|why| (SeatState::Refused, why))
        };
        let refusal = match refusal {
            Some(refusal) => Some(refusal),
            None => match self.let_in(member, package, context, outputs)? {
                Some(welcome) => {
                    self.admitted(member, welcome, context);
                    None
                }
                None => Some((SeatState::Failed, "its key package does not stand up".to_owned())),
            },
        };
        if let (Some((state, why)), Some(seat)) = (refusal, self.seats.get_mut(&member)) {
            seat.channel.say(Message::Refuse(why.clone()), now);
            (seat.state, seat.why) = (state, Some(why));
        }
        self.tell_roster(context);
        Ok(())
    }

    /// The seat gets its slot: its old one, or the next; or why there is none.
    fn take_slot(&mut self, member: PeerId, context: &mut Context<'_>) -> Result<(), String> {
        let (identity, now, is_first) = (context.identity, context.now, self.office.is_first());
        let passed_on = self.is_passed_on(member, context);
        let Some(seat) = self.seats.get_mut(&member) else {
            return Err("nobody invited it".to_owned());
        };
        // A host that took over knows nothing of slots but that they stand up.
        let keeps =
            !is_first && !seat.gave_back && !passed_on && (seat.slot.is_some() || member == self.ticket.host);
        if keeps {
            seat.state = SeatState::Accepted;
            return self.vouch_for(member, context);
        }
        let slot = match context.ledger.as_mut() {
            Some(ledger) => ledger.grant(member, identity, now).map_err(|error| error.to_string())?,
            None => return Err("no copies left: the host took over without any".to_owned()),
        };
        seat.slot = Some(slot);
        seat.gave_back = false;
        seat.state = SeatState::Accepted;
        self.vouch_for(member, context)
    }

    /// Signs that the slot of the seat is for this session, unless a host that everyone knows of has.
    fn vouch_for(&mut self, member: PeerId, context: &Context<'_>) -> Result<(), String> {
        let (session, host) = (self.session, context.me.peer);
        let Some(seat) = self.seats.get(&member) else { return Ok(()) };
        let Some(slot) = &seat.slot else { return Ok(()) };
        let hosts = self.admission(host).hosts;
        if verified(seat.membership.as_ref(), slot, session, &hosts).is_some() {
            return Ok(());
        }

        let membership = Membership { session, host, member, slot: slot.hash(), at: context.now };
        let membership = sign(&membership, context.identity).map_err(|error| error.to_string())?.to_signed();
        if let Some(seat) = self.seats.get_mut(&member) {
            seat.membership = Some(membership);
        }
        Ok(())
    }

    /// Whether the number of the member's slot is free again, or somebody else's: it may have been given back in
    /// another session of the ticket, or to another host.
    fn is_passed_on(&self, member: PeerId, context: &Context<'_>) -> bool {
        let Some(slot) = self.seats.get(&member).and_then(|seat| seat.slot()) else { return false };
        let later = |other: &Slot| other.k == slot.k && other.generation > slot.generation;
        let seats = self.seats.values().filter_map(|seat| seat.slot());
        let in_book = context.ledger.as_ref().is_some_and(|ledger| {
            let is_free = |free: &Verified<Release>| free.k == slot.k && free.generation >= slot.generation;
            ledger.released().any(is_free) || ledger.slots().any(|other| later(other))
        });
        in_book || seats.into_iter().any(|other| later(other))
    }

    fn admitted(&mut self, member: PeerId, welcome: Vec<u8>, context: &Context<'_>) {
        let roster = self.roster(context);
        let Some(seat) = self.seats.get_mut(&member) else {
            return;
        };
        let slot = seat.slot.as_ref().map(|slot| slot.to_signed());
        let membership = seat.membership.clone();
        let grant = Grant { slot, membership, admission: Admission { welcome, roster } };
        seat.channel.say(Message::Grant(Box::new(grant)), context.now);
    }

    /// ST18: the member can run; if the session does already, it comes in late.
    pub(super) fn ready(&mut self, member: PeerId, context: &Context<'_>) {
        let Some(seat) = self.seats.get_mut(&member) else {
            return;
        };
        seat.state = SeatState::Ready;
        if self.state == HostState::Running {
            seat.channel.say(Message::Start, context.now);
        }
        if self.suspended {
            seat.channel.say(Message::Suspend, context.now);
        }
        self.tell_roster(context);
    }

    /// The member's node knows nothing of the session, or wants nothing of it. Should the host invite again,
    /// both begin anew.
    pub(super) fn rejected(
        &mut self,
        from: PeerId,
        why: String,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.with_channel(from, |channel| *channel = Channel::default());
        self.fail(from, &reason(why), context, outputs)
    }

    /// Members who take nothing of what is said to them, however long it gets.
    pub(super) fn give_up_the_silent(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let silent = |seat: &Seat| seat.channel.is_closed() && seat.state != SeatState::Failed;
        let silent: Vec<_> =
            self.seats.iter().filter(|(_, seat)| silent(seat)).map(|(peer, _)| *peer).collect();
        for peer in silent {
            self.fail(peer, "its node takes no messages", context, outputs)?;
        }
        Ok(())
    }

    pub(super) fn fail(
        &mut self,
        peer: PeerId,
        why: &str,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.give_up(peer, SeatState::Failed, Some(why.to_owned()), context, outputs)
    }

    /// A seat is no longer part of the group.
    pub(super) fn give_up(
        &mut self,
        peer: PeerId,
        state: SeatState,
        why: Option<String>,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return Ok(());
        };
        let was_in_group = seat.state.in_group();
        if state == SeatState::Failed && !was_in_group && seat.state != SeatState::Invited {
            return Ok(());
        }
        (seat.state, seat.why) = (state, why);
        if was_in_group {
            // The roster first: nobody goes on serving it while the keys change.
            self.tell_roster(context);
            self.put_out(peer, context, outputs)?;
            self.give_up_old_keys(outputs);
        }
        Ok(())
    }

    /// ST18: everyone in the group learns who is in it.
    pub(super) fn tell_roster(&mut self, context: &Context<'_>) {
        let roster = self.roster(context);
        for seat in self.seats.values_mut().filter(|seat| seat.state.in_group()) {
            seat.channel.say(Message::Roster(Box::new(roster.clone())), context.now);
        }
    }

    /// As it is told.
    pub(super) fn roster(&self, context: &Context<'_>) -> Roster {
        let members = self.seats.iter().filter_map(|(peer, seat)| self.entry(*peer, seat)).collect();
        self.office.roster(context.me.clone(), members)
    }

    /// A seat as it is told: whoever has, or had, a right to be there.
    pub(super) fn entry(&self, peer: PeerId, seat: &Seat) -> Option<RosterEntry> {
        let slot = seat.slot.as_ref().map(|slot| slot.to_signed());
        let has_right = slot.is_some() || peer == self.ticket.host;
        has_right.then(|| RosterEntry {
            slot,
            membership: seat.membership.clone(),
            contact: seat.contact.clone(),
            state: seat.state,
            gave_back: seat.gave_back,
        })
    }

    pub(super) fn remove(
        &mut self,
        peer: PeerId,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        let seat = self.seats.get_mut(&peer).ok_or(HostError::NotInvited)?;
        if !seat.state.in_group() && seat.state != SeatState::Invited {
            return Err(HostError::NotInvited.into());
        }
        seat.channel.say(Message::Remove, context.now);
        self.links.forget(peer);
        self.give_up(peer, SeatState::Removed, None, context, outputs)
    }

    /// Invitations nobody answered.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let open = self.state != HostState::Ended;
        for seat in self.seats.values_mut().filter(|seat| open && seat.state == SeatState::Invited) {
            if seat.expires <= now {
                (seat.state, seat.why) = (SeatState::Expired, Some("no answer in time".into()));
            }
        }
    }
}
