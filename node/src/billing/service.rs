//! The billing peer: what it answers to a receipt.
//!
//! For: checking a receipt against the right that comes with it, booking it once, and signing the answer. Not
//! for: who sent it. Receipts prove themselves, so that anybody may pass them on.
//!
//! Decisions, where the rules leave a choice:
//!
//! - **Late is fine.** What counts is when a receipt was made, not when it arrives: one made while its ticket
//!   was good is booked a year later, and clocks that differ change nothing.
//! - **A second receipt about the same thing** (see [`Subject`](parlor_proto::rights::Subject)) is answered with
//!   the first one's position, verdict and time, and costs nothing. So is the same receipt again, byte for byte.
//! - **A host that gave one slot to two members** is caught when the second receipt arrives. Both are booked:
//!   two copies were made, whoever is to blame. From then on, copies that rest on that host's word (it granted
//!   them, handed them over, or has the ticket) and are not in the log yet are logged as refused, with a signed
//!   answer that says why; those that are in it go on being counted, because their members did nothing wrong.
//!   What other hosts of the ticket granted without it stays good: a host is not liable for its successor.
//! - **A number with more holders than one** (see [`copies`](parlor_proto::billing::copies)) is overdrawn as long as
//!   no release of theirs is shown. All are booked, as there may be so many copies; the books say that they are too many
//!   ([`Book::overdrawn`]), and of whose ticket.

use parlor_proto::{
    billing::{BillingRequest, BillingResponse, charges, copies::News},
    identity::{Identity, PeerId},
    rights::{
        Ack, Receipt, ReceiptError, Refusal, Release, Right, RightError, SignError, Signed, SignedRight,
        Verdict, Verified, VerifyError, sign,
    },
    time::Timestamp,
};

use super::book::{Book, BookError, Booked, Booking, NewRow};

/// Most receipts of one node about one ticket. A honest node reports a few a session.
pub const MAX_RECEIPTS_PER_COPY: u32 = 100_000;

/// A billing peer. Clones share the books.
#[derive(Debug, Clone)]
pub struct Service {
    book: Book,
    identity: Identity,
}

/// Why a receipt is not even logged.
#[derive(Debug, thiserror::Error)]
enum NotBooked {
    #[error("the receipt is not booked: {0}")]
    Right(#[from] RightError),
    #[error("the receipt is not booked: it is {0}")]
    Forged(#[from] VerifyError),
    #[error("the receipt is not booked: {0}")]
    Receipt(#[from] ReceiptError),
    #[error("the receipt is not booked: its ticket names other billing peers than {0}")]
    NotOurs(PeerId),
    #[error("the release is not written down: it does not give back the slot shown with it")]
    OtherSlot,
    #[error("the receipt is not booked: there are {MAX_RECEIPTS_PER_COPY} of this copy already")]
    TooMany,
    /// Not the sender's fault: to be tried again.
    #[error(transparent)]
    Book(#[from] BookError),
    /// Not the sender's fault: to be tried again.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Service {
    /// A billing peer that signs as `identity`.
    #[must_use]
    pub fn new(book: Book, identity: Identity) -> Self {
        Self { book, identity }
    }

    /// The books.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// ST25: answers what `peer` asks. Everything about a receipt happens in one transaction, before the answer.
    pub async fn handle(&self, peer: PeerId, request: BillingRequest, now: Timestamp) -> BillingResponse {
        let answer = match request {
            BillingRequest::Submit { right, receipt } => {
                self.submit(*right, receipt, now).await.map(BillingResponse::Acked)
            }
            BillingRequest::Released { right, release } => {
                self.released(*right, release, now).await.map(|()| BillingResponse::Noted)
            }
        };
        match answer {
            Ok(answer) => answer,
            Err(NotBooked::Book(error)) => {
                tracing::error!(%error, "a receipt could not be booked");
                BillingResponse::Later
            }
            Err(NotBooked::Sign(error)) => {
                tracing::error!(%error, "a receipt could not be answered");
                BillingResponse::Later
            }
            Err(refusal) => {
                tracing::info!(%peer, reason = %refusal, "refused a receipt");
                BillingResponse::Refused(refusal.to_string())
            }
        }
    }

    async fn submit(
        &self,
        right: SignedRight,
        receipt: Signed<Receipt>,
        now: Timestamp,
    ) -> Result<Signed<Ack>, NotBooked> {
        let right = right.verify_chain()?;
        let receipt = receipt.verify()?;
        receipt.check(&right)?;
        self.check_ours(&right)?;
        let subject = receipt.subject(&right);
        let mut booking = self.book.begin().await?;
        if let Some(booked) = booking.find(receipt.hash(), &subject).await? {
            booking.give_up().await?;
            return self.answer_again(booked, &receipt);
        }
        if booking.is_full(&right, MAX_RECEIPTS_PER_COPY).await? {
            booking.give_up().await?;
            return Err(NotBooked::TooMany);
        }
        let verdict = judge(&mut booking, &right, now).await?;
        let ack = self.ack(&receipt, booking.position, verdict, now)?;
        let charges = match verdict {
            Verdict::Accepted => {
                let first_of_ticket = !booking.knows_ticket(receipt.ticket).await?;
                charges(&right, &receipt, first_of_ticket)
            }
            Verdict::Refused(_) => Vec::new(),
        };
        booking.keep_ticket(right.ticket(), now).await?;
        let row =
            NewRow { right: &right, receipt: &receipt, subject: &subject, ack: &ack, charges: &charges };
        booking.append(&row).await?;
        booking.commit().await?;
        Ok(ack.to_signed())
    }

    /// ST29: a slot was given back: whoever gets its number next is no second holder.
    async fn released(
        &self,
        right: SignedRight,
        release: Signed<Release>,
        now: Timestamp,
    ) -> Result<(), NotBooked> {
        let right = right.verify_chain()?;
        let release = release.verify()?;
        self.check_ours(&right)?;
        if !right.slot().is_some_and(|slot| release.gives_back(slot)) {
            return Err(NotBooked::OtherSlot);
        }
        let mut note = self.book.begin_note().await?;
        learn(&mut note, &right, News::Released(&release), now).await?;
        Ok(note.commit().await?)
    }

    fn check_ours(&self, right: &Right) -> Result<(), NotBooked> {
        let me = self.identity.peer();
        if right.ticket().billing.contains(&me) { Ok(()) } else { Err(NotBooked::NotOurs(me)) }
    }

    /// The first answer; for another receipt about the same thing, the first answer in that one's name.
    /// Signatures have no randomness in them, so this too is the same each time.
    fn answer_again(&self, booked: Booked, receipt: &Verified<Receipt>) -> Result<Signed<Ack>, NotBooked> {
        if booked.receipt == receipt.hash() {
            return Ok(booked.ack);
        }
        let verdict = booked.ack.unverified().verdict;
        Ok(self.ack(receipt, booked.position, verdict, booked.booked_at)?.to_signed())
    }

    fn ack(
        &self,
        receipt: &Verified<Receipt>,
        position: u64,
        verdict: Verdict,
        at: Timestamp,
    ) -> Result<Verified<Ack>, SignError> {
        let ack = Ack { billing: self.identity.peer(), receipt: receipt.hash(), position, verdict, at };
        sign(&ack, &self.identity)
    }
}

/// Looks for a cheat, and decides by what was known before this receipt.
async fn judge(booking: &mut Booking, right: &Right, now: Timestamp) -> Result<Verdict, BookError> {
    let mut known_cheat = false;
    for host in right.hosts() {
        known_cheat |= booking.is_cheat(host).await?;
    }
    let is_refused = known_cheat && !booking.knows_copy(right).await?;
    learn(booking, right, if is_refused { News::Granted } else { News::Reported }, now).await?;
    if is_refused {
        return Ok(Verdict::Refused(Refusal::HostCheated));
    }
    Ok(Verdict::Accepted)
}

/// Writes down what is told of a slot, and what follows: a proof that a host cheats, or a number overdrawn.
async fn learn(
    booking: &mut Booking,
    right: &Right,
    news: News<'_>,
    now: Timestamp,
) -> Result<(), BookError> {
    let Some(slot) = right.slot() else { return Ok(()) };
    let before = booking.places_near(slot).await?;
    let mut places = before.clone();
    for proof in places.learn(slot, news) {
        tracing::warn!(host = %proof.host(), ticket = %proof.ticket(), "a host gave one slot to two members");
        booking.keep_proof(&proof, now).await?;
    }
    booking.keep_places(&before, &places).await?;

    let holders = booking.holders(slot).await?;
    if holders > 1 && news == News::Reported {
        let (host, ticket, k) = (slot.host, slot.ticket, slot.k);
        tracing::warn!(%host, %ticket, k, holders, "a number has more holders than one, and no release is shown");
    }
    Ok(())
}
