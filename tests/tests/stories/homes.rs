//! Homes that are not as they were left, or not where homes usually are: what is wrong is said in one line, and what
//! is there stays as it is.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
};

use parlor_tests::{
    node::{Node, items},
    world::World,
};

/// A node that has been there and has written something; stopped.
fn stopped(world: &World) -> Node {
    let mut node = world.node("solo");
    let other = world.node("other");
    node.knows(&other);
    node.stop();
    node
}

#[test]
fn a_home_without_its_database_is_refused_until_a_new_one_is_asked_for() {
    let world = World::new();
    let mut node = stopped(&world);
    let (peer, database) = (node.peer().to_owned(), node.home().join("parlor.db"));
    let whole = fs::read(&database).expect("the database");

    fs::remove_file(&database).expect("it is there");
    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("parlor.db is missing or empty") && why.contains("--new-database"), "{why}");
    assert!(!database.exists(), "none is made");
    fs::write(&database, "").expect("a file");
    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("parlor.db is missing or empty"), "{why}");

    // From a backup, everything is there.
    fs::write(&database, whole).expect("a file");
    node.restart();
    assert_eq!(items(&node.run(&["contact", "list"]), "contacts").len(), 1);
    node.stop();

    fs::remove_file(&database).expect("it is there");
    let mut again = world.setup("solo").args(&[&"--new-database"]).up();
    assert_eq!(again.peer(), peer, "the same node");
    assert_eq!(items(&again.run(&["contact", "list"]), "contacts").len(), 0);
    again.stop();
    drop(world.node("solo"));
}

#[test]
fn a_damaged_database_is_said_to_be_damaged() {
    let world = World::new();
    let node = stopped(&world);
    let database = node.home().join("parlor.db");
    let whole = fs::read(&database).expect("the database");
    for number in [1, 2, whole.len() as u64 / 4096 - 1] {
        let file = fs::File::options().write(true).open(&database).expect("the database");
        file.write_all_at(&[0; 4096], number * 4096).expect("a page");
        let why = world.setup("solo").fails().refusal();
        assert!(why.contains("parlor.db is damaged (") && why.contains("restore it from a backup"), "{why}");
        fs::write(&database, &whole).expect("a file");
    }
    fs::write(&database, "this is no database, but long enough to be taken for one ".repeat(1000))
        .expect("a file");
    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("parlor.db is damaged ("), "{why}");
    fs::write(&database, &whole).expect("a file");
    drop(world.node("solo"));
}

#[test]
fn a_database_and_an_identity_belong_together() {
    let world = World::new();
    let node = stopped(&world);
    let key = node.home().join("identity.key");
    let own = fs::read(&key).expect("the key");
    fs::remove_file(&key).expect("it is there");
    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("identity.key") && why.contains(node.peer()), "{why}");
    assert!(!key.exists(), "none is made");
    fs::write(&key, [7; 32]).expect("a file");
    let why = world.setup("solo").fails().refusal();
    assert!(why.contains("is not that of") && why.contains(node.peer()), "{why}");
    fs::write(&key, own).expect("a file");
    drop(world.node("solo"));
}

#[test]
fn a_node_whose_terminal_is_closed_stops_in_order() {
    let world = World::new();
    let mut node = world.node("solo");
    assert!(!node.home().join("stopped").exists());
    node.hang_up();
    assert!(node.home().join("stopped").exists());
    assert!(!node.home().join("parlor.db-wal").exists(), "all is in the database");
    node.restart();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn a_directory_that_others_use_stays_theirs_and_what_is_the_nodes_is_private() {
    let world = World::new();
    let shared = world.file("shared");
    fs::create_dir(&shared).expect("a directory");
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).expect("permissions");
    let node = world.setup("solo").home(&shared).up();
    assert_eq!(mode(&shared), 0o1777, "it stays as it was");
    let mut seen = Vec::new();
    for entry in fs::read_dir(&shared).expect("a directory").map(|entry| entry.expect("an entry")) {
        let others = mode(&entry.path()) & 0o077;
        assert_eq!(others, 0, "{entry:?}");
        seen.push(entry.file_name().into_string().expect("a name"));
    }
    for name in ["identity.key", "parlor.db", "parlor.db-wal", "parlor.db-shm", "programs", "control.sock"] {
        assert!(seen.iter().any(|one| one == name), "{name} is not in {seen:?}");
    }
    drop(node);
}

#[test]
fn a_home_is_where_it_is_said_to_be() {
    let world = World::new();
    let mut node = world.setup("odd").home(&world.file("%41 #?")).up();
    node.run(&["bill", "receipts"]);
    assert!(!world.file("A #?").exists() && !world.file("A ").exists(), "it is not unpacked");
    node.stop();
    use std::os::unix::ffi::OsStrExt as _;
    let unreadable = world.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let why = world.setup("solo").home(&unreadable).fails().refusal();
    assert!(why.contains("UTF-8") && why.contains("--home"), "{why}");
}
