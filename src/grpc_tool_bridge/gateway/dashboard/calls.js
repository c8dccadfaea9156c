// The calls that the page knows: those that the hub tells of, a tree of them, the newest first.

import { Call, Rate } from "./call.js";

/** Calls that are kept; of more, those that started first and are over are forgotten. */
export const MAX_CALLS = 10_000;
/** Characters of arguments and results that are kept of all of them; of more, the oldest are forgotten. */
export const MAX_VALUE_CHARS = 24_000_000;
/** Milliseconds between the starts of two calls with one id; of one call they differ by what a clock is inexact. */
const ANOTHER_MS = 1_000;

/** All of them. It tells "change" whenever something has changed. */
export class Calls extends EventTarget {
  constructor() {
    super();
    /** The calls of this life of the hub by their ids, and those of lives before. */
    this.byId = new Map();
    this.past = new Map();
    /** Those without a parent here, the oldest first. */
    this.roots = [];
    /** Those that wait or run. */
    this.running = new Set();
    /** Calls whose parent is not known, by its id. */
    this.orphans = new Map();
    this.epoch = "";
    /** Calls that the page has known so far, and of those left out and events dropped since it was opened, how many. */
    this.count = 0;
    this.omitted = 0;
    this.dropped = 0;
    /** Whether the hub was asked for what it knew before the page was opened. */
    this.isListed = false;
    this.rates = new Rate();
    this.heavy = [];
    this.chars = 0;
    this.forgetAt = MAX_CALLS;
  }

  get size() {
    return this.byId.size + this.past.size;
  }

  /** Returns a call by its id, which was given in some life of the hub (empty: this one). */
  get(id, epoch = "") {
    return (!epoch || epoch === this.epoch ? this.byId.get(id) : this.past.get(pastName(epoch, id))) ?? null;
  }

  /** Yields all that are known, or those that are wanted. */
  *all(matches = () => true) {
    for (const call of this.past.values()) if (matches(call)) yield call;
    for (const call of this.byId.values()) if (matches(call)) yield call;
  }

  /** A connection was made: to the hub as before, or to one that begins its numbers anew. */
  begin(epoch) {
    const before = this.epoch;
    this.epoch = epoch;
    if (before && before !== epoch) this.restart();
  }

  restart() {
    for (const call of this.running) call.endUnseen();
    this.running.clear();
    this.orphans.clear();
    for (const call of this.byId.values()) this.past.set(pastName(call.epoch, call.id), call);
    this.byId.clear();
    this.changed();
  }

  /** Takes an AdminEvent, which came as this text. */
  take(event, text = JSON.stringify(event)) {
    const omitted = event.omitted_calls ?? 0;
    this.omitted += omitted;
    this.dropped += event.dropped ?? 0;
    const isNew = event.operation === "started";
    const isTold = isNew || this.isWhole(event, omitted);
    if (isTold || omitted) this.rates.add(isTold ? 1 : 0, omitted);
    if (event.call) {
      const call = this.put(event.call, { isNew, at: Date.parse(event.timestamp), text });
      if (event.result !== undefined) call.came = text;
      if (call.given === text || call.came === text) this.weigh(call, text.length);
      this.forget();
    }
    this.changed();
  }

  /** Whether an event is all that is told of a call that began and ended at once. Of one that was left out, its end may be told too. */
  isWhole({ operation, call }, omitted) {
    if (operation !== "ended" || !call || this.byId.has(call.call_id)) return false;
    return call.args.length > 0 || Object.keys(call.kwargs).length > 0 || this.rates.read().omitted + omitted === 0;
  }

  /** Takes calls from a list. */
  takeAll(infos) {
    for (const info of infos) if (this.isSame(info)) this.put(info);
    this.forget();
    this.changed();
  }

  /**
   * Takes the calls in flight, the oldest first. Those of `known`, which ran here before the hub was asked, that are not
   * among them have ended unseen.
   *
   * @param {object[]} infos As CallInfo.
   * @param {Set} known Copy of `running` from before.
   * @param {object} [given]
   * @param {boolean} [given.isWhole] Whether all are listed; else only the oldest are.
   * @param {number} [given.startedBefore] Of others than those the page knows, only what started before is taken.
   */
  reconcile(infos, known, { isWhole = true, startedBefore = Number.POSITIVE_INFINITY } = {}) {
    const listed = new Set(infos.map((info) => info.call_id));
    const until = isWhole || !infos.length ? Number.POSITIVE_INFINITY : Date.parse(infos.at(-1).started_at);
    for (const call of known) {
      if (!this.running.has(call) || listed.has(call.id) || call.startedAt >= until) continue;
      call.endUnseen();
      this.running.delete(call);
    }
    this.takeAll(infos.filter((info) => this.byId.has(info.call_id) || Date.parse(info.started_at) < startedBefore));
  }

  /** The hub has said what it knew before. */
  listed() {
    this.isListed = true;
    this.changed();
  }

  /** Calls a second, told of and left out, lately. */
  rate() {
    return this.rates.read();
  }

  /** Whether some are in flight that no event need tell the end of. */
  get hasUnwatched() {
    for (const call of this.running) if (call.isUnwatched) return true;
    return false;
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  put(info, { isNew = false, at = null, text = null } = {}) {
    let call = this.byId.get(info.call_id);
    if (call && isNew && call.over) {
      // A run's id may be used again.
      this.remove(call);
      call = undefined;
    }
    if (!call) {
      call = this.add(info);
      call.isUnwatched = at === null;
    } else if (call.over && (info.state === "running" || info.state === "waiting")) {
      return call;
    }
    call.read(info, at, text);
    if (call.over) this.running.delete(call);
    else this.running.add(call);
    return call;
  }

  add(info) {
    const call = new Call(++this.count, this.epoch, info);
    this.byId.set(call.id, call);
    const parent = call.parentId ? this.byId.get(call.parentId) : null;
    if (parent) {
      parent.children.push(call);
      call.nest(parent);
    } else {
      this.roots.splice(this.placeOf(call.startedAt), 0, call);
      if (call.parentId) this.orphans.set(call.parentId, [...(this.orphans.get(call.parentId) ?? []), call]);
    }
    this.adopt(call);
    return call;
  }

  /** Puts calls under their parent, of which the page has learned after them. */
  adopt(parent) {
    for (const child of this.orphans.get(parent.id) ?? []) {
      if (child.parent || this.byId.get(child.id) !== child || isUnder(parent, child)) continue;
      this.roots.splice(this.roots.indexOf(child), 1);
      parent.children.push(child);
      child.nest(parent);
    }
    this.orphans.delete(parent.id);
  }

  /** Where among the roots a call has its place by its start; nearly always it is the last. */
  placeOf(startedAt) {
    const { roots } = this;
    if (!roots.length || roots.at(-1).startedAt <= startedAt) return roots.length;
    let low = 0;
    let high = roots.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (roots[middle].startedAt <= startedAt) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Whether what a list says is of the call that the page knows by this id; if of a later one, the other is removed. */
  isSame(info) {
    const call = this.byId.get(info.call_id);
    if (!call) return true;
    const later = Date.parse(info.started_at) - call.startedAt;
    if (later > ANOTHER_MS && call.over) this.remove(call);
    return later > -ANOTHER_MS;
  }

  weigh(call, chars) {
    call.chars += chars;
    this.chars += chars;
    this.heavy.push(call);
    let place = 0;
    while (this.chars > MAX_VALUE_CHARS && place < this.heavy.length - 1) this.strip(this.heavy[place++]);
    if (place || this.heavy.length > 4 * MAX_CALLS) this.heavy = this.heavy.slice(place).filter((each) => each.chars > 0);
  }

  strip(call) {
    this.chars -= call.chars;
    call.strip();
  }

  forget() {
    if (this.size <= this.forgetAt) return;
    // A tenth at once, since it looks at all of them.
    let left = this.size - Math.floor(MAX_CALLS * 0.9);
    const kept = [];
    for (const root of this.roots) {
      if (left > 0 && isOver(root)) left -= this.drop(root);
      else kept.push(root);
    }
    this.roots = kept;
    for (const root of kept) if (left > 0) left -= this.prune(root, left);
    this.forgetAt = Math.max(MAX_CALLS, this.size + Math.floor(MAX_CALLS * 0.1));
  }

  /** Forgets what is over under a call that still runs, as a long run of an agent has much. */
  prune(call, most) {
    let pruned = 0;
    const kept = [];
    for (const child of call.children) {
      if (pruned < most && isOver(child)) pruned += this.drop(child);
      else kept.push(child);
    }
    call.children = kept;
    for (const child of kept) if (pruned < most) pruned += this.prune(child, most - pruned);
    return pruned;
  }

  leaveOrphans(call) {
    const others = this.orphans.get(call.parentId)?.filter((each) => each !== call);
    if (others?.length) this.orphans.set(call.parentId, others);
    else this.orphans.delete(call.parentId);
  }

  remove(call) {
    const siblings = call.parent ? call.parent.children : this.roots;
    siblings.splice(siblings.indexOf(call), 1);
    this.drop(call);
  }

  drop(call) {
    let dropped = 1;
    if (this.byId.get(call.id) === call) this.byId.delete(call.id);
    else this.past.delete(pastName(call.epoch, call.id));
    this.running.delete(call);
    if (!call.parent) this.leaveOrphans(call);
    this.chars -= call.chars;
    call.chars = 0;
    for (const child of call.children) dropped += this.drop(child);
    return dropped;
  }
}

const pastName = (epoch, id) => `${epoch} ${id}`;

function isUnder(call, other) {
  for (let above = call; above; above = above.parent) if (above === other) return true;
  return false;
}

function isOver(call) {
  return call.over && call.children.every(isOver);
}

/**
 * Returns the rows of a list, the newest first: all calls that `matches` accepts, what is above them, and what is under one of them
 * that somebody has unfolded. It sets of each whether there are rows under it, as `isOpen`.
 */
export function rowsOf(calls, matches) {
  const rows = [];
  const some = (call) => matches(call) || call.children.some(some);
  const add = (call, isWanted) => {
    const place = rows.length;
    rows.push(call);
    let found = isWanted || matches(call);
    if (call.children.length) {
      if (call.isFolded) {
        found ||= call.children.some(some);
      } else {
        const areWanted = found && call.folded === false;
        for (const child of call.children) found = add(child, areWanted) || found;
      }
      call.isOpen = rows.length > place + 1;
    }
    if (!found) rows.length = place;
    return found;
  };
  for (let index = calls.roots.length - 1; index >= 0; index--) add(calls.roots[index], false);
  return rows;
}
