// A call that is made from the page: its buttons, and what has come of it.

import { ApiError, lost, newRequestId, ofSession, send, sendForText, stream } from "./api.js";
import { atMost, button, h, replace, setText } from "./dom.js";
import { failure } from "./failure.js";
import { counted, duration } from "./format.js";
import { StreamView, valueView } from "./output.js";
import { member } from "./raw_json.js";
import { link, url } from "./url.js";

/** The session that calls are made in if none is chosen. */
export const SESSION = "dashboard";

/** Makes calls of one tool, one at a time. */
export class CallPanel {
  /**
   * @param {object} app As views get it.
   * @param {object} given
   * @param {boolean} given.streams Whether the tool yields values.
   * @param {function(): object|null} given.read Returns { tool, args, kwargs, timeoutMs, key }; null: they cannot be sent.
   * @param {function(object): void} given.tell Is told what the hub says of single arguments.
   */
  constructor(app, { streams, read, tell }) {
    this.app = app;
    this.read = read;
    this.tell = tell;
    this.running = null;
    this.buttons = [
      button("Call", () => this.run(false), streams ? ".quiet" : ""),
      button("Stream", () => this.run(true), streams ? "" : ".quiet"),
    ];
    if (streams) this.buttons.reverse();
    this.cancel = button("Cancel", () => this.stop(), ".danger");
    this.cancel.hidden = true;
    this.state = h("p.outcome.state", { role: "status" });
    this.id = h("p.type");
    this.output = h("div");
    this.root = h(
      "section.call",
      { "aria-label": "Call" },
      h("div.line", null, this.buttons, this.cancel),
      this.state,
      this.id,
      this.output,
    );
    // The call itself is told of by the hub's events, if it is among those that are.
    this.onChange = atMost(500, () => this.drawLink());
    app.calls.addEventListener("change", this.onChange);
  }

  close() {
    this.stop();
    this.app.calls.removeEventListener("change", this.onChange);
  }

  stop() {
    this.running?.abort();
  }

  /** Makes the call that a form or an Enter asks for. */
  runDefault() {
    if (!this.running) this.buttons[0].click();
  }

  async run(streams) {
    const call = this.running ? null : this.read(streams);
    if (!call) return;
    const running = new AbortController();
    this.begin(running);
    try {
      const session = await this.session(running.signal);
      const done = streams ? await this.stream(session, call, running.signal) : await this.execute(session, call, running.signal);
      this.say("done", done);
    } catch (error) {
      this.failed(error, running);
    } finally {
      this.end();
    }
  }

  begin(running) {
    this.running = running;
    this.begunAt = performance.now();
    this.requestId = newRequestId();
    this.tell({});
    replace(this.output);
    this.cancel.hidden = false;
    // Where the focus is put, it goes back from.
    this.pressed = this.buttons.find((button) => button === document.activeElement);
    for (const button of this.buttons) button.disabled = true;
    if (this.pressed) this.cancel.focus();
    this.say("running", "Calling…");
    this.drawLink();
    this.ticking = setInterval(() => this.say("running", `Running for ${this.took()}`, false), 1_000);
  }

  end() {
    clearInterval(this.ticking);
    const hadFocus = document.activeElement === this.cancel;
    for (const button of this.buttons) button.disabled = false;
    if (hadFocus) (this.pressed ?? this.buttons[0]).focus();
    this.cancel.hidden = true;
    this.running = null;
  }

  took() {
    return duration((performance.now() - this.begunAt) * 1_000);
  }

  /** Returns the session to call in. The page's own is made when it is needed, and again if it has ended. */
  async session(signal) {
    const chosen = url.get("session");
    if (!chosen) await send("POST", "/api/sessions", { session_id: SESSION }, { signal });
    return chosen || SESSION;
  }

  async execute(session, { tool, key, ...call }, signal) {
    const headers = key ? { "Idempotency-Key": key } : {};
    const body = { ...bodyOf(call), request_id: this.requestId };
    const text = await sendForText("POST", ofSession(session, "tools", tool, "execute"), body, { headers, signal });
    const answer = JSON.parse(text);
    replace(this.output, valueView(answer.result, member(text, "result"), this.app));
    return `Done in ${this.took()} (${duration(answer.metrics.duration_us)} in the hub)`;
  }

  async stream(session, { tool, ...call }, signal) {
    const view = new StreamView(this.app);
    const body = { ...bodyOf(call), stream_id: this.requestId };
    replace(this.output, view.root);
    let done = "";
    for await (const event of stream("POST", `${ofSession(session, "tools", tool, "stream")}?events=true`, body, { signal })) {
      if (event.event === "error") throw new ApiError(200, event.data);
      if (event.event === "complete") done = `Complete after ${this.took()}: ${counted(view.count, "value")}`;
      else view.take(event);
    }
    // Nobody is told that it is complete before all of it is there.
    view.redraw();
    if (done) return done;
    throw lost();
  }

  failed(error, running) {
    if (running.signal.aborted) {
      this.say("cancelled", `Cancelled after ${this.took()}`);
      return;
    }
    const info = error instanceof ApiError ? error.info : { type: error.name, message: error.message };
    this.say("failed", `Failed after ${this.took()}: ${info.type}`);
    const ended = ["SessionNotFound", "SessionExpired"].includes(info.type) || error.status === 410;
    this.output.append(failure(info, info.retryable ? "The same call may succeed later." : ""));
    const instead = link("Call in the dashboard's own session", { session: "" });
    if (ended) this.output.append(h("p", null, "The session has ended. ", instead, "."));
    if (info.type === "ValidationError") this.tell(info.details ?? {});
  }

  say(state, text, aloud = true) {
    this.state.dataset.state = state;
    this.state.setAttribute("aria-live", aloud ? "polite" : "off");
    setText(this.state, text);
  }

  drawLink() {
    const id = this.requestId;
    if (!id || this.linked === id) return;
    const call = [...this.app.calls.byId.values()].findLast((one) => one.requestId === id);
    if (!call && this.named === id) return;
    this.named = id;
    if (call) this.linked = id;
    const see = call ? [" · ", link("Show the call", { view: "calls", call: call.id })] : null;
    replace(this.id, "Request ", h("code", null, id), see);
  }
}

function bodyOf({ args, kwargs, timeoutMs }) {
  return { kwargs, ...(args.length ? { args } : {}), ...(timeoutMs ? { timeout_ms: timeoutMs } : {}) };
}
