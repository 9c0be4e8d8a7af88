// The chat's model. Run with: cd examples/programs && node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { cleanName, compose, emptyLog, excess, hueOf, receive, windowStart } from "../chat/model.js";

const NOON = new Date(2026, 2, 9, 12).getTime();
const HOUR = 3_600_000;

function chat() {
  const log = emptyLog();
  let serial = 0;
  const say = (payload, extra = {}) => receive(log, { payload, serial: ++serial, max_serial: serial, ...extra }, NOON + HOUR);
  return { log, say };
}
const from = (addr, text, at = NOON) => ({ text, at, addr, name: addr.toUpperCase() });

test("a message is what compose made of it", () => {
  const { log, say } = chat();
  const update = compose("hello\nthere", { addr: "a", name: "Ana" }, log, NOON, "id1");
  assert.equal(update.summary, "1 message");
  const message = say(update.payload);
  assert.deepEqual([message.text, message.addr, message.name, message.at, message.id], ["hello\nthere", "a", "Ana", NOON, "id1"]);
});

test("a bare string is a message, named by its verified sender where there is one", () => {
  const { say } = chat();
  assert.equal(say("hi").name, "Someone");
  const message = say("hi", { sender: { addr: "b", name: "Bo" } });
  assert.deepEqual([message.addr, message.name, message.verified], ["b", "Bo", true]);
});

test("the verified sender wins over what the payload claims", () => {
  const { say } = chat();
  const message = say({ ...from("ana", "give me the keys"), name: "Ana" }, { sender: { addr: "mallory", name: "Mallory" } });
  assert.deepEqual([message.addr, message.name], ["mallory", "Mallory"]);
  const nameless = say({ ...from("ana", "hm"), name: "Ana" }, { sender: { addr: "mallory-long-address" } });
  assert.equal(nameless.name, "mallory-");
});

test("what is not understood is left out", () => {
  const { log, say } = chat();
  for (const payload of [null, undefined, 7, true, [], ["x"], {}, { text: 1 }, { text: {} }, { text: " \n" }, "", "  "]) {
    assert.equal(say(payload), null);
  }
  for (const update of [null, undefined, 1, "x", [], {}]) assert.equal(receive(log, update, NOON), null);
  assert.equal(log.messages.length, 0);
});

test("odd fields do not spoil a message", () => {
  const { say } = chat();
  const message = say({ text: "ok", at: "yesterday", addr: 3, name: ["x"], id: {} }, { sender: "root" });
  assert.deepEqual([message.text, message.at, message.addr, message.name, message.id], ["ok", null, "", "Someone", null]);
  assert.equal(say({ text: "from the future", at: NOON + 9 * HOUR }).at, null);
});

test("an update delivered twice is shown once", () => {
  const { log } = chat();
  const update = { payload: "once", serial: 4, max_serial: 4 };
  receive(log, update, NOON);
  receive(log, update, NOON);
  assert.equal(log.messages.length, 1);
});

test("messages of one sender, soon after each other, are grouped", () => {
  const { log, say } = chat();
  say(from("a", "1"));
  say(from("a", "2", NOON + 60_000));
  say(from("b", "3", NOON + 61_000));
  say(from("a", "4", NOON + 62_000));
  say(from("a", "5", NOON + 62_000 + 6 * 60_000));
  assert.deepEqual(log.messages.map((m) => m.follows), [false, true, false, false, false]);
});

test("days go forward; a late message says so instead", () => {
  const { log, say } = chat();
  say(from("a", "yesterday", NOON - 24 * HOUR));
  say(from("a", "today"));
  say(from("b", "was offline", NOON - 20 * HOUR));
  say("no time at all");
  assert.deepEqual(log.messages.map((m) => m.startsDay), [true, true, false, false]);
  assert.deepEqual(log.messages.map((m) => m.late), [false, false, true, false]);
});

test("names are one clean line", () => {
  assert.equal(cleanName("  An\u202Ea\n\tB "), "An a B");
  assert.equal(cleanName("", "abcdefghijk"), "abcdefgh");
  assert.equal([...cleanName("x".repeat(500))].length, 48);
});

test("size is counted in bytes of the whole update", () => {
  const update = compose("ü".repeat(100), { addr: "a", name: "A" }, emptyLog(), NOON, "i");
  const size = new TextEncoder().encode(JSON.stringify(update)).length;
  assert.equal(excess(update, size), 0);
  assert.equal(excess(update, size - 3), 3);
  assert.equal(excess(update, undefined), 0);
});

test("a colour belongs to an address, and the window to the newest", () => {
  assert.equal(hueOf("abc"), hueOf("abc"));
  assert.ok(new Set(Array.from({ length: 40 }, (_, i) => hueOf(`peer${i}`))).size > 8);
  const { log, say } = chat();
  for (let i = 0; i < 7; i++) say(`m${i}`);
  assert.deepEqual([windowStart(log, 5), windowStart(log, 50)], [2, 0]);
});
