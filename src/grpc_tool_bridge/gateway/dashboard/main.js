// The page: its views, what they share, and what holds for all of them.

import { access, all, get, send } from "./api.js";
import { Calls } from "./calls.js";
import { h, replace, setText } from "./dom.js";
import { Events } from "./events.js";
import { Poll } from "./poll.js";
import { url } from "./url.js";

const VIEWS = {
  calls: ["Calls", () => import("./views/calls.js")],
  tools: ["Tools", () => import("./views/tools.js")],
  sessions: ["Sessions", () => import("./views/sessions.js")],
  approvals: ["Approvals", () => import("./views/approvals.js")],
  workers: ["Workers", () => import("./views/workers.js")],
  hubs: ["Hubs", () => import("./views/hubs.js")],
  agents: ["Agents", () => import("./views/agents.js")],
  performance: ["Performance", () => import("./views/performance.js")],
  limits: ["Limits", () => import("./views/limits.js")],
};
/** Calls in flight that are listed when the page is opened; and of a poll, how many, how often, and from which age on. */
const MOST_RUNNING = 1_000;
const MOST_POLLED = 200;
const POLL_MS = 3_000;
const LONG_MS = 2_000;
const STATES = {
  connecting: "Connecting…",
  live: "Live",
  lost: "Connection lost, trying again…",
  paused: "Paused",
  refused: "Not logged in",
};

// Instead of a view that could not be loaded.
const MISSING = {
  open: () => {
    const root = h("p.bad", null, "This view could not be loaded from the hub. Reload the page when the hub is back.");
    return { root, show() {}, close() {} };
  },
};

const byId = (id) => document.getElementById(id);

/**
 * What every view gets. A view is a module with `open(app)`, which returns { root, show(), close() }: an element, what is
 * called when the address has changed, and when another view is opened.
 */
const app = {
  events: new Events(),
  calls: new Calls(),
  /** Lists calls that had ended before the page was opened, of one tool, session or worker: { tool: "add" }. */
  listEnded,
  /** Says something to those who listen rather than look. */
  say: (text) => setText(byId("said"), text),
};
let shown = null;
let asked = 0;
/** How many calls had been left out at the last polls. */
const omittedAt = [0, 0];

async function show() {
  document.documentElement.dataset.theme = byId("theme").value = url.get("theme");
  const name = Object.hasOwn(VIEWS, url.view) ? url.view : "calls";
  for (const link of byId("views").children) {
    link.href = url.href({ view: link.dataset.view });
    if (link.dataset.view === name) {
      link.setAttribute("aria-current", "page");
      // On a narrow screen the names of the views scroll.
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    else link.removeAttribute("aria-current");
  }
  if (shown?.name === name) {
    shown.view.show();
    return;
  }
  const turn = ++asked;
  const [title, load] = VIEWS[name];
  const module = await load().catch(() => null);
  if (turn !== asked) return;
  const isFirst = shown === null;
  shown?.view.close();
  shown = { name, view: (module ?? MISSING).open(app) };
  document.title = `${title} · gRPC tool bridge`;
  replace(byId("main"), shown.view.root);
  shown.view.show();
  if (!isFirst) app.say(title);
}

function drawState() {
  // Lists have the hub of each entry where there are others.
  document.documentElement.toggleAttribute("data-cluster", Boolean(app.events.hub?.name));
  const element = byId("link-state");
  element.className = app.events.state;
  setText(element, STATES[app.events.state]);
  // Where a token is required, a browser can only be here because it has logged in.
  byId("logout").hidden = !app.events.hub?.needs_token;
  if (app.events.state === "refused") askToLogIn();
  else replace(byId("banner"));
}

function askToLogIn() {
  // Somebody may have the focus there.
  if (byId("banner").hasChildNodes()) return;
  replace(byId("banner"), h("p", null, "The hub asks for its token again. "),
    h("button", { type: "button", onclick: () => location.reload() }, "Log in"));
}

async function list(query, most, given) {
  const known = new Set(app.calls.running);
  const { epoch } = app.events;
  const found = [];
  for await (const call of all("/api/calls", "calls", { page_size: most, ...query }, { most })) found.push(call);
  if (epoch === app.events.epoch) app.calls.reconcile(found, known, { isWhole: found.length < most, ...given });
}

async function listEnded(query = {}) {
  const { epoch } = app.events;
  for (const kind of ["failed", "slow"]) {
    const found = await get("/api/history/calls", { kind, arguments: "true", ...query });
    if (epoch === app.events.epoch) app.calls.takeAll(found.calls);
  }
}

async function listAll() {
  await list({ arguments: "true" }, MOST_RUNNING);
  await listEnded();
}

/** Looks for calls that were left out but run for long, and for the end of what no event tells of. */
async function poll() {
  if (app.events.state !== "live") return;
  const { omitted, hasUnwatched } = app.calls;
  omittedAt.push(omitted);
  // What was left out before the last time may be going on for long only now.
  if (omittedAt.shift() !== omitted || hasUnwatched) {
    // The oldest come first, so a few are enough.
    await list({}, MOST_POLLED, { startedBefore: app.events.now() - LONG_MS }).catch(() => {});
  }
}

function start() {
  for (const [name, [title]] of Object.entries(VIEWS)) byId("views").append(h("a", { "data-view": name }, title));
  byId("theme").addEventListener("change", (event) => url.go({ theme: event.target.value }, { replace: true }));
  byId("logout").addEventListener("click", async () => {
    await send("POST", "/api/logout", {}).catch(() => {});
    location.reload();
  });
  access.addEventListener("login", askToLogIn);
  app.events.addEventListener("state", drawState);
  app.events.addEventListener("event", ({ detail, text }) => app.calls.take(detail, text));
  app.events.addEventListener("open", () => {
    app.calls.begin(app.events.epoch);
    // What cannot be listed now is listed when the connection is back.
    listAll().catch(() => {}).finally(() => app.calls.listed());
  });
  url.addEventListener("change", show);
  show();
  drawState();
  app.events.connect();
  new Poll(app.events, POLL_MS, poll);
}

start();
