//! Nodes of js-libp2p, which shares no code with Parlor's.
//!
//! For: running the scripts of `tests/interop/js` beside real nodes, and reading what they tell. Not for: what they
//! do, which stands in them.

use std::{
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::{
    node::{Outcome, launcher},
    watch::Watch,
    world::repository,
};

/// Starts a script, in a network namespace or not, and listens to the lines of JSON that it prints. It ends when
/// nobody listens any more.
#[must_use]
pub fn script(netns: Option<&str>, name: &str, args: &[&str]) -> Watch {
    let child = launcher(netns, None)
        .args(["node", &format!("{}/{name}", place())])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    Watch::of_child(child)
}

/// Where the scripts and the packages they want are.
fn place() -> &'static str {
    static PLACE: OnceLock<String> = OnceLock::new();
    PLACE.get_or_init(|| {
        let done = Outcome::of(&mut Command::new(repository().join("tests/interop/install.sh")));
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stdout.trim_end().to_owned()
    })
}
