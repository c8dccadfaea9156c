// The slowest calls of the last ten minutes, and those that failed.

import { get } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { counted, duration, oneLine, timeOf } from "./format.js";
import { Keyed } from "./keyed.js";
import { url } from "./url.js";

const LIMIT = 50;
const KINDS = {
  slow: { title: "Slowest calls", none: "No call has ended in the last ten minutes." },
  failed: { title: "Failed calls", none: "No call has failed in the last ten minutes." },
};

/** One of the two lists: "slow" or "failed". */
export class NotableCalls {
  constructor(app, kind) {
    this.app = app;
    this.kind = kind;
    this.asked = 0;
    const body = h("tbody");
    this.rows = new Keyed(body, { key: (call) => call.call_id, make: () => makeRow(kind), fill: (row, call) => this.fill(row, call) });
    this.note = h("p.summary", null, "…");
    this.table = h("table", { hidden: true }, h("caption.hidden", null, KINDS[kind].title),
      h("thead", null, h("tr", null, h("th.name", { scope: "col" }, "Tool"), h("th.started", { scope: "col" }, "Started"),
        h("th.took", { scope: "col" }, "Duration"), kind === "failed" ? h("th.error", { scope: "col" }, "Error") : null)), body);
    this.root = h(`section.card.notable.${kind}`, { "aria-label": KINDS[kind].title },
      h("h2", null, KINDS[kind].title),
      h("div.scroll", { tabindex: 0, role: "region", "aria-label": KINDS[kind].title }, this.table), this.note);
  }

  fill({ link, started, took, error }, call) {
    setText(link, call.tool_id);
    setAttribute(link, "href", url.href({ view: "calls", call: call.call_id }));
    setAttribute(link, "title", `Session ${call.session_id}${call.worker_id ? `, worker ${call.worker_id}` : ""}`);
    setText(started, timeOf(call.started_at));
    setText(took, duration(call.duration_us));
    if (error) setText(error, call.error ? oneLine(`${call.error.type}${call.error.message ? `: ${call.error.message}` : ""}`, 300) : call.state);
  }

  /** Asks the hub for those of a tool, of a worker, or of all. */
  async read({ tool, worker }) {
    const turn = ++this.asked;
    const { epoch } = this.app.events;
    const { calls } = await get("/api/history/calls", { kind: this.kind, tool, worker, limit: LIMIT, arguments: "true" });
    if (turn !== this.asked) return;
    // So that a call is known where its link leads to, also if the page was not told of it when it ended.
    if (epoch === this.app.events.epoch) this.app.calls.takeAll(calls.filter(({ call_id: id }) => !this.app.calls.get(id)));
    this.rows.show(calls, `${tool} ${worker}`);
    this.table.hidden = !calls.length;
    const told = `${counted(calls.length, "call")}, the ${this.kind === "slow" ? "slowest" : "newest"} first`;
    const more = calls.length === LIMIT ? "; there may be more" : "";
    setText(this.note, calls.length ? `${told}${more}` : KINDS[this.kind].none);
  }
}

function makeRow(kind) {
  const link = h("a");
  const started = h("td.started");
  const took = h("td.took");
  const error = kind === "failed" ? h("td.error") : null;
  return { element: h("tr", null, h("th.name", { scope: "row" }, link), started, took, error), link, started, took, error };
}
