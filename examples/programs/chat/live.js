// Who is here and who is writing, over the realtime channel. Nothing of it is kept.
//
// Frames are JSON: { is: "here" | "writing" | "still" | "gone", addr, name }. The channel says nothing
// about who sent a frame, so this is a courtesy, not a proof; what counts comes by update.
// A host without realtime simply shows nobody else.

import { cleanName } from "./model.js";

const SAY_HERE_EVERY = 20_000;
const HERE_FOR = 75_000; // longer than the minute to which browsers slow a hidden tab's timers
const SAY_WRITING_EVERY = 1_500;
const WRITING_FOR = 3_000;
const MAX_PEOPLE = 200;
const MAX_FRAME = 2_000;

export function joinLive(webxdc, self, onChange) {
  const people = new Map(); // addr -> { name, until, writingUntil }
  const channel = open(webxdc);
  let saidWriting = 0;

  const say = (is) => {
    try {
      channel?.send(new TextEncoder().encode(JSON.stringify({ is, addr: self.addr, name: self.name })));
    } catch (error) {
      console.warn("realtime:", error);
    }
  };

  const hear = (bytes) => {
    const frame = decode(bytes);
    if (!frame || frame.addr === self.addr) return;
    const known = people.get(frame.addr);
    if (!known && people.size >= MAX_PEOPLE) return;
    const now = Date.now();
    if (frame.is === "gone") {
      people.delete(frame.addr);
    } else {
      const writingUntil = frame.is === "writing" ? now + WRITING_FOR : frame.is === "still" ? 0 : (known?.writingUntil ?? 0);
      people.set(frame.addr, { name: frame.name, until: now + HERE_FOR, writingUntil });
      if (!known) say("here"); // so that a newcomer learns of us at once
    }
    onChange();
  };

  const sweep = () => {
    const now = Date.now();
    let changed = false;
    for (const [addr, one] of people) {
      if (one.until < now) changed = people.delete(addr);
      else if (one.writingUntil && one.writingUntil < now) {
        one.writingUntil = 0;
        changed = true;
      }
    }
    if (changed) onChange();
  };

  if (channel) {
    channel.setListener(hear);
    setInterval(() => say("here"), SAY_HERE_EVERY);
    setInterval(sweep, 500);
    addEventListener("pagehide", () => say("gone"));
    addEventListener("pageshow", () => say("here"));
    say("here");
  }

  return {
    /** Everybody else who is here: [{ addr, name, writing }]. */
    people: () => [...people].map(([addr, one]) => ({ addr, name: one.name, writing: one.writingUntil > Date.now() })),
    /** We are writing; says so now and then. */
    writing() {
      if (Date.now() - saidWriting < SAY_WRITING_EVERY) return;
      saidWriting = Date.now();
      say("writing");
    },
    /** We stopped writing. */
    still() {
      if (saidWriting) say("still");
      saidWriting = 0;
    },
    /** A message of theirs came in, so they are not writing it any more. */
    heardFrom(addr) {
      const one = people.get(addr);
      if (one?.writingUntil) {
        one.writingUntil = 0;
        onChange();
      }
    },
  };
}

function open(webxdc) {
  try {
    return webxdc.joinRealtimeChannel?.() ?? null;
  } catch (error) {
    console.warn("no realtime channel:", error);
    return null;
  }
}

function decode(bytes) {
  try {
    if (bytes.length > MAX_FRAME) return null;
    const frame = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof frame?.addr !== "string" || !frame.addr || frame.addr.length > 256) return null;
    if (!["here", "writing", "still", "gone"].includes(frame.is)) return null;
    return { is: frame.is, addr: frame.addr, name: cleanName(frame.name, frame.addr) };
  } catch {
    return null;
  }
}
