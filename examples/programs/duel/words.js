// What the page says at each point of a duel, to a player or to someone who watches. Pure: state in, words out.

const PAST = { lunge: "lunged", parry: "parried", feint: "feinted" };

/** `me` is this user's seat (0 or 1), or null for a spectator; `here(i)` tells whether seat i has the page open,
 *  where `presence` can be told at all. */
export function statusOf(state, me, { here, presence, lostSeal, sitting }) {
  const name = (i) => state.players[i].name;
  if (state.stage === "seats") {
    if (state.players.length === 0) return ["The log is empty.", "Two frogs, one log. Step on, and wait for a challenger."];
    if (me === null && sitting) return ["Stepping on…", ""];
    if (me === null) return [`${name(0)} is waiting for a challenger.`, "Step on and duel."];
    return ["You are on the log.", "Waiting for somebody to step on and face you."];
  }
  if (me === null) return watching(state, name);
  const foe = 1 - me;
  if (state.stage === "over") return ended(state, me, name(foe));
  if (state.stage === "show") {
    if (lostSeal) return ["Your seal is not here.", "Open the duel in the browser you chose in, or give the round up."];
    return ["Both have chosen.", `Opening the seals… ${state.shown[foe] ? "" : `${name(foe)} has to be online for it.`}`];
  }
  if (state.sealed[me]) {
    const rest = !presence ? "Your move is sealed." : here(foe) ? `${name(foe)} is here, choosing.` : `${name(foe)} is away. Your move stays sealed.`;
    return [`Waiting for ${name(foe)}.`, rest];
  }
  if (state.sealed[foe]) return ["Your move.", `${name(foe)} has chosen.`];
  if (!presence) return ["Your move.", "It stays sealed until both have chosen."];
  return ["Your move.", here(foe) ? `${name(foe)} is choosing too.` : `${name(foe)} is away, but you can choose already.`];
}

/** The last round in a line. */
export function lastRound(state, me) {
  const last = state.rounds.at(-1);
  if (!last) return "";
  const order = me === 1 ? [1, 0] : [0, 1];
  const who = (i) => (i === me ? "You" : state.players[i].name);
  const did = order.map((i) => `${who(i)} ${last.moves[i] ? PAST[last.moves[i]] : "gave the round up"}`).join(", ");
  if (last.winner === null) return `${did}: nobody moves.`;
  const back = last.winner === me ? state.players[1 - me].name : me === null ? state.players[1 - last.winner].name : "you";
  return `${did}: ${back} ${back === "you" ? "go" : "goes"} back ${last.steps === 1 ? "one step" : "two steps"}.`;
}

/** What a player is at, for the plate under the name. */
export function doing(state, i, me, here) {
  if (!state.players[i]) return "nobody yet";
  if (state.stage === "over") return state.again[i] ? "wants a rematch" : state.winner === i ? "dry" : "wet";
  if (state.sealed[i]) return "move sealed";
  if (state.stage === "seats") return "ready";
  return i === me || here ? "choosing" : "away";
}

function watching(state, name) {
  const who = `${name(0)} against ${name(1)}.`;
  if (state.stage === "over") return [`${name(state.winner)} wins!`, `${name(1 - state.winner)} is in the stream. You are watching.`];
  if (state.stage === "show") return [who, "Both have chosen. You are watching."];
  const open = [0, 1].filter((i) => !state.sealed[i]).map(name);
  return [who, `Waiting for ${open.join(" and ")}. You are watching.`];
}

function ended(state, me, foe) {
  const head = state.winner === me ? "You win!" : `Splash! ${foe} wins.`;
  if (state.again[me]) return [head, `Waiting for ${foe} to agree to a rematch.`];
  if (state.again[1 - me]) return [head, `${foe} wants a rematch.`];
  return [head, state.winner === me ? `${foe} is in the stream.` : "You are in the stream. It is not that cold."];
}
