// The moves this player has sealed and may still have to show, with their salts: kept in this browser, nowhere
// else, and found again by their hash after a reload. Where storage is refused, they last as long as the page.

const ENTRY = "duel-seals";
const KEPT = 16; // the newest; one is enough, but two tabs may be open
const memory = new Map(stored());

export function keepSeal(hash, move, salt) {
  memory.set(hash, { move, salt });
  try {
    const all = new Map([...stored(), [hash, { move, salt }]]);
    localStorage.setItem(ENTRY, JSON.stringify([...all].slice(-KEPT)));
  } catch (error) {
    console.warn("the seal is only kept until this page closes:", error);
  }
}

export function findSeal(hash) {
  return memory.get(hash) ?? new Map(stored()).get(hash) ?? null;
}

export function newSalt() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(ENTRY)) ?? [];
  } catch {
    return [];
  }
}
