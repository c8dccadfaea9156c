// The calls that the page knows: those that the hub tells of, a tree of them, the newest first.

/** Calls that are kept; of more, those that ended first are forgotten. */
export const MAX_CALLS = 10_000;
const RATE_MS = 2_000;

/** One call. `state` is "waiting", "running", "done", "failed", "cancelled" or "unknown" (it ended unseen). */
class Call {
  constructor(id, info) {
    this.id = id;
    this.parent = null;
    this.children = [];
    this.args = null;
    this.kwargs = null;
    this.result = undefined;
    this.error = null;
    this.progress = null;
    this.endedAt = null;
    this.durationUs = null;
    this.read(info);
  }

  read(info) {
    this.session = info.session_id;
    this.tool = info.tool_id;
    this.requestId = info.request_id;
    this.parentId = info.parent_id;
    this.worker = info.worker_id || this.worker || "";
    this.state = info.state;
    this.startedAt = Date.parse(info.started_at);
    this.deadline = info.time_left_ms;
    this.progress = info.progress ?? this.progress;
    if (info.args?.length || Object.keys(info.kwargs ?? {}).length) {
      this.args = info.args;
      this.kwargs = info.kwargs;
    }
    this.error = info.error ?? this.error;
    if (this.over) {
      this.durationUs = info.duration_us;
      this.endedAt = this.startedAt + info.duration_us / 1_000;
    }
  }

  get over() {
    return this.state !== "waiting" && this.state !== "running";
  }

  /** How long it took, or has been going on, in microseconds. */
  elapsedUs(now) {
    return this.over ? this.durationUs : Math.max(0, now - this.startedAt) * 1_000;
  }
}

/** All of them. It tells "change" whenever something has changed. */
export class Calls extends EventTarget {
  constructor() {
    super();
    this.byId = new Map();
    /** Those without a parent here, the oldest first. */
    this.roots = [];
    /** Calls that were left out since the page was opened, and how many were told of or left out in a second. */
    this.omitted = 0;
    this.dropped = 0;
    this.seen = [];
    this.lives = 0;
  }

  get size() {
    return this.byId.size;
  }

  get(id) {
    return this.byId.get(id) ?? null;
  }

  /** Takes an AdminEvent. */
  take(event) {
    this.omitted += event.omitted_calls ?? 0;
    this.dropped += event.dropped ?? 0;
    const started = event.operation === "started" ? 1 : 0;
    if (started || event.omitted_calls) this.seen.push([performance.now(), started, event.omitted_calls ?? 0]);
    if (event.call) {
      const call = this.put(event.call, event.operation === "started");
      if (event.result !== undefined) call.result = event.result;
      this.forget();
    }
    this.changed();
  }

  /** Takes calls from a list. */
  takeAll(infos) {
    for (const info of infos) this.put(info, false);
    this.forget();
    this.changed();
  }

  /** Calls that run here and, as the hub's list shows, nowhere else have ended while the page was not connected. */
  reconcile(infos, askedAt) {
    const running = new Set(infos.map((info) => info.call_id));
    for (const call of this.byId.values()) {
      if (!call.over && call.startedAt < askedAt && !running.has(call.id)) this.end(call);
    }
    this.takeAll(infos);
  }

  /** Another hub begins its numbers anew. */
  restart() {
    this.lives += 1;
    const old = [...this.byId.values()];
    this.byId.clear();
    for (const call of old) {
      if (!call.over) this.end(call);
      // In an address it is none of the new ones.
      if (!call.id.startsWith("(")) call.id = `(${this.lives}) ${call.id}`;
      this.byId.set(call.id, call);
    }
    this.changed();
  }

  /** Calls a second, told of and left out, lately. */
  rate() {
    const since = performance.now() - RATE_MS;
    while (this.seen.length && this.seen[0][0] < since) this.seen.shift();
    const told = this.seen.reduce((sum, [, one]) => sum + one, 0);
    const omitted = this.seen.reduce((sum, [, , left]) => sum + left, 0);
    return { told: (told * 1_000) / RATE_MS, omitted: (omitted * 1_000) / RATE_MS };
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  put(info, isNew) {
    let call = this.byId.get(info.call_id);
    if (call && isNew && call.over) {
      // A run's id may be used again.
      this.remove(call);
      call = undefined;
    }
    if (call) {
      const ended = call.over && (info.state === "running" || info.state === "waiting");
      if (!ended) call.read(info);
      return call;
    }
    call = new Call(info.call_id, info);
    this.byId.set(call.id, call);
    const parent = call.parentId ? this.byId.get(call.parentId) : null;
    if (parent) {
      call.parent = parent;
      parent.children.push(call);
    } else {
      this.insert(call);
    }
    return call;
  }

  /** Puts a call among the roots by its start; nearly always it is the last. */
  insert(call) {
    let place = this.roots.length;
    while (place > 0 && this.roots[place - 1].startedAt > call.startedAt) place--;
    this.roots.splice(place, 0, call);
  }

  end(call) {
    call.state = "unknown";
    call.durationUs = null;
    call.endedAt = null;
  }

  forget() {
    if (this.byId.size <= MAX_CALLS) return;
    // A tenth at once, since it looks at all of them.
    let excess = this.byId.size - Math.floor(MAX_CALLS * 0.9);
    const kept = [];
    for (const root of this.roots) {
      if (excess > 0 && isOver(root)) excess -= this.drop(root);
      else kept.push(root);
    }
    this.roots = kept;
  }

  remove(call) {
    const siblings = call.parent ? call.parent.children : this.roots;
    siblings.splice(siblings.indexOf(call), 1);
    this.drop(call);
  }

  drop(call) {
    let dropped = 1;
    this.byId.delete(call.id);
    for (const child of call.children) dropped += this.drop(child);
    return dropped;
  }
}

function isOver(call) {
  return call.over && call.children.every(isOver);
}

/** Returns the rows of a list: { call, level } of all that `matches` accepts, and of what is above it; newest first. */
export function rowsOf(calls, matches) {
  const rows = [];
  const add = (call, level) => {
    const place = rows.length;
    rows.push({ call, level });
    let found = matches(call);
    for (const child of call.children) found = add(child, level + 1) || found;
    if (!found) rows.length = place;
    return found;
  };
  for (let index = calls.roots.length - 1; index >= 0; index--) add(calls.roots[index], 0);
  return rows;
}
