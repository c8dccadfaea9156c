// One run of an agent as it goes on: its thoughts, what it did and saw, and its answer.

import { ApiError, ofSession, retryAfter, stream } from "./api.js";
import { h, pre, put, replace, setAttribute, setText } from "./dom.js";
import { failure } from "./failure.js";
import { count, counted, cut, duration, marked, pretty } from "./format.js";
import { toolLink } from "./url.js";

/** Characters of one value that are shown. */
const MAX_CHARS = 50_000;
const STOPPED = {
  finished: "",
  max_iters: "step limit reached",
  time: "time limit reached",
  tokens: "token limit reached",
};
const STATES = {
  attaching: "Attaching to the run…",
  running: marked("running", "Running"),
  lost: "Connection lost, trying again…",
  done: marked("done", "Done"),
  failed: marked("failed", "Failed"),
  cancelled: marked("cancelled", "Cancelled"),
  gone: "Not found",
};

/**
 * The steps of a run, from its first one on, also of one that is over; new ones are added as they happen.
 *
 * It tells "state" when `state` has become another: "attaching", "running", "lost", "done", "failed", "cancelled" or "gone" (the hub
 * does not know the run any more). While it is open it is a reader of the run, so close it.
 */
export class RunSteps extends EventTarget {
  /**
   * @param {string} session The session's id.
   * @param {string} run The run's id.
   */
  constructor(session, run) {
    super();
    this.address = ofSession(session, "runs", run);
    this.state = "attaching";
    this.step = 0;
    this.last = "";
    this.retries = 0;
    this.timer = 0;
    this.status = h("span", { role: "status" });
    // Not read out each time.
    this.progress = h("span");
    this.note = h("p.quiet-text", { hidden: true });
    this.usage = h("p.quiet-text", { hidden: true });
    this.list = h("ol.steps", { "aria-label": "Steps" });
    this.end = h("div.run-end");
    const state = h("p.run-state.state", null, this.status, this.progress);
    this.root = h("div.run", null, state, this.usage, this.note, this.list, this.end);
    this.become("attaching");
    this.attach();
  }

  /** Whether it has its last step. */
  get over() {
    return ["done", "failed", "cancelled", "gone"].includes(this.state);
  }

  /** Stops reading; the run goes on. */
  close() {
    clearTimeout(this.timer);
    this.reading?.abort();
    this.reading = null;
  }

  async attach() {
    const reading = new AbortController();
    this.reading = reading;
    try {
      // A run may say nothing for long; that it goes on shows when its stream begins.
      const options = { signal: reading.signal, after: this.last, opened: () => this.become("running") };
      for await (const event of stream("GET", this.address, undefined, options)) {
        if (this.reading !== reading) return;
        this.retries = 0;
        this.take(event);
      }
      if (this.reading === reading && !this.over) this.retry();
    } catch (error) {
      if (this.reading === reading) this.failed(error);
    }
  }

  failed(error) {
    if (!(error instanceof ApiError)) throw error;
    if (this.over) return;
    const first = Number(error.info.details?.first_sequence);
    if (first > 0) {
      // The hub keeps the newest steps of a long run.
      this.last = String(first - 1);
      this.note.hidden = false;
      setText(this.note, `The first ${counted(first, "event")} of this run are no longer kept.`);
      this.attach();
    } else if (error.status === 0 || error.status === 429 || error.status === 503) {
      this.retry();
    } else {
      this.become("gone");
      replace(this.end, failure(error.info, error.status === 404 ? "The hub keeps runs that have ended for a while only." : ""));
    }
  }

  retry() {
    this.become("lost");
    this.timer = setTimeout(() => this.attach(), retryAfter(this.retries++));
  }

  take({ event, id, data }) {
    const scroller = this.root.closest(".detail");
    // Who has gone to the end stays there; nobody else is moved.
    const follows = scroller && scroller.scrollTop > 0 && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
    if (id) this.last = id;
    if (event === "complete") this.answered(data);
    else if (event === "error") this.broke(data);
    else this.add(event, data);
    if (follows) scroller.scrollTop = scroller.scrollHeight;
  }

  add(kind, data) {
    if (Object.hasOwn(PARTS, kind)) put(this.place(data.step), PARTS[kind](data));
    const { prompt_tokens: read, completion_tokens: written } = data.metrics?.custom_metrics ?? {};
    if (read !== undefined) {
      this.usage.hidden = false;
      setText(this.usage, `Tokens: ${count(read)} in, ${count(written ?? 0)} out`);
    }
    this.become("running");
  }

  /** Returns where the parts of a step go. */
  place(step) {
    if (!this.current || this.step !== step) {
      this.step = step;
      this.current = h("li.step", { value: step });
      this.list.append(this.current);
    }
    return this.current;
  }

  answered(data) {
    const why = Object.hasOwn(STOPPED, data.stop_reason) ? STOPPED[data.stop_reason] : data.stop_reason;
    this.become("done", `${STATES.done} in ${counted(data.total_steps, "step")}${why ? `: ${why}` : ""}`);
    const part = ([name, value]) => h("div", null, h("span.name", null, name), text(value));
    replace(this.end, h("h3", null, "Answer"), Object.entries(data.final_answer ?? {}).map(part));
  }

  broke(info) {
    this.become(info.type === "Cancelled" ? "cancelled" : "failed");
    replace(this.end, failure(info));
  }

  become(state, words = STATES[state]) {
    const other = this.state !== state;
    this.state = state;
    setAttribute(this.root, "data-state", state);
    setText(this.status, words);
    setText(this.progress, state === "running" && this.step ? `, step ${this.step}` : "");
    if (other) this.dispatchEvent(new Event("state"));
  }
}

function text(value) {
  const line = typeof value === "string" ? value : JSON.stringify(value);
  return pre(typeof value === "string" || line.length < 60 ? cut(line, MAX_CHARS) : pretty(value, MAX_CHARS));
}

const named = (name) => h("span.name", null, name);

const PARTS = {
  thought: (data) => h("p.thought", null, named("Thought"), " ", cut(data.text, MAX_CHARS)),
  action({ tool_name: name, tool_input: input }) {
    // What ends the steps is no tool.
    const tool = name === "finish" ? name : toolLink(name);
    return h("div", null, named("Action"), " ", tool, Object.keys(input ?? {}).length ? text(input) : null);
  },
  observation({ error, metrics, tool_output: output }) {
    const took = metrics?.duration_us ? h("span.quiet-text", null, ` after ${duration(metrics.duration_us)}`) : null;
    return h("div", null, named(error ? "Failed" : "Observation"), took, error ? failure(error) : text(output ?? null));
  },
};
