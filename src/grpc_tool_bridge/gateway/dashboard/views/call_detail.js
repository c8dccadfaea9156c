// One call in full. What is shown of it is changed in place, so that nobody loses what they are reading or using.

import { ApiError, path, send } from "../api.js";
import { ask } from "../dialog.js";
import { h, replace, setAttribute, setText } from "../dom.js";
import { failure } from "../failure.js";
import { count, counted, cut, duration, moment } from "../format.js";
import { arranged } from "../raw_json.js";
import { RunSteps } from "../run_steps.js";

export const MARKS = { waiting: "◌", running: "▶", done: "✓", failed: "✕", cancelled: "⊘", unknown: "?" };
const WORDS = { unknown: "ended, outcome not known" };
/** Calls under one that are listed. */
const MAX_CHILDREN = 50;
/** Characters of a value that are shown. */
const MAX_CHARS = 200_000;
/** Characters of arguments that are put into a link. */
const MAX_LINK = 4_000;

/** The panel of the selected call. */
export class CallDetail {
  constructor(app) {
    this.app = app;
    this.call = null;
    this.title = h("h2");
    this.close_ = h("a.close", { "aria-label": "Close", onclick: () => this.leave() }, "×");
    this.body = h("div");
    this.root = h("aside.detail", { "aria-label": "The selected call", hidden: true,
      onkeydown: ({ key }) => { if (key === "Escape") this.close_.click(); } }, this.close_, this.title, this.body);
    this.onState = () => this.follow();
    app.events.addEventListener("state", this.onState);
  }

  close() {
    this.app.events.removeEventListener("state", this.onState);
    this.drop();
  }

  /** Focus goes back to where the call was chosen. */
  leave() {
    this.root.parentElement?.querySelector(".list")?.focus({ preventScroll: true });
  }

  /**
   * @param {string} id Of the call that the address names; empty: none is selected.
   * @param {object|null} call That call, if the page knows it.
   */
  show(id, call) {
    this.root.hidden = !id;
    if (!id) {
      this.drop();
      this.shown = "";
      return;
    }
    // What the page has shown stays, although it keeps no more calls.
    const kept = call ?? (this.call?.id === id && this.call.epoch === (this.app.url.get("epoch") || this.call.epoch) ? this.call : null);
    setAttribute(this.close_, "href", this.app.url.href({ call: "", epoch: "" }));
    if (kept && kept !== this.call) this.open(kept);
    if (kept) this.update(kept);
    else this.missing(id);
  }

  drop() {
    this.steps?.close();
    this.steps = null;
    this.call = null;
  }

  missing(id) {
    this.drop();
    const isLooking = !this.app.calls.isListed && this.app.events.state !== "lost";
    const shown = `${id} ${isLooking}`;
    if (this.shown === shown) return;
    this.shown = shown;
    setText(this.title, isLooking ? "Looking for the call…" : "Call not found");
    replace(this.body, isLooking ? null : h("p", null, `This page does not know the call ${cut(id, 200)}. `
      + "Of calls that have ended, the hub keeps those that failed or were slow, for ten minutes."));
  }

  open(call) {
    this.drop();
    this.call = call;
    this.shown = "";
    this.root.scrollTop = 0;
    setText(this.title, call.run ? `${call.tool} (agent)` : call.tool);
    this.cancel = h("button.danger", { type: "button", onclick: () => this.askToCancel(call) }, "Cancel…");
    this.again = h("a.button", null, "Call again");
    this.copy = h("button.quiet", { type: "button", onclick: () => this.copyId(call) }, "Copy id");
    this.said = h("p.said", { role: "status", hidden: true });
    this.progress = new Progress();
    this.fields = Object.fromEntries(["State", "Tool", "Agent", "Session", "Worker", "Started", "Waited", "Duration", "Time left", "Called by",
      "Request id", "Call id"].map((name) => [name, new Fact(name)]));
    this.children = new Children(this.app);
    this.note = h("p.summary", { hidden: true });
    this.parts = { args: new Part("Arguments"), result: new Part("Result") };
    this.failed = h("div", { hidden: true });
    this.stepsHolder = h("div", { hidden: true }, h("h3", null, "Steps"));
    replace(this.body, h("div.actions", null, this.cancel, this.again, this.copy), this.said, this.progress.root,
      h("dl.facts", null, Object.values(this.fields).map((fact) => fact.elements)),
      this.failed, this.stepsHolder, this.children.root, this.parts.args.root, this.parts.result.root, this.note);
    this.fields.State.value.classList.add("state");
    this.follow();
  }

  update(call) {
    const { url, events, calls } = this.app;
    const { fields } = this;
    const now = events.now();
    const isPast = call.epoch !== calls.epoch;
    setAttribute(this.root, "data-state", call.state);
    this.cancel.hidden = call.over;
    this.again.hidden = call.run !== "";
    this.drawAgain(call);
    this.progress.show(call);
    fields.State.set(`${MARKS[call.state]} ${WORDS[call.state] ?? call.state}${isPast ? " (before the hub restarted)" : ""}`);
    fields.Tool.set(call.run ? "" : call.tool, url.href({ view: "tools", tool: call.tool, session: call.session }));
    fields.Agent.set(call.run ? call.tool : "", url.href({ view: "agents", of: call.session, agent: call.tool, run: call.run }));
    fields.Session.set(call.session, url.href({ view: "sessions", session: call.session }));
    fields.Worker.set(call.worker || (call.run ? "" : "the hub"), call.worker ? url.href({ view: "workers", worker: call.worker }) : null);
    fields.Started.set(moment(call.startedAt));
    fields.Waited.set(call.ranAt === null ? "" : duration(Math.max(0, call.ranAt - call.startedAt) * 1_000));
    const elapsed = call.elapsedUs(now);
    fields.Duration.set(elapsed === null ? "" : call.over ? duration(elapsed) : `${duration(elapsed)} so far`);
    const left = call.over || call.deadlineAt === null ? null : call.deadlineAt - now;
    fields["Time left"].set(left === null ? "" : left > 0 ? duration(left * 1_000) : "none");
    fields["Request id"].set(call.requestId);
    fields["Call id"].set(call.id);
    const parent = call.parent ?? (call.parentId ? calls.get(call.parentId, call.epoch) : null);
    fields["Called by"].set(call.parentId ? (parent?.tool ?? call.parentId) : "",
      call.parentId ? url.href({ call: call.parentId, epoch: call.epoch }) : null);
    this.children.show(call);
    this.parts.args.show(call.given, () => call.argumentsText);
    this.parts.result.show(call.came, () => call.resultText);
    this.drawFailure(call);
    const isUntold = call.isUnwatched && call.over && call.given === null && call.came === null;
    this.note.hidden = !call.isStripped && !isUntold;
    if (isUntold) setText(this.note, "Its arguments and its result are not known: they are only sent to pages that are open while a call runs.");
    if (call.isStripped) setText(this.note, "Its arguments and its result are no longer kept: this page keeps those of the newest calls.");
  }

  /** A link to the form of the tool with the same arguments. */
  drawAgain(call) {
    if (this.again.given !== call.given) {
      this.again.given = call.given;
      const args = call.argumentsText ?? "{}";
      this.again.args = args === "{}" || args.length > MAX_LINK ? "" : args;
    }
    setAttribute(this.again, "href", this.app.url.href({ view: "tools", tool: call.tool, session: call.session, args: this.again.args ?? "" }));
  }

  drawFailure(call) {
    this.failed.hidden = !call.error;
    if (!call.error || this.failed.error === call.error) return;
    this.failed.error = call.error;
    replace(this.failed, h("h3", null, "Error"), failure(call.error));
  }

  /** The steps of a run are read from the hub while somebody looks: a stream takes one of the few connections of a browser. */
  follow() {
    const { call } = this;
    const { state } = this.app.events;
    if (!call?.run || call.epoch !== this.app.calls.epoch) return;
    if (state === "paused" && this.steps && !this.steps.over) {
      this.steps.close();
      this.steps.root.remove();
      this.steps = null;
    } else if (state === "live" && !this.steps) {
      this.steps = new RunSteps(call.session, call.run);
      this.stepsHolder.append(this.steps.root);
      this.stepsHolder.hidden = false;
    }
  }

  async askToCancel(call) {
    const reason = h("input", { type: "text", maxlength: 500, autocomplete: "off", placeholder: "Its caller is told; may be empty" });
    const done = ask({
      title: `Cancel ${cut(call.tool, 100)}?`, body: [h("label.reason", null, "Reason", reason)], action: "Cancel the call", danger: true,
      work: async (signal) => {
        // Another life of the hub may have given its id to another call.
        if (call.epoch !== this.app.calls.epoch) throw new ApiError(404, { type: "NotFound", message: "the hub has restarted meanwhile" });
        const query = new URLSearchParams({ reason: reason.value.trim() });
        const { message } = await send("DELETE", `${path("api", "calls", call.id)}?${query}`, undefined, { signal });
        this.tell(call, `Cancelled: ${message}.`);
      },
    });
    reason.focus();
    // Its button is gone with what it was for.
    if ((await done) && this.call === call) this.close_.focus();
  }

  async copyId(call) {
    try {
      await navigator.clipboard.writeText(call.id);
      this.tell(call, "Copied.");
    } catch {
      // Where a page did not come over TLS, a browser has no clipboard for it.
      getSelection().selectAllChildren(this.fields["Call id"].value);
      this.tell(call, "The id is selected; copy it by the keyboard.");
    }
  }

  tell(call, text) {
    if (this.call !== call) {
      this.app.say(text);
      return;
    }
    this.said.hidden = false;
    setText(this.said, text);
  }
}

/** A name and a value, which may be a link; hidden while it has none. */
class Fact {
  constructor(name) {
    this.name = h("dt", null, name);
    this.value = h("dd");
    this.link = null;
    this.elements = [this.name, this.value];
  }

  set(text, href = null) {
    this.name.hidden = this.value.hidden = text === "";
    if (href === null) {
      this.link = null;
      setText(this.value, text);
      return;
    }
    if (!this.link) {
      this.link = h("a");
      replace(this.value, this.link);
    }
    setText(this.link, text);
    setAttribute(this.link, "href", href);
  }
}

/** A value as JSON, under a heading. */
class Part {
  constructor(title) {
    this.text = h("pre", { tabindex: 0, "aria-label": title });
    this.root = h("div", { hidden: true }, h("h3", null, title), this.text);
    this.source = null;
  }

  /** Shows what `read` returns, JSON or null, if `source` is another than before: a value may be large. */
  show(source, read) {
    if (this.source === source) return;
    this.source = source;
    const text = source === null ? null : read();
    this.root.hidden = text === null;
    setText(this.text, text === null ? "" : text.startsWith('"') ? cut(JSON.parse(text), MAX_CHARS) : cut(arranged(text), MAX_CHARS));
  }
}

class Progress {
  constructor() {
    this.bar = h("progress", { "aria-label": "Progress" });
    this.text = h("span");
    this.root = h("div.progress", { hidden: true }, this.bar, this.text);
  }

  show({ progress, over }) {
    this.root.hidden = !progress || over;
    if (this.root.hidden) return;
    const { current, total, message } = progress;
    setAttribute(this.bar, "max", total > 0 ? String(total) : null);
    setAttribute(this.bar, "value", total > 0 ? String(Math.min(current, total)) : null);
    setText(this.text, `${total ? `${count(current)} of ${count(total)}` : count(current)} ${cut(message, 500)}`);
  }
}

/** The calls that a call has made, with links to them. */
class Children {
  constructor(app) {
    this.app = app;
    this.title = h("h3");
    this.list = h("ul.children");
    this.root = h("div", { hidden: true }, this.title, this.list);
  }

  show({ children }) {
    this.root.hidden = children.length === 0;
    if (this.root.hidden) return;
    const shown = children.slice(-MAX_CHILDREN);
    setText(this.title, children.length > shown.length ? `The last ${MAX_CHILDREN} of ${count(children.length)} nested calls`
      : counted(children.length, "nested call"));
    while (this.list.children.length > shown.length) this.list.lastChild.remove();
    while (this.list.children.length < shown.length) this.list.append(h("li", null, h("a"), h("span")));
    shown.forEach((child, place) => {
      const item = this.list.children[place];
      setAttribute(item, "data-state", child.state);
      setText(item.firstChild, child.tool);
      setAttribute(item.firstChild, "href", this.app.url.href({ call: child.id, epoch: child.epoch }));
      const took = child.over && child.durationUs !== null ? ` · ${duration(child.durationUs)}` : "";
      setText(item.lastChild, ` ${MARKS[child.state]} ${child.state}${took}`);
    });
  }
}
