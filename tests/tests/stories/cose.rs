//! What Parlor signed means the same to somebody else's COSE library.

use std::{fs, process::Command};

use parlor_tests::{
    cast::Cast,
    node::Outcome,
    programs::example,
    world::{World, fixture, repository},
};

/// pycose, in an environment of its own that the script makes.
fn verify(ticket: &str, origin: &str) -> Outcome {
    Outcome::of(Command::new(repository().join("tests/cose/verify.sh")).args([ticket, origin]))
}

#[test]
fn a_ticket_verifies_with_an_independent_library() {
    let cast = Cast::gather(&[]);
    cast.supply(&example("chat"), 2);
    let tickets = cast.host.run(&["ticket", "list"]);
    let ticket = tickets["tickets"][0]["ticket"].as_str().expect("a ticket");
    let file = cast.world.file("ticket.cose");
    let path = file.to_string_lossy().into_owned();
    cast.host.run(&["ticket", "show", ticket, "--cose", &path]);

    let good = verify(&path, cast.origin.peer());
    assert_eq!(good.code, 0, "{good:?}");
    let other = verify(&path, cast.host.peer());
    assert_ne!(other.code, 0, "signed by somebody else: {other:?}");
    let mut bytes = fs::read(&file).expect("the ticket's file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("a file");
    let flipped = verify(&path, cast.origin.peer());
    assert_ne!(flipped.code, 0, "one bit flipped: {flipped:?}");
}

#[test]
fn a_proof_verifies_with_an_independent_library() {
    let world = World::new();
    let file = world.file("proof.cbor");
    let check = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("a file");
        verify("--proof", &file.to_string_lossy())
    };
    let proof = fixture("rights/proof");
    let good = check(&proof);
    assert_eq!(good.code, 0, "{good:?}");
    // The signature of the second slot; and its member, whom nobody accuses then.
    for place in [proof.len() - 1, proof.len() - 160] {
        let mut bytes = proof.clone();
        bytes[place] ^= 1;
        let flipped = check(&bytes);
        assert_ne!(flipped.code, 0, "one bit flipped at {place}: {flipped:?}");
    }
    // Twice the same slot: an array of two, each a byte string with a head of 2 bytes.
    let slot = &proof[1..=(proof.len() - 1) / 2];
    let twice = check(&[&proof[..1], slot, slot].concat());
    assert!(twice.code != 0 && twice.stderr.contains("the same member's"), "{twice:?}");
}
