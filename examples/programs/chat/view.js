// How it looks: messages, the people who are here, the typing notice. Peers' words reach the page through
// textContent only, and no link is made of them.

import { cleanName, dayOf, hueOf, windowStart } from "./model.js";

const PAGE = 500; // messages kept in the page; "show earlier" adds as many again
const SLACK = 100; // how many more may gather before the page is trimmed
const LONG_TEXT = 4_000;
const NEAR_END = 60; // px

const $ = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dated = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export function createView(log, self) {
  const [scroller, list, empty, earlier, newer] = ["scroller", "messages", "empty", "earlier", "newer"].map($);
  let first = 0; // the oldest message in the page
  let next = 0; // the first message not in the page yet
  let unseen = 0;
  let following = true; // keep the newest in sight?

  const toEnd = () => {
    scroller.scrollTop = scroller.scrollHeight;
    unseen = 0;
    newer.hidden = true;
  };

  const paint = (from) => {
    first = from;
    list.replaceChildren(...rows(log.messages.slice(first), self, true));
    next = log.messages.length;
    earlier.hidden = first === 0;
  };

  scroller.addEventListener("scroll", () => {
    following = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
    if (following) {
      unseen = 0;
      newer.hidden = true;
    }
  });
  newer.addEventListener("click", () => {
    following = true;
    toEnd();
  });
  earlier.addEventListener("click", () => {
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    paint(Math.max(0, first - PAGE));
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
  });
  // The phone's keyboard, a growing text box, a turned phone: what was in sight stays in sight.
  new ResizeObserver(() => following && toEnd()).observe(scroller);

  return {
    /** Brings in the messages that came since the last call. */
    update() {
      const fresh = log.messages.slice(next);
      empty.hidden = log.messages.length > 0;
      if (!fresh.length) return;
      const mine = fresh.some((m) => m.addr === self.addr);
      following ||= mine;
      if (next === 0 || (following && log.messages.length - first > PAGE + SLACK)) {
        paint(windowStart(log, PAGE));
      } else {
        list.append(...rows(fresh, self, false));
        next = log.messages.length;
      }
      if (following) return toEnd();
      unseen += fresh.length;
      newer.textContent = unseen === 1 ? "1 new message" : `${unseen} new messages`;
      newer.hidden = false;
    },

    /** History is in: from here on, a screen reader is told about what arrives. */
    ready() {
      empty.hidden = log.messages.length > 0;
      list.setAttribute("aria-busy", "false");
      document.body.dataset.ready = "true";
    },

    people(others) {
      const named = others.map((p) => ({ ...p, name: log.names.get(p.addr) ?? p.name }));
      named.sort((a, b) => a.name.localeCompare(b.name) || (a.addr < b.addr ? -1 : 1));
      $("members").replaceChildren(chip(self, "You"), ...named.map((p) => chip(p, p.name)));
      $("count").textContent = named.length ? `${named.length + 1} here` : "Only you here";
      $("typing").textContent = typingLine(named.filter((p) => p.writing).map((p) => p.name));
    },

    notice(text) {
      $("notice").textContent = text;
    },
  };
}

function rows(messages, self, atTop) {
  return messages.flatMap((message, i) => {
    const head = atTop && i === 0;
    const day = message.startsDay || (head && message.day) ? [daySeparator(message.day)] : [];
    return [...day, bubble(message, self, message.follows && !head)];
  });
}

function bubble(message, self, follows) {
  const own = message.addr !== "" && message.addr === self.addr;
  const name = element("span", "name", message.name);
  name.dir = "auto";
  if (message.addr) name.title = message.verified ? `Verified: ${message.addr}` : message.addr;
  const body = element("p", "body", message.text);
  body.dir = "auto";
  const article = element("article", follows ? "message follows" : "message");
  article.dataset.own = own;
  article.style.setProperty("--hue", hueOf(message.key));
  article.append(name, body);
  if (message.text.length > LONG_TEXT) shorten(article, body, message.text);
  if (message.at !== null) {
    const time = element("time", "at", (message.late ? dated : clock).format(message.at));
    time.dateTime = new Date(message.at).toISOString();
    article.append(time);
  }
  return article;
}

function shorten(article, body, text) {
  const more = element("button", "more", "Show all of it");
  more.type = "button";
  body.textContent = `${text.slice(0, LONG_TEXT)} …`;
  more.addEventListener("click", () => {
    body.textContent = text;
    more.remove();
  });
  article.append(more);
}

function daySeparator(day) {
  const [y, m, d] = day.split("-").map(Number);
  const noon = new Date(y, m - 1, d, 12);
  const now = new Date();
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1, 12);
  const year = y === now.getFullYear() ? undefined : "numeric";
  const label =
    day === dayOf(now) ? "Today"
    : day === dayOf(yesterday) ? "Yesterday"
    : noon.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long", year });
  const row = element("div", "day");
  row.append(element("span", "", label));
  return row;
}

function chip(person, label) {
  const item = element("li", "chip");
  const face = element("span", "face", [...cleanName(person.name, person.addr)][0].toUpperCase());
  face.setAttribute("aria-hidden", "true");
  const name = element("span", "who", label);
  name.dir = "auto";
  item.style.setProperty("--hue", hueOf(person.addr));
  item.title = label === "You" ? `You, as ${person.name}` : label;
  item.append(face, name);
  return item;
}

function typingLine(names) {
  if (names.length === 0) return "";
  if (names.length === 1) return `${names[0]} is typing…`;
  if (names.length === 2) return `${names[0]} and ${names[1]} are typing…`;
  return `${names.length} people are typing…`;
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
