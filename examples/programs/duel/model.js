// The duel's rules, and its state out of the updates.
//
// Two frogs stand on a log. Each round both choose a move in secret. Lunge beats feint and wins two steps;
// parry beats lunge and feint beats parry, one step each. Three steps from the middle is the water.
//
// Nobody can peek: a move is first *sealed* (its hash is posted), and *shown* when both are sealed.
//
// Updates of two senders may reach two nodes in different order, though each sender's own stay in order.
// So nothing here depends on who came first: the log is a set of facts (the first word of a sender on a
// matter stands, repetitions change nothing), and `judge` reads the whole state out of that set. Whoever is late or
// reloads ends up with the same state.
//
// Payloads:  { is: "sit",   turn }                               I want to play; `turn` people sat before me
//            { is: "seal",  vs, game, round, hash }              my move against `vs` is fixed
//            { is: "show",  vs, game, round, move, salt }        it was this (move null: I lost my seal)
//            { is: "again", vs, game }                           I want game number `game` as well
// Each with { addr, name } of the sender, believed only where the host attaches no verified `sender`.

import { sha256 } from "./sha256.js";

export const MOVES = ["lunge", "parry", "feint"];
export const EDGE = 3; // steps from the middle to the water
const BEATS = { lunge: "feint", parry: "lunge", feint: "parry" };
const STEPS = { lunge: 2, parry: 1, feint: 1 };
const MOST = 1_000; // games, and rounds in a game
const NAME_CHARS = 24;

export function emptyLog() {
  return { seats: new Map(), names: new Map(), seals: new Map(), shows: new Map(), again: new Set() };
}

/** Takes one update in. Returns whether it said something new. */
export function record(log, update) {
  const said = update?.payload;
  if (!isObject(said)) return false;
  const sender = isObject(update.sender) && isAddr(update.sender.addr) ? update.sender : said;
  const from = sender.addr;
  if (!isAddr(from)) return false;
  const fresh = take(log, from, said);
  if (fresh) log.names.set(from, cleanName(sender.name, from));
  return fresh;
}

function take(log, from, said) {
  if (said.is === "sit") return isCount(said.turn) && once(log.seats, from, said.turn);
  if (!isAddr(said.vs) || said.vs === from || !isCount(said.game)) return false;
  if (said.is === "again") {
    const known = log.again.size;
    return log.again.add(key(from, said.vs, said.game)).size > known;
  }
  if (!isCount(said.round)) return false;
  const at = key(from, said.vs, said.game, said.round);
  if (said.is === "seal") return /^[0-9a-f]{64}$/.test(said.hash) && once(log.seals, at, said.hash);
  if (said.is !== "show") return false;
  const readable = said.move === null || (MOVES.includes(said.move) && typeof said.salt === "string" && said.salt.length <= 64);
  return readable && once(log.shows, at, { move: said.move, salt: said.salt });
}

/** The hash that fixes a move. It names its owner and its round, so that nobody else's and no older one will do. */
export function seal(from, vs, game, round, move, salt) {
  return sha256(JSON.stringify(["parlor-duel-1", from, vs, game, round, move, salt]));
}

/**
 * The state of play. `players` are two seats in an order that all nodes agree on; arrays follow it.
 *   stage   "seats" (a player is missing), "seal", "show" or "over"
 *   offset  where on the log they stand: positive when the second player is pushed back
 */
export function judge(log) {
  const addrs = seated(log);
  const state = {
    players: addrs.map((addr) => ({ addr, name: log.names.get(addr) })),
    stage: "seats", game: 0, round: 0, offset: 0, rounds: [], wins: [0, 0], winner: null,
    sealed: [null, null], shown: [false, false], again: [false, false],
  };
  while (addrs.length === 2) {
    playRounds(log, addrs, state);
    if (state.stage !== "over") break;
    state.wins[state.winner] += 1;
    state.again = both(addrs, (from, vs) => log.again.has(key(from, vs, state.game + 1)));
    if (!state.again.every(Boolean)) break;
    Object.assign(state, { game: state.game + 1, offset: 0, rounds: [], winner: null, again: [false, false] });
  }
  return state;
}

/** What a player who has `hand` moves against `other`: who wins (0, 1, null) and by how many steps. */
export function clash(hand, other) {
  if (hand === other) return { winner: null, steps: 0 };
  if (hand === null || (other !== null && BEATS[other] === hand)) return { winner: 1, steps: other === null ? 0 : STEPS[other] };
  return { winner: 0, steps: STEPS[hand] };
}

export const beats = (move) => BEATS[move];
export const stepsOf = (move) => STEPS[move];

/** The payload of "I want to play", as things stand. */
export const sit = (log) => ({ is: "sit", turn: Math.min(log.seats.size, MOST) });

/** A name that is fit to be shown: one line, no control or direction characters, not endless. */
export function cleanName(name, addr) {
  const text = typeof name === "string" ? name : "";
  const clean = [...text.slice(0, 200).replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, " ").trim()];
  if (clean.length > NAME_CHARS) return clean.slice(0, NAME_CHARS - 1).join("") + "…";
  return clean.join("") || addr.slice(0, 8);
}

/**
 * Who plays. Those who sat first; but two who have sealed a first move against each other are a pair that nobody who
 * sat at the same moment, and is only heard of now, can break up.
 */
function seated(log) {
  const waiting = [...log.seats].sort(([a, m], [b, n]) => m - n || (a < b ? -1 : 1)).map(([addr]) => addr);
  const engaged = (a, b) => log.seals.has(key(a, b, 0, 0)) && log.seals.has(key(b, a, 0, 0));
  for (const [i, a] of waiting.entries()) {
    const b = waiting.slice(i + 1).find((other) => engaged(a, other));
    if (b) return [a, b];
  }
  return waiting.slice(0, 2);
}

function playRounds(log, addrs, state) {
  for (let round = 0; ; round++) {
    const at = (from, vs) => key(from, vs, state.game, round);
    state.round = round;
    state.sealed = both(addrs, (from, vs) => log.seals.get(at(from, vs)) ?? null);
    state.shown = both(addrs, (from, vs) => log.shows.has(at(from, vs)));
    state.stage = "seal";
    if (!state.sealed.every(Boolean)) return;
    state.stage = "show";
    if (!state.shown.every(Boolean)) return;
    const moves = both(addrs, (from, vs) => shownMove(log, from, vs, state.game, round));
    const { winner, steps } = clash(...moves);
    state.rounds.push({ moves, winner, steps });
    state.offset += winner === null ? 0 : winner === 0 ? steps : -steps;
    if (Math.abs(state.offset) >= EDGE) {
      Object.assign(state, { stage: "over", winner: state.offset > 0 ? 0 : 1 });
      return;
    }
  }
}

/** The move behind a seal; null where it was given up, or does not fit the seal: that hand is lost. */
function shownMove(log, from, vs, game, round) {
  const at = key(from, vs, game, round);
  const { move, salt } = log.shows.get(at);
  return move !== null && seal(from, vs, game, round, move, salt) === log.seals.get(at) ? move : null;
}

const key = (...parts) => JSON.stringify(parts);
const both = ([a, b], ask) => [ask(a, b), ask(b, a)];
const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
const isAddr = (v) => typeof v === "string" && v.length > 0 && v.length <= 256;
const isCount = (v) => Number.isInteger(v) && v >= 0 && v <= MOST;

function once(map, at, value) {
  if (map.has(at)) return false;
  map.set(at, value);
  return true;
}
