// The duel's model. Run with: cd examples/programs && node --test
import assert from "node:assert/strict";
import { test } from "node:test";
import { createHash } from "node:crypto";
import { clash, emptyLog, judge, MOVES, record, seal, sit } from "../duel/model.js";
import { sha256 } from "../duel/sha256.js";

const A = "addr-a", B = "addr-b", C = "addr-c";
const post = (from, payload) => ({ payload: { ...payload, addr: from, name: from.toUpperCase() } });
const sealed = (from, vs, game, round, move) =>
  post(from, { is: "seal", vs, game, round, hash: seal(from, vs, game, round, move, "salt") });
const shown = (from, vs, game, round, move, salt = "salt") => post(from, { is: "show", vs, game, round, move, salt });
const round = (game, n, a, b) => [sealed(A, B, game, n, a), sealed(B, A, game, n, b), shown(A, B, game, n, a), shown(B, A, game, n, b)];
const seats = [post(A, { is: "sit", turn: 0 }), post(B, { is: "sit", turn: 1 })];

function played(...updates) {
  const log = emptyLog();
  for (const update of updates.flat(9)) record(log, update);
  return judge(log);
}

test("sha256 is SHA-256", () => {
  for (const text of ["", "abc", "ü".repeat(55), "x".repeat(64), "y".repeat(1000)]) {
    assert.equal(sha256(text), createHash("sha256").update(text).digest("hex"));
  }
});

test("lunge > feint by two, feint > parry > lunge by one, equals stand", () => {
  assert.deepEqual(clash("lunge", "feint"), { winner: 0, steps: 2 });
  assert.deepEqual(clash("lunge", "parry"), { winner: 1, steps: 1 });
  assert.deepEqual(clash("feint", "parry"), { winner: 0, steps: 1 });
  assert.deepEqual(clash(null, "lunge"), { winner: 1, steps: 2 });
  assert.deepEqual(clash("parry", null), { winner: 0, steps: 1 });
  for (const move of [...MOVES, null]) assert.deepEqual(clash(move, move), { winner: null, steps: 0 });
});

test("seats fill, then both seal, show, and step", () => {
  assert.equal(played(seats[0]).stage, "seats");
  assert.equal(played(seats).stage, "seal");
  const half = played(seats, sealed(A, B, 0, 0, "lunge"));
  assert.deepEqual([half.stage, half.sealed.map(Boolean)], ["seal", [true, false]]);
  const open = played(seats, sealed(A, B, 0, 0, "lunge"), sealed(B, A, 0, 0, "feint"), shown(A, B, 0, 0, "lunge"));
  assert.deepEqual([open.stage, open.shown], ["show", [true, false]]);
  const after = played(seats, round(0, 0, "lunge", "feint"));
  assert.deepEqual([after.stage, after.round, after.offset], ["seal", 1, 2]);
});

test("three steps is the water; a rematch needs both", () => {
  const game = [seats, round(0, 0, "lunge", "feint"), round(0, 1, "lunge", "lunge"), round(0, 2, "feint", "parry")];
  const over = played(game);
  assert.deepEqual([over.stage, over.winner, over.wins, over.rounds.length], ["over", 0, [1, 0], 3]);
  const again = (from, vs) => post(from, { is: "again", vs, game: 1 });
  assert.equal(played(game, again(A, B)).stage, "over");
  const second = played(game, again(A, B), again(B, A), round(1, 0, "parry", "feint"));
  assert.deepEqual([second.stage, second.game, second.offset, second.wins], ["seal", 1, -1, [1, 0]]);
});

test("duplicates, second thoughts, spectators and rubbish change nothing", () => {
  const before = played(seats, round(0, 0, "lunge", "feint"));
  const noise = [
    seats, round(0, 0, "lunge", "feint"), sealed(A, B, 0, 0, "parry"), shown(B, A, 0, 0, "parry"),
    post(C, { is: "sit", turn: 2 }), sealed(C, A, 0, 1, "lunge"), sealed(C, B, 0, 0, "lunge"), post(C, { is: "again", vs: A, game: 1 }),
    null, 1, "x", {}, { payload: "some words" }, { payload: null }, { payload: [] }, { payload: { is: "sit", turn: 0 } },
    post(A, { is: "seal", vs: B, game: 0, round: 1, hash: "short" }), post(A, { is: "seal", vs: B, game: 0, round: 1, hash: {} }),
    post(A, { is: "seal", vs: A, game: 0, round: 1, hash: "0".repeat(64) }), post(A, { is: "seal", vs: B, game: -1, round: 1e9, hash: "0".repeat(64) }),
    post(A, { is: "show", vs: B, game: 0, round: 1, move: "bite", salt: "x" }), post(B, { is: "__proto__", vs: A, game: 0 }),
  ];
  assert.deepEqual(played(seats, round(0, 0, "lunge", "feint"), noise), before);
});

test("a move that does not fit its seal, or is given up, loses the round", () => {
  const start = [seats, sealed(A, B, 0, 0, "parry"), sealed(B, A, 0, 0, "lunge"), shown(B, A, 0, 0, "lunge")];
  assert.equal(played(start, shown(A, B, 0, 0, "parry")).offset, 1);
  assert.equal(played(start, shown(A, B, 0, 0, "feint")).offset, -2);
  assert.equal(played(start, shown(A, B, 0, 0, "parry", "other salt")).offset, -2);
  assert.equal(played(start, shown(A, B, 0, 0, null, undefined)).offset, -2);
});

test("a copied seal is of no use to the copier", () => {
  const copied = { ...sealed(A, B, 0, 0, "parry").payload, vs: A };
  const state = played(seats, sealed(A, B, 0, 0, "parry"), post(B, copied), shown(A, B, 0, 0, "parry"), shown(B, A, 0, 0, "parry"));
  assert.deepEqual(state.rounds[0].moves, ["parry", null]);
});

test("the verified sender wins over what the payload claims", () => {
  const forged = { ...sealed(A, B, 0, 0, "feint"), sender: { addr: C, name: "Cem" } };
  assert.deepEqual(played(seats, forged).sealed, [null, null]);
  const log = emptyLog();
  record(log, { payload: { is: "sit", turn: 0, addr: B, name: "Bo" }, sender: { addr: A, name: "Ana" } });
  assert.deepEqual(judge(log).players, [{ addr: A, name: "Ana" }]);
});

test("two who are at it are not broken up by one who sat at the same time", () => {
  const late = post(C, { is: "sit", turn: 0 });
  assert.deepEqual(played(seats, late).players.map((p) => p.addr), [A, C]);
  const engaged = [seats, sealed(A, B, 0, 0, "parry"), sealed(B, A, 0, 0, "parry")];
  assert.deepEqual(played(engaged, late).players.map((p) => p.addr), [A, B]);
  assert.deepEqual(sit(emptyLog()), { is: "sit", turn: 0 });
});

test("however the senders' updates are interleaved, the state is the same", () => {
  const all = [seats, round(0, 0, "lunge", "feint"), round(0, 1, "parry", "feint"), round(0, 2, "lunge", "feint"),
    post(A, { is: "again", vs: B, game: 1 }), post(B, { is: "again", vs: A, game: 1 }), round(1, 0, "feint", "parry"),
    post(C, { is: "sit", turn: 2 }), sealed(A, B, 0, 0, "parry"), sealed(B, A, 0, 1, "lunge")].flat(9);
  const want = played(all);
  assert.deepEqual(want.wins, [1, 0]);
  let seed = 7;
  const random = (n) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % n;
  for (let run = 0; run < 200; run++) {
    const lanes = [A, B, C].map((who) => all.filter((u) => u.payload.addr === who));
    const mixed = [];
    while (lanes.some((l) => l.length)) {
      const lane = lanes[random(3)];
      if (lane.length) mixed.push(lane.shift());
    }
    assert.deepEqual(played(mixed), want);
  }
});
