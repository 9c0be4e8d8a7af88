//! What a session on the internet goes through: relays that die, laptops that are carried elsewhere.

use parlor_tests::{
    cast::{SLACK, join, talk, wait_midway},
    internet::nat::Nat,
    programs::{BULK, bulky, example},
    stage::{Plan, wait_path, wait_reachable},
};

use super::apart;

/// Mbit/s of a relay, so that a transfer takes long enough for something to happen in its midst.
const SLOW: u32 = 100;

#[test]
fn a_relay_dies_while_a_program_passes_it_and_another_takes_over() {
    let mut stage = apart(Plan::new().relay(&[]).relay(&[]), Nat::Symmetric, &["ann"]);
    stage.relays.iter().for_each(|relay| relay.host.slow_down(SLOW));
    let name = stage.cast.supply(&bulky(stage.cast.world.file("bulky"), BULK), 1);
    let session = stage.cast.invite_all(&name);
    let ann = &stage.cast.members[0];
    let before: Vec<u64> = stage.relays.iter().map(|relay| relay.host.sent()).collect();
    join(ann, &session);
    let (_, total) = wait_midway(ann, &session);
    let busy = (0..2).max_by_key(|number| stage.relays[*number].host.sent() - before[*number]).expect("two");
    let other = 1 - busy;
    let before = stage.relays[other].host.sent();
    stage.relays[busy].node.kill9();
    stage.cast.wait_running(&session);
    let fetched = ann.run(&["status"])["transfers"]["fetched"].as_u64().expect("a number of bytes");
    assert!(fetched <= total + SLACK, "{fetched} fetched of {total}");
    let sent = stage.relays[other].host.sent() - before;
    assert!(sent > total / 20, "{sent} of {total} bytes went through the other relay");
    talk(&session, &[&stage.cast.host, ann], "by another way");
}

/// First where a hole can be punched, then where none can, then back into the first home, which has not forgotten.
#[test]
fn a_member_takes_its_laptop_elsewhere_and_the_session_goes_on() {
    let mut stage = apart(Plan::new().relay(&[]), Nat::Restricted, &["ann", "ben"]);
    let session = stage.cast.run(&example("chat"));
    let elsewhere = stage.internet.home(Nat::Symmetric);
    for (wire, path, tag) in
        [(elsewhere.wire(), "relayed", "in the train"), (stage.homes[1].wire(), "direct", "back at home")]
    {
        let [ann, ben] = &stage.cast.members[..] else { unreachable!("two members") };
        talk(&session, &[&stage.cast.host, ann, ben], &format!("before it is {tag}"));
        stage.hosts[1].moves_to(wire);
        // Said while nobody knows where ann is.
        let missed = format!("where is ann? {tag}");
        stage.cast.host.run(&["send", &session, &missed]);
        ann.watch(&session).wait_update(missed);
        talk(&session, &[&stage.cast.host, ann, ben], tag);
        wait_path(&stage.cast.host, ann, path);
    }
}

#[test]
fn the_host_takes_its_laptop_elsewhere_and_is_host_still() {
    let mut stage = apart(Plan::new().relay(&[]), Nat::Restricted, &["ann", "ben"]);
    let session = stage.cast.run(&example("chat"));
    let elsewhere = stage.internet.home(Nat::Restricted);
    stage.hosts[0].moves_to(elsewhere.wire());
    let [ann, ben] = &stage.cast.members[..] else { unreachable!("two members") };
    talk(&session, &[&stage.cast.host, ann, ben], "from the train");
    for node in [&stage.cast.host, ann, ben] {
        let now = node.session(&session);
        assert_eq!(
            (&now["term"], &now["host"]["peer"]),
            (&0.into(), &stage.cast.host.peer().into()),
            "{now:#}"
        );
    }
}

/// The home's cable is pulled: nobody in it notices at once, and nobody outside.
#[test]
fn a_home_is_cut_off_for_a_while_and_its_member_hears_what_it_missed() {
    let stage = apart(Plan::new().relay(&[]), Nat::Symmetric, &["ann", "ben"]);
    let session = stage.cast.run(&example("chat"));
    let [ann, ben] = &stage.cast.members[..] else { unreachable!("two members") };
    talk(&session, &[&stage.cast.host, ann, ben], "before");
    let router = stage.homes[1].router();
    router.cut();
    talk(&session, &[&stage.cast.host, ben], "meanwhile");
    ann.run(&["send", &session, "is anybody there?"]);
    router.mend();
    ann.watch(&session).wait_update("meanwhile: ben speaks");
    ben.watch(&session).wait_update("is anybody there?");
    talk(&session, &[&stage.cast.host, ann, ben], "after");
}

/// A relay that comes back is asked again: who depends on it is reached by new ones too.
#[test]
fn a_relay_is_restarted_and_everybody_is_there_again() {
    let mut stage = apart(Plan::new().relay(&[]), Nat::Symmetric, &["ann"]);
    let session = stage.cast.run(&example("chat"));
    talk(&session, &[&stage.cast.host, &stage.cast.members[0]], "before");
    stage.relays[0].node.restart();
    talk(&session, &[&stage.cast.host, &stage.cast.members[0]], "after");
    for node in [&stage.cast.host, &stage.cast.members[0]] {
        wait_reachable(node);
    }
}
