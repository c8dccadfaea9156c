// One call in full. What is shown of it is changed in place, so that nobody loses what they are reading or using.

import { ApiError, path, send } from "../api.js";
import { DetailPane } from "../detail_pane.js";
import { ask } from "../dialog.js";
import { button, Facts, h, pre, replace, setAttribute, setText } from "../dom.js";
import { failure } from "../failure.js";
import { count, counted, cut, duration, marked, moment } from "../format.js";
import { copyButton } from "../output.js";
import { Progress } from "../progress.js";
import { readable } from "../raw_json.js";
import { RunSteps } from "../run_steps.js";
import { url } from "../url.js";

const WORDS = { unknown: "ended, outcome not known" };
const FACTS = ["State", "Tool", "Agent", "Session", "Hub", "Worker", "Started", "Waited", "Duration", "Time left", "Called by", "Request id", "Call id"];
/** Calls under one that are listed. */
const MAX_CHILDREN = 50;
/** Characters of arguments that are put into a link. */
const MAX_LINK = 4_000;

/** The pane of the selected call. */
export class CallDetail extends DetailPane {
  constructor(app) {
    super("The selected call", { call: "", epoch: "" });
    this.app = app;
    this.call = null;
    // Focus goes back to where the call was chosen.
    this.closing.addEventListener("click", () => this.root.parentElement.querySelector(".list").focus({ preventScroll: true }));
    this.onState = () => this.followRun();
    app.events.addEventListener("state", this.onState);
  }

  close() {
    this.app.events.removeEventListener("state", this.onState);
    this.drop();
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
    const kept = call ?? (this.call?.id === id && this.call.epoch === (url.get("epoch") || this.call.epoch) ? this.call : null);
    this.follow();
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
    setText(this.heading, isLooking ? "Looking for the call…" : "Call not found");
    replace(
      this.body,
      isLooking
        ? null
        : h(
            "p",
            null,
            `This page does not know the call ${cut(id, 200)}. ` +
              "Of calls that have ended, the hub keeps those that failed or were slow, for ten minutes.",
          ),
    );
  }

  open(call) {
    this.drop();
    this.call = call;
    this.shown = "";
    this.root.scrollTop = 0;
    setText(this.heading, call.run ? `${call.tool} (agent)` : call.tool);
    this.cancel = button("Cancel…", () => this.askToCancel(call), ".danger");
    this.again = h("a.button", null, "Call again");
    this.said = h("p.said", { role: "status", hidden: true });
    this.progress = new Progress();
    this.facts = new Facts(FACTS);
    this.facts.rows.get("State").lastChild.classList.add("state");
    this.children = new Children();
    this.note = h("p.summary", { hidden: true });
    this.parts = { args: new Part("Arguments"), result: new Part("Result") };
    this.failed = h("div", { hidden: true });
    this.stepsHolder = h("div", { hidden: true }, h("h3", null, "Steps"));
    const actions = h(
      "div.actions",
      null,
      this.cancel,
      this.again,
      copyButton(this.app, () => call.id, "Copy id"),
    );
    replace(
      this.body,
      actions,
      this.said,
      this.progress.root,
      this.facts.root,
      this.failed,
      this.stepsHolder,
      this.children.root,
      this.parts.args.root,
      this.parts.result.root,
      this.note,
    );
    this.followRun();
  }

  update(call) {
    const { events, calls } = this.app;
    const now = events.now();
    setAttribute(this.root, "data-state", call.state);
    this.cancel.hidden = call.over;
    this.again.hidden = call.run !== "";
    this.drawAgain(call);
    this.progress.show(call.over ? null : call.progress);
    const { session, tool, worker, run } = call;
    const elapsed = call.elapsedUs(now);
    const left = call.over || call.deadlineAt === null ? null : call.deadlineAt - now;
    const parent = call.parent ?? (call.parentId ? calls.get(call.parentId, call.epoch) : null);
    const to = (text, changes) => ({ text, href: url.href(changes) });
    this.facts.set({
      State: `${marked(call.state, WORDS[call.state])}${call.epoch === calls.epoch ? "" : " (before the hub restarted)"}`,
      Tool: to(run ? "" : tool, { view: "tools", tool, session }),
      Agent: to(run ? tool : "", { view: "agents", of: session, agent: tool, run }),
      Session: to(session, { view: "sessions", session }),
      Hub: call.hub || (events.hub?.name ?? ""),
      Worker: worker ? to(worker, { view: "workers", worker }) : run ? "" : "the hub",
      Started: moment(call.startedAt),
      Waited: call.ranAt === null ? "" : duration(Math.max(0, call.ranAt - call.startedAt) * 1_000),
      Duration: elapsed === null ? "" : `${duration(elapsed)}${call.over ? "" : " so far"}`,
      "Time left": left === null ? "" : left > 0 ? duration(left * 1_000) : "none",
      "Request id": call.requestId,
      "Call id": call.id,
      "Called by": to(call.parentId && (parent?.tool ?? call.parentId), { call: call.parentId, epoch: call.epoch }),
    });
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
    setAttribute(
      this.again,
      "href",
      url.href({ view: "tools", tool: call.tool, session: call.session, args: this.again.args ?? "" }),
    );
  }

  drawFailure(call) {
    this.failed.hidden = !call.error;
    if (!call.error || this.failed.error === call.error) return;
    this.failed.error = call.error;
    replace(this.failed, h("h3", null, "Error"), failure(call.error));
  }

  /** The steps of a run are read from the hub while somebody looks: a stream takes one of the few connections of a browser. */
  followRun() {
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
        const query = new URLSearchParams({ reason: reason.value.trim(), hub: call.hub });
        const { message } = await send("DELETE", `${path("api", "calls", call.id)}?${query}`, undefined, { signal });
        this.tell(call, `Cancelled: ${message}.`);
      },
    });
    reason.focus();
    // Its button is gone with what it was for.
    if ((await done) && this.call === call) this.closing.focus();
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

/** A value as JSON, under a heading. */
class Part {
  constructor(title) {
    this.text = pre("", title);
    this.root = h("div", { hidden: true }, h("h3", null, title), this.text);
    this.source = null;
  }

  /** Shows what `read` returns, JSON or null, if `source` is another than before: a value may be large. */
  show(source, read) {
    if (this.source === source) return;
    this.source = source;
    const text = source === null ? null : read();
    this.root.hidden = text === null;
    setText(this.text, text === null ? "" : readable(text));
  }
}

/** The calls that a call has made, with links to them. */
class Children {
  constructor() {
    this.title = h("h3");
    this.list = h("ul.children");
    this.root = h("div", { hidden: true }, this.title, this.list);
  }

  show({ children }) {
    this.root.hidden = children.length === 0;
    if (this.root.hidden) return;
    const shown = children.slice(-MAX_CHILDREN);
    setText(
      this.title,
      children.length > shown.length
        ? `The last ${MAX_CHILDREN} of ${count(children.length)} nested calls`
        : counted(children.length, "nested call"),
    );
    while (this.list.children.length > shown.length) this.list.lastChild.remove();
    while (this.list.children.length < shown.length) this.list.append(h("li", null, h("a"), h("span")));
    shown.forEach((child, place) => {
      const item = this.list.children[place];
      setAttribute(item, "data-state", child.state);
      setText(item.firstChild, child.tool);
      setAttribute(item.firstChild, "href", url.href({ call: child.id, epoch: child.epoch }));
      const took = child.over && child.durationUs !== null ? ` · ${duration(child.durationUs)}` : "";
      setText(item.lastChild, ` ${marked(child.state)}${took}`);
    });
  }
}
