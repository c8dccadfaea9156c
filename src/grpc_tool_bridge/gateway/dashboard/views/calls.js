// The calls: which wait, run and have ended, over time and as a list, and one of them in full.

import { ChoiceField, NameField, SearchField } from "../address_fields.js";
import { FILTERS, filterOf, isFiltered, SLOW_MS, STATES, slowOf } from "../call_filter.js";
import { rowsOf } from "../calls.js";
import { atMost, button, h, setAttribute, setText } from "../dom.js";
import { clock, count, counted, duration, MARKS, oneLine, progressed } from "../format.js";
import { Timeline } from "../timeline.js";
import { url } from "../url.js";
import { VirtualList } from "../virtual_list.js";
import { CallDetail } from "./call_detail.js";

const COLUMNS = [
  { title: "State", name: "state" },
  { title: "Tool", name: "tool" },
  { title: "Session", name: "session" },
  { title: "Worker", name: "worker" },
  { title: "Started", name: "started" },
  { title: "Duration", name: "time" },
  { title: "Result", name: "outcome" },
  { title: "Hub", name: "of-hub" },
];
const SPANS = { 30: "30 s", 60: "1 min", 120: "2 min", 300: "5 min" };
/** Milliseconds between two looks at all calls, at least. */
const REFRESH_MS = 150;
/** Levels that rows are indented by, at most. */
const MAX_INDENTS = 12;
/** Names that fields suggest. */
const MAX_NAMES = 200;

class CallsView {
  constructor(app) {
    this.app = app;
    this.get = (name) => url.get(name);
    /** While it is paused: the rows as they were, how many calls the page knew then, and when that was. */
    this.paused = null;
    this.asked = "";
    this.summary = h("p.summary");
    this.left = h("p.summary", { hidden: true });
    this.list = new VirtualList({
      label: "Calls", columns: COLUMNS, fill: (cells, call, element) => this.fill(cells, call, element),
      key: (call) => call.key, onSelect: (call) => this.choose(call),
      empty: EMPTY,
      tree: {
        level: (call) => call.level,
        isOpen: (call) => (call.children.length ? call.isOpen : null),
        parent: (call) => call.parent,
        toggle: (call, isOpen) => { call.folded = !isOpen; this.rows = null; this.draw(); },
      },
    });
    this.line = new Timeline((call) => this.choose(call));
    this.detail = new CallDetail(app);
    this.root = h("section.view.calls", null,
      h("h1.hidden", null, "Calls"), this.filterBar(), this.line.root,
      h("div.told", null, this.summary, this.left), h("div.split", null, this.list.holder, this.detail.root));
    this.refresh = atMost(REFRESH_MS, () => this.draw());
    app.calls.addEventListener("change", this.refresh);
    document.addEventListener("visibilitychange", this.refresh);
    // Times of what runs go on although nothing happens.
    this.ticking = setInterval(this.refresh, 500);
  }

  filterBar() {
    const named = (label, name) => new NameField(label, name, "All", () => this.namesOf(name));
    this.fields = {
      q: new SearchField("A tool, a session, an id, an error"),
      state: new ChoiceField("State", "state", { "": "All", ...Object.fromEntries(STATES.map((state) => [state, state])) }),
      tool: named("Tool", "tool"),
      session: named("Session", "session"),
      worker: named("Worker", "worker"),
      by: new ChoiceField("by", "by", { "": "tool", session: "session" }),
      span: new ChoiceField("last", "span", SPANS, "60"),
    };
    this.running = toggle("Running", () => url.go({ state: this.get("state") === "running" ? "" : "running" }));
    this.failed = toggle("Failed", () => url.go({ state: this.get("state") === "failed" ? "" : "failed" }));
    this.slow = toggle("Slow", () => url.go({ slow: slowOf(this.get) ? "" : String(SLOW_MS) }));
    this.drawLine = toggle("Timeline", () => url.go({ line: this.get("line") ? "" : "off" }));
    // On a narrow screen the rest is shown on demand.
    this.more = button(
      "More",
      () => setAttribute(this.more, "aria-expanded", String(this.root.classList.toggle("all"))),
      ".toggle.quiet",
    );
    setAttribute(this.more, "aria-expanded", "false");
    setAttribute(this.more, "aria-controls", "calls-more");
    this.pause = toggle("Pause", () => this.togglePause());
    const clear = () => {
      url.go(Object.fromEntries(FILTERS.map((name) => [name, ""])));
      this.fields.q.input.focus();
    };
    this.clear = button("Clear filters", clear, ".quiet");
    const { q, state, tool, session, worker, by, span } = this.fields;
    this.lineBar = h("span", null, span.root, by.root);
    const lineBar = h("span.line-bar", null, this.drawLine, this.lineBar);
    return [
      h("div.bar", null, q.root, this.running, this.failed, this.slow, this.pause, this.more),
      h("div.bar.more", { id: "calls-more" }, state.root, tool.root, session.root, worker.root, this.clear, lineBar),
    ];
  }

  namesOf(name) {
    const found = new Set();
    for (const call of this.app.calls.all()) if (call[name] && found.add(call[name]).size >= MAX_NAMES) break;
    return [...found].sort();
  }

  show() {
    const { get } = this;
    for (const field of Object.values(this.fields)) field.follow();
    const slow = slowOf(get);
    setText(this.slow, `Slow (≥ ${duration((slow || SLOW_MS) * 1_000).replace(/\.00 s$/, " s")})`);
    setAttribute(this.slow, "aria-pressed", String(slow > 0));
    setAttribute(this.running, "aria-pressed", String(get("state") === "running"));
    setAttribute(this.failed, "aria-pressed", String(get("state") === "failed"));
    setAttribute(this.drawLine, "aria-pressed", String(!get("line")));
    this.line.root.hidden = this.lineBar.hidden = get("line") !== "";
    this.clear.hidden = !isFiltered(get);
    setText(this.list.empty, isFiltered(get) ? "No call matches." : EMPTY);
    this.rows = null;
    this.listEnded();
    this.draw();
  }

  /** What has ended before the page was opened is asked for where it may not be among what the page knows. */
  listEnded() {
    const query = Object.fromEntries(["tool", "session", "worker"].map((name) => [name === "session" ? "session_id" : name, this.get(name)]));
    const asked = JSON.stringify(query);
    if (asked === this.asked) return;
    this.asked = asked;
    if (Object.values(query).some(Boolean)) this.app.listEnded(query).catch(() => {});
  }

  close() {
    this.app.calls.removeEventListener("change", this.refresh);
    document.removeEventListener("visibilitychange", this.refresh);
    clearInterval(this.ticking);
    this.list.close();
    this.line.close();
    this.detail.close();
  }

  choose(call) {
    url.go({ call: call.id, epoch: call.epoch });
  }

  togglePause() {
    const { calls, events } = this.app;
    this.paused = this.paused ? null : { count: calls.count, at: events.now(), rows: this.rows };
    setAttribute(this.pause, "aria-pressed", String(this.paused !== null));
    this.rows = null;
    this.draw();
  }

  draw() {
    if (document.hidden) return;
    const { app, paused } = this;
    const matches = filterOf(this.get, app.events.now());
    const selected = app.calls.get(this.get("call"), this.get("epoch"));
    // While it is paused, it is made again only if other calls are wanted than before.
    if (!paused || !this.rows) {
      this.rows = rowsOf(app.calls, paused ? (call) => call.key <= paused.count && matches(call) : matches);
      this.list.select(selected?.key ?? "");
      this.list.show(this.rows);
    } else {
      this.list.select(selected?.key ?? "");
      this.list.draw();
    }
    if (!this.line.root.hidden) {
      const now = paused ? () => paused.at : () => app.events.now();
      this.line.show(app.calls.all(matches), {
        span: this.fields.span.value * 1_000,
        by: this.fields.by.value || "tool",
        now,
        selected,
      });
    }
    this.drawSummary();
    this.detail.show(this.get("call"), selected);
  }

  drawSummary() {
    const { calls } = this.app;
    const { told, omitted } = calls.rate();
    const all = `${counted(Math.round(told + omitted), "call")} per second`;
    setText(this.summary, [
      omitted > 0 ? `Showing ${count(Math.round(told))} of ${all}, plus those that failed or were slow` : all,
      `${count(calls.running.size)} in flight`,
      isFiltered(this.get) ? `${count(this.rows.length)} of ${count(calls.size)} listed` : `${count(calls.size)} listed`,
      this.paused ? `Paused: ${counted(calls.count - this.paused.count, "newer call")} ${calls.count - this.paused.count === 1 ? "waits" : "wait"}` : "",
    ].filter(Boolean).join(" · "));
    this.left.hidden = !calls.omitted && !calls.dropped;
    if (this.left.hidden) return;
    setText(this.left, `Since this page was opened: ${[
      calls.omitted ? `${counted(calls.omitted, "call")} not listed (sampling)` : "",
      calls.dropped ? `${counted(calls.dropped, "event")} lost (this page was too slow)` : "",
    ].filter(Boolean).join(", ")}.`);
  }

  fill(cells, call, element) {
    if (!cells[1].firstChild) {
      cells[0].append(h("span.mark", { "aria-hidden": "true" }), h("span.word"));
      cells[1].append(h("span.twist", { "aria-hidden": "true" }), h("span.name"));
    }
    setAttribute(element, "data-state", call.state);
    setText(cells[0].firstChild, MARKS[call.state]);
    setText(cells[0].lastChild, call.state);
    const [twist, name] = cells[1].children;
    twist.style.marginInlineStart = `${Math.min(call.level, MAX_INDENTS) * 16}px`;
    setText(twist, call.children.length ? (call.isOpen ? "▾" : "▸") : "");
    const tool = call.run ? `${call.tool} (agent)` : call.tool;
    setText(name, call.children.length && !call.isOpen ? `${tool} · ${counted(call.children.length, "call")}` : tool);
    setText(cells[2], call.session);
    setText(cells[3], call.worker);
    setText(cells[4], clock(call.startedAt));
    const elapsed = call.elapsedUs(this.app.events.now());
    setText(cells[5], elapsed === null ? "" : duration(elapsed));
    setText(cells[6], outcome(call));
    setText(cells[7], call.hub || (this.app.events.hub?.name ?? ""));
  }
}

const EMPTY = "No calls yet. They appear here as they happen.";

function toggle(text, onclick) {
  const made = button(text, onclick, ".toggle");
  setAttribute(made, "aria-pressed", "false");
  return made;
}

function outcome(call) {
  if (call.error) return oneLine(call.error.message ? `${call.error.type}: ${call.error.message.slice(0, 1_000)}` : call.error.type);
  if (call.over) {
    call.outcome ??= resultOf(call);
    return call.outcome ?? "";
  }
  if (!call.progress) return "";
  return oneLine(progressed(call.progress));
}

/** A result in one line; null: there is none, or none yet. */
function resultOf(call) {
  const text = call.resultText;
  return text === null ? null : oneLine(text.startsWith('"') ? JSON.parse(text) : text);
}

export const open = (app) => new CallsView(app);
