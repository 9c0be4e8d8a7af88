//! The books as other programs read them.

use std::collections::BTreeMap;

use parlor_proto::billing::{Charge, ChargeKind, Entry};

use super::*;
use crate::billing::export;

fn entry(name: &str, kind: ChargeKind, quantity: u64, price: u64, currency: Option<&str>) -> Entry {
    let right = member_right(&usual_ticket(), 0, MEMBER);
    let currency = currency.map(|code| code.parse().unwrap());
    Entry {
        position: 7,
        at: NOW,
        booked_at: NOW + HOUR,
        receipt: received(&right, MEMBER).hash(),
        ticket: right.ticket().hash(),
        program: right.ticket().program,
        name: name.to_owned(),
        member: peer(MEMBER),
        charge: Charge { payer: peer(MEMBER), kind, quantity, price, currency },
    }
}

fn book() -> Vec<Entry> {
    vec![
        entry("chat", ChargeKind::Copy, 2, 100, Some("EUR")),
        entry("a; b | c", ChargeKind::Minute, 61, 1, Some("EUR")),
        entry("=HYPERLINK(\"x\"),y", ChargeKind::Use, 1, 1234, Some("JPY")),
        entry("dinar", ChargeKind::Reception, 1, 1234, Some("KWD")),
        entry("gift", ChargeKind::Reception, 1, 0, None),
    ]
}

#[test]
fn csv_has_a_line_a_charge_and_no_formulas() {
    let text = export::csv(&book()).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let rows: Vec<BTreeMap<String, String>> = reader
        .records()
        .map(|row| {
            let row = row.unwrap();
            headers.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect()
        })
        .collect();
    assert_eq!(rows.len(), 5);
    assert_eq!((rows[0]["amount"].as_str(), rows[0]["currency"].as_str()), ("200", "EUR"));
    assert_eq!(rows[0]["at"], "2030-01-01T00:00:00Z");
    assert_eq!(rows[2]["name"], "'=HYPERLINK(\"x\"),y");
    assert_eq!(rows[4]["currency"], "");
    assert!(export::csv(&[]).unwrap().starts_with("position,at,"));
}

#[test]
fn json_is_one_object() {
    let value: serde_json::Value = serde_json::from_str(&export::json(&book()).unwrap()).unwrap();
    let charges = value["charges"].as_array().unwrap();
    assert_eq!(charges.len(), 5);
    assert_eq!(charges[1]["amount"], 61);
    assert_eq!(charges[1]["kind"], "minute");
    assert_eq!(charges[4]["currency"], serde_json::Value::Null);
}

#[test]
fn every_transaction_of_the_journal_balances() {
    let journal = export::hledger(&book());
    let transactions: Vec<&str> =
        journal.split("\n\n").filter(|part| part.starts_with("2030-01-01 * (7) ")).collect();
    assert_eq!(transactions.len(), 4, "what is free is no transaction: {journal}");
    for transaction in transactions {
        let postings: Vec<(&str, &str)> = transaction
            .lines()
            .filter(|line| line.starts_with("    ") && !line.trim_start().starts_with(';'))
            .map(|line| line.trim().split_once("  ").unwrap())
            .collect();
        assert_eq!(postings.len(), 2);
        assert_eq!(format!("-{}", postings[0].1), postings[1].1);
        for (account, _) in postings {
            assert!(journal.contains(&format!("\naccount {account}\n")), "{account} is declared");
        }
    }
    assert!(
        journal.contains("commodity 1000. JPY\ncommodity 1000.00 EUR\ncommodity 1000.000 KWD\n"),
        "{journal}"
    );
    assert!(journal.contains(") a, b / c: 61 x minute at 0.01 EUR\n"), "{journal}");
}

#[test]
fn an_empty_journal_is_one() {
    assert_eq!(export::hledger(&[]), "; Charges booked by parlor.\ndecimal-mark .\n\n");
}
