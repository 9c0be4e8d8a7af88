//! Agents, written by hand.
//!
//! For: [`agent`], a component of the world around a few lines of WebAssembly text. Not for: what toolchains make of
//! other languages (see `examples/agents`).
//!
//! The idea: `component.wat` is a whole agent with holes. A test fills in the bodies it is about; the others do nothing.

const TEMPLATE: &str = include_str!("component.wat");

/// The holes, and what is in them unless a test says otherwise.
const HOLES: [(&str, &str); 15] = [
    ("imports", ""),
    ("lowered", ""),
    ("core-imports", ""),
    ("given", ""),
    ("extra", ""),
    ("setup", "i32.const 0"),
    ("start", ""),
    ("message", ""),
    ("update", ""),
    ("input", ECHO),
    ("page", ""),
    ("tick", ""),
    ("members", ""),
    ("suspend", "i32.const 0"),
    ("end", ""),
];

/// For `input`: writes it as it is.
pub(super) const ECHO: &str = "(call $line (local.get $text) (local.get $length))";
/// Never returns.
pub(super) const SPIN: &str = "(loop $again (br $again))";

/// A component, with these holes filled.
pub(super) fn agent(filled: &[(&str, &str)]) -> Vec<u8> {
    let mut text = TEMPLATE.to_owned();
    assert!(filled.iter().all(|(hole, _)| HOLES.iter().any(|(name, _)| name == hole)));
    for (hole, usual) in HOLES {
        let with = filled.iter().find(|(name, _)| *name == hole).map_or(usual, |(_, with)| with);
        text = text.replace(&format!("{{{{{hole}}}}}"), with);
    }
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// One that writes what its user types.
pub(super) fn echo() -> Vec<u8> {
    agent(&[])
}
