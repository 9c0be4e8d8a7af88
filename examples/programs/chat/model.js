// What was said: turns webxdc updates, in the order the host delivers them, into messages.
//
// No DOM, no clock, no webxdc here, so that it runs in node as well. Payloads come from other people:
// whatever is not understood is left out, and nothing in it is trusted further than it must be.
//
// What this program sends as a payload:  { id, text, at, addr, name }
// What it also understands:              a bare string (the command line's way to say something)
//
// `at` is the sender's clock in milliseconds. `addr` and `name` are only a fallback: where the host
// attaches a verified `sender` to the update, that one is believed and the payload's is not.

const NAME_CHARS = 48;
const GROUP_WITHIN = 5 * 60_000;
const CLOCK_SLACK = 10 * 60_000;

export function emptyLog() {
  return { messages: [], names: new Map(), serial: 0, day: null };
}

/** Takes one update in. Returns the message it brought, or null where it brought none. */
export function receive(log, update, now) {
  if (!isObject(update)) return null;
  if (Number.isSafeInteger(update.serial)) {
    if (update.serial <= log.serial) return null; // seen before
    log.serial = update.serial;
  }
  const said = readPayload(update.payload);
  if (!said) return null;
  const { addr, name, verified } = readSender(update.sender, said);
  if (addr) log.names.set(addr, name);

  const previous = log.messages.at(-1);
  const at = readTime(said.at, now);
  const day = at === null ? null : dayOf(at);
  // Days only go forward: what comes in late says its own date instead of turning the page back.
  const startsDay = day !== null && (log.day === null || day > log.day);
  if (startsDay) log.day = day;

  const message = {
    index: log.messages.length,
    id: said.id,
    key: addr || `name:${name}`,
    addr,
    name,
    verified,
    text: said.text,
    at,
    day: log.day,
    startsDay,
    late: day !== null && day < log.day,
    follows: false,
  };
  message.follows = !startsDay && follows(message, previous);
  log.messages.push(message);
  return message;
}

/** Where the newest `count` messages begin. */
export function windowStart(log, count) {
  return Math.max(0, log.messages.length - count);
}

/** The update that says `text`. */
export function compose(text, self, log, at, id) {
  const said = log.messages.length + 1;
  return {
    payload: { id, text, at, addr: self.addr, name: self.name },
    summary: said === 1 ? "1 message" : `${said} messages`,
  };
}

/** By how many bytes an update is larger than the host lets through; 0 when it fits. */
export function excess(update, maxSize) {
  if (!Number.isFinite(maxSize) || maxSize <= 0) return 0;
  return Math.max(0, new TextEncoder().encode(JSON.stringify(update)).length - maxSize);
}

/** The local calendar day of a time, as a string that sorts: "2026-03-09". */
export function dayOf(at) {
  const d = new Date(at);
  const two = (n) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

/** A stable hue for an address, out of twelve that are easy to tell apart. */
export function hueOf(key) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  const hues = [4, 24, 42, 80, 130, 158, 182, 202, 222, 256, 286, 328];
  return hues[(hash >>> 0) % hues.length];
}

/** A name that is fit to be shown: one line, no control or direction characters, not endless. */
export function cleanName(name, addr) {
  const text = typeof name === "string" ? name : "";
  const clean = text.slice(0, 400).replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, " ").trim();
  const chars = [...clean];
  if (chars.length > NAME_CHARS) return chars.slice(0, NAME_CHARS - 1).join("") + "…";
  return clean || (addr ? addr.slice(0, 8) : "Someone");
}

function readPayload(payload) {
  if (typeof payload === "string") payload = { text: payload };
  if (!isObject(payload) || typeof payload.text !== "string" || !payload.text.trim()) return null;
  return { ...payload, id: typeof payload.id === "string" ? payload.id : null };
}

function readSender(sender, said) {
  const verified = isObject(sender) && isAddr(sender.addr);
  const from = verified ? sender : said;
  const addr = isAddr(from.addr) ? from.addr : "";
  return { addr, name: cleanName(from.name, addr), verified };
}

function readTime(at, now) {
  return Number.isFinite(at) && at > 0 && at < now + CLOCK_SLACK ? at : null;
}

function follows(message, previous) {
  if (!previous || previous.key !== message.key || previous.name !== message.name) return false;
  if (message.late !== previous.late) return false;
  if (message.at === null || previous.at === null) return message.at === previous.at;
  return Math.abs(message.at - previous.at) < GROUP_WITHIN;
}

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
const isAddr = (v) => typeof v === "string" && v.length > 0 && v.length <= 256;
