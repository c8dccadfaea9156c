// The agents and their runs: all of them, one that is followed, and one that is started.

import { atMost, h, put, replace, setText } from "../dom.js";
import { failure } from "../failure.js";
import { clock, count, counted, oneLine } from "../format.js";
import { LiveList } from "../live_list.js";
import { VirtualList } from "../virtual_list.js";
import { AgentPanel, RunPanel } from "./agent_panels.js";

const AGENTS_MS = 5_000;
const RUNS_MS = 3_000;
const MARKS = { running: "▶", done: "✓", failed: "✕", cancelled: "⊘" };
const AGENT_COLUMNS = [
  { title: "Agent", name: "name" },
  { title: "Signature", name: "signature" },
  { title: "Session", name: "session" },
  { title: "Tools", name: "number.offers" },
  { title: "Running", name: "number" },
];
const RUN_COLUMNS = [
  { title: "State", name: "state" },
  { title: "Run", name: "name" },
  { title: "Agent", name: "agent" },
  { title: "Session", name: "session" },
  { title: "Events", name: "number" },
  { title: "Started", name: "time.started" },
];
const HOW = "A hub runs agents with: grpc-tool-bridge serve --agents --model …, or by a worker: grpc-tool-bridge worker --agents --model …; both need the extra dspy.";
const agentKey = (agent) => `${agent.session_id}\n${agent.agent_id}`;
const runKey = (run) => `${run.session_id}\n${run.run_id}`;

class AgentsView {
  constructor(app) {
    this.app = app;
    this.panel = null;
    this.opened = "";
    this.only = app.url.get("session");
    const query = () => ({ session_id: this.only });
    this.agents = new LiveList(app, { address: "/api/agents", name: "agents", key: agentKey, query, every: AGENTS_MS });
    this.runs = new LiveList(app, { address: "/api/runs", name: "runs", key: runKey, query, every: RUNS_MS });
    this.search = h("input", { type: "search", placeholder: "An agent, a signature, a session", autocomplete: "off",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }) });
    this.filter = h("p.summary", { hidden: true });
    this.summary = h("p.summary");
    this.problem = h("div");
    this.agentList = new VirtualList({
      label: "Agents", columns: AGENT_COLUMNS, fill: fillAgent, key: agentKey, empty: "No agents.",
      onSelect: (agent) => app.url.go({ run: "", agent: agent.agent_id, of: agent.session_id }),
    });
    this.runList = new VirtualList({
      label: "Runs", columns: RUN_COLUMNS, fill: fillRun, key: runKey, empty: "No runs.",
      onSelect: (run) => app.url.go({ agent: "", run: run.run_id, of: run.session_id }),
    });
    this.runList.holder.classList.add("runs");
    this.place = h("aside.detail", { "aria-label": "What is selected", hidden: true });
    this.root = h("section.view.agents", null, h("h1.hidden", null, "Agents"),
      h("div.bar", null, h("label", null, "Find ", this.search)), this.filter, this.summary, this.problem,
      h("div.split", null, h("div.lists", null, h("h2", null, "Agents"), this.agentList.holder, h("h2", null, "Runs"), this.runList.holder), this.place));
    this.refresh = atMost(200, () => this.draw());
    this.agents.addEventListener("change", this.refresh);
    this.runs.addEventListener("change", this.refresh);
    // A run is a call of its agent.
    const soon = atMost(500, () => { if (!this.closed) this.runs.poll.now(); });
    this.onEvent = ({ detail: { call, operation } }) => { if (call && operation !== "moved" && this.isAgent(call)) soon(); };
    app.events.addEventListener("event", this.onEvent);
  }

  isAgent({ session_id, tool_id }) {
    return this.agents.entries.has(`${session_id}\n${tool_id}`) || tool_id.startsWith("agent-");
  }

  show() {
    const { url } = this.app;
    if (document.activeElement !== this.search) this.search.value = url.get("q");
    if (url.get("session") !== this.only) {
      this.only = url.get("session");
      this.agents.reread();
      this.runs.reread();
    }
    this.filter.hidden = !this.only;
    replace(this.filter);
    if (this.only) put(this.filter, `Only those of session “${oneLine(this.only, 80)}”. `, h("a", { href: url.href({ session: "" }) }, "Show all"));
    this.open(url.get("of"), url.get("run"), url.get("agent"));
    this.draw();
  }

  close() {
    this.closed = true;
    this.app.events.removeEventListener("event", this.onEvent);
    this.panel?.close();
    for (const part of [this.agents, this.runs, this.agentList, this.runList]) part.close();
  }

  open(session, run, agent) {
    const name = run || agent;
    const opened = session && name ? `${run ? "run" : "agent"}\n${session}\n${name}` : "";
    if (opened === this.opened) return;
    this.opened = opened;
    const lists = this.agentList.root.parentNode.parentNode;
    const from = [this.agentList, this.runList].find((list) => list.root.contains(document.activeElement));
    const hadFocus = from || this.place.contains(document.activeElement);
    this.panel?.close();
    this.panel = !opened ? null : run ? new RunPanel(this.app, session, run) : new AgentPanel(this.app, session, agent);
    replace(this.place, this.panel?.root);
    this.place.hidden = !opened;
    this.place.scrollTop = 0;
    // On a narrow screen one takes the place of the others.
    if (hadFocus && opened && (!from || !lists.offsetParent)) this.panel.heading.focus();
    else if (hadFocus && !opened) this.agentList.root.focus();
  }

  draw() {
    if (this.closed) return;
    const { url } = this.app;
    const words = url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    const says = (...texts) => words.every((word) => texts.some((text) => text.toLowerCase().includes(word)));
    const agents = [...this.agents.entries.values()].filter((agent) => says(agent.agent_id, agent.session_id, agent.signature));
    const runs = [...this.runs.entries.values()].filter((run) => says(run.run_id, run.agent_id, run.session_id, run.state));
    runs.sort((a, b) => (a.started_at < b.started_at ? 1 : -1));
    setText(this.agentList.empty, !this.agents.loaded ? "Asking the hub…" : words.length ? "No agent has these words." : `No agents. Clients make them by create_react_agent. ${HOW}`);
    setText(this.runList.empty, !this.runs.loaded ? "Asking the hub…" : words.length ? "No run has these words." : "No runs, or none that is still remembered.");
    this.agentList.show(agents);
    this.runList.show(runs);
    this.agentList.select(url.get("agent") ? `${url.get("of")}\n${url.get("agent")}` : "");
    this.runList.select(url.get("run") ? `${url.get("of")}\n${url.get("run")}` : "");
    const running = runs.filter(({ state }) => state === "running").length;
    setText(this.summary, `${counted(agents.length, "agent")} · ${counted(runs.length, "run")}, ${count(running)} under way`);
    this.drawProblem();
    this.panel?.update(this.agents, this.runs);
  }

  drawProblem() {
    const error = this.agents.error ?? this.runs.error;
    if (error === this.problemShown) return;
    this.problemShown = error;
    replace(this.problem, error ? failure(error.info, error.status === 501 ? `This hub has no agents. ${HOW}` : this.agents.loaded ? "The lists are as they were before." : "") : null);
  }
}

function fillAgent(cells, agent) {
  setText(cells[0], agent.agent_id);
  setText(cells[1], oneLine(agent.signature));
  setText(cells[2], agent.session_id);
  setText(cells[3], count(agent.tool_count));
  setText(cells[4], count(agent.runs));
}

function fillRun(cells, run, element) {
  element.dataset.state = run.state;
  setText(cells[0], `${MARKS[run.state] ?? "?"} ${run.state}`);
  setText(cells[1], run.run_id);
  setText(cells[2], run.agent_id);
  setText(cells[3], run.session_id);
  setText(cells[4], count(run.chunks));
  setText(cells[5], clock(run.started_at).replace(/\.\d+$/, ""));
}

export const open = (app) => new AgentsView(app);
