// The last minutes: calls a second, how long they took, how many ran; of all, of a tool or of a worker.

import { get } from "../api.js";
import { Chart } from "../charts.js";
import { CountsTable } from "../counts_table.js";
import { h, setAttribute, setText } from "../dom.js";
import { Problem } from "../failure.js";
import { count, counted, milliseconds, percent, rate } from "../format.js";
import { NotableCalls } from "../notable_calls.js";
import { KEPT_MS, Points, sumOf } from "../points.js";
import { Poll } from "../poll.js";
import { url } from "../url.js";

const MINUTES = [1, 5, 10];
const DEFAULT_MINUTES = 5;
// Until the hub has said how often it counts.
const POLL_MS = 2_000;
const NONE = "No calls in this time.";

/** Milliseconds beside an axis: "500 ms", "2 s". */
const axisTime = (ms) => (ms === 0 ? "0" : ms < 1_000 ? `${ms} ms` : `${ms / 1_000} s`);
const axisRate = (number) => (number < 1_000 ? String(number) : `${number / 1_000}k`);

const CHARTS = [
  { title: "Calls per second", format: rate, tick: axisRate, lines: [
    { name: "calls", title: "Calls", value: (point) => point.rate },
    { name: "errors", title: "Errors", value: (point) => point.errorRate }] },
  { title: "Latency", format: milliseconds, tick: axisTime, scale: { log: true }, lines: [
    { name: "p50", title: "p50", value: (point) => point.p50 },
    { name: "p95", title: "p95", value: (point) => point.p95 },
    { name: "p99", title: "p99", value: (point) => point.p99 }] },
  { title: "Calls in flight", format: count, tick: axisRate, scale: { whole: true }, lines: [
    { name: "active", title: "In flight", value: (point) => point.active }] },
];

class PerformanceView {
  constructor(app) {
    this.app = app;
    this.points = new Points();
    this.what = JSON.stringify(this.chosen);
    this.minutes = MINUTES.map((minutes) => h("a", { "data-minutes": minutes }, counted(minutes, "minute")));
    this.charts = CHARTS.map(
      (given) =>
        new Chart({ ...given, empty: NONE, onCursor: (at) => this.point(at), onToggle: (name, hide) => this.toggle(name, hide) }),
    );
    this.table = new CountsTable();
    this.lists = [new NotableCalls(app, "slow"), new NotableCalls(app, "failed")];
    this.title = h("h1");
    this.all = h("a", null, "All calls");
    this.one = h("a");
    this.its = h("a", null, "Calls");
    this.links = h("span.links", null, this.all, this.one, this.its);
    this.summary = h("p.summary", null, "…");
    this.problems = { charts: new Problem(), lists: new Problem() };
    this.root = h(
      "section.view.performance",
      null,
      h("div.bar", null, this.title, this.links, h("nav.choice", { "aria-label": "The last minutes" }, this.minutes)),
      Object.values(this.problems).map(({ root }) => root),
      this.summary,
      h(
        "div.charts",
        null,
        this.charts.map(({ root }) => root),
      ),
      h(
        "p.summary",
        null,
        "p50, p95 and p99 are the latencies that 50%, 95% and 99% of the calls did not exceed, estimated from " +
          "buckets (… 1, 2, 5, 10, 20, 50 ms …).",
      ),
      h(
        "div.tables",
        null,
        this.table.root,
        h(
          "div.lists",
          null,
          this.lists.map(({ root }) => root),
        ),
      ),
    );
    this.poll = new Poll(app.events, POLL_MS, () => this.told("charts", () => this.read()));
    this.listsPoll = new Poll(app.events, 2 * POLL_MS, () => this.told("lists", () => this.readLists()));
  }

  get range() {
    const minutes = Number(url.get("minutes"));
    return MINUTES.includes(minutes) ? minutes : DEFAULT_MINUTES;
  }

  /** Whose calls they are. A call counts for its tool and for its worker, so it is one of the two. */
  get chosen() {
    const tool = url.get("tool");
    return { tool, worker: tool ? "" : url.get("worker") };
  }

  show() {
    for (const link of this.minutes) {
      const minutes = Number(link.dataset.minutes);
      link.href = url.href({ minutes: minutes === DEFAULT_MINUTES ? "" : minutes });
      setAttribute(link, "aria-current", minutes === this.range ? "true" : null);
    }
    this.name();
    const what = JSON.stringify(this.chosen);
    if (what !== this.what) this.choose(what);
    const hidden = url.get("hide").split(",");
    for (const chart of this.charts) chart.hide(hidden);
    const wanted = JSON.stringify([what, this.table.kind, this.table.query]);
    this.table.show();
    if (this.wanted && wanted !== this.wanted) this.listsPoll.now();
    this.wanted = wanted;
    this.draw();
  }

  /** Says whose calls they are, and where there is more of them. */
  name() {
    const { tool, worker } = this.chosen;
    setText(this.title, tool ? `Tool ${tool}` : worker ? `Worker ${worker}` : "All calls");
    this.links.hidden = !tool && !worker;
    this.all.href = url.href({ tool: "", worker: "" });
    setText(this.one, tool ? "Tool" : "Worker");
    this.one.href = tool ? url.href({ view: "tools", tool }) : url.href({ view: "workers", worker });
    this.its.href = url.href({ view: "calls", tool, worker });
  }

  /** Begins anew with the calls of another tool or worker. */
  choose(what) {
    this.what = what;
    this.points = new Points();
    this.point(null);
    this.app.say(this.title.textContent);
    this.poll.now();
  }

  close() {
    this.poll.stop();
    this.listsPoll.stop();
    for (const chart of this.charts) chart.close();
  }

  async read() {
    const { points, chosen } = this;
    const answer = await get("/api/history", { ...points.query, ...chosen });
    if (points === this.points) points.take(answer);
    this.poll.milliseconds = answer.interval_ms;
    this.listsPoll.milliseconds = 2 * answer.interval_ms;
    this.draw();
  }

  async readLists() {
    await Promise.all([this.table.read(), ...this.lists.map((list) => list.read(this.chosen))]);
  }

  /** Shows what has failed; its next answer takes it away again. */
  async told(name, work) {
    let failed = null;
    try {
      await work();
    } catch (error) {
      failed = error;
      // Time goes on, and a gap shows it.
      this.draw();
    }
    this.problems[name].show(failed, "Not up to date. Trying again…");
  }

  draw() {
    const to = this.points.now();
    const from = to - this.range * 60_000;
    const shown = this.points.between(Math.max(from, to - KEPT_MS), to);
    for (const chart of this.charts) chart.show(shown, from, to);
    const { calls, errors, active } = sumOf(shown);
    const failed = errors ? `${count(errors)} failed (${percent(errors, calls)})` : "none failed";
    const time = this.range === 1 ? "the last minute" : `the last ${this.range} minutes`;
    if (!this.points.epoch) setText(this.summary, "…");
    else if (!shown.length) setText(this.summary, "Waiting for the first numbers from the hub.");
    else if (!calls) setText(this.summary, `No calls ended in ${time} · ${count(active)} in flight`);
    else setText(this.summary, `${counted(calls, "call")} in ${time}, ${failed} · ${count(active)} in flight`);
  }

  point(at) {
    for (const chart of this.charts) chart.point(at);
  }

  toggle(name, hide) {
    const hidden = new Set(url.get("hide").split(",").filter(Boolean));
    if (hide) hidden.add(name);
    else hidden.delete(name);
    url.go({ hide: [...hidden].join(",") }, { replace: true });
  }
}

export const open = (app) => new PerformanceView(app);
