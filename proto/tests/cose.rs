//! A ticket verifies with a COSE implementation that shares nothing with ours: pycose, by `tests/cose/verify.sh`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use parlor_proto::{
    identity::{Identity, PeerId},
    rights::{Signed, Ticket},
};

/// The golden ticket of the fixtures: the bytes of a commented hex dump.
fn golden_ticket() -> Vec<u8> {
    let dump = include_str!("../fixtures/rights/ticket.hex");
    let digits: String = dump.lines().flat_map(|line| line.split('#').next()).collect();
    hex::decode(digits.split_whitespace().collect::<String>()).unwrap()
}

fn verify(name: &str, envelope: &[u8], origin: PeerId) -> Output {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, envelope).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cose/verify.sh");
    Command::new(script).arg(file).arg(origin.to_string()).output().unwrap()
}

#[test]
fn another_implementation_verifies_a_ticket() {
    let bytes = golden_ticket();
    let ticket = Signed::<Ticket>::decode(&bytes).unwrap().verify().unwrap();

    let good = verify("good.cose", &bytes, ticket.origin);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let claims: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(claims["iss"], ticket.origin.to_string());
    assert_eq!(claims["sub"], ticket.name);
    assert_eq!(claims["exp"], ticket.expires.as_secs());
    assert_eq!(claims["program"], ticket.program.to_string());
    assert_eq!(claims["copies"], ticket.copies);

    let mut bytes = bytes;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let flipped = verify("flipped.cose", &bytes, ticket.origin);
    assert_eq!(flipped.status.code(), Some(1), "one bit flipped");
    let stranger = verify("stranger.cose", &golden_ticket(), Identity::from_seed(&[9; 32]).peer());
    assert_eq!(stranger.status.code(), Some(1), "by somebody else");
    assert!(String::from_utf8_lossy(&stranger.stderr).contains("the signature is wrong"));
}
