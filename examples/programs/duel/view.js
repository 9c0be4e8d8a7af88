// Draws the state: frogs, plates, words, buttons. Everything is derived from the state on each call, and peers' names
// reach the page through textContent only.

import { EDGE, MOVES } from "./model.js";
import { doing, lastRound, statusOf } from "./words.js";

const $ = (id) => document.getElementById(id);
const STEP = 27; // of the drawing's units, as wide as a notch of the log
const MIDDLE = 180;
const APART = 25;

/** `around`: { me, here(i), presence, lostSeal, sitting, busy } */
export function draw(state, around) {
  const { me } = around;
  // The user's own frog is on the left, a spectator sees the seats in order.
  const [left, right] = me === 1 ? [1, 0] : [0, 1];
  const offset = left === 0 ? state.offset : -state.offset;
  plate($("left"), state, left, around);
  plate($("right"), state, right, around);
  frog($("frog-left"), state, left, me, { x: MIDDLE + offset * STEP - APART, fallen: offset <= -EDGE });
  frog($("frog-right"), state, right, me, { x: MIDDLE + offset * STEP + APART, fallen: offset >= EDGE });

  const [head, rest] = statusOf(state, me, around);
  say($("status-head"), head);
  say($("status-rest"), rest);
  say($("exchange"), lastRound(state, me));
  controls(state, around);
  document.body.dataset.stage = state.stage;
  document.body.dataset.role = me === null ? "spectator" : "player";
}

function plate(node, state, i, { me, here, presence }) {
  const player = state.players[i];
  const isHere = i === me || (player && here(i));
  node.dataset.seat = i;
  say(node.querySelector(".who"), player ? (i === me ? `${player.name} (you)` : player.name) : "…");
  say(node.querySelector(".wins"), player ? `${state.wins[i]}` : "");
  node.querySelector(".wins").ariaLabel = node.querySelector(".wins").title = player ? `Games won: ${state.wins[i]}` : "";
  say(node.querySelector(".doing"), doing(state, i, me, !presence || isHere));
  node.querySelector(".dot").dataset.here = Boolean(isHere);
  node.querySelector(".dot").title = player && presence ? (isHere ? "here" : "away") : "";
}

function frog(node, state, i, me, { x, fallen }) {
  node.dataset.seat = i;
  node.dataset.pose = pose(state, i, me);
  node.querySelector(".badge use").setAttribute("href", `#i-${node.dataset.pose}`);
  node.dataset.fallen = fallen;
  node.toggleAttribute("data-absent", !state.players[i]);
  node.style.transform = `translate(${x}px, ${fallen ? 56 : 0}px)`;
}

/** The last round's poses stay in sight until this user has chosen again (for a spectator: until anyone has). */
function pose(state, i, me) {
  const last = state.rounds.at(-1);
  const movedOn = me === null ? state.sealed.some(Boolean) : state.sealed[me];
  if (state.stage === "over" || (last && !movedOn)) return last.moves[i] ?? "ready";
  return state.sealed[i] ? "sealed" : "ready";
}

function controls(state, { me, lostSeal, sitting, busy }) {
  const choosing = state.stage === "seal" && me !== null;
  for (const move of MOVES) {
    const button = document.querySelector(`[data-move="${move}"]`);
    button.disabled = !choosing || Boolean(state.sealed[me]) || busy !== null;
    button.setAttribute("aria-pressed", String(busy === move));
  }
  const canSit = me === null && state.players.length < 2;
  const over = state.stage === "over" && me !== null;
  $("sit").hidden = !canSit;
  $("sit").disabled = sitting;
  $("rematch").hidden = !over;
  $("rematch").disabled = over && state.again[me];
  say($("rematch"), over && !state.again[me] && state.again[1 - me] ? "Accept the rematch" : "Rematch");
  $("yield").hidden = !lostSeal;
  $("moves").hidden = canSit || over || lostSeal;
}

/** Only what changed is touched, so that a screen reader is not told the same thing twice. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
