// One agent, which can be run, and one run of an agent.

import { ApiError, ofSession, send, stream } from "../api.js";
import { ask } from "../dialog.js";
import { facts, h, liveFacts, replace, setText } from "../dom.js";
import { failure } from "../failure.js";
import { clock, count, cut, moment } from "../format.js";
import { RunSteps } from "../run_steps.js";
import { inputsOf, inputValue } from "../signature.js";
import { MARKS } from "./call_detail.js";

/** Runs of an agent that are listed with it. */
const MAX_RUNS = 20;

/** The agent that is selected. */
export class AgentPanel {
  constructor(app, session, id, agents, runs) {
    Object.assign(this, { app, session, id, agents, all: runs });
    this.heading = h("h2", { tabindex: -1 }, id);
    this.closing = h("a.close", { "aria-label": "Close" }, "×");
    this.state = h("p");
    this.body = h("div");
    this.runs = h("ul.plain");
    this.problem = h("div", { role: "alert" });
    this.button = h("button", { type: "submit" }, "Run");
    this.root = h("div", null, this.closing, this.heading, this.state, this.body);
    this.agent = null;
  }

  close() {
    this.closed = true;
  }

  update() {
    const { url } = this.app;
    this.closing.href = url.href({ agent: "", of: "" });
    const agent = this.agents.entries.get(`${this.session}\n${this.id}`);
    if (agent && !this.agent) this.draw(agent);
    this.button.disabled = this.busy || !agent;
    setText(
      this.state,
      agent || !this.agents.loaded
        ? ""
        : `No such agent. Its session “${cut(this.session, 80)}” may have ended, or the hub has restarted.`,
    );
    const own = [...this.all.entries.values()].filter((run) => run.agent_id === this.id && run.session_id === this.session);
    own.sort((a, b) => (a.started_at < b.started_at ? 1 : -1));
    const stamp = own.map((run) => `${run.run_id} ${run.state}`).join("\n");
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    replace(
      this.runs,
      own.length
        ? own
            .slice(0, MAX_RUNS)
            .map((run) =>
              h(
                "li",
                null,
                h(
                  "a",
                  { href: url.href({ agent: "", run: run.run_id, of: this.session }) },
                  `${clock(run.started_at)} ${MARKS[run.state] ?? "?"} ${run.state}`,
                ),
              ),
            )
        : h("li.quiet-text", null, "No recent runs."),
    );
  }

  draw(agent) {
    this.agent = agent;
    const { url } = this.app;
    const tools = agent.tools.map((name) =>
      h("a.mono", { href: url.href({ view: "tools", tool: name, session: this.session }) }, name),
    );
    const fields = inputsOf(agent.signature).map((input) => ({ ...input, field: fieldOf(input) }));
    replace(
      this.body,
      facts([
        ["Session", h("a", { href: url.href({ view: "sessions", session: this.session }) }, this.session)],
        ["Steps", `at most ${count(agent.max_iters)}`],
        [
          "Tools",
          tools.length
            ? h("span.links", null, tools, tools.length < agent.tool_count ? ` (${count(agent.tool_count)} in all)` : "")
            : `all ${count(agent.tool_count)} of its session`,
        ],
      ]),
      h("h3", null, "Signature"),
      h("pre", { tabindex: 0 }, cut(agent.signature, 20_000)),
      h("h3", null, "Run it"),
      h(
        "form",
        { onsubmit: (event) => this.run(event, fields) },
        fields.map(({ name, type, isOptional, field }) =>
          h(
            "label.field",
            null,
            h("span", null, h("strong", null, name), type ? ` ${type}` : "", isOptional ? " (optional)" : ""),
            field,
          ),
        ),
        this.problem,
        this.button,
      ),
      h("h3", null, "Runs"),
      this.runs,
    );
  }

  /** Starts a run; when the hub has begun to answer, it goes on by itself, and is shown like any other. */
  async run(event, fields) {
    event.preventDefault();
    if (this.busy) return;
    this.busy = this.button.disabled = true;
    replace(this.problem);
    const input = {};
    for (const { name, field, ...kind } of fields) {
      const value = inputValue(kind, field.value);
      if (value !== undefined) input[name] = value;
    }
    const runId = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const reading = new AbortController();
    const opened = () => {
      reading.abort();
      if (!this.closed) this.app.url.go({ agent: "", run: runId, of: this.session });
    };
    try {
      const address = ofSession(this.session, "agents", this.id, "execute");
      await stream("POST", address, { input, run_id: runId }, { signal: reading.signal, opened }).next();
    } catch (error) {
      if (reading.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      replace(
        this.problem,
        failure(error.info, error.status === 501 ? "This hub cannot run agents: install the extra dspy." : ""),
      );
    } finally {
      this.busy = this.button.disabled = false;
    }
  }
}

function fieldOf({ isText, isOptional }) {
  if (isText) return h("textarea", { rows: 2, autocomplete: "off" });
  return h("input", { type: "text", autocomplete: "off", required: !isOptional, placeholder: 'JSON, such as 3 or ["a"]' });
}

/** The run that is selected. */
export class RunPanel {
  constructor(app, session, id, runs) {
    Object.assign(this, { app, session, id, runs });
    this.heading = h("h2", { tabindex: -1 }, "Run");
    this.closing = h("a.close", { "aria-label": "Close" }, "×");
    this.facts = liveFacts(["Run", "Started", "Readers"]);
    this.links = h(
      "p.links",
      null,
      h("a", { href: app.url.href({ view: "calls", call: id }) }, "Call"),
      h("a", { href: app.url.href({ view: "sessions", session }) }, "Session"),
    );
    this.cancel = h("button.danger", { type: "button", onclick: () => this.askToCancel() }, "Cancel the run…");
    this.steps = new RunSteps(session, id);
    this.steps.addEventListener("state", () => {
      this.cancel.hidden = this.steps.over;
    });
    this.root = h(
      "div",
      null,
      this.closing,
      this.heading,
      h("div.bar", null, this.links, this.cancel),
      this.facts.root,
      this.steps.root,
    );
    this.facts.set({ Run: id });
  }

  close() {
    this.steps.close();
  }

  update() {
    const { url } = this.app;
    this.closing.href = url.href({ run: "", of: "" });
    const run = this.runs.entries.get(`${this.session}\n${this.id}`);
    if (!run) return;
    setText(this.heading, `Run of ${run.agent_id}`);
    if (!this.ofAgent) {
      this.ofAgent = h("a", { href: url.href({ run: "", agent: run.agent_id, of: this.session }) }, "Agent");
      this.links.prepend(this.ofAgent);
    }
    this.facts.set({
      Run: this.id,
      Started: moment(run.started_at),
      Readers: run.readers ? `${count(run.readers)}, including this page` : "",
    });
  }

  async askToCancel() {
    await ask({
      title: "Cancel this run?",
      action: "Cancel the run",
      danger: true,
      body: h(
        "p",
        null,
        "Its request to the model and the tool that it waits for are cancelled as well. Its caller gets the error Cancelled.",
      ),
      work: async () => {
        await send("DELETE", ofSession(this.session, "runs", this.id));
        this.app.say("The run is cancelled.");
      },
    });
    this.heading.focus();
  }
}
