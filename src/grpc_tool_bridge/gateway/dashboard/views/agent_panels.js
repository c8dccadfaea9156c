// One agent, which can be run, and one run of an agent.

import { newRequestId, ofSession, send, stream } from "../api.js";
import { ask } from "../dialog.js";
import { button, Facts, facts, h, pre, replace, setText } from "../dom.js";
import { Problem } from "../failure.js";
import { clock, count, cut, marked, moment } from "../format.js";
import { RunSteps } from "../run_steps.js";
import { inputsOf, inputValue } from "../signature.js";
import { link, toolLink, url } from "../url.js";

/** Runs of an agent that are listed with it. */
const MAX_RUNS = 20;

/** The agent that is selected. */
export class AgentPanel {
  constructor(session, id, agents, runs) {
    Object.assign(this, { session, agents, all: runs });
    this.title = id;
    this.state = h("p");
    this.body = h("div");
    this.runs = h("ul.plain");
    this.problem = new Problem();
    this.button = h("button", { type: "submit" }, "Run");
    this.root = h("div", null, this.state, this.body);
    this.agent = null;
  }

  close() {
    this.closed = true;
  }

  update() {
    const agent = this.agents.entries.get(`${this.session}\n${this.title}`);
    if (agent && !this.agent) this.draw(agent);
    this.button.disabled = this.busy || !agent;
    const isGone = !agent && this.agents.loaded;
    const gone = `No such agent. Its session “${cut(this.session, 80)}” may have ended, or the hub has restarted.`;
    setText(this.state, isGone ? gone : "");
    const own = [...this.all.entries.values()].filter((run) => run.agent_id === this.title && run.session_id === this.session);
    own.sort((a, b) => (a.started_at < b.started_at ? 1 : -1));
    const stamp = own.map((run) => `${run.run_id} ${run.state}`).join("\n");
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    const item = ({ run_id: run, started_at: started, state }) =>
      h("li", null, link(`${clock(started)} ${marked(state)}`, { agent: "", run, of: this.session }));
    const none = h("li.quiet-text", null, "No recent runs.");
    replace(this.runs, own.length ? own.slice(0, MAX_RUNS).map(item) : none);
  }

  draw(agent) {
    this.agent = agent;
    const { session } = this;
    const tools = agent.tools.map((name) => toolLink(name, session));
    const more = tools.length < agent.tool_count ? ` (${count(agent.tool_count)} in all)` : "";
    const fields = inputsOf(agent.signature).map((input) => ({ ...input, field: fieldOf(input) }));
    const labels = fields.map(({ name, type, isOptional, field }) => {
      const said = h("span", null, h("strong", null, name), type ? ` ${type}` : "", isOptional ? " (optional)" : "");
      return h("label.field", null, said, field);
    });
    replace(
      this.body,
      facts([
        ["Session", link(session, { view: "sessions", session })],
        ["Steps", `at most ${count(agent.max_iters)}`],
        ["Tools", tools.length ? h("span.links", null, tools, more) : `all ${count(agent.tool_count)} of its session`],
      ]),
      h("h3", null, "Signature"),
      pre(cut(agent.signature, 20_000)),
      h("h3", null, "Run it"),
      h("form", { onsubmit: (event) => this.run(event, fields) }, labels, this.problem.root, this.button),
      h("h3", null, "Runs"),
      this.runs,
    );
  }

  /** Starts a run; when the hub has begun to answer, it goes on by itself, and is shown like any other. */
  async run(event, fields) {
    event.preventDefault();
    if (this.busy) return;
    this.busy = this.button.disabled = true;
    this.problem.show(null);
    const input = {};
    for (const { name, field, ...kind } of fields) {
      const value = inputValue(kind, field.value);
      if (value !== undefined) input[name] = value;
    }
    const runId = newRequestId();
    const reading = new AbortController();
    const opened = () => {
      reading.abort();
      if (!this.closed) url.go({ agent: "", run: runId, of: this.session });
    };
    try {
      const address = ofSession(this.session, "agents", this.title, "execute");
      await stream("POST", address, { input, run_id: runId }, { signal: reading.signal, opened }).next();
    } catch (error) {
      if (reading.signal.aborted) return;
      this.problem.show(error, error.status === 501 ? "This hub cannot run agents: install the extra dspy." : "");
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
    this.title = "Run";
    this.facts = new Facts(["Run", "Started", "Readers"]);
    this.links = h(
      "p.links",
      null,
      link("Call", { view: "calls", call: id }),
      link("Session", { view: "sessions", session }),
    );
    this.cancel = button("Cancel the run…", () => this.askToCancel(), ".danger");
    this.steps = new RunSteps(session, id);
    this.steps.addEventListener("state", () => {
      this.cancel.hidden = this.steps.over;
    });
    this.root = h("div", null, h("div.bar", null, this.links, this.cancel), this.facts.root, this.steps.root);
    this.facts.set({ Run: id });
  }

  close() {
    this.steps.close();
  }

  update() {
    const run = this.runs.entries.get(`${this.session}\n${this.id}`);
    if (!run) return;
    if (this.title === "Run") this.links.prepend(link("Agent", { run: "", agent: run.agent_id, of: this.session }));
    this.title = `Run of ${run.agent_id}`;
    this.facts.set({
      Run: this.id,
      Started: moment(run.started_at),
      Readers: run.readers ? `${count(run.readers)}, including this page` : "",
    });
  }

  async askToCancel() {
    const what =
      "Its request to the model and the tool that it waits for are cancelled as well. Its caller gets the error Cancelled.";
    await ask({
      title: "Cancel this run?",
      action: "Cancel the run",
      danger: true,
      body: h("p", null, what),
      work: async () => {
        await send("DELETE", ofSession(this.session, "runs", this.id));
        this.app.say("The run is cancelled.");
      },
    });
    this.root.closest("aside")?.querySelector("h2").focus();
  }
}
