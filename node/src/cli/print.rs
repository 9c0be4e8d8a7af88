//! Answers for people: lists as tables, single things as lines of "what: value".
//!
//! Nothing that a peer says reaches the terminal with control characters in it.

use std::io::{self, IsTerminal as _, Write};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use parlor_proto::billing::{Money, Tariff};
use serde_json::{Map, Value};

use crate::console::{BillCommand, Command, qr};

/// A list's plural key, and its columns: heading and field.
const LISTS: &[(&str, &[(&str, &str)])] = &[
    (
        "peers",
        &[
            ("PEER", "peer"),
            ("NAME", "name"),
            ("CONTACT", "contact"),
            ("FOUND", "found"),
            ("CONNECTED", "connected"),
            ("PATH", "path"),
        ],
    ),
    ("contacts", &[("NAME", "name"), ("PEER", "peer"), ("TRUSTED", "trust")]),
    (
        "programs",
        &[
            ("NAME", "name"),
            ("VERSION", "version"),
            ("SIZE", "size"),
            ("COPIES", "copies"),
            ("LEFT", "left"),
            ("PRICE", "price"),
            ("PROGRAM", "program"),
            ("SUMMARY", "summary"),
        ],
    ),
    (
        "tickets",
        &[
            ("TICKET", "ticket"),
            ("PROGRAM", "name"),
            ("COPIES", "copies"),
            ("LEFT", "left"),
            ("EXPIRES", "expires"),
        ],
    ),
    (
        "invitations",
        &[
            ("SESSION", "session"),
            ("PROGRAM", "name"),
            ("FROM", "host"),
            ("SIZE", "size"),
            ("PRICE", "price"),
            ("EXPIRES", "expires"),
        ],
    ),
    (
        "sessions",
        &[
            ("SESSION", "session"),
            ("PROGRAM", "name"),
            ("ROLE", "role"),
            ("STATE", "state"),
            ("MEMBERS", "members"),
            ("WHY", "why"),
        ],
    ),
    (
        "members",
        &[
            ("MEMBER", "name"),
            ("STATE", "state"),
            ("PEER", "peer"),
            ("WHY", "why"),
            ("SLOT", "k"),
            ("GENERATION", "generation"),
            ("GRANTED", "issued_at"),
        ],
    ),
    (
        "receipts",
        &[
            ("RECEIPT", "receipt"),
            ("KIND", "kind"),
            ("PROGRAM", "name"),
            ("MEMBER", "member"),
            ("AT", "at"),
            ("STATE", "state"),
            ("REASON", "reason"),
        ],
    ),
    ("proofs", &[("PROOF", "proof"), ("HOST", "host"), ("TICKET", "ticket"), ("FOUND", "found_at")]),
    ("slots", &[("SLOT", "k"), ("GENERATION", "generation"), ("MEMBER", "member"), ("SINCE", "issued_at")]),
    (
        "payers",
        &[
            ("PAYER", "payer"),
            ("RECEPTIONS", "receptions"),
            ("COPIES", "copies"),
            ("USES", "uses"),
            ("MINUTES", "minutes"),
            ("TOTAL", "total"),
        ],
    ),
];

/// Lists that belong to a thing, rather than being what was asked for.
const QUIET_WHEN_EMPTY: &[&str] = &["members", "slots"];

/// Ids are shown by their beginning: enough for every verb that takes one.
const SHORT_IDS: &[&str] = &["program", "ticket", "session", "receipt", "proof"];
const SHORT: usize = 12;

pub(super) fn line(out: &mut impl Write, command: &Command, value: &Value) -> io::Result<()> {
    match (command, value) {
        (Command::Bill(BillCommand::Invoice { .. } | BillCommand::Export { .. }), Value::Object(fields)) => {
            writeln!(out, "{}", fields["text"].as_str().unwrap_or_default().trim_end())
        }
        (Command::Invite(_), Value::Object(fields)) if fields.contains_key("link") => link(out, fields),
        (Command::Open(_), Value::Object(fields)) => writeln!(out, "{}", text("url", &fields["url"])),
        (Command::Watch(_) | Command::Events, Value::Object(event)) => happened(out, event),
        (Command::Bill(BillCommand::Statement { .. }), Value::Object(fields)) => {
            object(out, fields["statement"].as_object().unwrap_or(fields))?;
            overdrawn(out, fields["overdrawn"].as_array().map_or(&[], Vec::as_slice))
        }
        (_, Value::Object(fields)) => object(out, fields),
        (_, other) => writeln!(out, "{other}"),
    }
}

/// Numbers of tickets that more members have than may, and whose tickets they are.
fn overdrawn(out: &mut impl Write, numbers: &[Value]) -> io::Result<()> {
    for number in numbers {
        let (ticket, host) = (text("ticket", &number["ticket"]), text("host", &number["host"]));
        let (k, holders) = (&number["k"], &number["holders"]);
        writeln!(
            out,
            "overdrawn: {holders} members have copy {k} of ticket {ticket}, and no release is shown; host {host}"
        )?;
    }
    Ok(())
}

/// A line that can be copied, a code that can be photographed, and what it is worth.
fn link(out: &mut impl Write, fields: &Map<String, Value>) -> io::Result<()> {
    let link = text("link", &fields["link"]);
    writeln!(out, "{link}")?;
    for line in qr::lines(&link, io::stdout().is_terminal()) {
        writeln!(out, "{line}")?;
    }
    let until = text("expires", &fields["expires"]);
    match &fields["for"] {
        Value::Null => writeln!(out, "Good until {until}, for the first who opens it: parlor join LINK"),
        peer => writeln!(out, "Good until {until}, for {} alone: parlor join LINK", text("for", peer)),
    }
}

/// Plain fields first, then each list as a table.
fn object(out: &mut impl Write, fields: &Map<String, Value>) -> io::Result<()> {
    let is_list = |key: &str| LISTS.iter().any(|(list, _)| *list == key);
    for (key, value) in fields.iter().filter(|(key, value)| !is_list(key) || !value.is_array()) {
        if let Value::Array(items) = value {
            if items.is_empty() {
                continue;
            }
            let items: Vec<_> = items.iter().map(|item| text(key, item)).collect();
            writeln!(out, "{key}: {}", items.join("\n  "))?;
        } else if !value.is_null() {
            writeln!(out, "{key}: {}", full(key, value))?;
        }
    }
    for (key, columns) in LISTS {
        let Some(Value::Array(items)) = fields.get(*key) else { continue };
        if items.is_empty() {
            if !QUIET_WHEN_EMPTY.contains(key) {
                writeln!(out, "no {key}")?;
            }
            continue;
        }
        table(out, columns, items)?;
    }
    Ok(())
}

fn table(out: &mut impl Write, columns: &[(&str, &str)], items: &[Value]) -> io::Result<()> {
    let used: Vec<_> = columns
        .iter()
        .filter(|(_, field)| items.iter().any(|item| !text(field, &item[*field]).is_empty()))
        .collect();
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(used.iter().map(|(heading, _)| *heading));
    for item in items {
        table.add_row(used.iter().map(|(_, field)| text(field, &item[*field])));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim())?;
    }
    Ok(())
}

/// What `watch` shows.
fn happened(out: &mut impl Write, event: &Map<String, Value>) -> io::Result<()> {
    let field = |key: &str| event.get(key).map(|value| text(key, value)).unwrap_or_default();
    match event.get("event").and_then(Value::as_str).unwrap_or_default() {
        // The program's agent says in its own words what it means.
        "update" if event.get("agent") == Some(&Value::Bool(true)) => Ok(()),
        "update" if event.contains_key("unreadable") => {
            writeln!(out, "{}: (what nobody can read: {})", field("name"), field("unreadable"))
        }
        "update" => writeln!(out, "{}: {}", field("name"), field("payload")),
        "realtime" => writeln!(out, "{} ~ {}", field("name"), field("payload")),
        "member" => writeln!(out, "* {}: {}", field("name"), field("state")),
        "host" => writeln!(out, "* {} is the host now", field("name")),
        "state" if field("why").is_empty() => writeln!(out, "* {}", field("state")),
        "state" => writeln!(out, "* {}: {}", field("state"), field("why")),
        "line" => writeln!(out, "{}", field("text")),
        "agent" => {
            writeln!(out, "* the program's {} was {}: {}", field("part"), field("state"), field("why"))
        }
        "transfer" => writeln!(out, "* received {} of {}", size(&event["done"]), size(&event["total"])),
        other => writeln!(out, "* {other}"),
    }
}

/// A field in a line of its own: ids in full.
fn full(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if SHORT_IDS.contains(&key) => clean(text),
        other => text(key, other),
    }
}

fn text(key: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(id) if SHORT_IDS.contains(&key) => clean(id).chars().take(SHORT).collect(),
        Value::String(tariff) if key == "price" => price(tariff),
        Value::String(text) => clean(text),
        Value::Number(_) if key == "size" => size(value),
        Value::Number(seconds) if key == "uptime" => {
            let seconds = std::time::Duration::from_secs(seconds.as_u64().unwrap_or(0));
            humantime::format_duration(seconds).to_string()
        }
        Value::Object(money) if money.contains_key("amount") => {
            let money = serde_json::from_value::<Money>(value.clone());
            money.map_or_else(|_| "nothing".to_owned(), |money| money.to_string())
        }
        Value::Object(range) if range.contains_key("min") => match range.get("max") {
            Some(max) => format!("{} to {max}", range["min"]),
            None => "any".to_owned(),
        },
        Value::Object(who) if who.contains_key("name") => clean(who["name"].as_str().unwrap_or_default()),
        Value::Object(relay) if relay.contains_key("reserved") => {
            let how = match relay["why"].as_str() {
                _ if relay["reserved"] == true => "this node is reached through it",
                None => "it is being asked",
                Some(why) => why,
            };
            clean(&format!("{}: {how}", relay["address"].as_str().unwrap_or_default()))
        }
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key} {}", text(key, value))).collect();
            fields.join(", ")
        }
        Value::Array(items) if key == "members" => items.len().to_string(),
        Value::Array(items) => items.iter().map(|item| text(key, item)).collect::<Vec<_>>().join(", "),
        Value::Number(number) => number.to_string(),
    }
}

/// A tariff as people read it.
fn price(tariff: &str) -> String {
    let Ok(tariff) = tariff.parse::<Tariff>() else { return clean(tariff) };
    let Some(currency) = tariff.currency() else { return "free".to_owned() };
    let names = ["a copy", "a reception", "a use", "a minute"];
    let prices = tariff.prices().to_array().into_iter().zip(names).filter(|(amount, _)| *amount > 0);
    let prices = prices.map(|(amount, name)| format!("{} {name}", Money { amount, currency }));
    prices.collect::<Vec<_>>().join(", ")
}

fn size(value: &Value) -> String {
    indicatif::HumanBytes(value.as_u64().unwrap_or(0)).to_string()
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
