// How it looks: dice on a table, and the list of rolls. Peers' words reach the page through textContent only.

import { inWords, lastRoll, verdict } from "./model.js";

const SHOWN = 100; // rolls in the list
const SVG = "http://www.w3.org/2000/svg";
// Where the pips of a die lie, on a grid of three by three.
const PIPS = { 1: [4], 2: [2, 6], 3: [2, 4, 6], 4: [0, 2, 6, 8], 5: [0, 2, 4, 6, 8], 6: [0, 2, 3, 5, 6, 8] };

const $ = (id) => document.getElementById(id);

/** Lays everything out anew; `fresh` is a roll that is thrown before the user's eyes. */
export function draw(log, hosts, fresh) {
  const last = lastRoll(log, hosts);
  if (last) {
    $("table").replaceChildren(...last.dice.map((value, i) => die(value, last.sides, last === fresh, i)));
    $("table").setAttribute("aria-label", `${last.sides}-sided dice: ${inWords(last.dice)}`);
    $("who").textContent = last.name;
    $("says").textContent = `rolled ${inWords(last.dice)}${total(last)}`;
  }
  const newest = log.rolls.slice(-SHOWN).reverse();
  $("rolls").replaceChildren(...newest.map((roll) => row(roll, verdict(roll, hosts))));
}

/** Whether an answer is waited for. */
export function waiting(yes) {
  $("roll").disabled = yes;
  document.body.classList.toggle("waiting", yes);
}

export function notice(text) {
  $("notice").textContent = text;
}

function row(roll, worth) {
  const item = element("li");
  item.dataset.verdict = worth;
  const who = element("span", "who", worth === "fake" ? roll.byName : roll.name);
  who.dir = "auto";
  const words = {
    counts: inWords(roll.dice) + total(roll),
    open: `${inWords(roll.dice)}${total(roll)} (not checked)`,
    fake: "posted a roll, but only the host rolls",
  };
  item.append(who, element("span", "what", words[worth]), element("span", "kind", worth === "fake" ? "" : kind(roll)));
  return item;
}

const kind = ({ dice, sides }) => `${dice.length}d${sides}`;
const total = ({ dice }) => (dice.length > 1 ? ` = ${dice.reduce((sum, die) => sum + die, 0)}` : "");

function die(value, sides, thrown, i) {
  const svg = shape("svg", { viewBox: "0 0 60 60", class: thrown ? "die thrown" : "die" });
  svg.dataset.value = value;
  svg.style.setProperty("--i", i);
  svg.style.setProperty("--tilt", `${((value * 37 + i * 53) % 17) - 8}deg`);
  if (sides === 6) {
    svg.append(shape("rect", { x: 4, y: 4, width: 52, height: 52, rx: 11 }));
    for (const at of PIPS[value]) svg.append(shape("circle", { cx: 16 + (at % 3) * 14, cy: 16 + Math.floor(at / 3) * 14, r: 5 }));
    return svg;
  }
  svg.append(shape("path", { d: "M30 3 54 17v26L30 57 6 43V17Z" }));
  const text = shape("text", { x: 30, y: 31, class: value > 99 ? "long" : "" });
  text.textContent = value;
  svg.append(text);
  return svg;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
