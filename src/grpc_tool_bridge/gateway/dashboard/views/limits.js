// The limits of the hub, the fullest first, and what the hub is.

import { SearchField } from "../address_fields.js";
import { get } from "../api.js";
import { Facts, h, setAttribute, setText } from "../dom.js";
import { Problem } from "../failure.js";
import { bytes, count, duration } from "../format.js";
import { Keyed } from "../keyed.js";
import { meaning, setting } from "../limit_meanings.js";
import { Poll } from "../poll.js";
import { link } from "../url.js";

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
  durable: ["Keeps sessions", (is) => (is ? "in a store, when it restarts, too" : "until it ends")],
  store_failure: ["Store failure", (failure) => failure || "none"],
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
    this.problem = new Problem();
    this.summary = h("p.summary", null, "…");
    this.facts = new Facts(Object.values(FACTS).map(([title]) => title));
    this.list = h("ul.meters", { "aria-label": "Limits, the fullest first" });
    this.meters = new Keyed(this.list, {
      key: ({ name, title, kind, of }) => JSON.stringify([name, title, kind, of]),
      make: makeMeter,
      fill: fillMeter,
    });
    this.search = new SearchField("A limit, a session, a tool");
    this.root = h(
      "section.view.limits",
      null,
      h("section.card", { "aria-label": "This hub" }, h("h2", null, "This hub"), this.facts.root),
      h("div.bar", null, h("h1", null, "Limits"), this.search.root),
      this.problem.root,
      this.summary,
      this.list,
      h(
        "p.summary",
        null,
        "Settings are given to the hub in Python as Settings(max_sessions=…), in the environment as " +
          "TOOL_BRIDGE_MAX_SESSIONS=…, or in the file of --config as max_sessions = …; a tool's own limits override those for tools.",
      ),
    );
    this.poll = new Poll(app.events, POLL_MS, () => this.read());
  }

  show() {
    this.search.follow();
    if (this.limits) this.draw();
  }

  close() {
    this.poll.stop();
  }

  async read() {
    try {
      const [{ limits }, hub] = await Promise.all([get("/api/limits"), get("/api/hub")]);
      this.limits = limits.sort((one, other) => partOf(other) - partOf(one) || other.waiting - one.waiting);
      const known = Object.entries(FACTS).filter(([name]) => (hub[name] ?? "") !== "");
      this.facts.set(Object.fromEntries(known.map(([name, [title, written]]) => [title, written(hub[name])])));
      this.problem.show(null);
      this.draw();
    } catch (error) {
      this.problem.show(error, "Not up to date. Trying again…");
    }
  }

  draw() {
    const shown = this.search.found(this.limits, (limit) => [limit.title, limit.name, limit.kind, limit.of]);
    this.meters.show(shown, this.search.words.join(" "));
    const near = this.limits.filter((limit) => partOf(limit) > NEAR).length;
    const told = near ? `${count(near)} of ${count(this.limits.length)} limits ${near === 1 ? "is" : "are"} reached or nearly reached` : "No limit is nearly reached";
    setText(this.summary, shown.length ? `${told}. Of the limits of single sessions, tools and workers, the fullest are listed.` : "No limit matches.");
  }
}

/** The part of a limit that is used; 0 where there is no limit. */
function partOf({ used, limit }) {
  return limit ? used / limit : 0;
}

function makeMeter({ name, title, kind, of }) {
  const bar = h("div.used");
  const meter = h("div.meter", { role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": of ? `${title}, ${kind} ${of}` : title }, bar);
  const numbers = h("span.numbers");
  const mark = h("strong.mark");
  const waiting = h("span.waits");
  const set = h("code");
  const owner = of && Object.hasOwn(KINDS, kind) ? link(`${KINDS[kind]} ${of}`, { view: VIEWS[kind], [kind]: of }) : null;
  const element = h(
    "li.card",
    null,
    h("div.line", null, h("h3", null, title), owner, mark, waiting, numbers),
    meter,
    h("p.what", null, set, " ", meaning(name)),
  );
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
