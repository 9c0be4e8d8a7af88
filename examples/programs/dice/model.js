// What was rolled: turns webxdc updates, in the order the host delivers them, into rolls.
//
// No DOM, no clock, no webxdc here, so that it runs in node as well. Payloads come from other people: whatever is not
// understood is left out.
//
// What pages and agents post to ask:   { is: "ask", dice: 2, sides: 6 }
// What the host part posts:            { is: "roll", number, who, name, sides, dice: [3, 5] }
//
// Anybody can post a roll. Whose counts, this node's agent knows: it names the hosts. Until it has, or where there is
// none, a roll is open: shown, and marked as not checked.

const MAX_DICE = 6;
const MAX_SIDES = 100;
const NAME_CHARS = 48;
const KEPT = 500; // rolls

export function emptyLog() {
  return { rolls: [], serial: 0 };
}

/** Takes one update in. Returns the roll it brought, or null where it brought none. */
export function receive(log, update) {
  if (!isObject(update)) return null;
  if (Number.isSafeInteger(update.serial)) {
    if (update.serial <= log.serial) return null; // seen before
    log.serial = update.serial;
  }
  const said = update.payload;
  if (!isObject(said) || said.is !== "roll" || !isRoll(said)) return null;
  const by = isObject(update.sender) && isText(update.sender.addr) ? update.sender : null;
  const roll = {
    number: said.number,
    by: by?.addr ?? null,
    byName: cleanName(by?.name, by?.addr),
    who: said.who,
    name: cleanName(said.name, said.who),
    sides: said.sides,
    dice: said.dice,
  };
  // A roll that is said again, after a crash, is the same roll.
  if (log.rolls.some((known) => known.by === roll.by && known.number >= roll.number)) return null;
  log.rolls.push(roll);
  if (log.rolls.length > KEPT) log.rolls.shift();
  return roll;
}

/** What a roll is worth. `hosts`: a Set of addresses, or null while nobody has named any. */
export function verdict(roll, hosts) {
  if (!hosts) return "open";
  return hosts.has(roll.by) ? "counts" : "fake";
}

/** The last roll that counts, or is open. */
export function lastRoll(log, hosts) {
  return log.rolls.findLast((roll) => verdict(roll, hosts) !== "fake") ?? null;
}

/** The update that asks for a roll. */
export function ask(dice, sides) {
  return { payload: { is: "ask", dice, sides } };
}

/** "3 and 5". */
export function inWords(dice) {
  return dice.length < 2 ? dice.join() : `${dice.slice(0, -1).join(", ")} and ${dice.at(-1)}`;
}

/** What an agent's word to the page says about hosts; null where it says nothing. */
export function readHosts(word) {
  return isObject(word) && Array.isArray(word.hosts) ? new Set(word.hosts.filter(isText)) : null;
}

/** A name that is fit to be shown: one line, no control or direction characters, not endless. */
export function cleanName(name, addr) {
  const text = typeof name === "string" ? name : "";
  const chars = [...text.slice(0, 400).replace(/[\p{C}\p{Zl}\p{Zp}\s]+/gu, " ").trim()];
  if (chars.length > NAME_CHARS) return chars.slice(0, NAME_CHARS - 1).join("") + "…";
  return chars.join("") || (isText(addr) ? addr.slice(0, 8) : "Someone");
}

function isRoll({ number, who, sides, dice }) {
  return (
    Number.isSafeInteger(number) && number > 0 && isText(who) &&
    Number.isInteger(sides) && sides >= 2 && sides <= MAX_SIDES &&
    Array.isArray(dice) && dice.length >= 1 && dice.length <= MAX_DICE &&
    dice.every((die) => Number.isInteger(die) && die >= 1 && die <= sides)
  );
}

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);
const isText = (v) => typeof v === "string" && v.length > 0 && v.length <= 256;
