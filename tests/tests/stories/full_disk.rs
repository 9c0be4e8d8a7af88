//! Disks that get full: nothing is acknowledged, or said to be done, that is not written; and with room again
//! everything goes on, without a restart.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use parlor_tests::{
    cast::{PRICE, wait_outbox_empty},
    disk::SmallDisk,
    node::{Node, Outcome, items},
    programs::example,
    wait_for,
    world::World,
};

/// What somebody else finds in a database: how many rows a table has.
fn rows(database: &Path, table: &str) -> u64 {
    let script = "import sqlite3, sys\n\
                  rows = sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM ' + sys.argv[2])\n\
                  print(rows.fetchone()[0])";
    let outcome = Outcome::of(Command::new("python3").args(["-c", script]).arg(database).arg(table));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome.stdout.trim().parse().expect("a number")
}

fn receptions(billing: &Node) -> u64 {
    billing.run(&["bill", "statement"])["statement"]["receptions"].as_u64().expect("a number")
}

#[test]
fn receipts_are_acknowledged_when_they_are_in_the_books() {
    let world = World::new();
    let disk = SmallDisk::mount(world.file("disk"), 6);
    let books = disk.path().join("books.db");
    let url = format!("sqlite:{}", books.display());
    let mut billing = world.setup("billing").args(&[&"--billing-db", &url]).up();
    let [origin, host] = ["origin", "host"].map(|name| world.node(name));
    for (one, other) in [(&host, &origin), (&host, &billing), (&origin, &billing)] {
        one.knows(other);
        other.knows(one);
    }
    let chat = example("chat");
    let chat = chat.to_str().expect("a path in UTF-8");
    origin.run(&["publish", chat, "--price", PRICE, "--billing", billing.peer(), "--copies-max", "9"]);
    // Each supply is a reception of its own.
    let get = || host.run(&["get", "origin", "chat", "--copies", "2"]);
    get();
    wait_outbox_empty(&host);
    assert_eq!((receptions(&billing), rows(&books, "billing_log")), (1, 1));

    let mut booked = 1;
    for round in 0..3 {
        let filler = disk.fill();
        get();
        // At least one try while there is a page for nothing, and in later rounds more of them.
        wait_for("a receipt that cannot be booked", || {
            let outbox = host.run(&["outbox"]);
            let [receipt] = items(&outbox, "receipts") else { panic!("one receipt waits: {outbox:#}") };
            (receipt["attempts"].as_u64() > Some(round)).then_some(())
        });
        assert_eq!(rows(&books, "billing_log"), booked, "what waits is not in the books");

        fs::remove_file(filler).expect("it was just made");
        get();
        wait_outbox_empty(&host);
        booked += 2;
        assert_eq!(rows(&books, "billing_log"), booked, "what is acknowledged is in the books");
        assert_eq!(receptions(&billing), booked);
    }

    billing.restart();
    assert_eq!((receptions(&billing), rows(&books, "billing_log")), (booked, booked), "and stays there");
    // Before the disk goes away.
    drop(billing);
}

fn contacts(node: &Node) -> BTreeSet<String> {
    let list = node.run(&["contact", "list"]);
    items(&list, "contacts").iter().filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect()
}

#[test]
fn a_node_whose_disk_was_full_writes_again() {
    let world = World::new();
    let disk = SmallDisk::mount(world.file("disk"), 16);
    let mut node = world.setup("solo").home(&disk.path().join("home")).up();
    let database = disk.path().join("home/parlor.db");
    // Of a peer that is not there: only its name is wanted.
    let peer = world.node("other").peer().to_owned();
    let (mut known, mut refused) = (String::new(), 0);

    // From no page to spare up to enough for all of it.
    for spare in (0..).step_by(4096) {
        let filler = disk.fill_but(spare);
        let name = format!("with-{spare}");
        let outcome = node.call(&["contact", "add", &name, &peer]);
        let is_done = outcome.code == 0;
        if is_done {
            known = name;
        } else {
            let why = outcome.refusal();
            assert!(why.contains("full"), "{why}");
            refused += 1;
        }
        fs::remove_file(filler).expect("it was just made");
        if refused > 0 {
            assert_eq!(rows(&database, "contacts"), u64::from(!known.is_empty()), "{spare} bytes to spare");
        }

        // One peer, one name: the newest.
        known = format!("after-{spare}");
        node.run(&["contact", "add", &known, &peer]);
        assert_eq!(contacts(&node), BTreeSet::from([known.clone()]));
        if is_done {
            break;
        }
    }
    assert!(refused > 0, "it was full at first");
    node.restart();
    assert_eq!(contacts(&node), BTreeSet::from([known]), "also after a restart");
    // Before the disk goes away.
    drop(node);
}
