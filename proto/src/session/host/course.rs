//! The course of a session: start, pause, end (ST19, 26-29), and the receipts that the host itself owes.

use super::{Host, HostError, HostState};
use crate::{
    rights::{Receipt, sign},
    session::{
        Message, SeatState,
        step::{Context, Output, StepError},
    },
    time::Timestamp,
};

impl Host {
    /// A session starts by itself once every invited node is ready or has declined; where the program asks to go
    /// straight on, once anybody is ready.
    pub(super) fn start_by_itself(
        &mut self,
        context: &Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        let ready = self.seats.values().any(|seat| seat.state == SeatState::Ready);
        let waiting = self.seats.values().any(|seat| seat.state.holds_up_start());
        if self.state == HostState::Inviting && !self.suspended && ready && (self.is_eager || !waiting) {
            self.start(context, outputs)?;
        }
        Ok(())
    }

    pub(super) fn start_by_user(
        &mut self,
        context: &Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        match self.state {
            HostState::Ended => Err(HostError::Ended.into()),
            HostState::Running => Err(HostError::Running.into()),
            HostState::Inviting if self.suspended => Err(HostError::Suspended.into()),
            HostState::Inviting => self.start(context, outputs),
        }
    }

    /// ST19.
    fn start(&mut self, context: &Context<'_>, outputs: &mut Vec<Output>) -> Result<(), StepError> {
        self.state = HostState::Running;
        self.running_since = Some(context.now);
        for seat in self.seats.values_mut().filter(|seat| seat.state == SeatState::Ready) {
            seat.channel.say(Message::Start, context.now);
        }
        if let Ok(right) = self.right()
            && let Some(receipt) = Receipt::started(&right, self.session, context.now)
        {
            outputs.push(Output::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
        }
        Ok(())
    }

    pub(super) fn suspend(
        &mut self,
        context: &Context<'_>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        if self.suspended {
            return Err(HostError::Suspended.into());
        }
        self.suspended = true;
        self.tell_group(&Message::Suspend, context.now);
        self.used(context, outputs)
    }

    pub(super) fn resume(&mut self, now: Timestamp) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        if !self.suspended {
            return Err(HostError::NotSuspended.into());
        }
        self.suspended = false;
        self.running_since = (self.state == HostState::Running).then_some(now);
        self.tell_group(&Message::Resume, now);
        Ok(())
    }

    /// ST27.
    pub(super) fn end(&mut self, context: &Context<'_>, outputs: &mut Vec<Output>) -> Result<(), StepError> {
        if self.state == HostState::Ended {
            return Err(HostError::Ended.into());
        }
        if !self.suspended {
            self.used(context, outputs)?;
        }
        self.state = HostState::Ended;
        let told = |seat: &&mut super::Seat| seat.state.in_group() || seat.state == SeatState::Invited;
        for seat in self.seats.values_mut().filter(told) {
            seat.channel.say(Message::End, context.now);
        }
        Ok(())
    }

    /// The time since the last start or resume is used up: a receipt, where the tariff counts minutes.
    fn used(&mut self, context: &Context<'_>, outputs: &mut Vec<Output>) -> Result<(), StepError> {
        if let (Some(from), Ok(right)) = (self.running_since.take(), self.right())
            && let Some(receipt) = Receipt::used(&right, self.session, from, context.now)
        {
            outputs.push(Output::Receipt(Box::new((right, sign(&receipt, context.identity)?))));
        }
        Ok(())
    }

    fn tell_group(&mut self, message: &Message, now: Timestamp) {
        for seat in self.seats.values_mut().filter(|seat| seat.state.in_group()) {
            seat.channel.say(message.clone(), now);
        }
    }
}
