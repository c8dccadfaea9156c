// The sessions: all of them, and one with its variables.

import { atMost, h, replace, setText } from "../dom.js";
import { failure } from "../failure.js";
import { ago, clock, count, counted, oneLine } from "../format.js";
import { LiveList, MAX_ENTRIES } from "../live_list.js";
import { VirtualList } from "../virtual_list.js";
import { SessionPanel } from "./session_panel.js";

/** Milliseconds between two questions for what events do not tell: calls in flight, last activity. */
const EVERY_MS = 4_000;
const COLUMNS = [
  { title: "Session", name: "name" },
  { title: "In flight", name: "number" },
  { title: "Variables", name: "number.variables" },
  { title: "Last activity", name: "time.active" },
  { title: "Created", name: "time.started" },
  { title: "Metadata", name: "metadata" },
];
const newest = (name) => (a, b) => (a[name] < b[name] ? 1 : a[name] > b[name] ? -1 : byName(a, b));
const byName = (a, b) => (a.session_id < b.session_id ? -1 : 1);
const ORDERS = {
  activity: ["Last activity", newest("last_activity")],
  created: ["Created", newest("created_at")],
  name: ["Name", byName],
  calls: ["Calls in flight", newest("active_operations")],
};

class SessionsView {
  constructor(app) {
    this.app = app;
    this.panel = null;
    this.sessions = new LiveList(app, { address: "/api/sessions", name: "sessions", key: (session) => session.session_id,
      kind: "session", last: "ended", every: EVERY_MS });
    this.search = h("input", { type: "search", placeholder: "A name, a metadata value", autocomplete: "off",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }) });
    this.sort = h("select", { onchange: () => app.url.go({ sort: this.sort.value === "activity" ? "" : this.sort.value }) },
      Object.entries(ORDERS).map(([value, [title]]) => h("option", { value }, title)));
    this.summary = h("p.summary");
    this.problem = h("div");
    this.list = new VirtualList({
      label: "Sessions", columns: COLUMNS, fill: (cells, session, element) => this.fill(cells, session, element),
      key: (session) => session.session_id, empty: "No sessions.",
      onSelect: (session) => app.url.go({ session: session.session_id, variable: "", vq: "" }),
    });
    this.place = h("aside.detail", { "aria-label": "The selected session", hidden: true });
    this.root = h("section.view.sessions", null, h("h1.hidden", null, "Sessions"),
      h("div.bar", null, h("label", null, "Find ", this.search), h("label", null, "Sort by ", this.sort)),
      this.summary, this.problem, h("div.split", null, this.list.holder, this.place));
    this.refresh = atMost(200, () => this.draw());
    this.sessions.addEventListener("change", this.refresh);
    this.onEvent = ({ detail }) => { if (detail.session) this.happened(detail); };
    app.events.addEventListener("event", this.onEvent);
    // Times go on although nothing happens.
    this.ticking = setInterval(() => this.list.draw(), 1_000);
  }

  show() {
    const { url } = this.app;
    if (document.activeElement !== this.search) this.search.value = url.get("q");
    this.sort.value = url.get("sort") in ORDERS ? url.get("sort") : "activity";
    this.open(url.get("session"));
    this.panel?.show();
    this.draw();
  }

  close() {
    this.closed = true;
    clearInterval(this.ticking);
    this.app.events.removeEventListener("event", this.onEvent);
    this.panel?.close();
    this.sessions.close();
    this.list.close();
  }

  open(id, again = false) {
    if ((this.panel?.id ?? "") === id && !again) return;
    const hadFocus = this.place.contains(document.activeElement) || this.list.root.contains(document.activeElement);
    this.panel?.close();
    this.panel = id ? new SessionPanel(this.app, id) : null;
    replace(this.place, this.panel?.root);
    this.place.hidden = !id;
    this.place.scrollTop = 0;
    // On a narrow screen one takes the place of the other.
    if (hadFocus && !this.list.root.offsetParent) this.panel?.heading.focus();
    else if (hadFocus && !id) this.list.root.focus();
  }

  happened({ operation, session }) {
    if (session.session_id !== this.panel?.id) return;
    // One that has ended may be there again, under the same name.
    if (operation === "started") this.open(this.panel.id, true);
    else this.panel.read();
    this.panel.show();
  }

  draw() {
    if (this.closed) return;
    const { url } = this.app;
    const words = url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...this.sessions.entries.values()];
    const found = words.length ? all.filter((session) => words.every((word) => says(session, word))) : all;
    found.sort(ORDERS[this.sort.value][1]);
    setText(this.list.empty, !this.sessions.loaded ? "Asking the hub…" : words.length ? "No session has these words." : "No sessions. A client opens one before it calls a tool.");
    this.list.show(found);
    this.list.select(url.get("session"));
    const busy = all.filter((session) => session.active_operations).length;
    const many = this.sessions.isCut ? `The first ${count(MAX_ENTRIES)} sessions` : counted(all.length, "session");
    setText(this.summary, `${words.length ? `${count(found.length)} of ` : ""}${many} · ${count(busy)} with calls or watches in flight`);
    this.drawProblem();
  }

  drawProblem() {
    const { error } = this.sessions;
    if (error === this.problemShown) return;
    this.problemShown = error;
    replace(this.problem, error ? failure(error.info, this.sessions.loaded ? "The list is as it was before." : "") : null);
  }

  fill(cells, session, element) {
    const now = this.app.events.now();
    element.dataset.busy = session.active_operations > 0;
    setText(cells[0], session.session_id);
    setText(cells[1], count(session.active_operations));
    setText(cells[2], count(session.variable_count));
    setText(cells[3], ago(session.last_activity, now));
    setText(cells[4], clock(session.created_at).replace(/\.\d+$/, ""));
    setText(cells[5], oneLine(Object.entries(session.metadata).map(([name, value]) => `${name}: ${value}`).join(", ")));
  }
}

function says(session, word) {
  return session.session_id.toLowerCase().includes(word)
    || Object.values(session.metadata).some((value) => value.toLowerCase().includes(word));
}

export const open = (app) => new SessionsView(app);
