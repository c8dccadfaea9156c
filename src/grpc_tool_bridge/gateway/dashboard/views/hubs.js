// The hubs of the cluster: which serve, how they are linked, and who has what.

import { Facts, h, replace, setAttribute, setText } from "../dom.js";
import { ago, count, counted, cut, moment, oneLine, timeOf } from "../format.js";
import { ListView } from "../list_view.js";
import { link, url } from "../url.js";

/** Milliseconds between two questions; no event tells of hubs. */
const EVERY_MS = 3_000;
const STATES = {
  serving: ["●", "serving", "It serves its clients, and renews its lease."],
  silent: ["◌", "silent", "It renews its lease, but did not answer the hub of this page. What it has is missing in all views."],
  "not serving": ["◐", "not serving", "It starts, or drains before it ends."],
  "cut off": ["◌", "cut off", "It cannot reach the store of the cluster, or has not been seen there lately. It serves no sessions."],
  gone: ["✕", "gone", "It has ended, or was declared dead. Other hubs take its sessions."],
};
const LINKS = { linked: "linked", connecting: "connecting…", refused: "refused" };
const COLUMNS = [
  { title: "State", name: "state" },
  { title: "Hub", name: "name" },
  { title: "Address", name: "address" },
  { title: "Sessions", name: "number" },
  { title: "Workers", name: "number.held" },
  { title: "Tools", name: "number.offers" },
  { title: "In flight", name: "number.calls" },
  { title: "Link", name: "linked" },
  { title: "Started", name: "time.started" },
];

class HubsView extends ListView {
  constructor(app) {
    super(app, {
      name: "hubs",
      title: "Hubs",
      placeholder: "A name, an address",
      selection: "The selected hub",
      closes: { hub: "" },
      columns: COLUMNS,
      live: { address: "/api/hubs", name: "hubs", key: keyOf, every: EVERY_MS },
      select: (hub) => url.go({ hub: keyOf(hub) }),
    });
  }

  selected() {
    return url.get("hub");
  }

  panel(key) {
    return new HubPanel(this.app, key, this.live);
  }

  texts(hub) {
    return [hub.name, hub.address, hub.incarnation, stateOf(hub, this.live)];
  }

  sort(hubs) {
    const order = (hub) => `${hub.name}\n${hub.started_at ?? ""}`;
    return hubs.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  }

  sum() {
    const all = [...this.live.entries.values()];
    const sum = (name) => all.reduce((sum, hub) => sum + Number(hub[name]), 0);
    const serving = all.filter((hub) => stateOf(hub, this.live) === "serving").length;
    return [
      counted(all.filter(({ state }) => state !== "gone").length, "hub"),
      `${count(serving)} serving`,
      counted(sum("sessions"), "session"),
      counted(sum("active_calls"), "call in flight", "calls in flight"),
    ].join(" · ");
  }

  nothing(hasWords) {
    return hasWords ? "No hub matches." : "No hubs.";
  }

  fill(cells, hub, element) {
    const [mark, word] = wordsOf(hub, this.live);
    element.dataset.state = stateOf(hub, this.live);
    setText(cells[0], `${mark} ${word}`);
    setText(cells[1], hub.is_self ? `${hub.name} (this page)` : hub.name);
    setText(cells[2], hub.address);
    const isKnown = Boolean(hub.time);
    setText(cells[3], isKnown ? count(hub.sessions) : "");
    setText(cells[4], isKnown ? count(hub.workers) : "");
    setText(cells[5], isKnown ? count(hub.tools) : "");
    setText(cells[6], isKnown ? count(hub.active_calls) : "");
    setText(cells[7], LINKS[hub.link] ?? hub.link);
    setText(cells[8], hub.started_at ? timeOf(hub.started_at) : "");
  }
}

/** A hub without a cluster has no incarnation. */
const keyOf = (hub) => hub.incarnation || hub.name;

/** Returns the state of a hub; "silent": it should have answered. */
const stateOf = (hub, live) => (hub.state === "serving" && live.missing.includes(hub.name) ? "silent" : hub.state);

const wordsOf = (hub, live) => STATES[stateOf(hub, live)] ?? ["?", hub.state, ""];

/** The hub that is selected. */
class HubPanel {
  constructor(app, key, live) {
    Object.assign(this, { app, key, live });
    this.title = key;
    this.state = h("p.state", { role: "status" });
    this.facts = new Facts([
      "Why", "Address", "Dashboard", "Version", "Started", "Incarnation", "Sessions", "Workers", "Tools", "Calls in flight",
      "Room for calls", "Link", "Clock",
    ]);
    this.links = h("p.links");
    this.root = h("div", null, this.state, this.links, this.facts.root);
  }

  close() {}

  update() {
    const hub = this.live.entries.get(this.key);
    this.facts.root.hidden = this.links.hidden = !hub;
    setAttribute(this.root, "data-state", hub ? stateOf(hub, this.live) : "gone");
    if (!hub) {
      setText(this.state, this.live.loaded ? "No such hub. It may have gone before this page was opened." : "Loading…");
      return;
    }
    this.title = hub.name;
    const [mark, word, meaning] = wordsOf(hub, this.live);
    setText(this.state, `${mark} ${word}. ${meaning}`);
    const isKnown = Boolean(hub.time);
    const numbers = { Sessions: hub.sessions, Workers: hub.workers, Tools: hub.tools, "Calls in flight": hub.active_calls };
    this.facts.set({
      ...(isKnown ? Object.fromEntries(Object.entries(numbers).map(([name, number]) => [name, count(number)])) : {}),
      Why: oneLine(hub.reason, 500),
      Address: hub.address,
      Dashboard: isWeb(hub.http_url) && !hub.is_self ? { text: cut(hub.http_url, 200), href: hub.http_url } : cut(hub.http_url, 200),
      Version: hub.version,
      Started: hub.started_at ? `${moment(hub.started_at)}, ${ago(hub.started_at, this.app.events.now())}` : "",
      Incarnation: hub.incarnation,
      "Room for calls": hub.room ? count(hub.room) : "",
      Link: oneLine([LINKS[hub.link] ?? hub.link, hub.link_error].filter(Boolean).join(": "), 500),
      Clock: isKnown && !hub.is_self ? ahead(Number(hub.clock_ahead_us)) : "",
    });
    if (this.linksOf === hub.name) return;
    this.linksOf = hub.name;
    replace(
      this.links,
      [["Sessions", "sessions"], ["Workers", "workers"]].map(([text, view]) => link(text, { view, q: hub.name })),
    );
  }
}

/** Whether an address may be linked to; another hub has told it. */
const isWeb = (address) => /^https?:\/\//.test(address);

function ahead(microseconds) {
  const seconds = Math.abs(microseconds) / 1e6;
  return `${seconds.toFixed(3)} s ${microseconds < 0 ? "behind" : "ahead of"} the hub of this page`;
}

export const open = (app) => new HubsView(app);
