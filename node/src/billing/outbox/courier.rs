//! The courier: takes what is in the outbox to billing peers, again and again until they are settled.
//!
//! For: who is asked when, and what an answer means. Not for: connections. It is handed a function that sends
//! a request to a peer and waits for the answer.
//!
//! All state is in the outbox, so that the courier can be stopped at any moment: what was sent and not
//! settled is sent again, and a billing peer gives the first answer again.

use std::{collections::HashSet, fmt::Display, future::Future, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use parlor_proto::{
    billing::{BillingRequest, BillingResponse},
    identity::PeerId,
    ids::ReceiptHash,
    rights::{Ack, AckError, Signed, Verified, VerifyError},
    time::Timestamp,
};

use super::{Outbox, OutboxError, Parcel, What};

/// Longest time without a look into the outbox, for receipts whose writer did not say so.
const MAX_NAP: Duration = Duration::from_secs(15);

/// Time to recover for a database that fails.
const TROUBLE_NAP: Duration = Duration::from_secs(5);

/// An answer that is not one. The billing peer is broken or does not play by the rules.
#[derive(Debug, thiserror::Error)]
enum BadAnswer {
    #[error("the billing peer answered with {0}")]
    Forged(#[from] VerifyError),
    #[error("the billing peer's answer does not fit: {0}")]
    Misplaced(#[from] AckError),
}

/// Delivers until it is dropped. Each billing peer is asked one thing at a time, in order; different ones at the
/// same time. `send` must come back: with an answer, or with an error once it has waited long enough.
pub async fn run<S, F, E>(outbox: Outbox, clock: impl Fn() -> Timestamp, send: S)
where
    S: Fn(PeerId, BillingRequest) -> F,
    F: Future<Output = Result<BillingResponse, E>>,
    E: Display,
{
    let mut rounds = FuturesUnordered::new();
    let mut busy = HashSet::new();
    loop {
        let nap = match plan(&outbox, &busy, clock()).await {
            Ok((parcels, nap)) => {
                for (billing, parcels) in by_peer(parcels) {
                    busy.insert(billing);
                    rounds.push(round(&outbox, &clock, &send, billing, parcels));
                }
                nap
            }
            Err(error) => {
                tracing::warn!(%error, "the outbox cannot be read");
                TROUBLE_NAP
            }
        };
        tokio::select! {
            Some(billing) = rounds.next() => { busy.remove(&billing); }
            () = outbox.wake.notified() => {}
            () = tokio::time::sleep(nap) => {}
        }
    }
}

/// What is due for those who are not busy, and when to look again.
async fn plan(
    outbox: &Outbox,
    busy: &HashSet<PeerId>,
    now: Timestamp,
) -> Result<(Vec<Parcel>, Duration), OutboxError> {
    let mut parcels = outbox.due(now).await?;
    parcels.retain(|parcel| !busy.contains(&parcel.billing));
    let nap = outbox.next_due_in(now).await?.unwrap_or(MAX_NAP).min(MAX_NAP);
    Ok((parcels, nap))
}

/// In the order in which their first parcel is due.
fn by_peer(parcels: Vec<Parcel>) -> Vec<(PeerId, Vec<Parcel>)> {
    let mut groups: Vec<(PeerId, Vec<Parcel>)> = Vec::new();
    for parcel in parcels {
        match groups.iter_mut().find(|(billing, _)| *billing == parcel.billing) {
            Some((_, group)) => group.push(parcel),
            None => groups.push((parcel.billing, vec![parcel])),
        }
    }
    groups
}

/// Sends `parcels` to `billing`. Once it cannot be reached, the rest is not tried.
async fn round<S, F, E>(
    outbox: &Outbox,
    clock: &impl Fn() -> Timestamp,
    send: &S,
    billing: PeerId,
    parcels: Vec<Parcel>,
) -> PeerId
where
    S: Fn(PeerId, BillingRequest) -> F,
    F: Future<Output = Result<BillingResponse, E>>,
    E: Display,
{
    let mut unreachable: Option<String> = None;
    for parcel in parcels {
        let settled = match &unreachable {
            Some(reason) => put_off(outbox, &parcel, reason, clock()).await,
            None => match send(billing, parcel.request.clone()).await {
                Ok(response) => settle(outbox, &parcel, response, clock()).await,
                Err(error) => {
                    let reason = unreachable.insert(error.to_string());
                    put_off(outbox, &parcel, reason, clock()).await
                }
            },
        };
        if let Err(error) = settled {
            // Nothing is lost: it is still due.
            tracing::warn!(%error, "the outbox cannot be written");
            tokio::time::sleep(TROUBLE_NAP).await;
            break;
        }
    }
    billing
}

/// Writes down what an answer means.
pub(in crate::billing) async fn settle(
    outbox: &Outbox,
    parcel: &Parcel,
    response: BillingResponse,
    now: Timestamp,
) -> Result<(), OutboxError> {
    let Parcel { what, billing, .. } = parcel;
    match (*what, response) {
        (What::Receipt(receipt), BillingResponse::Acked(ack)) => match checked(ack, *billing, receipt) {
            Ok(ack) => outbox.acked(&ack).await,
            Err(bad) => {
                tracing::warn!(%billing, %bad, "a billing peer gave a bad answer");
                outbox.failed(receipt, *billing, &bad.to_string(), now).await
            }
        },
        (What::Receipt(receipt), BillingResponse::Refused(reason)) => {
            tracing::warn!(%billing, %receipt, reason, "a billing peer refused a receipt");
            outbox.refused(receipt, *billing, &reason, now).await
        }
        (What::Link(release), BillingResponse::Noted) => outbox.link_settled(release, *billing).await,
        (What::Link(release), BillingResponse::Refused(reason)) => {
            tracing::info!(%billing, %release, reason, "a billing peer does not want a release");
            outbox.link_settled(release, *billing).await
        }
        (_, BillingResponse::Later) => {
            put_off(outbox, parcel, "the billing peer cannot book it now", now).await
        }
        (What::Receipt(_), BillingResponse::Noted) | (What::Link(_), BillingResponse::Acked(_)) => {
            put_off(outbox, parcel, "the billing peer's answer does not fit", now).await
        }
    }
}

/// It could not be delivered: later.
async fn put_off(outbox: &Outbox, parcel: &Parcel, reason: &str, now: Timestamp) -> Result<(), OutboxError> {
    match parcel.what {
        What::Receipt(receipt) => outbox.failed(receipt, parcel.billing, reason, now).await,
        What::Link(release) => outbox.link_failed(release, parcel.billing, now).await,
    }
}

fn checked(ack: Signed<Ack>, billing: PeerId, receipt: ReceiptHash) -> Result<Verified<Ack>, BadAnswer> {
    let ack = ack.verify()?;
    ack.check(billing, receipt)?;
    Ok(ack)
}
