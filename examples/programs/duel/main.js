// Puts the duel together: updates in, the player's choices out. Shows sealed moves by itself once both are sealed.

import { cleanName, emptyLog, judge, record, seal, sit } from "./model.js";
import { findSeal, keepSeal, newSalt } from "./seals.js";
import { joinPresence } from "./presence.js";
import { draw } from "./view.js";

const webxdc = window.webxdc;
const self = { addr: webxdc.selfAddr, name: cleanName(webxdc.selfName, webxdc.selfAddr) };
const log = emptyLog();
const presence = joinPresence(webxdc, () => render());
const shown = new Set(); // seals this page has already opened
let state = judge(log);
let ready = false; // is all history in?
let sitting = false;
let busy = null; // a move that was sent and has not come back: { move, game, round }

const seat = () => {
  const i = state.players.findIndex((p) => p.addr === self.addr);
  return i < 0 ? null : i;
};
const mySeal = () => state.sealed[seat()];
const lostSeal = () => seat() !== null && state.stage === "show" && !state.shown[seat()] && !findSeal(mySeal());

function render() {
  const me = seat();
  if (busy && (state.stage !== "seal" || state.game !== busy.game || state.round !== busy.round || mySeal())) busy = null;
  draw(state, {
    me,
    here: (i) => presence.isHere(state.players[i].addr),
    presence: presence.known,
    lostSeal: ready && lostSeal(),
    sitting: sitting && me === null,
    busy: busy?.move ?? null,
  });
}

function post(payload, extra = {}) {
  const update = { payload: { ...payload, addr: self.addr, name: self.name }, ...extra };
  webxdc.sendUpdate(update, "Frog duel");
}

function onUpdate(update) {
  if (!record(log, update) || !ready) return;
  settle();
}

function settle() {
  state = judge(log);
  showIfDue();
  render();
}

/** Against whom, in which game and round. */
const now = () => ({ vs: state.players[1 - seat()].addr, game: state.game, round: state.round });

function choose(move) {
  const me = seat();
  if (me === null || state.stage !== "seal" || mySeal() || busy) return;
  const { vs, game, round } = now();
  const salt = newSalt();
  const hash = seal(self.addr, vs, game, round, move, salt);
  keepSeal(hash, move, salt); // before it is sent: a seal whose key is lost cannot be opened
  busy = { move, game, round };
  const notify = state.sealed[1 - me] ? undefined : { [vs]: `${self.name} has chosen. Your move!` };
  post({ is: "seal", vs, game, round, hash }, { summary: summary(), ...(notify && { notify }) });
  render();
}

function showIfDue() {
  const me = seat();
  if (me === null || state.stage !== "show" || state.shown[me] || shown.has(mySeal())) return;
  const kept = findSeal(mySeal());
  if (!kept) return; // sealed in another browser: the user decides
  shown.add(mySeal());
  show(kept);
}

function show({ move, salt }) {
  const payload = { is: "show", ...now(), move, salt };
  post(payload, { summary: summary() });
}

function summary() {
  if (state.players.length < 2) return "Waiting for a duel";
  const [a, b] = state.players;
  return `${a.name} ${state.wins[0]} : ${state.wins[1]} ${b.name}`;
}

for (const button of document.querySelectorAll("[data-move]")) {
  button.addEventListener("click", () => choose(button.dataset.move));
}
document.getElementById("sit").addEventListener("click", () => {
  sitting = true;
  const first = state.players.length === 0;
  post(sit(log), { summary: "Waiting for a duel", ...(first && { info: `${self.name} is waiting for a frog duel` }) });
  render();
});
document.getElementById("rematch").addEventListener("click", () => {
  const { vs, game } = now();
  post({ is: "again", vs, game: game + 1 }, { summary: summary(), notify: { [vs]: `${self.name} wants a rematch` } });
});
document.getElementById("yield").addEventListener("click", () => show({ move: null }));
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const button = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (button && !button.disabled) button.click();
});

await webxdc.setUpdateListener(onUpdate, 0);
ready = true;
settle();
document.body.getBoundingClientRect(); // the frogs are placed before they may move
document.body.dataset.ready = "true";
