//! Receiving, running, pausing, leaving (ST16, 23-29), and the receipts for it.

use super::{MAX_GIVEN_BACK, Member, MemberError, MemberState};
use crate::{
    rights::{Receipt, ReceiptKind, Release, Right, sign},
    session::{
        DeclineReason, Message,
        membership::verified,
        message::Grant,
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

impl Member {
    /// ST16-17, 23: the slot must be the host's, of this ticket, and for this node; the keys must be those of
    /// people with slots.
    pub(super) fn granted(
        &mut self,
        grant: Grant,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let slot = match grant.slot {
            // The ticket's host, in a session that somebody else hosts now.
            None if self.ticket.host == self.me => Some(None),
            None => None,
            Some(slot) => slot
                .verify()
                .ok()
                .filter(|slot| slot.member == self.me && slot.check(&self.ticket).is_ok())
                .filter(|slot| !self.gave_back.contains(&slot.hash()))
                .map(Some),
        };
        let Some(slot) = slot else {
            return self.fail("the host sent a slot that does not stand up", context, outputs);
        };
        let rule = self.admission();
        let is_shown = |slot| verified(grant.membership.as_ref(), slot, rule.session, &rule.hosts).is_some();
        if !slot.as_ref().is_none_or(is_shown) {
            return self.fail("the host sent a membership that does not stand up", context, outputs);
        }

        self.slot = slot;
        self.membership = grant.membership;
        self.state = MemberState::Receiving;
        self.welcomed(grant.admission, context, outputs)
    }

    /// Reception, or what comes before it, is impossible: the host is told.
    pub(super) fn fail(
        &mut self,
        why: &str,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.channel.say(Message::Fail(why.into()), context.now);
        self.finish(MemberState::Failed, Some(why.into()), context, outputs)
    }

    /// ST24-25: the reception-completion notice to the host, and the receipt to billing.
    pub(super) fn received(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let (MemberState::Receiving, Some(right)) = (self.state, self.right()) else {
            return Ok(());
        };
        let receipt = Receipt::new(&right, Some(self.session), ReceiptKind::Received, context.now);
        outputs.push(Output::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
        self.state = MemberState::Ready;
        self.say_ready(context.now);
        Ok(())
    }

    pub(super) fn say_ready(&mut self, now: Timestamp) {
        self.channel.say(Message::Ready, now);
        if self.suspended {
            self.channel.say(Message::Suspend, now);
        }
    }

    /// ST26. Said again by the host after a resume: answered again, unless this node pauses.
    pub(super) fn start(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if !matches!(self.state, MemberState::Ready | MemberState::Running) {
            return Ok(());
        }
        if self.state == MemberState::Ready {
            self.state = MemberState::Running;
            let right = self.right();
            if let Some((right, receipt)) = right
                .and_then(|right| Receipt::started(&right, self.session, context.now).map(|r| (right, r)))
            {
                outputs.push(Output::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
            }
        }
        if !self.suspended {
            self.count_from(context.now);
            self.channel.say(Message::Started, context.now);
        }
        Ok(())
    }

    pub(super) fn suspend(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.state.is_final() {
            return Err(MemberError::Over.into());
        }
        if self.suspended {
            return Err(MemberError::Suspended.into());
        }
        self.suspended = true;
        if matches!(self.state, MemberState::Ready | MemberState::Running) {
            self.channel.say(Message::Suspend, context.now);
        }
        self.used(context, outputs)
    }

    pub(super) fn resume(&mut self, now: Timestamp) -> Result<(), StepError> {
        if self.state.is_final() {
            return Err(MemberError::Over.into());
        }
        if !self.suspended {
            let by_host = self.suspended_by_host;
            let why = if by_host { MemberError::SuspendedByHost } else { MemberError::NotSuspended };
            return Err(why.into());
        }
        self.suspended = false;
        self.count_from(now);
        if matches!(self.state, MemberState::Ready | MemberState::Running) {
            self.channel.say(Message::Resume, now);
        }
        Ok(())
    }

    pub(super) fn leave(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        match self.state {
            state if state.is_final() => return Err(MemberError::Over.into()),
            MemberState::Invited => return self.decline(DeclineReason::User, context.now),
            _ => self.channel.say(Message::Leave, context.now),
        }
        self.finish(MemberState::Left, None, context, outputs)
    }

    /// ST29. From here on the slot is worth nothing to this node.
    pub(super) fn discard(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let Some(slot) = self.slot.clone() else {
            return if self.state.is_final() { Ok(()) } else { self.leave(context, outputs) };
        };
        if !self.state.is_final() {
            self.finish(MemberState::Left, None, context, outputs)?;
        }
        let release = Release {
            ticket: slot.ticket,
            slot: slot.hash(),
            k: slot.k,
            generation: slot.generation,
            member: slot.member,
            released_at: context.now,
        };
        let release = sign(&release, context.identity)?;
        self.channel.say(Message::Release(release.to_signed()), context.now);
        if let Ok(right) = Right::of_member(self.ticket.clone(), slot.clone()) {
            outputs.push(Output::Released(Box::new((right, release))));
        }
        self.gave_back.push(slot.hash());
        let excess = self.gave_back.len().saturating_sub(MAX_GIVEN_BACK);
        self.gave_back.drain(..excess);
        (self.slot, self.gives_back) = (None, false);
        Ok(())
    }

    /// The host has put this node out.
    pub(super) fn removed(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.finish(MemberState::Removed, Some("removed by the host".into()), context, outputs)
    }

    /// ST27: over for this node, in one way or another.
    pub(super) fn finish(
        &mut self,
        state: MemberState,
        why: Option<String>,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        self.used(context, outputs)?;
        (self.state, self.why) = (state, why);
        Ok(())
    }

    pub(super) fn count_from(&mut self, now: Timestamp) {
        if self.runs() && self.running_since.is_none() {
            self.running_since = Some(now);
        }
    }

    /// The time since the last start or resume is used up: a receipt, where the tariff counts minutes.
    pub(super) fn used(
        &mut self,
        context: &mut Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let (Some(from), Some(right)) = (self.running_since.take(), self.right()) else {
            return Ok(());
        };
        if let Some(receipt) = Receipt::used(&right, self.session, from, context.now) {
            outputs.push(Output::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
        }
        Ok(())
    }
}
