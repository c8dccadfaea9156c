// The calls: which wait, run and have ended, and one of them in full.

import { ApiError, path, send } from "../api.js";
import { rowsOf } from "../calls.js";
import { atMost, facts, h, replace, setText } from "../dom.js";
import { clock, count, counted, duration, oneLine, pretty } from "../format.js";
import { VirtualList } from "../virtual_list.js";

const STATES = ["waiting", "running", "done", "failed", "cancelled", "unknown"];
const MARKS = { waiting: "◌", running: "▶", done: "✓", failed: "✕", cancelled: "⊘", unknown: "?" };
const COLUMNS = [
  { title: "State", name: "state" },
  { title: "Tool", name: "tool" },
  { title: "Session", name: "session" },
  { title: "Worker", name: "worker" },
  { title: "Started", name: "started" },
  { title: "Time", name: "time" },
  { title: "Progress, outcome", name: "outcome" },
];

class CallsView {
  constructor(app) {
    this.app = app;
    this.paused = false;
    this.search = h("input", { type: "search", placeholder: "A tool, a session, an error", autocomplete: "off",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }) });
    this.state = h("select", { onchange: () => app.url.go({ state: this.state.value }) },
      h("option", { value: "" }, "All"), STATES.map((state) => h("option", { value: state }, state)));
    this.pause = h("button.quiet", { type: "button", "aria-pressed": "false", onclick: () => this.toggle() }, "Pause");
    this.summary = h("p.summary");
    this.list = new VirtualList({
      label: "Calls", columns: COLUMNS, fill: (cells, row, element) => this.fill(cells, row, element),
      key: ({ call }) => call.id, onSelect: ({ call }) => app.url.go({ call: call.id }),
      empty: "No calls yet. As soon as somebody calls a tool, it is here.",
    });
    this.detail = h("aside.detail", { "aria-label": "The selected call", hidden: true });
    this.root = h("section.view.calls", null,
      h("h1.hidden", null, "Calls"),
      h("div.bar", null, h("label", null, "Find ", this.search), h("label", null, "State ", this.state), this.pause),
      this.summary,
      h("div.split", null, this.list.holder, this.detail));
    this.refresh = atMost(150, () => this.draw());
    this.onChange = () => { if (!this.paused) this.refresh(); };
    app.calls.addEventListener("change", this.onChange);
    // Times of what runs go on although nothing happens.
    this.ticking = setInterval(() => this.refresh(), 500);
  }

  show() {
    const { url } = this.app;
    if (document.activeElement !== this.search) this.search.value = url.get("q");
    this.state.value = url.get("state");
    this.draw();
  }

  close() {
    this.app.calls.removeEventListener("change", this.onChange);
    clearInterval(this.ticking);
    this.list.close();
  }

  toggle() {
    this.paused = !this.paused;
    this.pause.setAttribute("aria-pressed", String(this.paused));
    this.draw();
  }

  draw() {
    const { url, calls } = this.app;
    const words = url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    const state = url.get("state");
    if (!this.paused || !this.rows) {
      this.rows = rowsOf(calls, (call) => (!state || call.state === state) && words.every((word) => says(call, word)));
    }
    this.list.show(this.rows);
    this.list.select(url.get("call"));
    this.drawSummary();
    this.drawDetail();
  }

  drawSummary() {
    const { told, omitted } = this.app.calls.rate();
    const rate = `${count(told + omitted)} calls a second`;
    const sampled = omitted > 0 ? `; ${count(told)} of them are listed, with those that fail or are slow` : "";
    setText(this.summary, `${counted(this.rows.length, "call")} · ${rate}${sampled}`);
  }

  drawDetail() {
    const id = this.app.url.get("call");
    const call = id ? this.app.calls.get(id) : null;
    this.detail.hidden = !id;
    if (!id) return;
    const stamp = call ? `${id} ${call.state} ${call.children.length} ${call.progress?.message} ${call.progress?.current}` : id;
    if (this.stamp === stamp) return;
    this.stamp = stamp;
    const close = h("a.close", { href: this.app.url.href({ call: "" }), "aria-label": "Close" }, "×");
    if (!call) {
      replace(this.detail, close, h("h2", null, "Call not known"),
        h("p", null, `The hub knows no call ${id} any more. Calls that have ended are remembered for ten minutes.`));
      return;
    }
    replace(this.detail, close, h("h2", null, call.tool), this.actions(call), facts([
      ["State", call.state], ["Session", call.session], ["Worker", call.worker || "the hub itself"],
      ["Started", clock(call.startedAt)], ["Took", call.over && call.durationUs !== null ? duration(call.durationUs) : ""],
      ["Call", call.id], ["Request", call.requestId],
    ]), call.kwargs || call.args ? part("Arguments", { ...(call.args?.length ? { "*": call.args } : {}), ...call.kwargs }) : null,
    call.result !== undefined ? part("Result", call.result) : null,
    call.error ? part("Error", call.error.message ? `${call.error.type}: ${call.error.message}` : call.error.type) : null);
  }

  actions(call) {
    if (call.over) return null;
    const button = h("button", { type: "button", onclick: async () => {
      button.disabled = true;
      try {
        await send("DELETE", path("api", "calls", call.id));
        this.app.say("The call was cancelled.");
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.app.say(error.message);
        button.disabled = false;
      }
    } }, "Cancel");
    return button;
  }

  fill(cells, { call, level }, element) {
    const now = this.app.events.now();
    element.dataset.state = call.state;
    setText(cells[0], `${MARKS[call.state]} ${call.state}`);
    setText(cells[1], call.tool);
    cells[1].style.paddingInlineStart = `${level * 16}px`;
    setText(cells[2], call.session);
    setText(cells[3], call.worker);
    setText(cells[4], clock(call.startedAt));
    const elapsed = call.elapsedUs(now);
    setText(cells[5], elapsed === null ? "" : duration(elapsed));
    setText(cells[6], outcome(call));
  }
}

function outcome(call) {
  if (call.error) return oneLine(call.error.message ? `${call.error.type}: ${call.error.message}` : call.error.type);
  if (call.over) return call.result === undefined ? "" : oneLine(call.result);
  if (!call.progress) return "";
  const { current, total, message } = call.progress;
  return oneLine(`${total ? `${count(current)} of ${count(total)}` : count(current)} ${message}`);
}

function says(call, word) {
  return [call.tool, call.session, call.worker, call.id, call.error?.type, call.error?.message]
    .some((text) => text?.toLowerCase().includes(word));
}

const part = (title, value) => [h("h3", null, title), h("pre", { tabindex: 0 }, typeof value === "string" ? value : pretty(value))];

export const open = (app) => new CallsView(app);
