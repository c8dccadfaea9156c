// The workers: which are connected, how busy they are, and what they offer.

import { atMost, h, liveFacts, put, replace, setAttribute, setText } from "../dom.js";
import { failure } from "../failure.js";
import { ago, clock, count, counted, cut, oneLine } from "../format.js";
import { LiveList } from "../live_list.js";
import { VirtualList } from "../virtual_list.js";

/** Milliseconds between two questions for what events do not tell: calls in flight. */
const EVERY_MS = 3_000;
/** Milliseconds that a worker that has gone stays in the list. */
const GONE_MS = 60_000;
const STATES = {
  connected: ["●", "connected", "It takes calls."],
  silent: ["◌", "silent", "It does not answer the hub's pings: its process is busy, stopped, or cannot be reached. Its calls wait for it until the hub gives it up."],
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
];

class WorkersView {
  constructor(app) {
    this.app = app;
    this.panel = null;
    this.workers = new LiveList(app, { address: "/api/workers", name: "workers", key: (worker) => worker.worker_id,
      kind: "worker", last: "disconnected", every: EVERY_MS });
    this.search = h("input", { type: "search", placeholder: "A worker, a tool, a peer", autocomplete: "off",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }) });
    this.summary = h("p.summary");
    this.problem = h("div");
    this.list = new VirtualList({
      label: "Workers", columns: COLUMNS, fill: (cells, worker, element) => this.fill(cells, worker, element),
      key: (worker) => worker.worker_id, empty: "No workers.", onSelect: (worker) => app.url.go({ worker: worker.worker_id }),
    });
    this.place = h("aside.detail", { "aria-label": "The selected worker", hidden: true });
    this.root = h("section.view.workers", null, h("h1.hidden", null, "Workers"),
      h("div.bar", null, h("label", null, "Find ", this.search)), this.summary, this.problem,
      h("div.split", null, this.list.holder, this.place));
    this.refresh = atMost(200, () => this.draw());
    this.workers.addEventListener("change", this.refresh);
    this.ticking = setInterval(() => this.draw(), 1_000);
  }

  show() {
    const { url } = this.app;
    if (document.activeElement !== this.search) this.search.value = url.get("q");
    this.open(url.get("worker"));
    this.draw();
  }

  close() {
    this.closed = true;
    clearInterval(this.ticking);
    this.workers.close();
    this.list.close();
  }

  open(id) {
    if ((this.panel?.id ?? "") === id) return;
    const hadFocus = this.place.contains(document.activeElement) || this.list.root.contains(document.activeElement);
    this.panel = id ? new WorkerPanel(this.app, id) : null;
    replace(this.place, this.panel?.root);
    this.place.hidden = !id;
    // On a narrow screen one takes the place of the other.
    if (hadFocus && !this.list.root.offsetParent) this.panel?.heading.focus();
    else if (hadFocus && !id) this.list.root.focus();
  }

  /** Those that are there, and those that went lately. */
  all() {
    const since = this.app.events.now() - GONE_MS;
    const here = [...this.workers.entries.values()];
    for (const { entry, at } of this.workers.gone.values()) if (at > since) here.push({ ...entry, state: "gone", active_calls: 0 });
    return here.sort((a, b) => (a.connected_at < b.connected_at ? -1 : a.connected_at > b.connected_at ? 1 : a.worker_id < b.worker_id ? -1 : 1));
  }

  draw() {
    if (this.closed) return;
    const { url } = this.app;
    const words = url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.all().filter((worker) => words.every((word) => says(worker, word)));
    setText(this.list.empty, !this.workers.loaded ? "Asking the hub…" : words.length ? "No worker has these words."
      : "No workers: all tools run in the hub's own process. Start one by: grpc-tool-bridge worker --tools my_tools.py");
    this.list.show(found);
    this.list.select(url.get("worker"));
    this.drawSummary();
    const id = this.panel?.id;
    if (id) this.panel.update(this.workers.entries.get(id), this.workers.gone.get(id), this.workers.loaded);
  }

  drawSummary() {
    const here = [...this.workers.entries.values()];
    const active = here.reduce((sum, worker) => sum + worker.active_calls, 0);
    const silent = here.filter(({ state }) => state === "silent").length;
    const draining = here.filter(({ state }) => state === "draining").length;
    setText(this.summary, [counted(here.length, "worker"), counted(active, "call in flight", "calls in flight"),
      silent && `${count(silent)} silent`, draining && `${count(draining)} draining`].filter(Boolean).join(" · "));
    const { error } = this.workers;
    if (error === this.problemShown) return;
    this.problemShown = error;
    replace(this.problem, error ? failure(error.info, this.workers.loaded ? "The list is as it was before." : "") : null);
  }

  fill(cells, worker, element) {
    const [mark, word] = STATES[worker.state] ?? ["?", worker.state];
    element.dataset.worker = worker.state;
    setText(cells[0], `${mark} ${word}`);
    setText(cells[1], worker.worker_id);
    element.load ??= new Load(cells[2]);
    element.load.update(worker);
    setText(cells[3], oneLine(`${count(worker.tool_count)}: ${worker.tools.join(", ")}`));
    setText(cells[4], worker.peer);
    setText(cells[5], clock(worker.connected_at).replace(/\.\d+$/, ""));
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
  constructor(app, id) {
    this.app = app;
    this.id = id;
    this.heading = h("h2", { tabindex: -1 }, id);
    this.state = h("p.worker-state", { role: "status" });
    this.load = h("p.load");
    this.meter = new Load(this.load);
    this.facts = liveFacts(["Peer", "Connected", "Disconnected", "Tools"]);
    this.tools = h("ul.plain");
    this.closing = h("a.close", { "aria-label": "Close" }, "×");
    this.body = h("div", { hidden: true },
      h("p.links", null, h("a", { href: app.url.href({ view: "calls", worker: id }) }, "Its calls"),
        h("a", { href: app.url.href({ view: "performance", worker: id }) }, "Its performance")),
      h("h3", null, "Calls in flight"), this.load, this.facts.root, h("h3", null, "Tools"), this.tools);
    this.root = h("div", null, this.closing, this.heading, this.state, this.body);
  }

  /** @param {object} worker It, if it is there. @param {object} gone { entry, at }, if it was there. */
  update(worker, gone, isLoaded) {
    this.closing.href = this.app.url.href({ worker: "" });
    const last = worker ?? gone?.entry;
    const [mark, word, meaning] = worker ? (STATES[worker.state] ?? ["?", worker.state, ""]) : gone ? STATES.gone : ["", "", ""];
    setAttribute(this.root, "data-worker", worker ? worker.state : "gone");
    setText(this.state, last ? `${mark} ${word}. ${meaning}` : isLoaded ? "There is no worker with this name now. It may have gone before this page was opened." : "Asking the hub…");
    this.body.hidden = !last;
    if (!last) return;
    this.meter.update(worker ?? { active_calls: 0, capacity: last.capacity });
    this.facts.set({
      Peer: cut(last.peer, 500), Connected: `${clock(last.connected_at)}, ${ago(last.connected_at, this.app.events.now())}`,
      Disconnected: worker ? "" : clock(gone.at),
      Tools: last.tool_count > last.tools.length ? `${count(last.tool_count)}; the first ${count(last.tools.length)} are listed` : count(last.tool_count),
    });
    const stamp = last.tools.join("\n");
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    replace(this.tools);
    put(this.tools, last.tools.map((name) => h("li", null, h("a.mono", { href: this.app.url.href({ view: "tools", tool: name }) }, name))));
  }
}

function says(worker, word) {
  return [worker.worker_id, worker.peer, worker.state, ...worker.tools].some((text) => text.toLowerCase().includes(word));
}

export const open = (app) => new WorkersView(app);
