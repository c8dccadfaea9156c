// The variables of a session, as they change. Values of secret ones are never asked for.

import { ApiError, get, ofSession } from "./api.js";
import { member, oneLineOf } from "./raw_json.js";

/** Milliseconds that a change is marked. */
export const MARK_MS = 4_000;
/** Characters of JSON that are kept of all values, and of one. */
const MAX_HELD = 30_000_000;
const MAX_VALUE = 1_000_000;
/** Milliseconds between two questions for what a watch does not tell: types, tags, sizes. */
const DETAILS_MS = 1_000;
const RETRY_MS = 2_000;

/**
 * The variables of one session by name. It tells "change"; `ended` is then what ended the watch for good, else null.
 *
 * An entry is { name, revision, secret, text, line, length, updatedAt, deletedAt, details }: `text` is its value as JSON (null: it is
 * secret, deleted or too large to keep), `line` its beginning, `details` its VariableInfo, null until it is known.
 */
export class WatchedVariables extends EventTarget {
  /**
   * @param {string} session The session's id.
   * @param {function(): number} now Returns the hub's time, in milliseconds.
   */
  constructor(session, now) {
    super();
    this.session = session;
    this.now = now;
    this.entries = new Map();
    this.held = 0;
    this.ended = null;
    this.isLive = false;
    this.isPaused = false;
    this.timer = 0;
    this.asking = 0;
    this.connect();
  }

  close() {
    this.ended ??= { type: "Closed", message: "" };
    this.source?.close();
    clearTimeout(this.timer);
    clearTimeout(this.asking);
  }

  /** Ends the watch for a while, or begins it anew. */
  pause(paused) {
    if (paused === this.isPaused || this.ended) return;
    this.isPaused = paused;
    clearTimeout(this.timer);
    this.source.close();
    this.isLive = false;
    if (!paused) this.restart();
    this.changed();
  }

  restart() {
    this.clear();
    this.connect();
  }

  /** How many there are, without those that were deleted. */
  get count() {
    let count = 0;
    for (const entry of this.entries.values()) if (entry.deletedAt === null) count++;
    return count;
  }

  connect() {
    const source = new EventSource(`${ofSession(this.session, "variables")}/watch?secrets=false`);
    this.source = source;
    source.addEventListener("open", () => {
      this.isLive = true;
      this.changed();
    });
    source.addEventListener("data", (event) => this.take(JSON.parse(event.data), event.data));
    source.addEventListener("error", (event) => this.failed(event));
  }

  failed(event) {
    this.isLive = false;
    if (event.data) {
      // The hub's last word.
      this.source.close();
      const info = JSON.parse(event.data);
      if (info.retryable) this.again();
      else this.finish(info);
    } else if (this.source.readyState === EventSource.CLOSED) {
      this.again();
    }
    // Else the browser goes on by itself, after the last change that it has seen.
    this.changed();
  }

  again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      try {
        await get(ofSession(this.session));
      } catch (error) {
        if (error.status === 404 || error.status === 410) this.finish(error.info);
        else this.again();
        return;
      }
      if (!this.ended && !this.isPaused) this.restart();
    }, RETRY_MS);
  }

  finish(info) {
    this.ended ??= info;
    this.changed();
  }

  clear() {
    this.entries.clear();
    this.held = 0;
  }

  take(update, raw) {
    if (update.operation === "reset") this.clear();
    else this.put(update, raw);
    this.changed();
  }

  put(update, raw) {
    const before = this.entries.get(update.name);
    if (before?.text) this.held -= before.text.length;
    const isDeleted = update.operation === "delete";
    const secret = Boolean(update.secret);
    const text = isDeleted || secret ? null : member(raw, "value");
    const fits = text !== null && text.length <= MAX_VALUE && this.held + text.length <= MAX_HELD;
    if (fits) this.held += text.length;
    const at = Date.parse(update.timestamp);
    this.entries.set(update.name, {
      name: update.name,
      revision: update.revision,
      secret,
      text: fits ? text : null,
      line: text === null ? "" : oneLineOf(text),
      length: text?.length ?? 0,
      updatedAt: at,
      deletedAt: isDeleted ? this.now() : null,
      details: isDeleted ? null : (before?.details ?? null),
    });
    if (!isDeleted && !this.asking) this.askLater();
  }

  askLater() {
    // A list of thousands is not asked for as often.
    this.asking = setTimeout(() => this.askDetails(), DETAILS_MS * Math.max(1, this.entries.size / 500));
  }

  /** Entries whose details are those of another revision. */
  stale() {
    return [...this.entries.values()].filter(
      (entry) => entry.deletedAt === null && entry.details?.metadata.revision !== entry.revision,
    );
  }

  /** Whether it has changed so lately that it is marked. */
  isMarked(entry) {
    return this.now() - (entry.deletedAt ?? entry.updatedAt) < MARK_MS;
  }

  /** Forgets what was deleted a while ago; returns whether there was any. */
  forget() {
    const old = [...this.entries.values()].filter((entry) => entry.deletedAt !== null && !this.isMarked(entry));
    for (const { name } of old) this.entries.delete(name);
    return old.length > 0;
  }

  async askDetails() {
    const stale = this.stale();
    // A name is the first of those that begin with it.
    const queries = stale.length <= 3 ? stale.map(({ name }) => ({ prefix: name, limit: 1 })) : [{}];
    try {
      for (const query of queries) {
        const { variables } = await get(ofSession(this.session, "variables"), query);
        for (const info of variables) {
          const entry = this.entries.get(info.name);
          if (entry) entry.details = info;
        }
      }
      this.changed();
    } catch (error) {
      // The watch tells what is the matter.
      if (!(error instanceof ApiError)) throw error;
    } finally {
      this.asking = 0;
      // They may have changed again meanwhile.
      if (!this.ended && this.stale().length) this.askLater();
    }
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }
}
