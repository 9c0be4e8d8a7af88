//! What agents see of the packs that are there for their program.

use super::{super::Pack, Stage, guest::agent, input, patient};

fn pack(id: &str, name: &str, levels: Option<(u32, u32)>) -> Pack {
    let origin = levels.map(|_| "somebody".to_owned());
    Pack { id: id.into(), name: name.into(), version: "2".into(), origin, levels }
}

#[tokio::test]
async fn packs_are_told_with_their_levels() {
    let mut stage = Stage::with(|room| {
        room.packs = vec![pack("a1", "hills", Some((3, 7))), pack("b2", "plains", None)];
    });
    let told = "(call $packs (i32.const 64))
        (local.set $text (i32.load (i32.const 64)))
        (loop $next
            (call $line (i32.load (local.get $text)) (i32.load offset=4 (local.get $text)))
            (call $line (i32.load offset=8 (local.get $text)) (i32.load offset=12 (local.get $text)))
            (call $line (i32.load offset=16 (local.get $text)) (i32.load offset=20 (local.get $text)))
            (if (i32.load8_u offset=24 (local.get $text)) (then
                (call $line (i32.load offset=28 (local.get $text)) (i32.load offset=32 (local.get $text)))))
            (if (i32.load8_u offset=36 (local.get $text)) (then
                (call $tell (i32.load offset=40 (local.get $text)))
                (call $tell (i32.load offset=44 (local.get $text)))))
            (local.set $text (i32.add (local.get $text) (i32.const 48)))
            (i32.store (i32.const 68) (i32.sub (i32.load (i32.const 68)) (i32.const 1)))
            (br_if $next (i32.load (i32.const 68))))";
    let agent = stage.start(&agent(&[("input", told)]), patient()).await;
    agent.tell(input("")).await.unwrap();
    for expected in ["a1", "hills", "2", "somebody", "3", "7", "b2", "plains", "2"] {
        assert_eq!(stage.line().await, expected);
    }
}

/// Reads a part of the file whose path lies at an address, of the pack that was typed. Tells whether it is there, and
/// does something with what was read, at 68, and its length, at 72.
fn read((path, path_length): (u32, usize), offset: u64, length: i32, then: &str) -> String {
    format!(
        "(call $pack-read (local.get $text) (local.get $length) (i32.const {path}) (i32.const {path_length})
            (i64.const {offset}) (i32.const {length}) (i32.const 64))
        (call $tell (i32.load8_u (i32.const 64)))
        (if (i32.load8_u (i32.const 64)) (then {then}))"
    )
}

const SHOW: &str = "(call $line (i32.load (i32.const 68)) (i32.load (i32.const 72)))";

#[tokio::test]
async fn the_files_of_a_known_pack_can_be_read_and_no_others() {
    let words = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(words.path(), "alpha beta gamma").unwrap();
    let mut stage = Stage::with(|room| {
        room.file = Some(words.path().into());
        room.packs = vec![pack("b2", "plains", None)];
    });
    let (known, beside) = ((1024, 9), (1040, 12));
    let body = [
        read(known, 6, 4, SHOW),
        read(known, 100, 4, SHOW),
        read(beside, 0, 4, SHOW),
        "(call $pack-files (local.get $text) (local.get $length) (i32.const 64))
        (call $tell (i32.load (i32.const 68)))"
            .to_owned(),
    ];
    let component = agent(&[
        ("extra", r#"(data (i32.const 1024) "words.txt") (data (i32.const 1040) "../words.txt")"#),
        ("input", &body.concat()),
    ]);
    let agent = stage.start(&component, patient()).await;
    for (typed, expected) in [
        ("b2", &["1", "beta", "1", "", "0", "1"][..]),
        ("c3", &["0", "0", "0", "0"]),
        ("../b2", &["0", "0", "0", "0"]),
    ] {
        agent.tell(input(typed)).await.unwrap();
        for expected in expected {
            assert_eq!(stage.line().await, *expected, "{typed}");
        }
    }
}

#[tokio::test]
async fn one_read_has_an_end_as_for_the_programs_own_files() {
    let long = tempfile::NamedTempFile::new().unwrap();
    long.as_file().set_len((1 << 20) + 5).unwrap();
    let mut stage = Stage::with(|room| {
        room.file = Some(long.path().into());
        room.packs = vec![pack("b2", "plains", None)];
    });
    let is_full = "(call $tell (i32.eq (i32.load (i32.const 72)) (i32.const 1048576)))";
    let component = agent(&[
        ("extra", r#"(data (i32.const 1024) "words.txt")"#),
        ("input", &read((1024, 9), 0, -1, is_full)),
    ]);
    let agent = stage.start(&component, patient()).await;
    agent.tell(input("b2")).await.unwrap();
    for expected in ["1", "1"] {
        assert_eq!(stage.line().await, expected);
    }
}
