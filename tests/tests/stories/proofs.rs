//! A proof that a host cheated is worth something to whoever gets it: it can be checked without trusting anybody.

use std::fs;

use parlor_tests::{
    node::items,
    world::{World, fixture},
};

/// The host of the fixtures, and the two members to whom it gave one slot.
const HOST: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
const MEMBERS: [&str; 2] = [
    "12D3KooWQESzG5JVc63XV9t8JiMDhjDEVNo4gWxWnMS7PD6T6MiP",
    "12D3KooWDN7K2vo9rDBdpWGjDwMsQJaWvSqJxKZKg5ywyS42P8aq",
];

#[test]
fn a_proof_from_anywhere_can_be_checked() {
    let world = World::new();
    let node = world.node("anybody");
    let file = world.file("proof.cbor");
    fs::write(&file, fixture("rights/proof")).expect("a file");
    let path = file.to_string_lossy().into_owned();

    let checked = node.run(&["proof", "check", &path]);
    assert_eq!(checked["stands"], true, "{checked:#}");
    assert_eq!(
        (&checked["host"], &checked["k"], &checked["generation"]),
        (&HOST.into(), &0.into(), &0.into())
    );
    assert_eq!(checked["ticket"].as_str().map(str::len), Some(64), "{checked:#}");
    let members: Vec<_> = items(&checked, "members").iter().map(|one| one["peer"].clone()).collect();
    assert_eq!(members, MEMBERS);
    let plain = node.plain(&["proof", "check", &path]);
    for shown in [HOST, MEMBERS[0], MEMBERS[1], "stands: yes"] {
        assert!(plain.stdout.contains(shown), "{shown} is not shown: {}", plain.stdout);
    }
    // To check is not to find: this node keeps what it saw itself.
    assert!(items(&node.run(&["proof", "list"]), "proofs").is_empty());
}

#[test]
fn what_proves_nothing_is_refused_in_one_line() {
    let world = World::new();
    let node = world.node("anybody");
    let file = world.file("proof.cbor");
    let path = file.to_string_lossy().into_owned();
    let proof = fixture("rights/proof");
    let mut flipped = proof.clone();
    *flipped.last_mut().expect("bytes") ^= 1;
    let slot = &proof[1..=(proof.len() - 1) / 2];
    let twice = [&proof[..1], slot, slot].concat();
    for (bytes, why) in [
        (&b""[..], "two slots are wanted"),
        (b"see for yourself: she cheats", "two slots are wanted"),
        (&proof[..proof.len() - 1], "two slots are wanted"),
        (&[&proof[..], b"\0"].concat(), "two slots are wanted"),
        (&vec![0x82; 1 << 20], "two slots are wanted"),
        (&flipped, "signature"),
        (&twice, "do not contradict"),
    ] {
        fs::write(&file, bytes).expect("a file");
        let refusal = node.refuses(&["proof", "check", &path]);
        assert!(refusal.contains("proof.cbor") && refusal.contains(why), "{refusal}");
    }
    fs::remove_file(&file).expect("a file");
    assert!(node.refuses(&["proof", "check", &path]).contains("cannot be read"));
    assert!(node.refuses(&["proof", "export", "abcdef", &path]).contains("proof list"));
    assert!(!file.exists());
}
