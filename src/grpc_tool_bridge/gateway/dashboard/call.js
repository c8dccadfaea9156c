// One call, as the page knows it, and how many there are in a second.

import { member } from "./raw_json.js";

/** A call with more children than this begins folded. */
const MANY_CHILDREN = 50;
/** Milliseconds over which calls a second are counted, and the parts that they are counted in. */
const RATE_MS = 2_000;
const PART_MS = 250;
/** What the hub calls an agent, whose runs are calls of it. */
const AGENT = /^agent-[0-9a-f]{16}$/;

/** One call. `state` is "waiting", "running", "done", "failed", "cancelled" or "unknown" (it ended unseen). */
export class Call {
  constructor(key, epoch, info) {
    /** Tells it from all others that this page has known; it rises from call to call. */
    this.key = key;
    this.id = info.call_id;
    /** The life of the hub that gave it its id. */
    this.epoch = epoch;
    this.session = info.session_id;
    this.tool = info.tool_id;
    this.requestId = info.request_id;
    this.parentId = info.parent_id === info.call_id ? "" : info.parent_id;
    this.startedAt = Date.parse(info.started_at);
    /** Of a run of an agent, its id; to make an agent is a call as well, but without a request id. */
    this.run = AGENT.test(this.tool) ? this.requestId : "";
    this.parent = null;
    this.level = 0;
    this.children = [];
    /** Whether its children are hidden; null: nobody has said. */
    this.folded = null;
    this.isOpen = false;
    this.state = "";
    this.worker = "";
    /** The name of its hub; empty: that of the page, or there is no other. */
    this.hub = info.hub ?? "";
    /** When it ceased to wait, if that was seen, and when its time is up. */
    this.ranAt = null;
    this.deadlineAt = null;
    this.progress = null;
    /** The events that told its arguments and its result, as they were written: numbers of JavaScript are not exact. */
    this.given = null;
    this.came = null;
    this.outcome = null;
    this.chars = 0;
    /** Whether its arguments and result were forgotten. */
    this.isStripped = false;
    this.error = null;
    this.endedAt = null;
    this.durationUs = null;
    this.words = null;
    /** Whether it was only seen in a list, so that no event need tell its end. */
    this.isUnwatched = false;
  }

  /** Takes what a CallInfo says; `text` is the event that it was in, if it was in one, and `at` when that was. */
  read(info, at = null, text = null) {
    if (at !== null && this.state === "waiting" && info.state === "running") this.ranAt = at;
    this.state = info.state;
    this.worker = info.worker_id || this.worker;
    this.progress = info.progress ?? this.progress;
    if (at !== null) this.deadlineAt = at + info.time_left_ms;
    if (info.args?.length || Object.keys(info.kwargs ?? {}).length) {
      this.given = text ?? JSON.stringify({ call: { args: info.args ?? [], kwargs: info.kwargs ?? {} } });
    }
    if (info.error && (info.error.message || !this.error)) this.error = info.error;
    if (this.over) {
      this.durationUs = info.duration_us;
      this.endedAt = this.startedAt + info.duration_us / 1_000;
    }
    this.words = null;
  }

  get over() {
    return this.state !== "waiting" && this.state !== "running";
  }

  get isFolded() {
    return this.folded ?? this.children.length > MANY_CHILDREN;
  }

  /** What one can find it by, in small letters. */
  get text() {
    const { error } = this;
    this.words ??= [this.tool, this.session, this.worker, this.hub, this.id, this.requestId, error?.type, error?.message?.slice(0, 1_000)]
      .join("\n").toLowerCase();
    return this.words;
  }

  /** Its arguments as JSON: by name, or a list if all are positional, or those as "*"; null: they are not known. */
  get argumentsText() {
    if (this.given === null) return null;
    const call = member(this.given, "call");
    const args = member(call, "args") ?? "[]";
    const kwargs = member(call, "kwargs") ?? "{}";
    if (args === "[]") return kwargs;
    return kwargs === "{}" ? args : `{"*":${args},${kwargs.slice(1)}`;
  }

  /** Its result as JSON; null: there is none. */
  get resultText() {
    return this.came === null ? null : member(this.came, "result");
  }

  /** How long it took, or has been going on, in microseconds; null: that was not seen. */
  elapsedUs(now) {
    return this.over ? this.durationUs : Math.max(0, now - this.startedAt) * 1_000;
  }

  /** It is over, and nobody knows how. */
  endUnseen() {
    this.state = "unknown";
    this.durationUs = null;
    this.endedAt = null;
  }

  /** Forgets its arguments and its result. */
  strip() {
    this.isStripped ||= this.given !== null || this.came !== null;
    this.chars = 0;
    this.given = this.came = null;
  }

  /** Puts it under another one; null: under none. */
  nest(parent) {
    this.parent = parent;
    this.level = parent ? parent.level + 1 : 0;
    for (const child of this.children) child.nest(this);
  }
}

/** Counts calls a second, told of and left out. */
export class Rate {
  constructor() {
    this.parts = [];
  }

  add(told, omitted, now = performance.now()) {
    const part = Math.floor(now / PART_MS);
    const last = this.parts.at(-1);
    if (last?.part === part) {
      last.told += told;
      last.omitted += omitted;
      return;
    }
    this.parts.push({ part, told, omitted });
    if (this.parts.length > RATE_MS / PART_MS + 1) this.parts.shift();
  }

  read(now = performance.now()) {
    const first = Math.floor(now / PART_MS) - RATE_MS / PART_MS;
    let told = 0;
    let omitted = 0;
    for (const each of this.parts) {
      if (each.part < first) continue;
      told += each.told;
      omitted += each.omitted;
    }
    return { told: (told * 1_000) / RATE_MS, omitted: (omitted * 1_000) / RATE_MS };
  }
}
