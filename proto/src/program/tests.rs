#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use proptest::prelude::*;

use super::*;
use crate::ids::{ChunkHash, ProgramId};

fn hash(bytes: &[u8]) -> ChunkHash {
    ChunkHash(*blake3::hash(bytes).as_bytes())
}

fn entry(path: &str, role: Role, size: u64) -> FileEntry {
    let chunks =
        (0..size.div_ceil(u64::from(CHUNK_SIZE))).map(|n| hash(format!("{path} {n}").as_bytes())).collect();
    FileEntry { path: FilePath::new(path).unwrap(), role, size, chunks }
}

fn manifest(files: Vec<FileEntry>) -> Manifest {
    Manifest {
        name: "group-chat".parse().unwrap(),
        title: "Group Chat".into(),
        version: "1.0".into(),
        summary: Some("Talk to each other.".into()),
        copies: CopiesRule::Range { min: 1, max: 8 },
        agent: AgentWishes::default(),
        pack: None,
        files,
    }
}

fn small() -> Manifest {
    let hello = FileEntry {
        path: FilePath::new("index.html").unwrap(),
        role: Role::Everyone,
        size: 5,
        chunks: vec![hash(b"hello")],
    };
    let empty =
        FileEntry { path: FilePath::new("empty").unwrap(), role: Role::Everyone, size: 0, chunks: vec![] };
    let server = FileEntry {
        path: FilePath::new("server/rules.txt").unwrap(),
        role: Role::Host,
        size: 6,
        chunks: vec![hash(b"secret")],
    };
    manifest(vec![empty, hello, server])
}

/// The hex of a fixture: comments run from `#` to the end of the line.
fn fixture(text: &str) -> Vec<u8> {
    let digits: String =
        text.lines().flat_map(|line| line.split('#').next().unwrap().split_whitespace()).collect();
    hex::decode(digits).unwrap()
}

#[test]
fn the_golden_manifest_is_written_and_read_as_ever() {
    let bytes = fixture(include_str!("../../fixtures/program/manifest.hex"));
    let program = Program::new(small()).unwrap();
    assert_eq!(hex::encode(program.bytes()), hex::encode(&bytes));
    assert_eq!(program.id().to_string(), "82519395ecd221f5c9cbe52562fd2c463f10b30d3ccb316637b40456c704da65");
    assert_eq!(Program::decode_expecting(bytes, program.id()).unwrap(), program);
}

#[test]
fn bytes_of_another_program_are_refused() {
    let program = Program::new(small()).unwrap();
    let wanted = ProgramId([1; 32]);
    let error = Program::decode_expecting(program.bytes().to_vec(), wanted).unwrap_err();
    assert!(
        matches!(error, ManifestError::OtherProgram { wanted: w, found } if w == wanted && found == program.id())
    );
    let mut flipped = program.bytes().to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(
        Program::decode_expecting(flipped, program.id()),
        Err(ManifestError::OtherProgram { .. })
    ));
}

#[test]
fn a_manifest_with_anything_after_it_or_missing_is_refused() {
    let program = Program::new(small()).unwrap();
    let mut longer = program.bytes().to_vec();
    longer.push(0);
    assert!(matches!(Program::decode(longer), Err(ManifestError::Malformed(_))));
    for len in 0..program.bytes().len() {
        assert!(Program::decode(program.bytes()[..len].to_vec()).is_err(), "cut at {len}");
    }
    assert!(matches!(Program::decode(vec![0; MAX_MANIFEST_SIZE + 1]), Err(ManifestError::TooLarge(_))));
}

#[test]
fn a_later_format_is_named_as_such_and_unknown_keys_are_skipped() {
    let program = Program::new(small()).unwrap();
    // The map opens with the key "format" and its value.
    assert_eq!(program.bytes()[1..9], *b"\x66format\x01");
    let mut later = program.bytes().to_vec();
    later[8] = 2;
    assert!(matches!(Program::decode(later), Err(ManifestError::Format(2))));

    let mut extended = program.bytes().to_vec();
    extended[0] += 1;
    extended.extend(b"\x63new\x82\x01\xa1\x61a\xf6");
    assert_eq!(Program::decode(extended).unwrap().manifest(), program.manifest());
}

#[test]
fn a_manifest_that_lies_about_sizes_is_refused() {
    let mut lies = small();
    lies.files[1].size = u64::from(CHUNK_SIZE) + 1;
    assert!(matches!(Program::new(lies), Err(ManifestError::Chunks(path)) if path.as_str() == "index.html"));
    let mut lies = small();
    lies.files[1].chunks.clear();
    assert!(matches!(Program::new(lies), Err(ManifestError::Chunks(_))));
    let mut huge = small();
    huge.files[1].size = u64::MAX;
    assert!(matches!(Program::new(huge), Err(ManifestError::TooBig)));
    let half = MAX_PROGRAM_SIZE / 2;
    let files = vec![entry("a", Role::Everyone, half), entry("b", Role::Host, half)];
    assert_eq!(Program::new(manifest(files.clone())).unwrap().size_for(Role::Host), MAX_PROGRAM_SIZE);
    let over = vec![files[0].clone(), files[1].clone(), entry("c", Role::Everyone, 1)];
    assert!(matches!(Program::new(manifest(over)), Err(ManifestError::TooBig)));
}

#[test]
fn files_are_in_order_and_none_hides_another() {
    let files = |paths: &[&str]| paths.iter().map(|path| entry(path, Role::Everyone, 1)).collect::<Vec<_>>();
    for (paths, what) in [
        (&["b", "a"][..], "order"),
        (&["a", "a"], "order"),
        (&["README", "readme"], "collision"),
        (&["straße", "strasse"], "order"),
        (&["strasse", "straße"], "collision"),
        (&["a", "a-", "a/b"], "collision"),
        (&["A/b", "a"], "collision"),
        (&["a/b", "a/b/c/d"], "collision"),
    ] {
        match Program::new(manifest(files(paths))) {
            Err(ManifestError::Order(_)) => assert_eq!(what, "order", "{paths:?}"),
            Err(ManifestError::Collision(..)) => assert_eq!(what, "collision", "{paths:?}"),
            other => panic!("{paths:?}: {other:?}"),
        }
    }
    assert!(Program::new(manifest(files(&["a", "a-/b", "ab", "b/a", "b/b"]))).is_ok());
    assert!(matches!(Program::new(manifest(vec![])), Err(ManifestError::NoFiles)));
    let many = (0..=MAX_FILES).map(|n| entry(&format!("{n:06}"), Role::Everyone, 0)).collect();
    assert!(matches!(Program::new(manifest(many)), Err(ManifestError::TooManyFiles(_))));
}

#[test]
fn texts_and_rules_are_checked() {
    for text in ["", " ", "\u{1b}[2J", "two\nlines", "\u{202e}txt.exe", &"x".repeat(MAX_TITLE_LEN + 1)] {
        let program = Program::new(Manifest { title: text.into(), ..small() });
        assert!(matches!(program, Err(ManifestError::Text("title"))), "{text:?}");
    }
    assert!(Program::new(Manifest { title: "Шахматы ♟ 2".into(), summary: None, ..small() }).is_ok());
    for rule in
        [CopiesRule::Exactly(0), CopiesRule::Range { min: 0, max: 2 }, CopiesRule::Range { min: 3, max: 3 }]
    {
        assert!(
            matches!(Program::new(Manifest { copies: rule, ..small() }), Err(ManifestError::Copies(_))),
            "{rule:?}"
        );
    }
}

#[test]
fn copies_are_allowed_as_the_rule_says() {
    let range = CopiesRule::between(2, 4).unwrap();
    assert_eq!((1..6).filter(|n| range.allows(*n)).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(CopiesRule::between(3, 3), Ok(CopiesRule::Exactly(3)));
    assert!(CopiesRule::Exactly(3).allows(3) && !CopiesRule::Exactly(3).allows(2));
    assert!(CopiesRule::Free.allows(1) && !CopiesRule::Free.allows(0));
    assert!(CopiesRule::between(0, 1).is_err() && CopiesRule::between(2, 1).is_err());
    for rule in [CopiesRule::Free, CopiesRule::Exactly(1), range] {
        let program = Program::new(Manifest { copies: rule, ..small() }).unwrap();
        assert_eq!(Program::decode(program.bytes().to_vec()).unwrap().manifest().copies, rule);
    }
}

/// `pack` of a manifest for the program "dungeon", as it stands in the bytes, with these levels.
fn pack_key(levels: &[u8]) -> Vec<u8> {
    [b"\x64pack\xa2\x63for\x67dungeon\x66levels", levels].concat()
}

fn dungeon_pack() -> Pack {
    Pack { program: "dungeon".parse().unwrap(), levels: Some(Levels::new(1, 9).unwrap()) }
}

#[test]
fn a_pack_is_one_key_more_and_all_else_has_the_bytes_that_it_ever_had() {
    let golden = fixture(include_str!("../../fixtures/program/manifest.hex"));
    let plain = Program::new(small()).unwrap();
    assert_eq!((plain.bytes(), &plain.manifest().pack), (golden.as_slice(), &None));

    let pack = Program::new(Manifest { pack: Some(dungeon_pack()), ..small() }).unwrap();
    // Before the files, which come last; and the map has an entry more.
    let at = golden.windows(6).position(|bytes| bytes == b"\x65files").unwrap();
    let mut expected = [&golden[..at], &pack_key(b"\x82\x01\x09"), &golden[at..]].concat();
    expected[0] += 1;
    assert_eq!(hex::encode(pack.bytes()), hex::encode(&expected));
    assert_ne!(pack.id(), plain.id());
    assert_eq!(Program::decode(expected).unwrap(), pack);

    let for_all = Pack { levels: None, ..dungeon_pack() };
    let for_all = Program::new(Manifest { pack: Some(for_all), ..small() }).unwrap();
    assert_eq!(Program::decode(for_all.bytes().to_vec()).unwrap(), for_all);
}

#[test]
fn a_pack_with_odd_levels_or_for_no_name_is_refused() {
    let program = Program::new(Manifest { pack: Some(dungeon_pack()), ..small() }).unwrap();
    let bytes = program.bytes();
    let with = |was: &[u8], is: &[u8]| {
        let at = bytes.windows(was.len()).position(|bytes| bytes == was).unwrap();
        Program::decode([&bytes[..at], is, &bytes[at + was.len()..]].concat())
    };
    let levels = b"\x82\x01\x09";
    assert_eq!(
        with(levels, b"\x82\x03\x03").unwrap().manifest().pack.as_ref().unwrap().levels,
        Levels::new(3, 3).ok()
    );
    for odd in [
        &b"\x82\x09\x01"[..],              // the wrong way round
        b"\x81\x01",                       // one
        b"\x83\x01\x02\x03",               // three
        b"\x82\x20\x01",                   // below zero
        b"\x82\x01\x1b\0\0\0\x01\0\0\0\0", // more than 32 bits
        b"\x61x",
    ] {
        let refused = with(levels, odd);
        assert!(matches!(refused, Err(ManifestError::Malformed(_))), "{odd:x?}: {refused:?}");
    }
    for odd in [&b"\x60"[..], b"\x67Dungeon", b"\x62..", b"\x65a/b/c"] {
        let refused = with(b"\x67dungeon", odd);
        assert!(matches!(refused, Err(ManifestError::Malformed(_))), "{odd:x?}: {refused:?}");
    }
    assert!(with(&pack_key(levels), b"\x64pack\xa0").is_err(), "for nothing");
    assert_eq!(Levels::new(2, 1), Err(LevelsError));
}

#[test]
fn chunks_are_numbered_over_all_files() {
    let size = u64::from(CHUNK_SIZE);
    let files = vec![
        entry("a", Role::Everyone, 2 * size + 1),
        entry("b", Role::Everyone, 0),
        entry("c", Role::Host, size),
        entry("d", Role::Everyone, 7),
        entry("e", Role::Everyone, 0),
    ];
    let program = Program::new(manifest(files)).unwrap();
    assert_eq!(program.chunk_count(), 5);
    let places: Vec<_> = (0..5)
        .map(|n| program.chunk(ChunkIndex(n)).unwrap())
        .map(|chunk| (chunk.file, chunk.offset, chunk.len))
        .collect();
    assert_eq!(
        places,
        [(0, 0, CHUNK_SIZE), (0, size, CHUNK_SIZE), (0, 2 * size, 1), (2, 0, CHUNK_SIZE), (3, 0, 7)]
    );
    assert_eq!(program.chunk(ChunkIndex(3)).unwrap().hash, hash(b"c 0"));
    assert_eq!(program.chunk(ChunkIndex(5)), None);
    assert_eq!(program.chunk(ChunkIndex(u32::MAX)), None);
    assert_eq!(
        [program.chunks_of_file(0), program.chunks_of_file(1), program.chunks_of_file(9)],
        [0..3, 3..3, 0..0]
    );

    let member = program.chunks_for(Role::Everyone);
    assert_eq!(member.ranges().collect::<Vec<_>>(), [0..3, 4..5]);
    assert_eq!(program.chunks_for(Role::Host), ChunkSet::full(5));
    assert_eq!(program.size_for(Role::Everyone), 2 * size + 8);
    assert_eq!(program.size_of(&member), 2 * size + 8);
    assert_eq!((program.find("c"), program.find("x")), (Some(2), None));
}

#[test]
fn paths_that_leave_the_program_or_depend_on_the_system_are_refused() {
    use FilePathError::{Absolute, Character, Dots, Empty, Reserved, TooLong};
    for (path, why) in [
        ("", Empty),
        ("/etc/passwd", Absolute),
        ("..", Dots),
        ("../x", Dots),
        ("a/../b", Dots),
        ("./a", Dots),
        ("a//b", Dots),
        ("a/", Dots),
        ("a\\b", Character),
        ("C:/x", Character),
        ("a\0b", Character),
        ("a\nb", Character),
        ("what?", Character),
        ("file:stream", Character),
        ("nul", Reserved),
        ("a/CON.txt", Reserved),
        ("Com1.tar.gz", Reserved),
        ("lpt²", Reserved),
        ("a.", Reserved),
        ("a /b", Reserved),
        ("...", Reserved),
    ] {
        assert_eq!(FilePath::new(path), Err(why), "{path:?}");
    }
    let deep = vec!["x"; MAX_DEPTH].join("/");
    assert_eq!(FilePath::new(&deep).map(|path| path.parts().count()), Ok(MAX_DEPTH));
    for long in [
        "x".repeat(MAX_COMPONENT_LEN + 1),
        "xy/".repeat(MAX_PATH_LEN),
        format!("{}x", "x/".repeat(MAX_DEPTH)),
    ] {
        assert_eq!(FilePath::new(&long), Err(TooLong), "{long:?}");
    }
    for fine in
        ["index.html", "a/b/c.txt", "música/ça va.ogg", "com", "com10", "console", ".well-known/x", "a..b"]
    {
        assert_eq!(FilePath::new(fine).unwrap().as_str(), fine);
    }
}

#[test]
fn names_are_safe_to_type_and_made_of_titles() {
    for name in ["a", "chat", "group-chat", "2048", "a.b_c-d", &"x".repeat(MAX_NAME_LEN)] {
        assert_eq!(name.parse::<ProgramName>().unwrap().as_str(), name);
        assert_eq!(ProgramName::from_title(name).as_str(), name);
    }
    for name in ["", "-x", ".x", "x.", "Chat", "a b", "a/b", "é", &"x".repeat(MAX_NAME_LEN + 1)] {
        assert!(name.parse::<ProgramName>().is_err(), "{name:?}");
    }
    for (title, name) in [
        ("Group Chat", "group-chat"),
        ("  Hello,   World!  ", "hello-world"),
        ("--help", "help"),
        ("../../etc", "etc"),
        ("Café 2", "caf-2"),
    ] {
        assert_eq!(ProgramName::from_title(title).as_str(), name, "{title:?}");
    }
    let chess = ProgramName::from_title("Шахматы");
    assert!(chess.as_str().starts_with("program-"), "{chess}");
    assert_ne!(chess, ProgramName::from_title("Шашки"));
}

#[test]
fn sets_of_chunks_count_and_combine() {
    let mut set = ChunkSet::empty(130);
    assert!(set.insert(ChunkIndex(129)) && !set.insert(ChunkIndex(129)) && !set.insert(ChunkIndex(130)));
    set.insert_range(62..66);
    assert_eq!(set.ranges().collect::<Vec<_>>(), [62..66, 129..130]);
    assert!(set.remove(ChunkIndex(63)) && !set.remove(ChunkIndex(63)));
    assert_eq!(
        (set.len(), set.contains(ChunkIndex(63)), set.contains(ChunkIndex(u32::MAX))),
        (4, false, false)
    );
    let bitmap = set.to_bitmap();
    assert_eq!(bitmap.len(), 17);
    assert_eq!(ChunkSet::from_bitmap(&bitmap, 130), Some(set.clone()));
    assert_eq!(ChunkSet::from_bitmap(&bitmap, 129), None, "a chunk that does not exist");
    assert_eq!(ChunkSet::from_bitmap(&bitmap[1..], 130), None);
    assert_eq!(ChunkSet::from_bitmap(&vec![0; 1 << 20], 1 << 23), None, "more than any program has");
    // Sets over other universes: nothing that does not exist gets in.
    set.insert_all(&ChunkSet::full(1000));
    assert_eq!(set, ChunkSet::full(130));
    let mut small = ChunkSet::full(3);
    assert!(small.is_subset(&set) && !set.is_subset(&small));
    small.retain_all(&ChunkSet::full(2));
    set.remove_all(&small);
    assert_eq!((small.len(), set.len()), (2, 128));
}

fn any_manifest() -> impl Strategy<Value = Manifest> {
    let path = "[a-zA-Z0-9]{1,6}(/[a-z0-9]{1,4}){0,3}";
    let path = path.prop_filter("a device's name", |path: &String| FilePath::new(path).is_ok());
    let file = (path, any::<bool>(), 0u64..300_000);
    (prop::collection::vec(file, 1..12), "[a-z0-9]{1,20}", "\\PC{1,40}", 0u32..5, 0u32..5).prop_map(
        |(files, name, title, min, max)| {
            let mut files: Vec<_> = files
                .iter()
                .map(|(path, host, size)| entry(path, if *host { Role::Host } else { Role::Everyone }, *size))
                .collect();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            let copies = CopiesRule::between(min, max).unwrap_or(CopiesRule::Free);
            let agent = AgentWishes { memory: Some(files.len() as u64), ..AgentWishes::default() };
            let name: ProgramName = name.parse().unwrap();
            let pack = Pack { program: name.clone(), levels: Levels::new(min, max).ok() };
            Manifest {
                name,
                title,
                version: "1".into(),
                summary: None,
                copies,
                agent,
                pack: Some(pack),
                files,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_can_be_written_can_be_read(manifest in any_manifest()) {
        if let Ok(program) = Program::new(manifest) {
            let again = Program::decode_expecting(program.bytes().to_vec(), program.id()).unwrap();
            prop_assert_eq!(&again, &program);
            // Every byte of every file is in exactly one chunk.
            let mut ends = vec![0; program.manifest().files.len()];
            for n in 0..program.chunk_count() {
                let chunk = program.chunk(ChunkIndex(n)).unwrap();
                prop_assert_eq!(ends[chunk.file], chunk.offset);
                ends[chunk.file] += u64::from(chunk.len);
            }
            prop_assert!(program.manifest().files.iter().zip(ends).all(|(file, end)| file.size == end));
        }
    }

    #[test]
    fn damaged_manifests_never_panic(manifest in any_manifest(), at: prop::sample::Index, with: u8) {
        if let Ok(program) = Program::new(manifest) {
            let mut bytes = program.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = Program::decode(bytes);
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Program::decode(bytes);
    }

    #[test]
    fn any_text_makes_a_name(title in "\\PC{0,80}") {
        let name = ProgramName::from_title(&title);
        prop_assert_eq!(name.as_str().parse::<ProgramName>().unwrap(), name.clone());
    }

    #[test]
    fn any_text_makes_a_path_that_stays_inside(text in "[a-zA-Z./\\\\: ~]{0,12}") {
        if let Ok(path) = FilePath::new(&text) {
            prop_assert!(path.parts().all(|part| !part.is_empty() && part != "." && part != ".."));
            prop_assert!(std::path::Path::new(path.as_str()).is_relative());
        }
    }
}
