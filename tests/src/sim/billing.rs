//! The billing peer, and the way to it: receipts from an outbox, until they are acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use parlor_proto::{
    billing::{
        ChargeKind, charges,
        copies::{News, Places},
    },
    identity::PeerId,
    ids::{ReceiptHash, TicketHash},
    rights::{EquivocationProof, Receipt, ReceiptKind, Release, Right, Signed, SignedRight, Slot, Verified},
};

use super::bug::Bug;

/// The billing peer's books: all of it on disk.
pub(super) struct Billing {
    /// Every receipt that was taken, with what became of it.
    pub(super) log: BTreeMap<ReceiptHash, Taken>,
    subjects: BTreeSet<String>,
    tickets: BTreeSet<TicketHash>,
    /// How often each kind of thing was charged to each payer.
    pub(super) charged: BTreeMap<(PeerId, &'static str), u64>,
    /// How many receipts about time of use were charged: by the minute.
    pub(super) used: u64,
    numbers: BTreeMap<(TicketHash, u32), Places>,
    pub(super) proofs: Vec<EquivocationProof>,
    /// Its disk is full.
    pub(super) full: bool,
}

/// What became of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Booked,
    /// It reports what was booked already.
    Duplicate,
    /// Its host was proven a cheat before.
    HostCheated,
}

impl Billing {
    pub(super) fn new() -> Self {
        Self {
            log: BTreeMap::new(),
            subjects: BTreeSet::new(),
            tickets: BTreeSet::new(),
            charged: BTreeMap::new(),
            used: 0,
            numbers: BTreeMap::new(),
            proofs: Vec::new(),
            full: false,
        }
    }

    /// Books a receipt, unless it is in the log; `Err` says why it is no receipt.
    pub(super) fn take(
        &mut self,
        right: SignedRight,
        receipt: Signed<Receipt>,
        bug: Option<Bug>,
    ) -> Result<ReceiptHash, String> {
        let right = right.verify_chain().map_err(|error| error.to_string())?;
        let receipt = receipt.verify().map_err(|error| error.to_string())?;
        receipt.check(&right).map_err(|error| error.to_string())?;
        let hash = receipt.hash();
        let careless = bug == Some(Bug::BookedTwice);
        if self.log.contains_key(&hash) && !careless {
            return Ok(hash);
        }
        if let Some(slot) = right.slot() {
            self.learn(slot, News::Reported);
        }
        let cheated = |proof: &EquivocationProof| right.hosts().contains(&proof.host());
        let taken = if self.proofs.iter().any(cheated) {
            Taken::HostCheated
        } else if !self.subjects.insert(receipt.subject(&right).as_str().to_owned()) && !careless {
            Taken::Duplicate
        } else {
            self.charge(&right, &receipt);
            Taken::Booked
        };
        self.log.insert(hash, taken);
        Ok(hash)
    }

    /// Writes down what was given back; `Err` says why it is not.
    pub(super) fn note(&mut self, right: SignedRight, release: Signed<Release>) -> Result<(), String> {
        let right = right.verify_chain().map_err(|error| error.to_string())?;
        let release = release.verify().map_err(|error| error.to_string())?;
        match right.slot().filter(|slot| release.gives_back(slot)) {
            Some(slot) => {
                self.learn(slot, News::Released(&release));
                Ok(())
            }
            None => Err("it is of another slot".to_owned()),
        }
    }

    fn learn(&mut self, slot: &Verified<Slot>, news: News<'_>) {
        let proofs = self.numbers.entry((slot.ticket, slot.k)).or_default().learn(slot, news);
        self.proofs.extend(proofs);
    }

    /// The numbers of which a member has reported a copy and not shown that it gave it back, as far as is known here,
    /// and the slots by which they have it.
    pub(super) fn held(&self) -> impl Iterator<Item = ((TicketHash, u32), Vec<&Verified<Slot>>)> {
        self.numbers.iter().map(|(number, places)| {
            let held = places.iter().filter(|place| place.is_held());
            (*number, held.map(|place| &place.slot).collect())
        })
    }

    /// Whether the books say that this number has more holders than one.
    pub(super) fn is_overdrawn(&self, number: (TicketHash, u32), bug: Option<Bug>) -> bool {
        let holders = self.numbers.get(&number).map_or(0, Places::holders);
        holders > 1 && bug != Some(Bug::CountIgnored)
    }

    fn charge(&mut self, right: &Right, receipt: &Verified<Receipt>) {
        self.used += u64::from(matches!(receipt.kind, ReceiptKind::Used { .. }));
        let first = self.tickets.insert(right.ticket().hash());
        for charge in charges(right, receipt, first).iter().filter(|charge| charge.kind != ChargeKind::Copy) {
            *self.charged.entry((charge.payer, charge.kind.name())).or_default() += charge.quantity;
        }
    }
}
