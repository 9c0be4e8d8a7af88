// Who has the page open and in sight, over the realtime channel: { here: true|false, addr }. A courtesy, not a
// proof (the channel does not say who sent a frame), so nothing in the game depends on it.

const SAY_EVERY = 8_000;
const HERE_FOR = 20_000;
const MAX_PEOPLE = 200;

export function joinPresence(webxdc, onChange) {
  const until = new Map(); // addr -> time
  const channel = open(webxdc);
  const here = () => document.visibilityState === "visible";
  const say = (yes) => {
    try {
      channel?.send(new TextEncoder().encode(JSON.stringify({ here: yes, addr: webxdc.selfAddr })));
    } catch (error) {
      console.warn("realtime:", error);
    }
  };
  const hear = (bytes) => {
    const frame = decode(bytes);
    if (!frame || frame.addr === webxdc.selfAddr) return;
    const known = until.has(frame.addr);
    if (!frame.here) until.delete(frame.addr);
    else if (known || until.size < MAX_PEOPLE) until.set(frame.addr, Date.now() + HERE_FOR);
    if (frame.here && !known) say(here()); // a newcomer learns of us at once
    if (known !== until.has(frame.addr)) onChange();
  };
  const sweep = () => {
    let changed = false;
    for (const [addr, time] of until) if (time < Date.now()) changed = until.delete(addr);
    if (changed) onChange();
  };
  if (channel) {
    channel.setListener(hear);
    setInterval(() => here() && say(true), SAY_EVERY);
    setInterval(sweep, 1_000);
    document.addEventListener("visibilitychange", () => say(here()));
    addEventListener("pagehide", () => say(false));
    addEventListener("pageshow", () => say(here()));
    say(here());
  }
  return { isHere: (addr) => until.has(addr), known: channel !== null };
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
    const frame = bytes.length < 1_000 ? JSON.parse(new TextDecoder().decode(bytes)) : null;
    const sound = typeof frame?.addr === "string" && frame.addr.length <= 256 && typeof frame.here === "boolean";
    return sound ? frame : null;
  } catch {
    return null;
  }
}
