// The workers: which are connected, how busy they are, and what they offer.

import { Facts, h, replace, setAttribute, setText } from "../dom.js";
import { ago, count, counted, cut, moment, oneLine, timeOf } from "../format.js";
import { ListView } from "../list_view.js";
import { link, toolLink, url } from "../url.js";

/** Milliseconds between two questions for what events do not tell: calls in flight. */
const EVERY_MS = 3_000;
/** Milliseconds that a worker that has gone stays in the list. */
const GONE_MS = 60_000;
const STATES = {
  connected: ["●", "connected", "It accepts calls."],
  silent: [
    "◌",
    "silent",
    "It does not answer the hub's pings: its process is busy, stopped, or cannot be reached. Its calls wait for it until the hub gives it up.",
  ],
  draining: ["◐", "draining", "It finishes its calls, gets no new ones, and then goes."],
  gone: ["✕", "gone", "It has disconnected. Calls that it ran have failed or run on another worker."],
};
const COLUMNS = [
  { title: "State", name: "state" },
  { title: "Worker", name: "name" },
  { title: "In flight", name: "load" },
  { title: "Tools", name: "offers" },
  { title: "Peer", name: "peer" },
  { title: "Connected", name: "time.started" },
  { title: "Hub", name: "of-hub" },
];

class WorkersView extends ListView {
  constructor(app) {
    super(app, {
      name: "workers",
      title: "Workers",
      placeholder: "A worker, a tool, a peer",
      selection: "The selected worker",
      closes: { worker: "" },
      columns: COLUMNS,
      live: {
        address: "/api/workers",
        name: "workers",
        key: (worker) => worker.worker_id,
        kind: "worker",
        last: "disconnected",
        every: EVERY_MS,
      },
      select: (worker) => url.go({ worker: worker.worker_id }),
    });
  }

  selected() {
    return url.get("worker");
  }

  panel(id) {
    return new WorkerPanel(this.app, id, this.live);
  }

  /** Those that are there, and those that went lately. */
  all() {
    const since = this.app.events.now() - GONE_MS;
    const gone = [...this.live.gone.values()].filter(({ at }) => at > since);
    return [...super.all(), ...gone.map(({ entry }) => ({ ...entry, state: "gone", active_calls: 0 }))];
  }

  texts(worker) {
    return [worker.worker_id, this.hubOf(worker), worker.peer, worker.state, ...worker.tools];
  }

  sort(workers) {
    const order = (worker) => `${worker.connected_at} ${worker.worker_id}`;
    return workers.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  }

  sum() {
    const here = [...this.live.entries.values()];
    const active = here.reduce((sum, worker) => sum + worker.active_calls, 0);
    const others = ["silent", "draining"].map((state) => [here.filter((worker) => worker.state === state).length, state]);
    return [
      counted(here.length, "worker"),
      counted(active, "call in flight", "calls in flight"),
      ...others.filter(([number]) => number).map(([number, state]) => `${count(number)} ${state}`),
    ].join(" · ");
  }

  nothing(hasWords) {
    return hasWords
      ? "No worker matches."
      : "No workers: all tools run in the hub's own process. Start one with: grpc-tool-bridge worker --tools my_tools.py";
  }

  fill(cells, worker, element) {
    const [mark, word] = STATES[worker.state] ?? ["?", worker.state];
    element.dataset.state = worker.state;
    setText(cells[0], `${mark} ${word}`);
    setText(cells[1], worker.worker_id);
    element.load ??= new Load(cells[2]);
    element.load.update(worker);
    setText(cells[3], oneLine(`${count(worker.tool_count)}: ${worker.tools.join(", ")}`));
    setText(cells[4], worker.peer);
    setText(cells[5], timeOf(worker.connected_at));
    setText(cells[6], this.hubOf(worker));
  }
}

/** Calls in flight of those that a worker can run at a time, as words and as a meter. */
class Load {
  constructor(place) {
    this.meter = h("meter", { min: 0, "aria-hidden": "true" });
    this.words = h("span");
    replace(place, this.meter, this.words);
  }

  update({ active_calls: active, capacity }) {
    this.meter.hidden = !capacity;
    setAttribute(this.meter, "max", String(capacity || 1));
    setAttribute(this.meter, "value", String(active));
    setText(this.words, capacity ? `${count(active)} of ${count(capacity)}` : `${count(active)}, no limit`);
  }
}

/** The worker that is selected. */
class WorkerPanel {
  constructor(app, id, live) {
    Object.assign(this, { app, id, live });
    this.title = id;
    this.state = h("p.state", { role: "status" });
    const load = h("p.load");
    this.meter = new Load(load);
    this.facts = new Facts(["Hub", "Peer", "Connected", "Disconnected", "Tools"]);
    this.tools = h("ul.plain");
    this.body = h(
      "div",
      { hidden: true },
      h(
        "p.links",
        null,
        link("Calls", { view: "calls", worker: id }),
        link("Performance", { view: "performance", worker: id }),
      ),
      h("h3", null, "Calls in flight"),
      load,
      this.facts.root,
      h("h3", null, "Tools"),
      this.tools,
    );
    this.root = h("div", null, this.state, this.body);
  }

  close() {}

  update() {
    const worker = this.live.entries.get(this.id);
    const gone = this.live.gone.get(this.id);
    const last = worker ?? gone?.entry;
    const [mark, word, meaning] = worker ? (STATES[worker.state] ?? ["?", worker.state, ""]) : gone ? STATES.gone : ["", "", ""];
    setAttribute(this.root, "data-state", worker ? worker.state : "gone");
    setText(
      this.state,
      last
        ? `${mark} ${word}. ${meaning}`
        : this.live.loaded
          ? "No such worker. It may have disconnected before this page was opened."
          : "Loading…",
    );
    this.body.hidden = !last;
    if (!last) return;
    this.meter.update(worker ?? { active_calls: 0, capacity: last.capacity });
    this.facts.set({
      Hub: last.hub || (this.app.events.hub?.name ?? ""),
      Peer: cut(last.peer, 500),
      Connected: `${moment(last.connected_at)}, ${ago(last.connected_at, this.app.events.now())}`,
      Disconnected: worker ? "" : moment(gone.at),
      Tools:
        last.tool_count > last.tools.length
          ? `${count(last.tool_count)}; the first ${count(last.tools.length)} are listed`
          : count(last.tool_count),
    });
    const stamp = last.tools.join("\n");
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    replace(
      this.tools,
      last.tools.map((name) => h("li", null, toolLink(name))),
    );
  }
}

export const open = (app) => new WorkersView(app);
