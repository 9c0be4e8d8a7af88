//! Charges, and what they add up to.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    identity::{Identity, PeerId},
    ids::{ProgramId, ReceiptHash, SessionId, TicketHash},
    rights::{Receipt, ReceiptKind, Right, Slot, Terms, Ticket, sign},
    time::Timestamp,
};

const NOW: Timestamp = Timestamp(1_893_456_000_000);

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn peer(number: u8) -> PeerId {
    identity(number).peer()
}

/// Host 2 of a ticket by origin 1 for five copies, and member 3.
fn rights(price: &str) -> (Right, Right) {
    let ticket = Ticket {
        id: [0; 16],
        origin: peer(1),
        host: peer(2),
        name: "chat".to_owned(),
        program: ProgramId([7; 32]),
        copies: 5,
        issued_at: NOW,
        not_before: NOW,
        expires: NOW + Duration::from_secs(1000),
        terms: Terms { tariff: price.parse().unwrap(), lease: None },
        billing: vec![],
        offline_issue: false,
    };
    let ticket = sign(&ticket, &identity(1)).unwrap();
    let slot = Slot {
        ticket: ticket.hash(),
        k: 0,
        generation: 0,
        host: peer(2),
        member: peer(3),
        issued_at: NOW,
        release: None,
        handover: None,
    };
    let slot = sign(&slot, &identity(2)).unwrap();
    let member = Right::member(ticket.clone(), slot, NOW).unwrap();
    (Right::host(ticket, NOW).unwrap(), member)
}

fn charged(right: &Right, kind: ReceiptKind, first: bool) -> Vec<(PeerId, ChargeKind, u64, u64)> {
    let receipt = Receipt {
        ticket: right.ticket().hash(),
        slot: right.slot().map(|slot| slot.hash()),
        member: right.holder(),
        session: Some(SessionId([0; 16])),
        kind,
        at: NOW,
    };
    let charges = charges(right, &receipt, first);
    charges.iter().map(|charge| (charge.payer, charge.kind, charge.quantity, charge.amount())).collect()
}

fn entry(payer: u8, kind: ChargeKind, quantity: u64, price: u64, currency: Option<&str>) -> Entry {
    let currency = currency.map(|code| code.parse().unwrap());
    Entry {
        position: 1,
        at: NOW,
        booked_at: NOW,
        receipt: ReceiptHash([0; 32]),
        ticket: TicketHash([9; 32]),
        program: ProgramId([7; 32]),
        name: "chat".to_owned(),
        member: peer(payer),
        charge: Charge { payer: peer(payer), kind, quantity, price, currency },
    }
}

#[test]
fn the_host_pays_for_the_copies_and_each_node_for_its_own() {
    let (host, member) = rights("copy=100EUR,reception=5EUR,use=7EUR,minute=2EUR");
    assert_eq!(
        charged(&member, ReceiptKind::Received, true),
        [(peer(2), ChargeKind::Copy, 5, 500), (peer(3), ChargeKind::Reception, 1, 5)]
    );
    assert_eq!(charged(&host, ReceiptKind::Received, false), [(peer(2), ChargeKind::Reception, 1, 5)]);
    assert_eq!(charged(&member, ReceiptKind::Started, false), [(peer(3), ChargeKind::Use, 1, 7)]);
    assert_eq!(charged(&member, ReceiptKind::Ended, false), []);
}

#[test]
fn begun_minutes_count_in_full() {
    let (_, member) = rights("minute=2EUR");
    for (seconds, minutes) in [(0, 0), (1, 1), (60, 1), (61, 2), (3600, 60)] {
        let kind = ReceiptKind::Used { from: NOW, to: NOW + Duration::from_secs(seconds) };
        let charge = (peer(3), ChargeKind::Minute, minutes, 2 * minutes);
        assert_eq!(charged(&member, kind, false), [charge], "{seconds} s");
    }
}

#[test]
fn what_is_free_is_counted_all_the_same() {
    let (_, member) = rights("free");
    let free = [(peer(2), ChargeKind::Copy, 5, 0), (peer(3), ChargeKind::Reception, 1, 0)];
    assert_eq!(charged(&member, ReceiptKind::Received, true), free);
}

#[test]
fn a_statement_has_the_shape_that_is_promised() {
    let book =
        [entry(2, ChargeKind::Copy, 2, 100, Some("EUR")), entry(2, ChargeKind::Reception, 1, 5, Some("EUR"))];
    let text = json(&Statement::of(&book).unwrap());
    let expected = format!(
        r#"{{"payers":[{{"payer":"{}","receptions":1,"copies":2,"uses":0,"minutes":0,"total":{{"amount":205,"currency":"EUR"}}}}],"receptions":1,"total":[{{"amount":205,"currency":"EUR"}}]}}"#,
        peer(2)
    );
    assert_eq!(text, expected);
}

/// As JSON.
fn json(statement: &Statement) -> String {
    serde_json::to_string(statement).unwrap()
}

#[test]
fn a_statement_of_free_programs_has_counts_and_no_sums() {
    let statement = Statement::of(&[entry(3, ChargeKind::Reception, 1, 0, None)]).unwrap();
    assert_eq!((statement.receptions, statement.total.len()), (1, 0));
    assert_eq!(statement.payers[0].total.amount, 0);
}

#[test]
fn free_and_priced_things_of_one_payer_are_one_line() {
    let book = [
        entry(3, ChargeKind::Reception, 1, 0, None),
        entry(3, ChargeKind::Reception, 1, 5, Some("EUR")),
        entry(3, ChargeKind::Use, 1, 5, Some("JPY")),
    ];
    let statement = Statement::of(&book).unwrap();
    let lines: Vec<_> =
        statement.payers.iter().map(|line| (line.receptions, line.uses, line.total.amount)).collect();
    assert_eq!(lines, [(2, 0, 5), (0, 1, 5)]);
}

#[test]
fn a_sum_beyond_all_bounds_is_an_error() {
    let huge = || entry(3, ChargeKind::Use, u64::MAX, 1, Some("EUR"));
    assert_eq!(Statement::of(&[huge(), huge()]), Err(TotalTooLarge));
}

#[test]
fn an_invoice_is_of_one_payer_and_adds_up() {
    let book = [
        entry(2, ChargeKind::Copy, 2, 100, Some("EUR")),
        entry(2, ChargeKind::Reception, 1, 5, Some("EUR")),
        entry(2, ChargeKind::Reception, 1, 5, Some("EUR")),
        entry(2, ChargeKind::Use, 3, 0, Some("EUR")),
        entry(3, ChargeKind::Reception, 1, 5, Some("EUR")),
    ];
    let invoice = Invoice::of("7".to_owned(), "2030-01-01".to_owned(), peer(4), peer(2), &book).unwrap();
    let text = invoice.to_string();
    assert_eq!(
        text,
        format!(
            "Invoice 7\nDate: 2030-01-01\nFrom: {}\nTo:   {}\n\n   1. chat: copies approved (ticket 09090909…)\n      \
             2 x 1.00 EUR = 2.00 EUR\n   2. chat: copies received (ticket 09090909…)\n      \
             2 x 0.05 EUR = 0.10 EUR\n\nTotal: 2.10 EUR\n",
            peer(4),
            peer(2)
        )
    );
    let nothing = Invoice::of("8".to_owned(), "2030-01-01".to_owned(), peer(4), peer(5), &book).unwrap();
    assert!(nothing.to_string().ends_with("\nNothing to pay.\n"));
}

#[test]
fn money_has_the_decimals_of_its_currency() {
    let shown = |amount, code: &str| Money { amount, currency: code.parse().unwrap() }.to_string();
    assert_eq!(shown(5, "EUR"), "0.05 EUR");
    assert_eq!(shown(1234, "EUR"), "12.34 EUR");
    assert_eq!(shown(1234, "JPY"), "1234 JPY");
    assert_eq!(shown(1234, "KWD"), "1.234 KWD");
}

proptest! {
    /// Whatever the order in which a book is read, its payers add up to its total.
    #[test]
    fn statements_add_up(charges in prop::collection::vec((0..4u8, 0..4usize, 1..9u64, 0..9u64, 0..3usize), 0..20)) {
        let currencies = [None, Some("EUR"), Some("USD")];
        let book: Vec<_> = charges.iter().map(|(payer, kind, quantity, price, currency)| {
            let price = if *currency == 0 { 0 } else { *price };
            entry(*payer, ChargeKind::ALL[*kind], *quantity, price, currencies[*currency])
        }).collect();
        let statement = Statement::of(&book).unwrap();
        let owed: u64 = book.iter().map(|entry| entry.charge.amount()).sum();
        prop_assert_eq!(statement.payers.iter().map(|line| line.total.amount).sum::<u64>(), owed);
        prop_assert_eq!(statement.total.iter().map(|money| money.amount).sum::<u64>(), owed);
        let mut reversed = book.clone();
        reversed.reverse();
        prop_assert_eq!(Statement::of(&reversed).unwrap(), statement);
        let invoiced: u64 = (0..4).flat_map(|payer| {
            Invoice::of(String::new(), String::new(), peer(9), peer(payer), &book).unwrap().total
        }).map(|money| money.amount).sum();
        prop_assert_eq!(invoiced, owed);
    }
}
