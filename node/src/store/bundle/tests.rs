#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::FileExt as _,
};

use super::{
    testing::{Sample, SmallDisk},
    *,
};
use crate::whole_file;

fn write(
    bundle: &Bundle,
    sample: &Sample,
    chunks: impl IntoIterator<Item = u32>,
) -> Result<Written, BundleError> {
    let batch: Vec<_> = chunks.into_iter().map(|n| (ChunkIndex(n), sample.chunk(n))).collect();
    bundle.write_chunks(&batch)
}

fn ranges(set: &ChunkSet) -> Vec<std::ops::Range<u32>> {
    set.ranges().collect()
}

fn dir_of(root: &Path, sample: &Sample) -> PathBuf {
    root.join(sample.program.id().to_string())
}

#[test]
fn what_was_written_is_read_and_what_was_not_is_not() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    let shelf = Bundles::open(root.path()).unwrap();
    let bundle = shelf.create(&sample.program).unwrap();
    bundle.lay_out(Role::Everyone).unwrap();
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    assert!(matches!(bundle.read_chunk(ChunkIndex(0), &mut buffer), Err(BundleError::Incomplete)));
    assert!(matches!(bundle.read_chunk(ChunkIndex(99), &mut buffer), Err(BundleError::Unknown)));

    assert_eq!(write(&bundle, &sample, [3, 0]).unwrap().good, [ChunkIndex(3), ChunkIndex(0)]);
    let len = bundle.read_chunk(ChunkIndex(3), &mut buffer).unwrap();
    assert_eq!(&buffer[..len], sample.chunk(3));
    assert!(matches!(bundle.open_file("data/big.bin"), Err(BundleError::Incomplete)));
    assert!(matches!(bundle.settle(), Err(BundleError::Incomplete)));

    write(&bundle, &sample, [1, 2, 4]).unwrap();
    assert_eq!(bundle.complete(), Some(Role::Everyone));
    bundle.settle().unwrap();
    let (mut file, size) = bundle.open_file("data/big.bin").unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == sample.contents[0] && size == read.len() as u64);
    assert_eq!(bundle.open_file("empty").unwrap().1, 0);
    for missing in ["server/secret.bin", "nothing", "../manifest.cbor"] {
        assert!(matches!(bundle.open_file(missing), Err(BundleError::Unknown)), "{missing}");
    }
}

#[test]
fn a_chunk_that_is_not_what_the_manifest_says_is_not_stored() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    let bundle = Bundles::open(root.path()).unwrap().create(&sample.program).unwrap();
    bundle.lay_out(Role::Host).unwrap();
    let mut flipped = sample.chunk(1).to_vec();
    flipped[77] ^= 1;
    for bad in [&flipped[..], &sample.chunk(1)[1..], sample.chunk(0), b""] {
        let batch =
            [(ChunkIndex(0), sample.chunk(0)), (ChunkIndex(1), bad), (ChunkIndex(2), sample.chunk(2))];
        let written = bundle.write_chunks(&batch).unwrap();
        assert_eq!(written, Written { good: vec![ChunkIndex(0)], bad: Some(ChunkIndex(1)) });
    }
    let beyond = [(ChunkIndex(1000), sample.chunk(0))];
    assert_eq!(bundle.write_chunks(&beyond).unwrap().bad, Some(ChunkIndex(1000)));
    assert_eq!(ranges(&bundle.have()), [0..1]);
}

#[test]
fn a_killed_node_finds_what_it_noted_if_it_holds() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(10));
    {
        let bundle = Bundles::open(root.path()).unwrap().create(&sample.program).unwrap();
        bundle.lay_out(Role::Host).unwrap();
        // 0..8 is the big file, 8 the page, 9 and 10 the host's file.
        write(&bundle, &sample, [0, 1, 2, 5, 8, 9, 10]).unwrap();
    }
    let dir = dir_of(root.path(), &sample);
    let big = OpenOptions::new().write(true).open(dir.join("files/data/big.bin")).unwrap();
    // Half of a chunk that was being written and is not noted; a noted one whose bytes a loss of power took;
    // a note that is half written, one twice and one that makes no sense; a file that is gone.
    big.write_all_at(&sample.chunk(3)[..1000], 3 * u64::from(CHUNK_SIZE)).unwrap();
    big.write_all_at(&[0; 4096], u64::from(CHUNK_SIZE)).unwrap();
    let mut noted = OpenOptions::new().append(true).open(dir.join(HAVE_FILE)).unwrap();
    noted.write_all(&[0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0]).unwrap();
    fs::remove_file(dir.join("files/server/secret.bin")).unwrap();

    let shelf = Bundles::open(root.path()).unwrap();
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    assert_eq!(ranges(&bundle.have()), [0..1, 2..3, 5..6, 8..9]);
    assert_eq!(bundle.complete(), None);
    // And goes on from there; the note is whole again.
    bundle.lay_out(Role::Host).unwrap();
    write(&bundle, &sample, [1, 3, 4, 6, 7, 9, 10]).unwrap();
    drop(bundle);
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    assert_eq!(bundle.complete(), Some(Role::Host));
    assert!(dir.join(COMPLETE_FILE).exists() && !dir.join(HAVE_FILE).exists(), "settled");
}

#[test]
fn every_place_where_a_note_can_be_torn_is_survived() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(5));
    // What is known of a bundle is known as long as its shelf is open.
    let shelf = || Bundles::open(root.path()).unwrap();
    let bundle = shelf().create(&sample.program).unwrap();
    bundle.lay_out(Role::Everyone).unwrap();
    write(&bundle, &sample, 0..3).unwrap();
    drop(bundle);
    let path = dir_of(root.path(), &sample).join(HAVE_FILE);
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let bundle = shelf().get(sample.program.id()).unwrap().unwrap();
        let known = cut.saturating_sub(8) / 4;
        assert_eq!(bundle.have().len() as usize, known, "cut at {cut}");
        write(&bundle, &sample, [3]).unwrap();
        drop(bundle);
        let again = shelf().get(sample.program.id()).unwrap().unwrap();
        assert_eq!(again.have().len() as usize, known + 1, "cut at {cut}");
    }
}

#[test]
fn a_settled_copy_is_believed_unless_a_file_is_gone_or_cut() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    let dir = dir_of(root.path(), &sample);
    let bundle = Bundles::open(root.path()).unwrap().create(&sample.program).unwrap();
    bundle.lay_out(Role::Host).unwrap();
    write(&bundle, &sample, 0..sample.program.chunk_count()).unwrap();
    bundle.settle().unwrap();
    assert!(!dir.join(HAVE_FILE).exists());
    drop(bundle);
    let load = || Bundles::open(root.path()).unwrap().get(sample.program.id()).unwrap().unwrap();
    assert_eq!(load().complete(), Some(Role::Host));

    let file = OpenOptions::new().write(true).open(dir.join("files/data/big.bin")).unwrap();
    file.set_len(u64::from(CHUNK_SIZE) + 5).unwrap();
    let bundle = load();
    assert_eq!(ranges(&bundle.have()), [0..1, 4..7]);
    assert_eq!(bundle.complete(), None);
    assert!(matches!(bundle.open_file("index.html"), Err(BundleError::Incomplete)));
    bundle.lay_out(Role::Host).unwrap();
    write(&bundle, &sample, 1..4).unwrap();
    bundle.settle().unwrap();
    assert_eq!(load().complete(), Some(Role::Host));
}

#[test]
fn a_members_copy_becomes_the_hosts() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    let shelf = Bundles::open(root.path()).unwrap();
    let bundle = shelf.create(&sample.program).unwrap();
    bundle.lay_out(Role::Everyone).unwrap();
    write(&bundle, &sample, 0..5).unwrap();
    bundle.settle().unwrap();
    drop(bundle);
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    assert_eq!(bundle.complete(), Some(Role::Everyone));
    assert!(!dir_of(root.path(), &sample).join("files/server").exists());
    bundle.lay_out(Role::Host).unwrap();
    write(&bundle, &sample, 5..6).unwrap();
    drop(bundle);
    // Killed on the way: the member's part is sure, the host's is hashed again.
    let shelf = Bundles::open(root.path()).unwrap();
    assert_eq!(shelf.rehashed(), 1);
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    assert_eq!((bundle.complete(), bundle.have().len()), (Some(Role::Everyone), 6));
    write(&bundle, &sample, 6..7).unwrap();
    bundle.settle().unwrap();
    drop(bundle);
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    assert_eq!(bundle.complete(), Some(Role::Host));
    assert_eq!(bundle.open_file("server/secret.bin").unwrap().1, u64::from(CHUNK_SIZE) + 1);
}

#[test]
fn a_removed_bundle_is_gone_for_everyone() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(4));
    let shelf = Bundles::open(root.path()).unwrap();
    let bundle = shelf.create(&sample.program).unwrap();
    bundle.lay_out(Role::Everyone).unwrap();
    write(&bundle, &sample, [0]).unwrap();
    assert_eq!(shelf.list().unwrap(), [sample.program.id()]);
    assert!(std::sync::Arc::ptr_eq(&bundle, &shelf.create(&sample.program).unwrap()));
    assert!(shelf.remove(sample.program.id()).unwrap());
    assert!(!shelf.remove(sample.program.id()).unwrap());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    assert!(shelf.get(sample.program.id()).unwrap().is_none() && shelf.list().unwrap().is_empty());
    let mut buffer = vec![0; CHUNK_SIZE as usize];
    assert!(matches!(write(&bundle, &sample, [1]), Err(BundleError::Removed)));
    assert!(matches!(bundle.read_chunk(ChunkIndex(0), &mut buffer), Err(BundleError::Removed)));
    assert!(matches!(bundle.lay_out(Role::Everyone), Err(BundleError::Removed)));
    // The same program again is a new bundle.
    assert!(shelf.create(&sample.program).unwrap().have().is_empty());
}

#[test]
fn what_a_killed_node_left_half_done_is_cleared_away() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(4));
    drop(Bundles::open(root.path()).unwrap().create(&sample.program).unwrap());
    for left in [".staging-abc/files", ".trash-123/files"] {
        fs::create_dir_all(root.path().join(left)).unwrap();
        fs::write(root.path().join(left).join("x"), "x").unwrap();
    }
    let shelf = Bundles::open(root.path()).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    assert_eq!(shelf.list().unwrap(), [sample.program.id()]);
}

#[test]
fn a_damaged_manifest_is_found_and_can_be_replaced() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(4));
    let shelf = Bundles::open(root.path()).unwrap();
    let path = dir_of(root.path(), &sample).join(MANIFEST_FILE);
    drop(shelf.create(&sample.program).unwrap());
    for damaged in [b"".to_vec(), sample.program.bytes()[1..].to_vec(), vec![0; 5 << 20]] {
        fs::write(&path, damaged).unwrap();
        let error = shelf.get(sample.program.id()).unwrap_err();
        assert!(matches!(error, BundleError::Damaged { id, .. } if id == sample.program.id()), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(shelf.get(sample.program.id()), Err(BundleError::Damaged { .. })));
    assert!(shelf.create(&sample.program).is_ok());
    assert!(shelf.get(sample.program.id()).unwrap().is_some());
}

#[test]
fn a_full_disk_is_said_and_what_is_there_stays() {
    let (disk, sample) = (SmallDisk::new(2048), Sample::of_chunks(12));
    let shelf = Bundles::open(&disk.path().join("programs")).unwrap();
    let bundle = shelf.create(&sample.program).unwrap();
    // Seen before anything is fetched.
    let ballast = disk.fill_but(300);
    let error = bundle.lay_out(Role::Host).unwrap_err();
    assert!(matches!(error, BundleError::DiskFull { source: None, .. }), "{error}");
    fs::remove_file(ballast).unwrap();

    // Once laid out, the room is ours.
    bundle.lay_out(Role::Host).unwrap();
    let ballast = disk.fill_but(100);
    write(&bundle, &sample, 0..3).unwrap();
    drop(bundle);
    let shelf = Bundles::open(shelf.root()).unwrap();
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    bundle.lay_out(Role::Host).unwrap();

    // Where room cannot be reserved, it may run out on the way.
    fs::remove_file(ballast).unwrap();
    let big = OpenOptions::new()
        .write(true)
        .open(dir_of(shelf.root(), &sample).join("files/data/big.bin"))
        .unwrap();
    big.set_len(3 * u64::from(CHUNK_SIZE)).unwrap();
    big.set_len(sample.contents[0].len() as u64).unwrap();
    let ballast = disk.fill_but(100);
    let error = (3..13).find_map(|n| write(&bundle, &sample, [n]).err()).unwrap();
    assert!(matches!(error, BundleError::DiskFull { source: Some(_), .. }), "{error}");
    assert!(!error.to_string().contains('\n') && error.to_string().starts_with("the disk is full"));
    let there = bundle.have();
    assert!((3..6).contains(&there.len()), "{there:?}");
    drop(bundle);
    let bundle = shelf.get(sample.program.id()).unwrap().unwrap();
    assert_eq!(bundle.have(), there, "what was noted is there");

    fs::remove_file(ballast).unwrap();
    bundle.lay_out(Role::Host).unwrap();
    write(&bundle, &sample, 0..13).unwrap();
    bundle.settle().unwrap();
    assert_eq!(bundle.complete(), Some(Role::Host));
}

#[test]
fn readers_and_writers_do_not_disturb_one_another() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(40));
    let shelf = Bundles::open(root.path()).unwrap();
    let bundle = shelf.create(&sample.program).unwrap();
    bundle.lay_out(Role::Host).unwrap();
    let (sample, bundle) = (&sample, &*bundle);
    let all = sample.program.chunk_count();
    std::thread::scope(|scope| {
        for start in 0..3 {
            scope.spawn(move || {
                (0..all)
                    .map(|n| (n + start * all / 3) % all)
                    .for_each(|n| drop(write(bundle, sample, [n]).unwrap()))
            });
            scope.spawn(move || {
                let mut buffer = vec![0; CHUNK_SIZE as usize];
                while bundle.complete() != Some(Role::Host) {
                    for n in bundle.have().iter() {
                        let len = bundle.read_chunk(n, &mut buffer).unwrap();
                        assert!(&buffer[..len] == sample.chunk(n.0));
                    }
                }
            });
        }
    });
    let noted = fs::metadata(dir_of(root.path(), sample).join(HAVE_FILE)).unwrap().len();
    assert!((8 + 4 * u64::from(all)..=8 + 12 * u64::from(all)).contains(&noted), "{noted}");
}

fn complete(shelf: &Bundles, sample: &Sample, role: Role) -> std::sync::Arc<Bundle> {
    let bundle = shelf.create(&sample.program).unwrap();
    bundle.lay_out(role).unwrap();
    let chunks: Vec<u32> = sample.program.chunks_for(role).iter().map(|chunk| chunk.0).collect();
    write(&bundle, sample, chunks).unwrap();
    bundle.settle().unwrap();
    bundle
}

#[test]
fn a_card_carries_a_copy_and_a_note() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    let shelf = Bundles::open(&root.path().join("a")).unwrap();
    let bundle = complete(&shelf, &sample, Role::Host);
    for role in [Role::Everyone, Role::Host] {
        let card = root.path().join(format!("{role}.card"));
        write_card(&bundle, role, b"a ticket", &card).unwrap();
        let other = Bundles::open(&root.path().join(role.to_string())).unwrap();
        let (read, note) = read_card(&card, &other).unwrap();
        assert_eq!((read.complete(), &note[..]), (Some(role), &b"a ticket"[..]));
        // A second time changes nothing.
        assert_eq!(read_card(&card, &other).unwrap().0.complete(), Some(role));
    }
    let member = Bundles::open(&root.path().join("b")).unwrap();
    let incomplete = member.create(&sample.program).unwrap();
    let card = root.path().join("none.card");
    assert!(matches!(
        write_card(&incomplete, Role::Everyone, b"", &card),
        Err(CardError::Store(BundleError::Incomplete))
    ));
    assert!(matches!(
        write_card(&bundle, Role::Host, &vec![0; MAX_NOTE + 1], &card),
        Err(CardError::Part(_))
    ));
    assert!(!card.exists());
}

#[test]
fn a_bad_card_leaves_nothing() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(5));
    let shelf = Bundles::open(&root.path().join("a")).unwrap();
    let bundle = complete(&shelf, &sample, Role::Host);
    let card = root.path().join("card");
    write_card(&bundle, Role::Host, b"note", &card).unwrap();
    let whole = fs::read(&card).unwrap();
    let other = Bundles::open(&root.path().join("b")).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&card, bytes).unwrap();
        let error = read_card(&card, &other).map(|_| ()).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{what}: {error}");
        assert_eq!(fs::read_dir(other.root()).unwrap().count(), 0, "{what}");
    };
    for cut in [0, 1, 30, 1000, whole.len() / 2, whole.len() - 1] {
        check(&whole[..cut], "cut");
    }
    for at in (0..whole.len()).step_by(whole.len() / 37) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&card, &flipped).unwrap();
        // A flip where the zip format keeps a date, say, harms nothing; nothing else may pass.
        if let Ok((read, note)) = read_card(&card, &other) {
            assert_eq!((read.complete(), &note[..]), (Some(Role::Host), &b"note"[..]));
            other.remove(sample.program.id()).unwrap();
        }
        assert_eq!(fs::read_dir(other.root()).unwrap().count(), 0, "flip at {at}");
    }
    check(b"not a zip at all", "text");
}

#[test]
fn a_whole_copy_that_was_never_settled_is_hashed_once_and_settled() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    for role in [Role::Everyone, Role::Host] {
        let id = sample.program.id();
        let bundle = Bundles::open(root.path()).unwrap().create(&sample.program).unwrap();
        bundle.lay_out(role).unwrap();
        let chunks = sample.program.chunks_for(role);
        write(&bundle, &sample, chunks.iter().map(|chunk| chunk.0)).unwrap();
        // Killed between the last chunk and the marker.
        drop(bundle);

        let shelf = Bundles::open(root.path()).unwrap();
        for look in 0..3 {
            assert_eq!(shelf.get(id).unwrap().unwrap().complete(), Some(role));
            assert_eq!(shelf.complete(id), Some(role));
            let hashed = if role == Role::Host { 2 } else { chunks.len() };
            assert_eq!(shelf.rehashed(), u64::from(hashed), "look {look}");
        }
        let shelf = Bundles::open(root.path()).unwrap();
        assert_eq!((shelf.complete(id), shelf.rehashed()), (Some(role), 0), "known before anybody looks");
    }
}

#[test]
fn what_is_known_of_a_bundle_outlives_its_use() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(6));
    let (id, shelf) = (sample.program.id(), Bundles::open(root.path()).unwrap());
    let bundle = shelf.create(&sample.program).unwrap();
    bundle.lay_out(Role::Everyone).unwrap();
    write(&bundle, &sample, [0, 3]).unwrap();
    drop(bundle);
    for _ in 0..3 {
        assert_eq!(ranges(&shelf.get(id).unwrap().unwrap().have()), [0..1, 3..4]);
    }
    assert_eq!((shelf.rehashed(), shelf.complete(id)), (0, None));

    write(&shelf.get(id).unwrap().unwrap(), &sample, 0..5).unwrap();
    assert_eq!(shelf.complete(id), Some(Role::Everyone));
    let loaded = shelf.loaded();
    assert_eq!((0..9).map(|_| shelf.complete(id)).max(), Some(Some(Role::Everyone)));
    assert_eq!(shelf.loaded(), loaded, "nothing is loaded to know that");
    shelf.remove(id).unwrap();
    assert_eq!(shelf.complete(id), None);
}

#[test]
fn what_nobody_uses_can_be_removed_and_what_was_used_meanwhile_cannot() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(4));
    let (id, shelf) = (sample.program.id(), Bundles::open(root.path()).unwrap());
    let bundle = shelf.create(&sample.program).unwrap();
    let look = shelf.look_around().unwrap();
    assert_eq!((&look.idle[..], &look.used[..]), (&[][..], &[id][..]));
    assert!(!shelf.remove_idle(id, &look).unwrap());

    // Let go of after the look: whoever had it may have noted it meanwhile.
    drop(bundle);
    let look = shelf.look_around().unwrap();
    assert_eq!((&look.idle[..], &look.used[..]), (&[id][..], &[][..]));
    drop(shelf.get(id).unwrap().unwrap());
    assert!(!shelf.remove_idle(id, &look).unwrap(), "it was used since the look");
    let look = shelf.look_around().unwrap();
    let bundle = shelf.get(id).unwrap();
    assert!(!shelf.remove_idle(id, &look).unwrap(), "it is in use");

    drop(bundle);
    let look = shelf.look_around().unwrap();
    assert!(shelf.remove_idle(id, &look).unwrap());
    assert!(!shelf.remove_idle(id, &look).unwrap());
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    // The next one of the same program is not what that look saw.
    drop(shelf.create(&sample.program).unwrap());
    assert!(!shelf.remove_idle(id, &look).unwrap());
}

#[test]
fn a_bundle_is_in_its_place_for_good_before_it_is_handed_out() {
    let (root, sample) = (tempfile::tempdir().unwrap(), Sample::of_chunks(4));
    let shelf = Bundles::open(root.path()).unwrap();
    whole_file::tests::take_synced();
    drop(shelf.create(&sample.program).unwrap());
    let synced = whole_file::tests::take_synced();
    let in_place = (root.path().to_owned(), vec![sample.program.id().to_string()]);
    assert_eq!(synced.last(), Some(&in_place), "{synced:#?}");
}
