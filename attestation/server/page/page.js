"use strict";
// Verifies in the browser what this page shows: the checkpoint's signature, the tree from its tiles, the entries of this
// page in it, and each shown value against its entry. Asks this site only for the log's public files (C2SP tlog-tiles).
(() => {
  const body = document.body.dataset;
  const shown = [...document.querySelectorAll("[data-entry]")];
  const verified = document.getElementById("verified");
  const visited = document.getElementById("visited");
  const form = document.getElementById("key-form");
  const WIDTH = 256, HASH = 32;

  class Refused extends Error {}

  function say(element, yes, text) {
    if (!element) return;
    element.textContent = text;
    element.classList.toggle("yes", yes === true);
    element.classList.toggle("no", yes === false);
  }

  function bytesOf(base64) {
    let binary;
    try { binary = atob(base64); } catch { throw new Refused("base64 does not read"); }
    return Uint8Array.from(binary, (character) => character.charCodeAt(0));
  }

  const equal = (a, b) => a.length === b.length && a.every((byte, place) => byte === b[place]);

  async function sha256(...parts) {
    const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
    let at = 0;
    for (const part of parts) { whole.set(part, at); at += part.length; }
    return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
  }

  const leafHash = (data) => sha256(Uint8Array.of(0), data);
  const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right);

  async function fetched(path) {
    const answer = await fetch(path, { credentials: "omit", cache: path.endsWith("/checkpoint") ? "no-store" : "default" });
    if (!answer.ok) throw new Refused(`${path} is not served (${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  // ---- the checkpoint -------------------------------------------------------------------------------------------------

  async function readKey(vkey) {
    const [name, id, encoded, ...rest] = vkey.trim().split("+");
    // The base64 part may hold a plus sign itself.
    const typed = bytesOf([encoded, ...rest].join("+"));
    if (name !== body.origin || typed.length !== 33 || typed[0] !== 1) throw new Refused("the key is no Ed25519 key of this log");
    const named = await sha256(new TextEncoder().encode(`${name}\n`), typed);
    const keyId = named.slice(0, 4);
    if (id !== [...keyId].map((byte) => byte.toString(16).padStart(2, "0")).join("")) throw new Refused("the key's id is not its own");
    const key = await crypto.subtle.importKey("raw", typed.slice(1), "Ed25519", false, ["verify"]);
    return { key, keyId };
  }

  async function readCheckpoint(vkey) {
    const note = new TextDecoder("utf-8", { fatal: true }).decode(await fetched(`${body.log}/checkpoint`));
    const end = note.lastIndexOf("\n\n");
    const text = note.slice(0, end + 1), lines = note.slice(end + 2).split("\n");
    const [origin, size, root, ...more] = text.split("\n");
    if (end < 0 || origin !== body.origin || more.length !== 1 || more[0] !== "") throw new Refused("the checkpoint is not of this log");
    if (!/^(0|[1-9][0-9]{0,14})$/.test(size)) throw new Refused("the checkpoint has no size");
    const { key, keyId } = await readKey(vkey);
    const own = lines.filter((line) => line.startsWith(`\u2014 ${origin} `)).map((line) => bytesOf(line.slice(origin.length + 3)));
    const signature = own.find((bytes) => equal(bytes.slice(0, 4), keyId));
    if (!signature) throw new Refused("the checkpoint is not signed by this key");
    if (!await crypto.subtle.verify("Ed25519", key, signature.slice(4), new TextEncoder().encode(text))) throw new Refused("the checkpoint's signature does not verify");
    return { size: Number(size), root: bytesOf(root) };
  }

  // ---- tiles: each is proved to belong to the tree before a hash of it is used ------------------------------------------

  function address(level, index, width) {
    const groups = [String(index % 1000).padStart(3, "0")];
    for (let rest = Math.floor(index / 1000); rest; rest = Math.floor(rest / 1000)) groups.unshift(`x${String(rest % 1000).padStart(3, "0")}`);
    return `${body.log}/tile/${level}/${groups.join("/")}${width < WIDTH ? `.p/${width}` : ""}`;
  }

  class Tree {
    constructor(head) { this.head = head; this.tiles = new Map(); this.bundles = new Map(); }

    count(level, size = this.head.size) { return Math.floor(size / WIDTH ** level); }

    tile(level, index) {
      const name = `${level}/${index}`;
      if (!this.tiles.has(name)) this.tiles.set(name, this.readTile(level, index));
      return this.tiles.get(name);
    }

    async readTile(level, index) {
      const width = Math.min(WIDTH, this.count(level) - index * WIDTH);
      const data = await fetched(address(level, index, width));
      if (data.length !== width * HASH) throw new Refused(`tile ${level}/${index} has another length`);
      const hashes = Array.from({ length: width }, (_, place) => data.slice(place * HASH, (place + 1) * HASH));
      // A full tile is one hash of the tile above. A partial one is an end of the tree and goes whole into its root.
      if (width === WIDTH && !equal(await joined(hashes), await this.hash(level + 1, index))) throw new Refused(`tile ${level}/${index} is not the one in the tree`);
      return hashes;
    }

    async hash(level, index) { return (await this.tile(level, Math.floor(index / WIDTH)))[index % WIDTH]; }

    // The root of the first `size` entries, from the end of the lowest level up.
    async root(size) {
      let root = null;
      for (let level = 0; this.count(level, size); level += 1) {
        const count = this.count(level, size), start = count - count % WIDTH;
        let hashes = [];
        for (let place = start; place < count; place += 1) hashes.push(await this.hash(level, place));
        while (hashes.length) {
          const odd = lowestBit(hashes.length);
          const left = await joined(hashes.slice(hashes.length - odd));
          root = root ? await nodeHash(left, root) : left;
          hashes = hashes.slice(0, hashes.length - odd);
        }
      }
      return root ?? sha256();
    }

    async entry(index) {
      const bundle = Math.floor(index / WIDTH);
      if (!this.bundles.has(bundle)) this.bundles.set(bundle, this.readBundle(bundle));
      return (await this.bundles.get(bundle))[index % WIDTH];
    }

    async readBundle(index) {
      const hashes = await this.tile(0, index);
      const data = await fetched(address("entries", index, hashes.length));
      const entries = [];
      let at = 0;
      while (at + 2 <= data.length) {
        const length = data[at] * 256 + data[at + 1];
        entries.push(data.slice(at + 2, at + 2 + length));
        at += 2 + length;
      }
      if (at !== data.length || entries.length !== hashes.length) throw new Refused(`entries of bundle ${index} do not read`);
      const found = await Promise.all(entries.map(leafHash));
      const wrong = found.findIndex((hash, place) => !equal(hash, hashes[place]));
      if (wrong >= 0) throw new Refused(`entry ${index * WIDTH + wrong} is not the one in the tree`);
      return entries;
    }
  }

  const lowestBit = (number) => number & -number;

  async function joined(hashes) {
    let row = hashes;
    while (row.length > 1) row = await Promise.all(Array.from({ length: row.length / 2 }, (_, place) => nodeHash(row[2 * place], row[2 * place + 1])));
    return row[0];
  }

  // ---- what the page shows ----------------------------------------------------------------------------------------------

  const asText = (value) => Array.isArray(value) ? value.join(", ") : value === undefined ? "" : String(value);

  function same(element, entry) {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(entry);
    if (element.hasAttribute("data-raw")) return element.textContent === text;
    const values = JSON.parse(text);
    return [...element.querySelectorAll("[data-path]")].every((cell) => {
      const value = asText(cell.dataset.path.split(".").reduce((found, key) => found?.[key], values));
      const whole = cell.dataset.value ?? cell.textContent;
      return whole === value && whole.startsWith(cell.textContent.replace(/…$/, ""));
    });
  }

  async function checkShown(tree) {
    let wrong = 0, why = "";
    for (const element of shown) {
      const mark = element.querySelector(".checked");
      const index = Number(element.dataset.entry);
      try {
        if (index >= tree.head.size) throw new Refused("it is beyond the checkpoint");
        if (!same(element, await tree.entry(index))) throw new Refused("the page shows something else");
        say(mark, true, "yes");
      } catch (error) {
        wrong += 1;
        why ||= error.message;
        say(mark, false, `no: ${error.message}`);
      }
    }
    if (wrong) throw new Refused(`${wrong} of ${shown.length} parts of this page do not hold: ${why}`);
  }

  async function checkVisit(tree) {
    const name = `sealbid-audit ${body.origin}`;
    let last = null;
    try { last = JSON.parse(localStorage.getItem(name)); } catch { /* nothing was kept, or nothing may be */ }
    const root = btoa(String.fromCharCode(...tree.head.root));
    if (last && Number.isSafeInteger(last.size)) {
      const continues = last.size <= tree.head.size && btoa(String.fromCharCode(...await tree.root(last.size))) === last.root;
      if (!continues) return say(visited, false, `no: the log you saw with ${last.size} entries is not the beginning of this one`);
      say(visited, true, `only appended to: from ${last.size} to ${tree.head.size} entries`);
    } else {
      say(visited, undefined, "first visit of this browser");
    }
    try { localStorage.setItem(name, JSON.stringify({ size: tree.head.size, root })); } catch { /* kept nowhere */ }
  }

  async function verify(vkey, whose) {
    if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) return say(verified, undefined, "no: this needs HTTPS or localhost");
    say(verified, undefined, "at work");
    try {
      const head = await readCheckpoint(vkey);
      const tree = new Tree(head);
      if (!equal(await tree.root(head.size), head.root)) throw new Refused("the tiles do not hash to the signed root");
      await checkShown(tree);
      say(verified, true, `yes: signed by ${whose}, ${shown.length} parts of this page are in the log of ${head.size} entries`);
      if (visited) await checkVisit(tree);
    } catch (error) {
      const unable = error.name === "NotSupportedError";
      say(verified, unable ? undefined : false, unable ? "no: this browser does not know Ed25519" : `no: ${error.message}`);
    } finally {
      document.documentElement.dataset.checked = "done";
    }
  }

  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    verify(document.getElementById("vkey").value, "your key");
  });
  if (form) form.hidden = false;
  verify(body.key, "the key this page names");
})();
