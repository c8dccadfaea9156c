// The limits of the hub, the fullest first, and what the hub is.

import { ApiError, get } from "../api.js";
import { h, setAttribute, setText } from "../dom.js";
import { bytes, count, duration } from "../format.js";
import { Keyed } from "../keyed.js";
import { meaning, setting } from "../limit_meanings.js";
import { Poll } from "../poll.js";

const POLL_MS = 2_000;
const NEAR = 0.8;
const KINDS = { session: "Session", tool: "Tool", worker: "Worker" };
const VIEWS = { session: "sessions", tool: "tools", worker: "workers" };

const yesOrNo = (is) => (is ? "yes" : "no");
/** What is shown of /api/hub, if it is there: its title, and how it is written. */
const FACTS = {
  version: ["Version", String],
  python: ["Python", String],
  address: ["gRPC address", String],
  http_address: ["HTTP address", String],
  uptime_seconds: ["Uptime", (seconds) => duration(Math.floor(seconds) * 1e6).replace(/^[\d.]+ ms$/, "0 s").replace(/\.0+ s$/, " s")],
  serving: ["Accepts calls", (is) => (is ? "yes" : "no: starting or shutting down")],
  injects_faults: ["Injects faults", yesOrNo],
  active_calls: ["Calls in flight", count],
  sessions: ["Sessions", count],
  tools: ["Hub tools", count],
  workers: ["Workers", count],
  agent_runs: ["Agent runs", count],
  connections: ["Connections", count],
  event_watches: ["Event watches", count],
};

class LimitsView {
  constructor(app) {
    this.app = app;
    this.failed = h("p.bad", { role: "alert", hidden: true });
    this.summary = h("p.summary", null, "…");
    this.hub = h("dl.facts");
    this.facts = new Keyed(this.hub, {
      key: ([name]) => name,
      make: ([, title]) => { const value = h("dd"); return { element: h("div", null, h("dt", null, title), value), value }; },
      fill: ({ value }, [, , text]) => setText(value, text),
    });
    this.list = h("ul.meters", { "aria-label": "Limits, the fullest first" });
    this.meters = new Keyed(this.list, {
      key: ({ name, title, kind, of }) => JSON.stringify([name, title, kind, of]),
      make: (limit) => makeMeter(app, limit), fill: fillMeter,
    });
    this.search = h("input", { type: "search", autocomplete: "off", placeholder: "A limit, a session, a tool",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }) });
    this.root = h("section.view.limits", null,
      h("section.card", { "aria-label": "This hub" }, h("h2", null, "This hub"), this.hub),
      h("div.bar", null, h("h1", null, "Limits"), h("label", null, "Find ", this.search)),
      this.failed, this.summary, this.list,
      h("p.summary", null, "Settings are given to the hub in Python as Settings(max_sessions=…), in the environment as "
        + "TOOL_BRIDGE_MAX_SESSIONS=…, or in the file of --config as max_sessions = …; a tool's own limits override those for tools."));
    this.poll = new Poll(POLL_MS, () => this.read());
    this.onOpen = () => this.poll.now();
    app.events.addEventListener("open", this.onOpen);
  }

  show() {
    if (document.activeElement !== this.search) this.search.value = this.app.url.get("q");
    if (this.limits) this.draw();
  }

  close() {
    this.app.events.removeEventListener("open", this.onOpen);
    this.poll.stop();
  }

  async read() {
    try {
      const [{ limits }, hub] = await Promise.all([get("/api/limits"), get("/api/hub")]);
      this.limits = limits.sort((one, other) => partOf(other) - partOf(one) || other.waiting - one.waiting);
      this.facts.show(Object.entries(FACTS).filter(([name]) => isKnown(hub[name]))
        .map(([name, [title, written]]) => [name, title, written(hub[name])]));
      this.failed.hidden = true;
      this.draw();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.failed.hidden = false;
      setText(this.failed, `Not up to date: ${error.message} Trying again…`);
    }
  }

  draw() {
    const words = this.app.url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.limits.filter((limit) => words.every((word) =>
      `${limit.title} ${limit.name} ${limit.kind} ${limit.of}`.toLowerCase().includes(word)));
    this.meters.show(shown, words.join(" "));
    const near = this.limits.filter((limit) => partOf(limit) > NEAR).length;
    const told = near ? `${count(near)} of ${count(this.limits.length)} limits ${near === 1 ? "is" : "are"} reached or nearly reached` : "No limit is nearly reached";
    setText(this.summary, shown.length ? `${told}. Of the limits of single sessions, tools and workers, the fullest are listed.` : "No limit matches.");
  }
}

const isKnown = (value) => value !== null && value !== undefined && value !== "";

/** The part of a limit that is used; 0 where there is no limit. */
function partOf({ used, limit }) {
  return limit ? used / limit : 0;
}

function makeMeter(app, { name, title, kind, of }) {
  const bar = h("div.used");
  const meter = h("div.meter", { role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": of ? `${title}, ${kind} ${of}` : title }, bar);
  const numbers = h("span.numbers");
  const mark = h("strong.mark");
  const waiting = h("span.waits");
  const set = h("code");
  const link = of && Object.hasOwn(KINDS, kind) ? h("a", { href: app.url.href({ view: VIEWS[kind], [kind]: of }) }, `${KINDS[kind]} ${of}`) : null;
  const element = h("li.card", null,
    h("div.line", null, h("h3", null, title), link, mark, waiting, numbers), meter,
    h("p.what", null, set, " ", meaning(name)));
  return { element, bar, meter, numbers, mark, waiting, set };
}

function fillMeter({ element, bar, meter, numbers, mark, waiting, set }, limit) {
  const part = partOf(limit);
  const written = limit.unit === "bytes" ? bytes : count;
  const unit = limit.unit && limit.unit !== "bytes" ? ` ${limit.unit}` : "";
  const percent = part > 0 && part < 0.01 ? "<1%" : `${Math.floor(part * 100 + 1e-9)}%`;
  const text = limit.limit ? `${written(limit.used)} of ${written(limit.limit)}${unit} · ${percent}` : `${written(limit.used)}${unit}, without a limit`;
  const state = part >= 1 ? "full" : part > NEAR ? "near" : "";
  setAttribute(element, "data-fullness", state || null);
  setText(numbers, text);
  setText(mark, { full: "Full", near: "Nearly full", "": "" }[state]);
  setText(waiting, limit.waiting ? `${count(limit.waiting)} waiting` : "");
  setText(set, setting(limit.name));
  bar.style.inlineSize = `${Math.min(100, part * 100)}%`;
  setAttribute(meter, "aria-valuenow", String(Math.min(100, Math.floor(part * 100))));
  setAttribute(meter, "aria-valuetext", limit.waiting ? `${text}, ${count(limit.waiting)} waiting` : text);
}

export const open = (app) => new LimitsView(app);
