//! An agent in another language, built from its source with the ordinary toolchain of that language.

use std::{path::Path, process::Command};

use parlor_tests::{cast::Cast, node::Outcome, world::repository};

#[test]
fn an_oracle_in_javascript_answers_so_that_all_see_it() {
    let built = Outcome::of(&mut Command::new(repository().join("tests/javascript.sh")));
    assert_eq!(built.code, 0, "{}", built.stderr);
    let cast = Cast::gather(&["ann"]);
    let session = cast.run(Path::new(built.stdout.trim_end()));
    let ann = &cast.members[0];
    let watches = [&cast.host, ann].map(|node| node.watch(&session));
    ann.run(&["send", &session, "Will it rain?"]);
    for watch in &watches {
        let answer = watch.wait_for("an answer", |line| line["payload"]["question"] == "Will it rain?");
        assert_eq!(answer["sender"], cast.host.peer(), "{answer:#}");
        assert!(answer["payload"]["answer"].is_string(), "{answer:#}");
    }
}
