// Puts the dice together: updates in, the user's asking out, and the agent's word on whose rolls count.

import { ask, emptyLog, readHosts, receive, verdict } from "./model.js";
import { draw, notice, waiting } from "./view.js";

const ANSWER_WITHIN = 8_000;

const webxdc = window.webxdc;
const log = emptyLog();
let hosts = null;
let ready = false;
let asked = null; // the timer of an asking that was not answered yet
let fresh = null; // the roll to be thrown, not just laid down

function render() {
  if (ready) draw(log, hosts, fresh);
  fresh = null;
}

function onUpdate(update) {
  const roll = receive(log, update);
  if (!roll || !ready) return;
  const worth = verdict(roll, hosts);
  if (worth !== "fake") fresh = roll;
  if (worth !== "fake" && roll.who === webxdc.selfAddr) answered();
  render();
}

function answered() {
  clearTimeout(asked);
  asked = null;
  waiting(false);
  notice("");
}

document.getElementById("asking").addEventListener("submit", (event) => {
  event.preventDefault();
  if (asked) return;
  const [dice, sides] = ["dice", "sides"].map((id) => Number(document.getElementById(id).value));
  notice("");
  waiting(true);
  asked = setTimeout(() => {
    answered();
    notice("The host has not rolled yet. It does as soon as it is there.");
  }, ANSWER_WITHIN);
  webxdc.sendUpdate(ask(dice, sides), "A roll is asked for");
});

webxdc.parlor?.onAgent((word) => {
  hosts = readHosts(word) ?? hosts;
  render();
});
if (!webxdc.parlor) notice("Dice are rolled by a Parlor host. Here, nobody rolls.");

await webxdc.setUpdateListener(onUpdate, 0);
ready = true;
render();
webxdc.parlor?.tellAgent({ is: "open" }); // the agent answers with the hosts
document.body.dataset.ready = "true";
