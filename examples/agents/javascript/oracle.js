// The oracle: a host part in JavaScript. Whoever asks it something (parlor send SESSION "Will it rain?") gets an answer
// that the whole group sees. A question that comes again after a crash is not answered again.

import { members, post } from "parlor:agent/group@0.1.0";
import { get, set } from "parlor:agent/store@0.1.0";
import { now, random } from "parlor:agent/system@0.1.0";

const ANSWERS = ["Yes.", "No.", "Ask again tomorrow.", "It is written.", "Who wants to know?", "Not while anybody looks."];
const APART = 500n; // milliseconds between two answers, so that nobody can make the oracle talk too fast
const LONGEST = 300; // characters of a question

let answered = 0n; // the serial of the last question that was answered
let last = 0n;

function answer({ serial, sender, content }) {
  const question = JSON.parse(content.payload);
  if (typeof question !== "string" || !question.endsWith("?") || question.length > LONGEST) return;
  if (serial <= answered || now() < last + APART) return;
  [answered, last] = [serial, now()];
  set("session", "answered", new TextEncoder().encode(String(serial))); // first on disk, then said
  const name = members().find((member) => member.addr === sender)?.name ?? "Somebody";
  const words = ANSWERS[random(1)[0] % ANSWERS.length];
  post({ payload: JSON.stringify({ question, answer: words }), info: `${name} asked: ${question} ${words}` });
}

export const events = {
  setup: () => "ready",
  start() {
    const kept = get("session", "answered");
    if (kept) answered = BigInt(new TextDecoder().decode(kept));
  },
  update: answer,
  input: (text) => post({ payload: JSON.stringify(text) }), // the host's own question
  suspend: () => new Uint8Array(),
  message() {},
  page() {},
  tick() {},
  members() {},
  end() {},
};
