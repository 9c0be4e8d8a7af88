//! Supply (ST1-4, 10-13): how a host comes to a program and a ticket.
//!
//! For: asking an origin once for a number of copies, whatever crashes in between, checking the ticket that
//! comes back, and the host's own reception. Not for: the origin's side, which is one decision
//! ([`crate::program::CopiesRule::approve`]); nor for the transfer itself.

use serde::{Deserialize, Serialize};

use super::Contact;
use crate::{
    identity::{Identity, PeerId},
    rights::{Receipt, ReceiptKind, Right, SignError, Ticket, TicketError, Verified, VerifyError, sign},
    time::Timestamp,
    wire::{RequestId, SupplyRequest, SupplyResponse},
};

/// One supply request and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Supply {
    request: RequestId,
    origin: PeerId,
    name: String,
    copies: Option<u32>,
    /// Where the ticket's billing peers are said to be.
    #[serde(default)]
    billing: Vec<Contact>,
    state: SupplyState,
}

/// Where a supply stands. Each is on disk before its step is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SupplyState {
    /// ST3: program and number of copies are chosen; the origin is asked until it answers.
    Asking,
    /// ST4, 12-13: the ticket is here, the files are coming.
    Receiving(Verified<Ticket>),
    /// The host holds program and ticket: from here on the origin may be switched off.
    Held(Verified<Ticket>),
    /// The origin, or a check of what it sent, said no. For a person to read.
    Refused(String),
}

/// What happens to a [`Supply`].
#[derive(Debug)]
pub enum SupplyInput {
    /// The origin answered.
    Answer(SupplyResponse),
    /// Every byte of the program is here and verified.
    Received,
    /// It cannot be had any more: for people.
    ReceptionFailed(String),
}

/// What a [`Supply`] wants done, besides what [`Supply::ask`] and [`Supply::right`] say.
#[derive(Debug, PartialEq)]
pub enum SupplyOutput {
    /// To the outbox, in the same transaction as the machine: the host's own copy is a reception too.
    Receipt(Box<(Right, Verified<Receipt>)>),
}

/// Why a ticket that came back is of no use.
#[derive(Debug, thiserror::Error)]
enum TicketRefusal {
    #[error(transparent)]
    Signature(#[from] VerifyError),
    #[error(transparent)]
    Ticket(#[from] TicketError),
    #[error("the origin signed a ticket for something else than was asked for")]
    NotAsAsked,
    #[error("the program runs only under leases, which this version of parlor cannot hold")]
    Lease,
}

impl Supply {
    /// ST3: wants `copies` copies of `name` from `origin`. `request` is fresh randomness.
    #[must_use]
    pub fn new(request: RequestId, origin: PeerId, name: String, copies: Option<u32>) -> Self {
        Self { request, origin, name, copies, billing: Vec::new(), state: SupplyState::Asking }
    }

    /// Who is asked.
    #[must_use]
    pub fn origin(&self) -> PeerId {
        self.origin
    }

    /// By which this supply is known on both sides.
    #[must_use]
    pub fn request(&self) -> RequestId {
        self.request
    }

    /// What is asked for: program and number of copies.
    #[must_use]
    pub fn wanted(&self) -> (&str, Option<u32>) {
        (&self.name, self.copies)
    }

    /// Where the ticket's billing peers are said to be, once there is a ticket.
    #[must_use]
    pub fn billing(&self) -> &[Contact] {
        &self.billing
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> &SupplyState {
        &self.state
    }

    /// ST3: the request to send to the origin, as long as there is no answer.
    #[must_use]
    pub fn ask(&self) -> Option<SupplyRequest> {
        matches!(self.state, SupplyState::Asking).then(|| SupplyRequest::Ticket {
            request: self.request,
            name: self.name.clone(),
            copies: self.copies,
        })
    }

    /// ST12-13: the right under which to fetch the program now, if that is the step.
    #[must_use]
    pub fn right(&self) -> Option<Right> {
        match &self.state {
            SupplyState::Receiving(ticket) => Some(Right::of_host(ticket.clone())),
            _ => None,
        }
    }

    /// Takes an input. What changed must be on disk before the outputs are carried out.
    pub fn handle(
        &mut self,
        input: SupplyInput,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Vec<SupplyOutput>, SignError> {
        match (input, &self.state) {
            (SupplyInput::Answer(SupplyResponse::Ticket { ticket, billing }), SupplyState::Asking) => {
                self.billing = ticket.unverified().places(&billing);
                let ticket = ticket.verify().map_err(TicketRefusal::from);
                self.state = match ticket.and_then(|ticket| self.check(ticket, identity.peer(), now)) {
                    Ok(ticket) => SupplyState::Receiving(ticket),
                    Err(refusal) => SupplyState::Refused(refusal.to_string()),
                };
                Ok(Vec::new())
            }
            (SupplyInput::Answer(SupplyResponse::Refused(why)), SupplyState::Asking) => {
                self.state = SupplyState::Refused(super::message::reason(why));
                Ok(Vec::new())
            }
            (SupplyInput::Received, SupplyState::Receiving(ticket)) => {
                let right = Right::of_host(ticket.clone());
                let receipt = Receipt::new(&right, None, ReceiptKind::Received, now);
                let receipt = sign(&receipt, identity)?;
                self.state = SupplyState::Held(ticket.clone());
                Ok(vec![SupplyOutput::Receipt(Box::new((right, receipt)))])
            }
            // Nothing was received, so nothing is owed; whoever asks again gets a ticket that may do better.
            (SupplyInput::ReceptionFailed(why), SupplyState::Receiving(_)) => {
                self.state = SupplyState::Refused(super::message::reason(why));
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn check(
        &self,
        ticket: Verified<Ticket>,
        me: PeerId,
        now: Timestamp,
    ) -> Result<Verified<Ticket>, TicketRefusal> {
        ticket.check(me, now)?;
        if ticket.terms.lease.is_some() {
            return Err(TicketRefusal::Lease);
        }
        let as_asked = ticket.origin == self.origin
            && ticket.name == self.name
            && self.copies.is_none_or(|copies| copies == ticket.copies);
        if as_asked { Ok(ticket) } else { Err(TicketRefusal::NotAsAsked) }
    }
}
