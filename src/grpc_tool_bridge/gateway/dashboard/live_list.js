// What a list of the hub says, kept up by its events, and asked for again now and then.

import { ApiError, all } from "./api.js";
import { Poll } from "./poll.js";

/** Entries that are taken in; hubs may have more. */
export const MAX_ENTRIES = 20_000;
/** Entries that have gone, and are still known. */
const MAX_GONE = 100;
/** How many times longer than an answer takes the next question waits at least, so that long lists cost a hub little. */
const PATIENCE = 50;

/**
 * A list such as that of the sessions. It tells "change".
 *
 * `entries` has what there is by its key; `gone` what went while the page was open, each as { entry, at }.
 */
export class LiveList extends EventTarget {
  /**
   * @param {object} app What every view gets.
   * @param {object} given
   * @param {string} given.address The path of the list.
   * @param {string} given.name The name of the array in the answer.
   * @param {function(object): string} given.key Returns what tells an entry from others.
   * @param {string} [given.kind] Events of this kind have an entry; none: only the list is asked.
   * @param {string} [given.last] The operation of an event after which there is no such entry any more.
   * @param {function(): object} [given.query] Returns what the list is asked for by; call `follow` if it may have become another.
   * @param {number} given.every Milliseconds until the list is asked for again, at least.
   */
  constructor(app, { address, name, key, kind = "", last = "", query = () => ({}), every }) {
    super();
    Object.assign(this, { app, address, name, key, kind, last, query, every });
    this.entries = new Map();
    this.gone = new Map();
    this.error = null;
    this.loaded = false;
    /** The names of hubs that did not answer: what they have is missing. */
    this.missing = [];
    this.told = new Set();
    this.asked = JSON.stringify(query());
    this.onEvent = ({ detail }) => {
      if (kind && detail[kind]) this.take(detail.operation, detail[kind]);
    };
    app.events.addEventListener("event", this.onEvent);
    this.poll = new Poll(app.events, every, () => this.read());
  }

  close() {
    this.poll.stop();
    this.app.events.removeEventListener("event", this.onEvent);
  }

  /** Whether the hub has more than are here. */
  get isCut() {
    return this.entries.size >= MAX_ENTRIES;
  }

  /** Begins anew if another list is asked for than before. */
  follow() {
    const asked = JSON.stringify(this.query());
    if (asked === this.asked) return;
    this.asked = asked;
    this.loaded = false;
    this.error = null;
    this.entries.clear();
    this.gone.clear();
    this.changed();
    this.poll.now();
  }

  async read() {
    // What events tell meanwhile is newer than what the list says.
    this.told.clear();
    const { asked } = this;
    const begun = performance.now();
    const found = new Map();
    const silent = new Set();
    const missing = (hub) => silent.add(hub);
    try {
      for await (const entry of all(this.address, this.name, this.query(), { most: MAX_ENTRIES, missing })) {
        if (asked !== this.asked) return;
        found.set(this.key(entry), entry);
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (asked !== this.asked) return;
      this.error = error;
      this.changed();
      return;
    }
    if (asked !== this.asked) return;
    this.poll.milliseconds = Math.max(this.every, PATIENCE * (performance.now() - begun));
    this.error = null;
    this.loaded = true;
    this.missing = [...silent].sort();
    for (const key of [...this.entries.keys()]) if (!found.has(key) && !this.told.has(key)) this.leave(key);
    for (const [key, entry] of found) if (!this.told.has(key)) this.put(key, entry);
    this.changed();
  }

  take(operation, entry) {
    const key = this.key(entry);
    this.told.add(key);
    if (operation === this.last) this.leave(key, entry);
    else this.put(key, entry);
    this.changed();
  }

  put(key, entry) {
    this.entries.set(key, entry);
    this.gone.delete(key);
  }

  leave(key, entry = this.entries.get(key)) {
    this.entries.delete(key);
    this.gone.delete(key);
    this.gone.set(key, { entry, at: this.app.events.now() });
    if (this.gone.size > MAX_GONE) this.gone.delete(this.gone.keys().next().value);
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}
