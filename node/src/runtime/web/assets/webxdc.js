// webxdc 1.3 (and isAppSender of 1.4) on Parlor. The node appends the argument: what this page must know at once.
(function (config) {
  "use strict";
  if (window.webxdc) return; // Included twice.

  const WINDOW = 16; // Sends without an answer, as the node allows.
  const MAX_QUEUE = 1000, MAX_QUEUE_CHARS = 16 << 20; // Sends that wait for the node.
  const MAX_BUFFERED = 4 << 20; // Realtime bytes that wait in the browser; more are dropped.
  const FIRST_DELAY = 250, LAST_DELAY = 5000, NOTICE_AFTER = 3000; // Reconnecting, milliseconds.

  // ---- The bridge: one WebSocket, made again whenever it is lost.

  const hex = (bytes) => Array.from(new Uint8Array(bytes), (b) => b.toString(16).padStart(2, "0")).join("");
  const random = (length) => hex(crypto.getRandomValues(new Uint8Array(length)));
  const page = random(16);
  const address = location.origin.replace(/^http/, "ws") + config.bridge + "?page=" + page;
  const encoder = new TextEncoder(), decoder = new TextDecoder();
  let socket = null, tried = false, ready = false, delay = FIRST_DELAY, retry = 0, noticeTimer = 0;

  function connect() {
    clearTimeout(retry);
    const again = tried;
    tried = true;
    const mine = socket = new WebSocket(again ? address + "&again" : address);
    mine.binaryType = "arraybuffer";
    if (again) mine.onmessage = ({ data }) => prove(mine, data);
    else mine.onopen = () => begin(mine);
    mine.onclose = ({ code }) => {
      if (again && !ready && code === 1008) strange = true; // It does not know this page.
      ready = false;
      if (strange) showNotice();
      noticeTimer ||= setTimeout(showNotice, NOTICE_AFTER);
      retry = setTimeout(connect, delay * (0.5 + Math.random() / 2));
      delay = Math.min(2 * delay, LAST_DELAY);
    };
  }

  function begin(mine) {
    mine.onmessage = ({ data }) => (typeof data === "string" ? heard(JSON.parse(data)) : realtime(data));
    ready = true;
    strange = false;
    delay = FIRST_DELAY;
    clearTimeout(noticeTimer);
    noticeTimer = 0;
    hideNotice();
    flying = 0; // Whatever has no answer is sent again; the node knows the numbers it has.
    flush();
    if (channel) say("join");
    if (listener) pull();
  }

  // ---- After the first connection, anybody might be at the other end: both prove that they know the secret.

  let strange = false; // Somebody else answered.

  async function mac(text) {
    const key = Uint8Array.from(config.secret.match(/../g), (digits) => parseInt(digits, 16));
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const usable = await crypto.subtle.importKey("raw", key, hmac, false, ["sign"]);
    return hex(await crypto.subtle.sign("HMAC", usable, encoder.encode(text)));
  }

  async function prove(mine, data) {
    mine.onmessage = null;
    try {
      const { challenge } = JSON.parse(data);
      if (!/^[0-9a-f]{64}$/.test(challenge)) throw new Error("no challenge");
      const nonce = random(32), about = `${location.port} ${page} ${challenge} ${nonce}`;
      const [ours, theirs] = await Promise.all([mac("page " + about), mac("node " + about)]);
      mine.onmessage = ({ data }) => (data.includes(theirs) ? proven(mine, JSON.parse(data).proven) : distrust(mine));
      mine.send(JSON.stringify({ proof: { nonce, mac: ours } }));
    } catch {
      distrust(mine);
    }
  }

  function proven(mine, { launch }) {
    // The program's files are served to whoever has the cookie of this start.
    fetch("/?launch=" + launch).catch(() => {});
    begin(mine);
  }

  function distrust(mine) {
    strange = true;
    mine.onmessage = null;
    mine.close();
  }

  function say(message) {
    if (ready) socket.send(JSON.stringify(message));
  }

  function heard(message) {
    if (message.updates) deliver(message.updates);
    else if (message.sent) answered(message.sent.n);
    else if ("agent" in message) hearAgent && hearAgent(message.agent);
    else if (message.refused) {
      console.error("webxdc: an update was not sent: " + message.refused.why);
      answered(message.refused.n);
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && socket.readyState === WebSocket.CLOSED) connect();
  });

  // ---- Updates to the group: numbered, and kept until the node has answered.

  const queue = [];
  let queued = 0, flying = 0, count = 0;

  function flush() {
    while (ready && flying < WINDOW && flying < queue.length) socket.send(queue[flying++]);
  }

  function answered(n) {
    if (queue.length && queue[0].startsWith(`{"send":{"n":${n},`)) {
      queued -= queue.shift().length;
      flying--;
    }
    flush();
  }

  function sendUpdate(update) {
    if (update === null || typeof update !== "object") throw new TypeError("sendUpdate: an object is wanted");
    const whole = { payload: update.payload };
    for (const key of ["info", "href", "document", "summary"]) {
      if (update[key] !== undefined && update[key] !== null) whole[key] = String(update[key]);
    }
    if (update.notify !== undefined && update.notify !== null) {
      whole.notify = Object.fromEntries(Object.entries(update.notify).map(([addr, text]) => [addr, String(text)]));
    }
    if (update.checkpoint === true) whole.checkpoint = true; // Parlor's own.
    const text = JSON.stringify(whole);
    if (JSON.stringify({ payload: update.payload }) === "{}") throw new TypeError("sendUpdate: payload is missing");
    const size = encoder.encode(text).length;
    if (size > config.sendUpdateMaxSize) {
      throw new RangeError(`sendUpdate: ${size} bytes, ${config.sendUpdateMaxSize} are allowed`);
    }
    if (queue.length >= MAX_QUEUE || queued + text.length > MAX_QUEUE_CHARS) {
      throw new Error("sendUpdate: too many updates wait to be sent");
    }
    const frame = `{"send":{"n":${++count},"update":${text}}}`;
    queue.push(frame);
    queued += frame.length;
    flush();
  }

  // ---- Updates from the group: pulled, so that this page takes no more than it can.

  let listener = null, generation = 0;

  function setUpdateListener(callback, serial) {
    if (typeof callback !== "function") throw new TypeError("setUpdateListener: a function is wanted");
    if (listener) listener.caughtUp(); // Replaced: nobody would ever resolve it.
    const cursor = Math.min(Math.max(Math.floor(Number(serial) || 0), 0), Number.MAX_SAFE_INTEGER);
    return new Promise((resolve) => {
      listener = { callback, cursor, generation: ++generation, goal: -1, done: false };
      listener.caughtUp = function () {
        this.done = true;
        resolve();
      };
      pull();
    });
  }

  function pull() {
    say({ pull: { gen: listener.generation, after: listener.cursor, wait: listener.done } });
  }

  function deliver({ gen, updates }) {
    const mine = listener;
    if (!mine || gen !== mine.generation) return;
    // What was known at the call is what the first answer knows.
    if (mine.goal < 0 && updates.length) mine.goal = updates[updates.length - 1].max_serial;
    for (const update of updates) {
      if (update.serial <= mine.cursor) continue;
      mine.cursor = update.serial;
      try {
        mine.callback(update);
      } catch (error) {
        reportError(error);
      }
      if (listener !== mine) return; // The callback set another one.
    }
    if (!mine.done && (!updates.length || mine.cursor >= mine.goal)) mine.caughtUp();
    pull();
  }

  // ---- The realtime channel.

  let channel = null;

  function joinRealtimeChannel() {
    if (channel) throw new Error("joinRealtimeChannel: joined already, leave first");
    let listen = null;
    const joined = (what) => {
      if (channel !== mine) throw new Error(`realtime channel: ${what} after leave`);
    };
    const mine = {
      heard: (data, sender) => listen && listen(data, sender),
      api: {
        setListener(callback) {
          joined("setListener");
          if (typeof callback !== "function") throw new TypeError("setListener: a function is wanted");
          listen = callback;
        },
        send(data) {
          joined("send");
          if (Object.prototype.toString.call(data) !== "[object Uint8Array]") {
            throw new TypeError("send: a Uint8Array is wanted");
          }
          if (data.length > config.realtimeMaxSize) {
            throw new RangeError(`send: ${data.length} bytes, ${config.realtimeMaxSize} are allowed`);
          }
          if (ready && socket.bufferedAmount < MAX_BUFFERED) socket.send(data);
        },
        leave() {
          joined("leave");
          channel = null;
          say("leave");
        },
      },
    };
    channel = mine;
    say("join");
    return mine.api;
  }

  function realtime(buffer) {
    if (!channel) return;
    const length = new DataView(buffer).getUint16(0);
    const sender = JSON.parse(decoder.decode(new Uint8Array(buffer, 2, length)));
    channel.heard(new Uint8Array(buffer.slice(2 + length)), sender);
  }

  // ---- The program's agent on this node; Parlor's own.

  let hearAgent = null;

  const parlor = {
    tellAgent(value) {
      const text = JSON.stringify(value);
      if (text === undefined) throw new TypeError("tellAgent: a value that is JSON is wanted");
      if (encoder.encode(text).length > config.sendUpdateMaxSize) throw new RangeError("tellAgent: too large");
      if (ready && socket.bufferedAmount < MAX_BUFFERED) socket.send(`{"agent":${text}}`);
    },
    onAgent(callback) {
      if (typeof callback !== "function") throw new TypeError("onAgent: a function is wanted");
      hearAgent = callback;
    },
  };

  // ---- Asking the user: a dialog that the program's styles and scripts do not reach.

  const host = document.createElement("parlor-dialog");
  const shadow = host.attachShadow({ mode: "closed" });
  const STYLE = `
    :host { all: initial; }
    dialog, .notice { font: 16px/1.45 system-ui, sans-serif; color: #1c1b19; background: #fffdf9; color-scheme: light;
      border: 1px solid #0002; box-shadow: 0 8px 40px #0005; box-sizing: border-box; }
    dialog { border-radius: 14px; padding: 20px; width: min(26rem, calc(100vw - 32px)); }
    dialog::backdrop { background: #0006; }
    h1 { font-size: 17px; margin: 0 0 8px; } p { margin: 0 0 10px; }
    code { display: block; font: 14px/1.4 ui-monospace, monospace; background: #0000000d; border-radius: 8px; padding: 8px 10px;
      margin: 0 0 10px; max-height: 30vh; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; user-select: text; }
    div.actions { display: flex; flex-wrap: wrap; gap: 8px; justify-content: flex-end; margin-top: 14px; }
    button { font: inherit; padding: 9px 16px; border-radius: 9px; border: 1px solid #0003; background: none; color: inherit; }
    button.main { background: #2f6f5e; border-color: #2f6f5e; color: #fff; }
    .notice { position: fixed; z-index: 2147483647; left: 50%; bottom: 14px; transform: translateX(-50%); font-size: 14px;
      border-radius: 99px; padding: 7px 16px; width: max-content; max-width: calc(100vw - 32px); }
    @media (prefers-color-scheme: dark) {
      dialog, .notice { color: #ece8e1; background: #24221f; border-color: #fff2; color-scheme: dark; }
      code { background: #ffffff12; } button { border-color: #fff4; }
    }`;

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function place(node) {
    if (!shadow.firstChild) shadow.append(element("style", STYLE));
    shadow.append(node);
    if (!host.isConnected) document.documentElement.append(host);
  }

  // Resolves once the user is done. `actions`: [label, what it does, whether the dialog stays].
  function ask(title, text, quote, actions) {
    return new Promise((resolve) => {
      const dialog = element("dialog");
      const row = element("div", "", "actions");
      dialog.append(element("h1", title), ...(text ? [element("p", text)] : []));
      if (quote) dialog.append(element("code", quote));
      const close = element("button", "Close");
      close.onclick = () => dialog.close();
      row.append(close);
      for (const [label, act, stays] of actions) {
        const button = element("button", label, "main");
        button.onclick = () => {
          if (act(dialog) !== false && stays) button.textContent = "✓ " + label;
          if (!stays) dialog.close();
        };
        row.append(button);
      }
      dialog.append(row);
      dialog.onclose = () => {
        dialog.remove();
        resolve();
      };
      place(dialog);
      dialog.showModal();
    });
  }

  const notice = element("div", "", "notice");
  notice.setAttribute("role", "status");
  const showNotice = () => {
    notice.textContent = strange
      ? "What answers here is not your node, or does not know this page any more: open it again with “parlor open”."
      : "Not connected to your node. What you do now is sent once it is back. If it stays away, open this again with “parlor open”.";
    place(notice);
  };
  const hideNotice = () => notice.remove();

  // The clipboard API is denied to programs; this works only in the user's own click.
  function copy(text) {
    return (dialog) => {
      const area = element("textarea");
      area.value = text;
      area.style.cssText = "position:fixed;opacity:0";
      dialog.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      return copied;
    };
  }

  // ---- Files and text out and in, by the user's hand.

  async function fileOf(file) {
    if (typeof file.name !== "string" || !file.name) throw new TypeError("sendToChat: file.name is missing");
    const given = [file.blob instanceof Blob, typeof file.base64 === "string", typeof file.plainText === "string"];
    if (given.filter(Boolean).length !== 1) {
      throw new TypeError("sendToChat: exactly one of file.blob, file.base64, file.plainText is wanted");
    }
    if (given[0]) return file.blob;
    if (given[2]) return new Blob([file.plainText]);
    return new Blob([Uint8Array.from(atob(file.base64), (c) => c.charCodeAt(0))]);
  }

  async function sendToChat(message) {
    const text = message && message.text, file = message && message.file;
    if (!file && typeof text !== "string") throw new TypeError("sendToChat: file or text is wanted");
    const actions = [];
    if (typeof text === "string") actions.push(["Copy text", copy(text), true]);
    if (file) {
      const blob = await fileOf(file);
      actions.push(["Save file", () => {
        const link = element("a");
        link.href = URL.createObjectURL(blob);
        link.download = file.name;
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      }, true]);
    }
    const what = file ? `${config.title} made a file for you: ${file.name}` : `${config.title} made a text for you:`;
    await ask("Share", what, text, actions);
  }

  function importFiles(filter) {
    const { extensions = [], mimeTypes = [], multiple = false } = filter || {};
    return new Promise((resolve) => {
      const input = element("input");
      input.type = "file";
      input.accept = [...extensions, ...mimeTypes].join(",");
      input.multiple = multiple;
      input.onchange = () => resolve(Array.from(input.files));
      input.oncancel = () => resolve([]);
      if (!navigator.userActivation || navigator.userActivation.isActive) return input.click();
      // A browser shows its file picker only in a user's click.
      let chosen = false;
      const pick = () => {
        chosen = true;
        input.click();
      };
      ask("Import", `${config.title} asks for a file.`, "", [["Choose…", pick]]).then(() => chosen || resolve([]));
    });
  }

  // ---- Links that lead out of the program: shown in full, and opened by the user alone, elsewhere.

  function isOutside(url) {
    return /^https?:$/.test(url.protocol) && url.origin !== location.origin;
  }

  function leaving(url) {
    const why = `${config.title} wants to show an external website. It can learn who you are, and what the address says. ` +
      "If you trust it, copy the address and open it in another tab.";
    ask("Leave this program?", why, url.href, [["Copy address", copy(url.href), true]]);
  }

  function onClick(event) {
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement || node instanceof HTMLAreaElement);
    if (!link || !link.href || !URL.canParse(link.href)) return;
    const url = new URL(link.href);
    if (!isOutside(url)) return;
    event.preventDefault();
    leaving(url);
  }
  window.addEventListener("click", onClick, true);
  window.addEventListener("auxclick", onClick, true);
  if (window.navigation) {
    window.navigation.addEventListener("navigate", (event) => {
      const url = new URL(event.destination.url);
      if (!event.cancelable || !isOutside(url)) return;
      event.preventDefault();
      leaving(url);
    });
  }

  window.webxdc = {
    selfAddr: config.selfAddr,
    selfName: config.selfName,
    isAppSender: config.isAppSender,
    sendUpdateInterval: config.sendUpdateInterval,
    sendUpdateMaxSize: config.sendUpdateMaxSize,
    sendUpdate,
    setUpdateListener,
    getAllUpdates: () => Promise.resolve([]),
    joinRealtimeChannel,
    sendToChat,
    importFiles,
    parlor,
  };
  connect();
})
