// The console: what the command line does, for somebody with a browser. Every action is one command to the control
// API; every event of the node makes the page ask again for what it shows. Text reaches the page as text only.

const $ = (id) => document.getElementById(id);

// ---- The control API

const token = takeToken();

// The token comes in the address, which is then cleaned of it: addresses get copied and kept.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token") ?? new URLSearchParams(location.search).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname);
  }
  return given ?? sessionStorage.getItem("token");
}

class NodeGone extends Error {}

/// Runs one command. Answers with its last object; `onLine` gets each one as it comes.
async function control(command, onLine = () => {}) {
  let response;
  try {
    response = await fetch("/control", {
      method: "POST",
      headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(command),
    });
  } catch {
    throw new NodeGone("The node is not running.");
  }
  if (response.status === 401 || response.status === 403) throw new Error("not let in");
  let last = {}, rest = "";
  const take = (line) => {
    if (!line.trim()) return;
    last = JSON.parse(line);
    if (last.error) throw new Error(last.error.message ?? String(last.error));
    onLine(last);
  };
  try {
    for await (const chunk of chunks(response.body.pipeThrough(new TextDecoderStream()))) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      lines.forEach(take);
    }
  } catch (error) {
    throw error instanceof TypeError ? new NodeGone("The node has stopped.") : error;
  }
  // An answer may be one object over several lines.
  take(rest);
  if (!response.ok) throw new Error(`the node answered ${response.status}`);
  return last;
}

async function* chunks(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

// ---- Building the page

function h(name, props, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null) continue;
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

const button = (text, onclick, className = "") => h("button", { type: "button", className, onclick: busy(onclick) }, text);

/// An action of a button, which cannot be pressed again until it is done.
function busy(action) {
  return async function () {
    this.disabled = true;
    try {
      await action();
    } catch (error) {
      toast(sentence(error.message));
    }
    this.disabled = false;
    refresh().catch(() => {});
  };
}

function toast(...content) {
  const note = h("div", {}, ...content);
  $("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}

const shown = new Map();

/// Fills a list anew if what it shows has changed, so that focus and open menus stay otherwise.
function fill(id, items, row, list = $(id).querySelector("ul"), also = "") {
  const text = JSON.stringify([items, also]);
  if (shown.get(list) === text) return;
  shown.set(list, text);
  list.replaceChildren(...items.map(row));
}

// ---- Words

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".") : "");
const short = (peer) => (peer && peer.length > 16 ? `${peer.slice(0, 8)}…${peer.slice(-6)}` : peer ?? "");
const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;
const line = (...parts) => parts.filter(Boolean).join(" · ");

function size(bytes) {
  if (!(bytes >= 0)) return "";
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let at = 0;
  for (; bytes >= 1024 && at < 3; at++) bytes /= 1024;
  return `${at ? bytes.toFixed(bytes < 10 ? 1 : 0) : bytes} ${units[at]}`;
}

function money(minor, currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${minor} ${currency}`;
  }
}

/// A price list as the node writes it, `copy=100EUR,reception=5EUR` or `free`, in words.
function price(list) {
  const text = typeof list === "object" && list ? list.price : list;
  if (!text || text === "free") return "free";
  const per = { copy: "a copy", reception: "a reception", use: "a session", minute: "a minute" };
  return text.split(",").map((part) => {
    const found = /^(\w+)=(\d+)([A-Z]{3})$/.exec(part);
    return found ? `${money(Number(found[2]), found[3])} ${per[found[1]] ?? found[1]}` : part;
  }).join(", ");
}

const sessionWords = {
  inviting: "waiting for members", accepted: "waiting for a copy", receiving: "receiving", ready: "ready", running: "running",
  suspended: "suspended", ended: "over", declined: "declined", refused: "no copy left", failed: "failed", left: "left",
  expired: "not answered in time", removed: "removed by the host",
};
const memberWords = {
  invited: "invited", accepted: "receiving", receiving: "receiving", ready: "ready", joined: "here", running: "here", away: "away",
  declined: "declined", refused: "no copy left", expired: "no answer", failed: "failed", left: "left", removed: "removed",
};
const OVER = new Set(["ended", "declined", "refused", "failed", "left", "removed", "expired"]);
const IN_REACH_OF_HOST = new Set(["invited", "accepted", "receiving", "ready", "joined", "away"]); // Can be removed.
const people = new Map(); // Peer to name, from the contacts.
const called = (peer, name) => people.get(peer) ?? name ?? short(peer);

// ---- The dialog

/// Asks something. `actions`: [text, what to do, class]; the dialog stays open, and says why, if that fails.
function ask(title, body, actions, close = "Cancel") {
  const dialog = $("dialog");
  $("dialog-title").textContent = title;
  $("dialog-body").replaceChildren(...body.filter(Boolean));
  $("dialog-error").hidden = true;
  const buttons = actions.map(([text, act, className = "main"], at) => h("button", { type: at ? "button" : "submit", className, onclick(event) {
    event.preventDefault();
    if ($("dialog-body").querySelector(":invalid")) return $("dialog").querySelector("form").reportValidity();
    busy(async () => {
      try {
        await act();
        dialog.close();
      } catch (error) {
        fail(error);
      }
    }).call(event.currentTarget);
  } }, text));
  $("dialog-actions").replaceChildren(h("button", { type: "button", onclick: () => dialog.close() }, close), ...buttons.reverse());
  if (!dialog.open) dialog.showModal();
}

function fail(error) {
  $("dialog-error").textContent = sentence(error.message);
  $("dialog-error").hidden = false;
}

/// The peer id below a name, unless it is what stands for the name.
const idLine = (person) => (called(person.peer, person.name) === short(person.peer) ? null
  : h("small", { className: "mono", title: person.peer }, short(person.peer)));

/// Check boxes for people; `chosen` holds the peers that are ticked.
function choices(list, chosen) {
  return h("ul", { className: "choices" }, list.map((person) => h("li", {}, h("label", {},
    h("input", { type: "checkbox", onchange: (event) => (event.target.checked ? chosen.add(person.peer) : chosen.delete(person.peer)) }),
    h("span", { className: "text" }, called(person.peer, person.name), idLine(person))))));
}

const known = () => [...now.contacts, ...now.peers.filter((peer) => !people.has(peer.peer))];

// ---- What can be done

async function open(session) {
  const { url } = await control({ verb: "open", session, print: true });
  const link = () => h("a", { href: url, target: "_blank", rel: "noopener" }, "Open it here");
  if (!window.open(url, "_blank")) toast("The browser blocked the new tab. ", link(), ".");
}

function host(program) {
  const chosen = new Set(), list = known();
  ask(`Host ${program.name}`, [
    h("p", {}, list.length ? "Whom do you invite?" : "You know nobody yet. You can invite people later, too."),
    list.length ? choices(list, chosen) : null,
    Number.isInteger(program.left) ? h("p", { className: "faint" }, `You may hand out ${count(program.left, "more copy", "more copies")}.`) : null,
  ], [["Host", () => control({ verb: "host", name: program.name, invite: [...chosen] })]]);
}

function invite(session) {
  const here = new Set([session.host, ...session.members].map((member) => member.peer)), chosen = new Set();
  const list = known().filter((person) => !here.has(person.peer));
  ask("Invite", [
    list.length ? choices(list, chosen) : h("p", {}, "Everybody you know is invited already."),
    h("div", { className: "row" },
      h("p", { className: "text faint" }, "Somebody else? Send a link, by whatever way you have."),
      button("By link…", () => inviteByLink(session))),
  ], list.length ? [["Invite", () => {
    if (!chosen.size) throw new Error("choose somebody first");
    return control({ verb: "invite", session: session.session, who: [...chosen] });
  }]] : []);
}

/// A link and its code, for somebody whose node this one has never met.
function inviteByLink(session) {
  const option = (value, text) => h("option", { value }, text);
  const who = h("select", {}, option("", "Anybody"), known().map((person) => option(person.peer, called(person.peer, person.name))));
  const life = h("select", {}, option("1h", "An hour"), h("option", { value: "1day", selected: true }, "A day"), option("7days", "A week"));
  const made = h("div", { className: "link" });
  const make = button("Make a link", async () => {
    $("dialog-error").hidden = true;
    try {
      const answer = await control({ verb: "invite", session: session.session, link: true, qr: true,
        for: who.value || null, expires: life.value });
      make.textContent = "Make another";
      make.className = "";
      made.replaceChildren(...linkShown(answer, make));
    } catch (error) {
      fail(error);
    }
  }, "main");
  ask("Invite by link", [
    h("div", { className: "pair" },
      h("label", {}, h("span", {}, "For"), who),
      h("label", {}, h("span", {}, "Good for"), life)),
    made,
  ], [], "Close");
  made.append(make);
}

/// What is there to be copied and photographed, and a button for one more.
function linkShown(answer, again) {
  const until = new Date(answer.expires).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const text = h("textarea", { id: "link", className: "mono", readOnly: true, rows: 3, spellcheck: false, value: answer.link,
    ariaLabel: "The link", onclick: () => text.select() });
  const copy = button("Copy the link", async () => {
    $("dialog-error").hidden = true;
    text.select();
    try {
      await navigator.clipboard.writeText(answer.link);
    } catch {
      // Without leave to use the clipboard, what is selected may still be copied.
      if (!document.execCommand("copy")) return fail(new Error("the browser lets no page copy: press Ctrl+C"));
    }
    copy.textContent = "✓ Copied";
  }, "main");
  return [
    answer.qr ? h("img", { src: `data:image/svg+xml,${encodeURIComponent(answer.qr)}`, alt: "The link as a QR code" }) : null,
    text,
    h("div", { className: "buttons" }, copy, again),
    h("p", { className: "faint" }, answer.for
      ? `Good until ${until}, for ${called(answer.for)} alone.`
      : `Good until ${until}, once. Whoever has it and opens it first gets in: send it to one person only.`),
  ].filter(Boolean);
}

function joinByLink() {
  const link = h("textarea", { id: "link", required: true, className: "mono", rows: 4, autocomplete: "off", spellcheck: false, placeholder: "parlor:…" });
  ask("Join by link", [h("label", {}, h("span", {}, "The link that you were sent"), link)],
    [["Join", () => control({ verb: "join", session: link.value })]]);
}

function end(session) {
  const [title, what] = session.role === "host" ? ["End this session?", "It ends for everybody."] : ["Leave this session?", "The others go on."];
  const finish = (choice) => () => control({ verb: "end", session: session.session, ...choice });
  ask(title, [h("p", {}, `${what} If you keep the program, it need not be fetched again next time.`)], [
    ["Keep the program", finish({ keep: true })],
    ["Discard it", finish({ discard: true }), "danger"],
  ]);
}

/// What a host can do with one of its members.
function person(session, member) {
  const name = called(member.peer, member.name), act = (verb) => () => control({ verb, session: session.session, who: member.peer });
  const able = ["joined", "ready"].includes(member.state);
  ask(name, [
    h("p", {}, line(memberWords[member.state] ?? member.state, member.why)),
    able ? h("p", { className: "faint" }, `Made host, ${name} gets the copies that are left and says who comes and goes; you stay as a member.`) : null,
  ], [
    ...(able ? [["Make host", act("hand-over")]] : []),
    ["Remove from the session", act("remove"), "danger"],
  ]);
}

function addContact(peer) {
  const name = h("input", { type: "text", required: true, maxLength: 64, autocomplete: "off", value: peer?.name ?? "" });
  const who = h("input", { type: "text", required: true, className: "mono", autocomplete: "off", spellcheck: false,
    placeholder: "12D3Koo… or /ip4/…/p2p/12D3Koo…", value: peer?.peer ?? "", readOnly: !!peer });
  const trust = h("input", { type: "checkbox" });
  ask("Add a contact", [
    h("label", {}, h("span", {}, "Name"), name),
    h("label", {}, h("span", {}, "Peer id or address"), who),
    h("label", { className: "check" }, trust, h("span", {}, "Accept its invitations without asking me")),
  ], [["Add", () => control({ verb: "contact-add", name: name.value.trim(), who: who.value.trim(), trust: trust.checked })]]);
}

function forget(title, command) {
  ask(title, [], [["Remove", () => control(command), "main"]]);
}

async function catalog(person) {
  const { programs = [] } = await control({ verb: "catalog", who: person.peer });
  const of = called(person.peer, person.name);
  ask(`What ${of} offers`, [programs.length
    ? h("ul", { className: "offers" }, programs.map((offer) => offerRow(person, offer)))
    : h("p", {}, `${of} offers no programs.`)], [], "Close");
}

function offerRow(person, offer) {
  const { min = 1, max } = Number.isInteger(offer.copies)
    ? { min: offer.copies, max: offer.copies }
    : offer.copies ?? {};
  // As `parlor get` chooses: the most (up to 16) of what costs nothing, else the fewest.
  const value = price(offer.price).includes("a copy") ? min : Math.max(min, Math.min(max ?? 16, 16));
  const copies = h("input", { type: "number", min, max, value, title: "Copies", required: true });
  const rule = min === max ? count(min, "copy", "copies") : max ? `${min} to ${max} copies` : "any number of copies";
  const bar = h("progress", { hidden: true });
  const get = button("Get", async () => {
    $("dialog-error").hidden = true;
    if (!copies.reportValidity()) return;
    bar.hidden = false;
    bar.removeAttribute("value");
    try {
      await control({ verb: "get", who: person.peer, name: offer.name, copies: copies.valueAsNumber }, (said) => {
        if (said.event === "progress" && said.total > 0) [bar.max, bar.value] = [said.total, said.done];
      });
      get.textContent = "✓ Got it";
    } catch (error) {
      fail(error);
    }
    bar.hidden = true;
  }, "main");
  return h("li", {}, h("div", { className: "row" },
    h("div", { className: "text" }, h("b", {}, offer.name), " ", h("span", { className: "faint" }, offer.version),
      h("small", {}, line(size(offer.size), rule, price(offer.price)))),
    h("div", { className: "buttons" }, min === max ? null : copies, get)), bar);
}

// ---- What is shown

function invitationRow(item) {
  const answer = (verb) => () => control({ verb, session: item.session });
  return h("li", { className: "row" },
    h("div", { className: "text" }, h("b", {}, item.name ?? short(item.program)),
      h("small", {}, line(`from ${called(item.host.peer, item.host.name)}`, item.size ? size(item.size) : "already here", price(item.price)))),
    h("div", { className: "buttons" }, button("Accept", answer("join"), "main"), button("Decline", answer("decline"))));
}

function sessionRow(item) {
  const act = (verb) => () => control({ verb, session: item.session });
  const { state, role } = item, isHost = role === "host", over = OVER.has(state);
  const everyone = [item.host, ...(item.members ?? []).filter((member) => member.peer !== item.host.peer)];
  const ready = everyone.some((member) => member.state === "ready" && member.peer !== now.id.peer);
  const good = state === "running" ? "on" : ["failed", "refused"].includes(state) ? "warn" : "";
  const slots = item.slots && isHost ? `${item.slots.used} of ${count(item.slots.copies, "copy", "copies")} used` : "";
  return h("li", {},
    h("div", { className: "row" },
      h("div", { className: "text" }, h("b", {}, item.name ?? short(item.program)), h("span", { className: `badge ${good}` }, sessionWords[state] ?? state),
        h("small", {}, line(isHost ? "you host it" : `hosted by ${called(item.host.peer, item.host.name)}`, slots, item.transfer?.waits, item.why))),
      over ? null : h("div", { className: "buttons" },
        state === "running" ? button("Open", () => open(item.session), "main") : null,
        isHost && state === "inviting" ? button("Start now", act("start"), ready ? "main" : "") : null,
        state === "suspended" ? button("Resume", act("resume"), "main") : null,
        isHost && state !== "suspended" ? button("Invite…", () => invite(item)) : null,
        state === "running" ? button("Suspend", act("suspend")) : null,
        button(isHost ? "End…" : "Leave…", () => end(item)))),
    item.transfer?.total > 0 && !over ? h("progress", { max: item.transfer.total, value: item.transfer.done, title: "Receiving" }) : null,
    over ? null : h("ul", { className: "people" }, everyone.map((member) => h("li",
      { className: ["joined", "ready"].includes(member.state) ? "on" : "off", title: line(member.peer, member.why) },
      isHost && IN_REACH_OF_HOST.has(member.state) && member.peer !== now.id.peer
        ? h("button", { type: "button", className: "name", onclick: () => person(item, member) }, called(member.peer, member.name))
        : member.peer === now.id.peer ? "you" : called(member.peer, member.name),
      h("small", {}, memberWords[member.state] ?? member.state)))));
}

function programRow(item) {
  return h("li", { className: "row" },
    h("div", { className: "text" }, h("b", {}, item.name), " ", h("span", { className: "faint" }, item.version),
      h("small", {}, line(size(item.size), Number.isInteger(item.left) ? `${count(item.left, "copy", "copies")} left` : ""))),
    h("div", { className: "buttons" }, button("Host…", () => host(item), "main"),
      button("Remove…", () => forget(`Remove ${item.name} and its files?`, { verb: "program-remove", name: item.program ?? item.name }))));
}

function contactRow(item) {
  return h("li", { className: "row" },
    h("div", { className: "text" }, h("b", {}, item.name), item.trust ? h("span", { className: "badge on" }, "trusted") : "",
      idLine(item)),
    h("div", { className: "buttons" }, button("Catalog", () => catalog(item), "small"),
      button("Remove…", () => forget(`Remove ${item.name} from your contacts?`, { verb: "contact-remove", name: item.name }), "small")));
}

/// How somebody is reached, if that is worth knowing.
function wayBadge(item) {
  const relay = (now.status.relays ?? []).find((relay) => relay.peer === item.peer);
  if (relay) return h("span", { className: relay.reserved ? "badge on" : "badge", title: relay.why ?? "" }, "your relay");
  return item.path === "relayed" ? h("span", { className: "badge", title: "No direct way was found yet." }, "through a relay") : "";
}

function peerRow(item) {
  return h("li", { className: "row" },
    h("div", { className: "text" }, h("b", { title: item.peer }, called(item.peer, item.name)), wayBadge(item), idLine(item)),
    h("div", { className: "buttons" }, button("Catalog", () => catalog(item), "small"),
      people.has(item.peer) ? null : button("Add…", () => addContact(item), "small")));
}

let now = { id: {}, status: {}, invitations: [], sessions: [], programs: [], contacts: [], peers: [] };

function show() {
  people.clear();
  for (const contact of now.contacts) people.set(contact.peer, contact.name);
  const name = now.status.name ?? now.id.name;
  $("name").textContent = name ?? "Parlor";
  document.title = now.invitations.length ? `(${now.invitations.length}) Parlor` : name ? `${name} · Parlor` : "Parlor";
  $("peer").textContent = short(now.id.peer);
  $("peer").hidden = !now.id.peer;
  $("availability").hidden = false;
  for (const choice of document.getElementsByName("availability")) choice.checked = choice.value === now.status.availability;
  const names = [...people];
  fill("invitations", now.invitations, invitationRow, undefined, names);
  $("invitations").hidden = !now.invitations.length;
  const live = now.sessions.filter((item) => item.state !== "invited" && !OVER.has(item.state));
  const over = now.sessions.filter((item) => OVER.has(item.state));
  const newest = (list) => [...list].reverse();
  fill("sessions", newest(live), sessionRow, undefined, names);
  fill("earlier", newest(over), sessionRow, undefined, names);
  $("earlier").hidden = !over.length;
  $("earlier").querySelector("summary").textContent = count(over.length, "earlier session");
  fill("programs", now.programs, programRow);
  fill("contacts", now.contacts, contactRow);
  fill("nearby", now.peers, peerRow, undefined, names);
  document.querySelector("main").hidden = false;
}

// ---- Keeping it up to date

let refreshing = null, again = false;

/// Asks the node for everything shown. Calls during one round make one more round.
function refresh() {
  again = !!refreshing;
  refreshing ??= round().finally(() => {
    refreshing = null;
    if (again) refresh();
  });
  return refreshing;
}

async function round() {
  const verbs = ["id", "status", "inbox", "sessions", "programs", "contact-list", "peers"];
  const [id, status, inbox, sessions, programs, contacts, peers] = await Promise.all(verbs.map((verb) => control({ verb })));
  now = {
    id, status, invitations: inbox.invitations ?? [], sessions: sessions.sessions ?? [], programs: programs.programs ?? [],
    contacts: contacts.contacts ?? [], peers: peers.peers ?? [],
  };
  show();
}

function banner(text) {
  $("banner").textContent = text ?? "";
  $("banner").hidden = !text;
}

/// Follows the node's events for as long as the page is open.
async function follow() {
  let timer = 0;
  for (;;) {
    try {
      await refresh();
      banner();
      await control({ verb: "events" }, () => {
        timer ||= setTimeout(() => {
          timer = 0;
          refresh().catch(() => {});
        }, 150);
      });
      banner("The node has stopped. Start it with “parlor up”; this page goes on by itself.");
    } catch (error) {
      if (error.message === "not let in") return banner("This console is no longer valid. Open the address that “parlor up” prints.");
      banner(error instanceof NodeGone ? "The node is not running. Start it with “parlor up”; this page goes on by itself." : sentence(error.message));
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

$("peer").onclick = busy(async () => {
  await navigator.clipboard.writeText(now.id.peer);
  toast("Copied. Give it to those who are to invite you.");
});
$("add").onclick = () => addContact();
$("follow").onclick = joinByLink;
$("dialog").onclose = () => refresh().catch(() => {});
$("availability").onchange = (event) =>
  control({ verb: "availability", setting: event.target.value }).then(refresh).catch((error) => {
    toast(sentence(error.message));
    show();
  });

if (token) follow();
else banner("Open the address that “parlor up” prints: it lets this browser in.");
