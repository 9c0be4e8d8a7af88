// Puts the chat together: updates in, the text box out, presence beside it.

import { cleanName, compose, emptyLog, excess, receive } from "./model.js";
import { joinLive } from "./live.js";
import { createView } from "./view.js";

const ECHO_WITHIN = 10_000; // a message of ours that has not come back by then was not let through
const DEFAULT_MAX_SIZE = 128_000;

const webxdc = window.webxdc;
const self = { addr: webxdc.selfAddr, name: cleanName(webxdc.selfName, webxdc.selfAddr) };
const log = emptyLog();
const view = createView(log, self);
const live = joinLive(webxdc, self, () => view.people(live.people()));
const waiting = new Map(); // id of a message on its way -> { text, timer }

const text = document.getElementById("text");
const form = document.getElementById("composer");

let painting = false;
function paintSoon() {
  if (painting) return;
  painting = true;
  setTimeout(() => {
    painting = false;
    view.update();
  }, 16);
}

function onUpdate(update) {
  const message = receive(log, update, Date.now());
  if (!message) return;
  if (message.addr === self.addr) arrived(message.id);
  else live.heardFrom(message.addr);
  paintSoon();
}

function send() {
  const words = text.value.trim();
  if (!words) return;
  const id = newId();
  const update = compose(words, self, log, Date.now(), id);
  const over = excess(update, webxdc.sendUpdateMaxSize ?? DEFAULT_MAX_SIZE);
  if (over > 0) {
    view.notice(`Too long by ${over.toLocaleString()} bytes. Shorten it, or send it in parts.`);
    return;
  }
  waiting.set(id, { words, timer: setTimeout(() => overdue(id), ECHO_WITHIN) });
  webxdc.sendUpdate(update, `${self.name} wrote`);
  text.value = "";
  live.still();
  view.notice("");
  fit();
}

/** Our message came back: the group has it. */
function arrived(id) {
  const one = waiting.get(id);
  if (!one) return;
  clearTimeout(one.timer);
  waiting.delete(id);
  if (!one.overdue) return;
  view.notice("");
  if (text.value === one.words) text.value = "";
}

/** It did not come back: say so, and give the words back rather than lose them. */
function overdue(id) {
  const one = waiting.get(id);
  one.overdue = true;
  view.notice("Your last message was not taken. You may no longer be in the group.");
  if (!text.value) text.value = one.words;
  fit();
}

/** The text box is as high as its text, up to what the style sheet allows. */
function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join("");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
  text.focus();
});
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
text.addEventListener("input", () => {
  fit();
  view.notice("");
  if (text.value.trim()) live.writing();
  else live.still();
});

view.people([]);
if (matchMedia("(pointer: fine)").matches) text.focus();
await webxdc.setUpdateListener(onUpdate, 0);
view.update();
view.ready();
