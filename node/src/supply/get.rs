//! The host's side of supply (ST1-4): catalog queries and `get`.
//!
//! For: driving one [`Supply`] machine from asking to holding. Interrupted at any point, the same `get` again
//! goes on from there; once the ticket is here, the node also goes on by itself when it starts.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use parlor_proto::{
    identity::PeerId,
    rights::{Ledger, SignError, Ticket, Verified},
    session::{Supply, SupplyInput, SupplyOutput, SupplyState},
    wire::{CatalogRequest, CatalogResponse, Request, RequestId, Response},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    library::{self, LibraryError},
    origin,
    transfer::{self, Progress, TransferError},
};
use crate::{
    billing::OutboxError,
    clock,
    context::{Context, Event},
    overlay::RequestError,
    store::{BundleError, StoreError},
};

/// How long to wait between tries while an origin is away, at the most.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why a `get` did not succeed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GetError {
    #[error("the origin refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the origin answered something else than was asked")]
    Nonsense,
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// All supplies of one node.
pub struct Supplies {
    context: Arc<Context>,
    /// One drive a supply: the second `get` of the same waits for the first.
    driving: Mutex<HashSet<RequestId>>,
    /// Held while a supply is looked for and, if there is none, begun: two `get`s of the same begin one.
    beginning: tokio::sync::Mutex<()>,
    done: watch::Sender<()>,
}

impl Supplies {
    /// None yet.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, driving: Mutex::default(), beginning: Default::default(), done: watch::channel(()).0 }
    }

    /// ST1-2: what `origin` offers.
    pub async fn catalog(&self, origin: PeerId) -> Result<CatalogResponse, GetError> {
        if origin == self.context.me() {
            return Ok(origin::catalog(&self.context).await?);
        }
        match self.context.overlay.request(origin, Request::Catalog(CatalogRequest {})).await? {
            Response::Catalog(catalog) => Ok(catalog),
            _ => Err(GetError::Nonsense),
        }
    }

    /// ST3-4: program and ticket, or why not.
    pub async fn get(
        &self,
        origin: PeerId,
        name: &str,
        copies: Option<u32>,
        progress: watch::Sender<Progress>,
    ) -> Result<Verified<Ticket>, GetError> {
        let supply = self.begin(origin, name, copies).await?;
        self.drive(supply, progress).await
    }

    /// ST3: the supply that a crash or the user interrupted, else a new one. The request's name is on disk before
    /// it is asked.
    async fn begin(&self, origin: PeerId, name: &str, copies: Option<u32>) -> Result<Supply, GetError> {
        let _beginning = self.beginning.lock().await;
        let open = self.context.store.open_supplies().await?;
        let same = |supply: &Supply| supply.origin() == origin && supply.wanted() == (name, copies);
        if let Some(supply) = open.into_iter().find(same) {
            return Ok(supply);
        }
        let supply = Supply::new(RequestId(rand::random()), origin, name.to_owned(), copies);
        self.keep(&supply, Vec::new()).await?;
        Ok(supply)
    }

    /// At start: what already has its ticket goes on by itself, until `stop`.
    pub async fn resume(self: &Arc<Self>, stop: &CancellationToken) -> Result<(), StoreError> {
        let open = self.context.store.open_supplies().await?;
        for supply in open.into_iter().filter(|supply| supply.right().is_some()) {
            let (supplies, stop) = (Arc::clone(self), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = supplies.persist_until_held(supply) => {}
                }
            });
        }
        Ok(())
    }

    async fn persist_until_held(&self, supply: Supply) {
        let mut wait = Duration::from_secs(1);
        loop {
            match self.drive(supply.clone(), watch::channel(Progress::default()).0).await {
                Ok(_) => return,
                Err(GetError::Transfer(error)) if !error.is_final() => {
                    tracing::info!(%error, "a supply waits");
                }
                Err(error) => {
                    tracing::warn!(%error, "a supply was given up");
                    return;
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    fn driving(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.driving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drive(
        &self,
        supply: Supply,
        progress: watch::Sender<Progress>,
    ) -> Result<Verified<Ticket>, GetError> {
        let request = supply.request();
        let mut done = self.done.subscribe();
        while !self.driving().insert(request) {
            // The sender lives as long as `self`.
            let _ = done.changed().await;
        }
        let _driving = Driving { supplies: self, request };
        // Another drive may have brought it further meanwhile.
        let newest = self.context.store.supply(request).await?.unwrap_or(supply);
        self.advance(newest, progress).await
    }

    async fn advance(
        &self,
        mut supply: Supply,
        progress: watch::Sender<Progress>,
    ) -> Result<Verified<Ticket>, GetError> {
        if let Some(ask) = supply.ask() {
            let answer = if supply.origin() == self.context.me() {
                origin::answer(&self.context, supply.origin(), ask).await
            } else {
                let request = Request::Supply(Box::new(ask));
                match self.context.overlay.request(supply.origin(), request).await? {
                    Response::Supply(answer) => *answer,
                    _ => return Err(GetError::Nonsense),
                }
            };
            self.step(&mut supply, SupplyInput::Answer(answer)).await?;
            self.context.note_places(supply.billing()).await?;
        }
        if let Some(right) = supply.right() {
            let origin = supply.origin();
            match transfer::fetch(&self.context, &right, vec![origin], &progress).await {
                Ok(_) => self.step(&mut supply, SupplyInput::Received).await?,
                Err(error) if error.is_final() || error.is_gone() => {
                    let lost = SupplyInput::ReceptionFailed(error.to_string());
                    self.step(&mut supply, lost).await?;
                    self.context.sweep_soon();
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        match supply.state() {
            SupplyState::Held(ticket) => Ok(ticket.clone()),
            SupplyState::Refused(why) => Err(GetError::Refused(why.clone())),
            SupplyState::Asking | SupplyState::Receiving(_) => Err(GetError::Nonsense),
        }
    }

    async fn step(&self, supply: &mut Supply, input: SupplyInput) -> Result<(), GetError> {
        let outputs = supply.handle(input, &self.context.identity, clock::now())?;
        self.keep(supply, outputs).await?;
        Ok(())
    }

    /// The step and all that belongs to it, in one transaction.
    async fn keep(&self, supply: &Supply, outputs: Vec<SupplyOutput>) -> Result<(), GetError> {
        let (context, now) = (&self.context, clock::now());
        let held = match supply.state() {
            SupplyState::Held(ticket) => Some(ticket),
            _ => None,
        };
        let bundle = match held {
            // Taken out of the library at this very moment: then it has to be fetched again.
            Some(ticket) => Some(
                context.bundle(ticket.program).await?.ok_or(TransferError::Bundle(BundleError::Removed))?,
            ),
            None => None,
        };
        let mut write = context.store.write().await?;
        context.store.put_supply(&mut write, supply).await?;
        if let (Some(ticket), Some(bundle)) = (held, &bundle) {
            let origin = Some(ticket.origin).filter(|origin| *origin != context.me());
            library::put(context, &mut write, bundle, origin).await.map_err(|error| match error {
                // As above.
                LibraryError::Bundle(error) => TransferError::Bundle(error).into(),
                error => GetError::from(error),
            })?;
            context.store.add_ledger(&mut write, &Ledger::new(ticket.clone()), now).await?;
        }
        for SupplyOutput::Receipt(item) in outputs {
            context.outbox.enqueue(&mut write, &item.0, &item.1, now).await?;
        }
        write.commit().await.map_err(StoreError::from)?;
        context.outbox.wake();
        if held.is_some() {
            context.tell(Event::Changed);
        }
        Ok(())
    }
}

/// Marks a supply as driven, however the drive ends.
struct Driving<'a> {
    supplies: &'a Supplies,
    request: RequestId,
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.supplies.driving().remove(&self.request);
        self.supplies.done.send_replace(());
    }
}
