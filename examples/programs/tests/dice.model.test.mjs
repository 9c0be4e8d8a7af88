// The dice's model. Run with: cd examples/programs && node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, cleanName, emptyLog, inWords, lastRoll, readHosts, receive, verdict } from "../dice/model.js";

const HOSTS = new Set(["host"]);

function table() {
  const log = emptyLog();
  let serial = 0;
  const post = (payload, addr = "host") => receive(log, { payload, serial: ++serial, sender: { addr, name: addr.toUpperCase() } });
  return { log, post };
}
const roll = (number, dice = [3, 5]) => ({ is: "roll", number, who: "ann", name: "Ann", sides: 6, dice });

test("the host's roll counts, and nobody else's", () => {
  const { log, post } = table();
  const real = post(roll(1));
  const fake = post(roll(2, [6, 6]), "mallory");
  assert.deepEqual([verdict(real, HOSTS), verdict(fake, HOSTS)], ["counts", "fake"]);
  assert.equal(fake.byName, "MALLORY");
  assert.equal(lastRoll(log, HOSTS), real);
});

test("until the hosts are known, rolls are open", () => {
  const { log, post } = table();
  const one = post(roll(1));
  assert.equal(verdict(one, null), "open");
  assert.equal(lastRoll(log, null), one);
  assert.equal(lastRoll(emptyLog(), null), null);
});

test("a roll that is said again is one roll; another host counts from one", () => {
  const { log, post } = table();
  post(roll(1));
  assert.equal(post(roll(1)), null);
  assert.ok(post(roll(2)));
  assert.ok(post(roll(1), "next"));
  assert.equal(log.rolls.length, 3);
});

test("an update delivered twice is taken once", () => {
  const log = emptyLog();
  assert.ok(receive(log, { payload: roll(1), serial: 4 }));
  assert.equal(receive(log, { payload: roll(2), serial: 4 }), null);
});

test("what is not understood is left out", () => {
  const { post } = table();
  const odd = [
    null, "roll", 7, [], {}, ask(2, 6).payload, roll(0), roll(1.5), roll(1, []), roll(1, [7]), roll(1, [0]), roll(1, ["1"]),
    roll(1, [1, 1, 1, 1, 1, 1, 1]), { ...roll(1), sides: 1 }, { ...roll(1), who: 3 },
  ];
  for (const payload of odd) assert.equal(post(payload), null, JSON.stringify(payload));
  for (const update of [null, undefined, 1, "x", []]) assert.equal(receive(emptyLog(), update), null);
});

test("what the agent says of hosts", () => {
  assert.deepEqual([...readHosts({ hosts: ["a", 7, ""] })], ["a"]);
  for (const word of [null, {}, { hosts: "a" }, []]) assert.equal(readHosts(word), null);
});

test("words", () => {
  assert.deepEqual([[4], [3, 5], [1, 2, 3]].map(inWords), ["4", "3 and 5", "1, 2 and 3"]);
  assert.equal(cleanName("  An\u202Ea\n\tB "), "An a B");
  assert.equal(cleanName(undefined, "abcdefghijk"), "abcdefgh");
});
