// The agents and their runs: all of them, one that is followed, and one that is started.

import { atMost, h, put, replace, setText } from "../dom.js";
import { count, counted, marked, oneLine, timeOf } from "../format.js";
import { ListView } from "../list_view.js";
import { LiveList } from "../live_list.js";
import { link, url } from "../url.js";
import { VirtualList } from "../virtual_list.js";
import { AgentPanel, RunPanel } from "./agent_panels.js";

const AGENTS_MS = 5_000;
const RUNS_MS = 3_000;
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
  { title: "Hub", name: "of-hub" },
];
const HOW =
  "To run agents, start the hub with: grpc-tool-bridge serve --agents --model …, or a worker with: grpc-tool-bridge worker --agents --model …; both need the extra dspy.";
const agentKey = (agent) => `${agent.session_id}\n${agent.agent_id}`;
const runKey = (run) => `${run.session_id}\n${run.run_id}`;

class AgentsView extends ListView {
  constructor(app) {
    // The session whose agents and runs alone are shown; empty: all.
    const query = () => ({ session_id: url.get("session") });
    super(app, {
      name: "agents",
      title: "Agents",
      placeholder: "An agent, a signature, a session",
      selection: "What is selected",
      closes: { agent: "", run: "", of: "" },
      columns: AGENT_COLUMNS,
      live: { address: "/api/agents", name: "agents", key: agentKey, query, every: AGENTS_MS },
      select: (agent) => url.go({ run: "", agent: agent.agent_id, of: agent.session_id }),
    });
    this.runs = new LiveList(app, { address: "/api/runs", name: "runs", key: runKey, query, every: RUNS_MS });
    this.runs.addEventListener("change", this.refresh);
    this.runList = new VirtualList({
      label: "Runs",
      columns: RUN_COLUMNS,
      fill: (cells, run, element) => {
        fillRun(cells, run, element);
        setText(cells[6], this.hubOf(run));
      },
      key: runKey,
      onSelect: (run) => url.go({ agent: "", run: run.run_id, of: run.session_id }),
    });
    this.runList.holder.classList.add("runs");
    this.lists.prepend(h("h2", null, "Agents"));
    put(this.lists, h("h2", null, "Runs"), this.runList.holder);
    this.filter = h("p.summary", { hidden: true });
    this.summary.before(this.filter);
    // A run is a call of its agent.
    const soon = atMost(500, () => {
      if (!this.closed) this.runs.poll.now();
    });
    this.onEvent = ({ detail: { call, operation } }) => {
      if (call && operation !== "moved" && this.isAgent(call)) soon();
    };
    app.events.addEventListener("event", this.onEvent);
  }

  isAgent({ session_id, tool_id }) {
    return this.live.entries.has(`${session_id}\n${tool_id}`) || tool_id.startsWith("agent-");
  }

  show() {
    const session = url.get("session");
    const all = link("Show all", { session: "" });
    this.filter.hidden = !session;
    replace(this.filter, session ? [`Of session “${oneLine(session, 80)}” only. `, all] : null);
    this.runs.follow();
    super.show();
  }

  close() {
    this.app.events.removeEventListener("event", this.onEvent);
    this.runs.close();
    this.runList.close();
    super.close();
  }

  selected() {
    const name = url.get("run") || url.get("agent");
    return name && url.get("of") ? `${url.get("run") ? "run" : "agent"}\n${url.get("of")}\n${name}` : "";
  }

  panel(key) {
    const [kind, session, name] = key.split("\n");
    return kind === "run"
      ? new RunPanel(this.app, session, name, this.runs)
      : new AgentPanel(session, name, this.live, this.runs);
  }

  texts(agent) {
    return [agent.agent_id, agent.session_id, agent.signature];
  }

  sum(found) {
    const runs = [...this.runs.entries.values()];
    const running = runs.filter(({ state }) => state === "running").length;
    return `${counted(found.length, "agent")} · ${counted(runs.length, "run")}, ${count(running)} running`;
  }

  nothing(hasWords) {
    return hasWords ? "No agent matches." : `No agents yet. Clients create them with create_react_agent. ${HOW}`;
  }

  fill(cells, agent) {
    setText(cells[0], agent.agent_id);
    setText(cells[1], oneLine(agent.signature));
    setText(cells[2], agent.session_id);
    setText(cells[3], count(agent.tool_count));
    setText(cells[4], count(agent.runs));
  }

  draw() {
    super.draw();
    if (this.closed) return;
    const texts = (run) => [run.run_id, run.agent_id, run.session_id, run.state, this.hubOf(run)];
    const found = this.search.found([...this.runs.entries.values()], texts);
    const none = this.search.words.length ? "No run matches." : "No runs yet.";
    setText(this.runList.empty, this.runs.loaded ? none : "Loading…");
    this.runList.show(found.sort((a, b) => (a.started_at < b.started_at ? 1 : -1)));
    const [kind, ...key] = this.key.split("\n");
    this.list.select(kind === "agent" ? key.join("\n") : "");
    this.runList.select(kind === "run" ? key.join("\n") : "");
  }

  trouble() {
    const [error, advice] = super.trouble();
    const other = error ?? this.runs.error;
    return [other, other?.status === 501 ? `This hub has no agents. ${HOW}` : advice];
  }
}

function fillRun(cells, run, element) {
  element.dataset.state = run.state;
  setText(cells[0], marked(run.state));
  setText(cells[1], run.run_id);
  setText(cells[2], run.agent_id);
  setText(cells[3], run.session_id);
  setText(cells[4], count(run.chunks));
  setText(cells[5], timeOf(run.started_at));
}

export const open = (app) => new AgentsView(app);
