//! Two members' browsers: what one does in a program's page, the other sees.

use parlor_tests::{browser::Browser, cast::Cast, node::Node, programs::example};

/// Opens the session's page in a browser of this node's user.
fn open(node: &Node, session: &str) -> Browser {
    let url = node.run(&["open", session, "--print"])["url"].as_str().expect("a URL").to_owned();
    let browser = Browser::open(node.name(), &url);
    browser.wait_ready();
    browser
}

fn says(browser: &Browser, text: &str) {
    browser.type_into("#text", text);
    browser.click("#send");
}

/// An expression: whether the page shows this message, from this sender.
fn shows(name: &str, text: &str, own: bool) -> String {
    let select = format!("document.querySelectorAll('article.message[data-own=\"{own}\"]')");
    format!(
        "[...{select}].filter(m => m.querySelector('.body').textContent === {text:?} \
         && m.querySelector('.name').textContent === {name:?}).length === 1"
    )
}

#[test]
fn two_members_chat_in_their_browsers() {
    let cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    cast.host.run(&["send", &session, "from a terminal"]);
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    let (left, right) = (open(ann, &session), open(ben, &session));

    // Messages and names, both ways, and from somebody without a browser.
    for browser in [&left, &right] {
        browser.wait(&shows("host", "from a terminal", false));
    }
    says(&left, "Hello, Ben! <b>bold?</b> \"quoted\"");
    left.wait(&shows("ann", "Hello, Ben! <b>bold?</b> \"quoted\"", true));
    right.wait(&shows("ann", "Hello, Ben! <b>bold?</b> \"quoted\"", false));
    says(&right, "Hello, Ann!");
    left.wait(&shows("ben", "Hello, Ann!", false));

    // Realtime: who is here, and who is writing.
    left.wait("document.querySelectorAll('#members li').length === 2");
    right.type_into("#text", "I am just about to");
    left.wait("document.querySelector('#typing').textContent.includes('ben')");

    // History: a page that is loaded again, and one that is opened late.
    left.reload();
    left.wait_ready();
    let late = open(&cast.host, &session);
    for browser in [&left, &late] {
        browser.wait("document.querySelectorAll('article.message').length === 3");
        browser.wait(&shows("ben", "Hello, Ann!", false));
    }
    left.wait(&shows("ann", "Hello, Ben! <b>bold?</b> \"quoted\"", true));
    late.wait(&shows("host", "from a terminal", true));
}

#[test]
fn two_players_fight_a_round_of_duel() {
    let cast = Cast::gather(&["ann"]);
    cast.publish(&example("duel"), &[]);
    cast.host.run(&["get", "origin", "duel"]);
    let session = cast.invite_all("duel");
    cast.join_all(&session);
    cast.wait_running(&session);
    let (left, right) = (open(&cast.host, &session), open(&cast.members[0], &session));

    for browser in [&left, &right] {
        browser.click("#sit");
    }
    for browser in [&left, &right] {
        browser.wait("document.body.dataset.stage === 'seal' && document.body.dataset.role === 'player'");
        browser.wait("!document.querySelector('[data-move=lunge]').disabled");
    }
    // A lunge beats a feint, whoever is told first.
    left.click("[data-move=lunge]");
    left.wait("document.querySelector('[data-move=lunge]').disabled");
    right.click("[data-move=feint]");
    for browser in [&left, &right] {
        browser.wait("document.querySelector('#exchange').textContent.length > 0");
        browser.wait("document.body.dataset.stage === 'seal'");
    }
    // Two steps back: one more lunge, and the other is in the water.
    left.wait("!document.querySelector('[data-move=lunge]').disabled");
    right.wait("!document.querySelector('[data-move=feint]').disabled");
    left.click("[data-move=lunge]");
    right.click("[data-move=feint]");
    for browser in [&left, &right] {
        browser.wait("document.body.dataset.stage === 'over'");
    }
    left.wait("document.querySelector('#frog-right').dataset.fallen === 'true'");
    right.wait("document.querySelector('#frog-left').dataset.fallen === 'true'");
    left.wait("document.querySelector('#left .wins').textContent === '1'");
    right.wait("document.querySelector('#right .wins').textContent === '1'");
}

#[test]
fn a_host_makes_a_member_the_host_on_the_console_page() {
    let cast = Cast::gather(&["ann", "ben"]);
    let session = cast.run(&example("chat"));
    let console = Browser::open("host", cast.host.ready()["console"].as_str().expect("a URL"));
    console.wait("document.querySelectorAll('#sessions .people button.name').length === 2");
    let named =
        "[...document.querySelectorAll('#sessions .people button.name')].find(b => b.textContent === 'ann')";
    console.wait(&format!("{named} && ({named}.click(), true)"));
    console.wait("document.querySelector('#dialog').open");
    console.click("#dialog-actions button.main");
    let [ann, ben] = &cast.members[..] else { unreachable!("two members") };
    ann.wait_session(&session, "its own office", |now| now["role"] == "host");
    ben.wait_session(&session, "another host", |now| now["host"]["peer"] == ann.peer());
    console.wait("document.querySelector('#sessions > ul').textContent.includes('hosted by ann')");
    console.wait("document.querySelectorAll('#sessions .people button.name').length === 0");
}

#[test]
fn an_invitation_is_accepted_on_the_console_page() {
    let cast = Cast::gather(&["ann"]);
    let [ann] = &cast.members[..] else { unreachable!("one member") };
    let name = cast.supply(&example("chat"), 1);
    let url = ann.ready()["console"].as_str().expect("a URL");
    let console = Browser::open("ann", url);
    console.wait("document.querySelector('#name').textContent === 'ann'");
    console.wait("document.querySelector('#invitations').hidden");

    let session = cast.invite_all(&name);
    console.wait("!document.querySelector('#invitations').hidden");
    console.wait("document.querySelector('#invitations li').textContent.includes('chat')");
    console.click("#invitations button.main");
    ann.wait_state(&session, "running");
    console.wait("document.querySelector('#sessions > ul').textContent.includes('chat')");
    console.wait("document.querySelector('#invitations').hidden");

    // Without the token that only this user has, there is nothing to be seen.
    let (bare, _token) = url.split_once('#').expect("the token is in the fragment");
    let stranger = Browser::open("somebody", bare);
    stranger.wait("!document.querySelector('#banner').hidden");
    assert_eq!(stranger.eval("document.querySelector('main').hidden"), true);
}
