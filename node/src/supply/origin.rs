//! The origin's side of supply (ST10-13): a catalog, a policy, tickets, manifests.
//!
//! For: publishing, answering catalog queries and supply requests, and deciding who may fetch what. Not for:
//! the bytes themselves ([`crate::content`]).

use std::{path::Path, sync::Arc, time::Duration};

use parlor_proto::{
    billing::{Tariff, TariffError},
    identity::PeerId,
    program::{CopiesRefusal, CopiesRule, CopiesRuleError, Role},
    rights::{
        Ledger, MAX_BILLING_PEERS, Receipt, ReceiptKind, Right, RightError, SignError, SignedRight, Terms,
        Ticket, Verified, sign,
    },
    wire::{CatalogResponse, MAX_OFFERS, Offer, RequestId, SupplyRequest, SupplyResponse},
};

use super::{
    library::{self, LibraryError},
    transfer::role_of,
};
use crate::{
    billing::OutboxError,
    clock,
    contacts::ContactError,
    context::Context,
    overlay::Closed,
    store::{BundleError, LibraryEntry, OfferTerms, Offering, StoreError},
};

/// Most tickets that one host gets of one origin.
const MAX_TICKETS: u32 = 1_000;
/// How long a ticket is good for.
const TICKET_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What `publish` asks for, as the user wrote it.
#[derive(Debug, Clone, Default)]
pub struct PublishTerms {
    /// Exactly that many copies.
    pub copies: Option<u32>,
    /// At most that many.
    pub copies_max: Option<u32>,
    /// A tariff.
    pub price: Option<String>,
    /// Who gets the receipts.
    pub billing: Vec<String>,
    /// A duration.
    pub lease: Option<String>,
}

/// Why a program cannot be published.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PublishError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("--copies: {0}")]
    Copies(#[from] CopiesRuleError),
    #[error("--copies: {0}")]
    OwnRule(CopiesRefusal),
    #[error("--price: {0}")]
    Price(#[from] TariffError),
    #[error("leases are not supported yet by this version of parlor: leave out --lease")]
    NoLeases,
    #[error("--billing: {0}")]
    Billing(#[from] ContactError),
    #[error("--billing: at most {MAX_BILLING_PEERS} peers")]
    ManyBilling,
    #[error("the catalog is full: it holds {MAX_OFFERS} programs")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a supply request is refused. The other node's user reads it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SupplyError {
    #[error("no program named {0:?} is offered here: `parlor catalog` lists what is")]
    NoSuchProgram(String),
    #[error(transparent)]
    Copies(#[from] CopiesRefusal),
    #[error("you have {MAX_TICKETS} tickets of this origin: no more are issued")]
    ManyTickets,
    #[error(transparent)]
    Right(#[from] RightError),
    #[error("that right is somebody else's")]
    NotYours,
    #[error("that right is not one that this node serves")]
    NotServed,
    #[error("that program is not here any more")]
    Gone,
    #[error("the host was proven to have given one copy to two members")]
    Cheat,
    #[error("the origin cannot answer now: try again later")]
    Store(#[from] StoreError),
    #[error("the origin cannot answer now: try again later")]
    Bundle(#[from] BundleError),
    #[error("the origin cannot answer now: try again later")]
    Outbox(#[from] OutboxError),
    #[error("the origin cannot answer now: try again later")]
    Network(#[from] Closed),
    #[error("the origin cannot sign tickets")]
    Sign(#[from] SignError),
}

/// Offers a directory or an `.xdc`, in place of what was offered under the same name.
pub async fn publish(
    context: &Arc<Context>,
    path: &Path,
    terms: PublishTerms,
) -> Result<Offering, PublishError> {
    let tariff: Tariff = terms.price.as_deref().unwrap_or_default().parse()?;
    // A promise that no node of this version could keep is not made.
    if terms.lease.is_some() {
        return Err(PublishError::NoLeases);
    }
    let mut billing = Vec::new();
    for who in &terms.billing {
        let peer = if *who == context.me().to_string() { context.me() } else { context.resolve(who).await? };
        if !billing.contains(&peer) {
            billing.push(peer);
        }
    }
    if billing.is_empty() {
        billing.push(context.me());
    }
    if billing.len() > MAX_BILLING_PEERS {
        return Err(PublishError::ManyBilling);
    }
    // What cannot be offered as it is to be is not taken in.
    let staged = library::stage(context, path).await?;
    let manifest = staged.program().manifest();
    let copies = restrict(manifest.copies, terms.copies, terms.copies_max)?;
    let name = manifest.name.to_string();
    let known = context.store.offer(&name).await?.is_some();
    if !known && context.store.offers().await?.len() >= MAX_OFFERS {
        return Err(PublishError::Full);
    }
    let bundle = library::install(context, staged, None).await?;
    let terms = OfferTerms { copies, tariff, lease: None, billing };
    let offer = Offering { name, program: bundle.program().id(), terms };
    context.store.put_offer(&offer).await?;
    Ok(offer)
}

/// The program's own rule, made narrower by what the origin says.
fn restrict(own: CopiesRule, exactly: Option<u32>, most: Option<u32>) -> Result<CopiesRule, PublishError> {
    let wanted = match (exactly, most) {
        (Some(n), _) => CopiesRule::between(n, n)?,
        (None, Some(most)) => match own {
            CopiesRule::Range { min, max } => CopiesRule::between(min, max.min(most))?,
            CopiesRule::Exactly(n) => CopiesRule::between(n, n)?,
            CopiesRule::Free => CopiesRule::between(1, most)?,
        },
        (None, None) => return Ok(own),
    };
    let least = match wanted {
        CopiesRule::Exactly(n) => n,
        CopiesRule::Range { min, .. } => min,
        CopiesRule::Free => 1,
    };
    own.approve(Some(least), false).map_err(PublishError::OwnRule)?;
    if let (CopiesRule::Exactly(n), Some(most)) = (wanted, most)
        && n > most
    {
        return Err(PublishError::OwnRule(CopiesRefusal { asked: most, rule: own }));
    }
    Ok(wanted)
}

/// ST1, 10: what is offered.
pub async fn catalog(context: &Context) -> Result<CatalogResponse, StoreError> {
    let mut programs = Vec::new();
    for offer in context.store.offers().await?.into_iter().take(MAX_OFFERS) {
        // A program whose files were removed behind the node's back is not offered.
        let Ok(Some(bundle)) = context.bundle(offer.program).await else { continue };
        let manifest = bundle.program().manifest();
        programs.push(Offer {
            name: offer.name,
            program: offer.program,
            version: manifest.version.clone(),
            summary: manifest.summary.clone(),
            size: bundle.program().size_for(Role::Host),
            copies: offer.terms.copies,
            tariff: offer.terms.tariff,
            lease: offer.terms.lease,
        });
    }
    Ok(CatalogResponse { programs })
}

/// ST3, 10-13: the answer to `from`.
pub async fn answer(context: &Context, from: PeerId, request: SupplyRequest) -> SupplyResponse {
    let SupplyRequest::Ticket { request, name, copies } = request;
    let issued = async {
        let ticket = issue(context, from, request, &name, copies).await?;
        let billing = context.places_of(&ticket.billing).await?;
        Ok::<_, SupplyError>(SupplyResponse::Ticket { ticket: ticket.to_signed(), billing })
    };
    match issued.await {
        Ok(response) => response,
        Err(error) => {
            tracing::info!(?from, %error, "a supply request was refused");
            SupplyResponse::Refused(error.to_string())
        }
    }
}

/// ST11-12: the same request gets the same ticket, which is on disk before it is given away.
pub async fn issue(
    context: &Context,
    host: PeerId,
    request: RequestId,
    name: &str,
    copies: Option<u32>,
) -> Result<Verified<Ticket>, SupplyError> {
    if let Some(ticket) = context.store.issued(host, request).await? {
        return Ok(ticket);
    }
    let offer =
        context.store.offer(name).await?.ok_or_else(|| SupplyError::NoSuchProgram(name.to_owned()))?;
    if context.bundle(offer.program).await?.and_then(|bundle| bundle.complete()).is_none() {
        return Err(SupplyError::Gone);
    }
    if context.store.count_issued(host).await? >= MAX_TICKETS {
        return Err(SupplyError::ManyTickets);
    }
    let ticket = sign_ticket(context, host, offer, copies)?;
    context.store.put_issued(request, &ticket).await?;
    Ok(ticket)
}

/// ST31-33: a ticket of this node for itself, for a program that its user brought; under the terms of its own
/// offer, if there is one.
pub async fn issue_to_self(context: &Context, entry: &LibraryEntry) -> Result<(), SupplyError> {
    let offer = context.store.offer(&entry.name).await?.filter(|offer| offer.program == entry.program);
    let bundle = context.bundle(entry.program).await?.ok_or(SupplyError::Gone)?;
    let own_terms = || OfferTerms {
        copies: bundle.program().manifest().copies,
        tariff: Tariff::FREE,
        lease: None,
        billing: vec![context.me()],
    };
    let (name, program) = (entry.name.clone(), entry.program);
    let offer = offer.unwrap_or_else(|| Offering { name, program, terms: own_terms() });
    let ticket = sign_ticket(context, context.me(), offer, None)?;
    let (right, now) = (Right::of_host(ticket.clone()), clock::now());
    let receipt = sign(&Receipt::new(&right, None, ReceiptKind::Received, now), &context.identity)?;
    let mut write = context.store.write().await?;
    context.store.add_ledger(&mut write, &Ledger::new(ticket), now).await?;
    context.outbox.enqueue(&mut write, &right, &receipt, now).await?;
    write.commit().await.map_err(StoreError::from)?;
    context.outbox.wake();
    Ok(())
}

fn sign_ticket(
    context: &Context,
    host: PeerId,
    offer: Offering,
    copies: Option<u32>,
) -> Result<Verified<Ticket>, SupplyError> {
    let copies = offer.terms.copies.approve(copies, offer.terms.tariff.prices().copy > 0)?;
    let now = clock::now();
    let ticket = Ticket {
        id: rand::random(),
        origin: context.me(),
        host,
        name: offer.name,
        program: offer.program,
        copies,
        issued_at: now,
        not_before: now,
        expires: now + TICKET_LIFE,
        terms: Terms { tariff: offer.terms.tariff, lease: offer.terms.lease },
        billing: offer.terms.billing,
        offline_issue: true,
    };
    Ok(sign(&ticket, &context.identity)?)
}

/// Whether `from` may have the program that `right` is about, and in which role. A right serves its holder
/// alone, and only with the one who gave it: anybody can be origin and host of tickets of their own.
pub async fn authorise(
    context: &Context,
    from: PeerId,
    right: SignedRight,
) -> Result<(Right, Role), SupplyError> {
    let right = right.verify(clock::now())?;
    if right.holder() != from {
        return Err(SupplyError::NotYours);
    }
    if !is_given_here(context, &right).await? {
        return Err(SupplyError::NotServed);
    }
    for host in right.hosts() {
        if context.store.is_cheat(&host.to_string()).await? {
            return Err(SupplyError::Cheat);
        }
    }
    let role = role_of(&right);
    Ok((right, role))
}

/// A host's right is served by the ticket's origin; a member's by whoever hosts it now, and by who granted its slot,
/// as long as the ledger has that: not after it was given back.
async fn is_given_here(context: &Context, right: &Right) -> Result<bool, StoreError> {
    let ticket = right.ticket();
    let Some(slot) = right.slot() else { return Ok(ticket.origin == context.me()) };
    if right.granted_by() != context.me() {
        return Ok(context.hosted.contains(slot.hash()));
    }
    let ledger = context.store.ledger(ticket.hash()).await?;
    let held = ledger.as_ref().and_then(|ledger| ledger.slot_of(slot.member));
    Ok(held.is_some_and(|held| held.hash() == slot.hash()))
}
