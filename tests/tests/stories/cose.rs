//! A ticket that Parlor wrote means the same to somebody else's COSE library.

use std::{fs, process::Command};

use parlor_tests::{cast::Cast, node::Outcome, programs::example, world::repository};

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
