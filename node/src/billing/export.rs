//! The books in forms that other programs read: CSV, JSON, and a journal for hledger.
//!
//! For: taking charges into a spreadsheet or an accounting program. Not for: people's own reading (see
//! `parlor_proto::billing::Invoice`).

use std::{collections::BTreeSet, fmt::Write as _};

use parlor_proto::{
    billing::{Charge, ChargeKind, Entry, Money},
    identity::PeerId,
    ids::{ProgramId, ReceiptHash, TicketHash},
};
use serde::Serialize;

use crate::clock::rfc3339;

/// A charge, as it is exported.
#[derive(Serialize)]
struct Row<'a> {
    position: u64,
    at: String,
    booked_at: String,
    payer: PeerId,
    kind: ChargeKind,
    quantity: u64,
    price: u64,
    amount: u64,
    currency: Option<&'a str>,
    name: &'a str,
    program: ProgramId,
    ticket: TicketHash,
    receipt: ReceiptHash,
    member: PeerId,
}

impl<'a> Row<'a> {
    fn of(entry: &'a Entry) -> Self {
        let Charge { payer, kind, quantity, price, ref currency } = entry.charge;
        Self {
            position: entry.position,
            at: rfc3339(entry.at),
            booked_at: rfc3339(entry.booked_at),
            payer,
            kind,
            quantity,
            price,
            amount: entry.charge.amount(),
            currency: currency.as_ref().map(|currency| currency.as_str()),
            name: &entry.name,
            program: entry.program,
            ticket: entry.ticket,
            receipt: entry.receipt,
            member: entry.member,
        }
    }
}

/// Comma-separated values (RFC 4180) with a header line, one line a charge, amounts in minor units.
///
/// A program's name is its origin's to choose. One that a spreadsheet would run as a formula gets an
/// apostrophe in front.
pub fn csv(entries: &[Entry]) -> Result<String, csv::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    // Written here rather than with the first line, so that an empty book has it too.
    writer.write_record([
        "position",
        "at",
        "booked_at",
        "payer",
        "kind",
        "quantity",
        "price",
        "amount",
        "currency",
        "name",
        "program",
        "ticket",
        "receipt",
        "member",
    ])?;
    for entry in entries {
        let harmless = format!("'{}", entry.name);
        let mut row = Row::of(entry);
        if entry.name.starts_with(['=', '+', '-', '@']) {
            row.name = &harmless;
        }
        writer.serialize(row)?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `{"charges":[…]}`, amounts in minor units.
pub fn json(entries: &[Entry]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Charges<'a> {
        charges: Vec<Row<'a>>,
    }
    serde_json::to_string(&Charges { charges: entries.iter().map(Row::of).collect() })
}

/// A journal for hledger (<https://hledger.org/hledger.html#journal>): one transaction a charge that costs
/// something, from the payer's receivables to a revenue of its kind. It passes `hledger check --strict`.
#[must_use]
pub fn hledger(entries: &[Entry]) -> String {
    let priced = || entries.iter().filter_map(|entry| Some((entry, priced_money(entry)?)));
    let mut journal = String::from("; Charges booked by parlor.\ndecimal-mark .\n\n");
    // Writing to a String cannot fail.
    for commodity in priced().map(|(_, money)| commodity(&money)).collect::<BTreeSet<_>>() {
        let _ = writeln!(journal, "commodity {commodity}");
    }
    let accounts = priced().flat_map(|(entry, _)| [receivable(&entry.charge), revenue(entry.charge.kind)]);
    for account in accounts.collect::<BTreeSet<_>>() {
        let _ = writeln!(journal, "account {account}");
    }
    for (entry, money) in priced() {
        let Charge { kind, quantity, price, .. } = entry.charge;
        let date = rfc3339(entry.at);
        let price = Money { amount: price, ..money };
        let _ = write!(
            journal,
            "\n{} * ({}) {}: {} x {} at {}\n    ; receipt:{}, ticket:{}\n    {}  {}\n    {}  -{}\n",
            date.get(..10).unwrap_or(&date),
            entry.position,
            on_one_line(&entry.name),
            quantity,
            kind.name(),
            price,
            entry.receipt,
            entry.ticket,
            receivable(&entry.charge),
            money,
            revenue(kind),
            money,
        );
    }
    journal
}

fn priced_money(entry: &Entry) -> Option<Money> {
    entry.charge.money().filter(|money| money.amount > 0)
}

/// The commodity directive's sample amount: its decimals are the currency's.
fn commodity(money: &Money) -> String {
    let sample = Money { amount: 10u64.pow(money.currency.decimals()) * 1000, ..*money };
    let decimal = sample.decimal();
    // A sample amount needs its decimal mark, also where nothing follows.
    let mark = if decimal.contains('.') { "" } else { "." };
    format!("{decimal}{mark} {}", money.currency)
}

fn receivable(charge: &Charge) -> String {
    format!("assets:receivable:{}", charge.payer)
}

fn revenue(kind: ChargeKind) -> String {
    format!("revenues:parlor:{}", kind.name())
}

/// A description ends at a semicolon, where a comment begins, and its payee at a bar.
fn on_one_line(name: &str) -> String {
    name.replace(';', ",").replace('|', "/")
}
