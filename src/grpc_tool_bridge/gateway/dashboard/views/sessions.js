// The sessions: all of them, and one with its variables.

import { h, setText } from "../dom.js";
import { ago, count, counted, oneLine, timeOf } from "../format.js";
import { ListView } from "../list_view.js";
import { MAX_ENTRIES } from "../live_list.js";
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
const byName = (a, b) => (a.session_id < b.session_id ? -1 : 1);
const highest = (name) => (a, b) => (a[name] < b[name] ? 1 : a[name] > b[name] ? -1 : byName(a, b));
const ORDERS = {
  activity: ["Last activity", highest("last_activity")],
  created: ["Created", highest("created_at")],
  name: ["Name", byName],
  calls: ["Calls in flight", highest("active_operations")],
};

class SessionsView extends ListView {
  constructor(app) {
    const order = h(
      "select",
      { onchange: () => app.url.go({ sort: order.value === "activity" ? "" : order.value }) },
      Object.entries(ORDERS).map(([value, [title]]) => h("option", { value }, title)),
    );
    super(app, {
      name: "sessions",
      title: "Sessions",
      placeholder: "A name, a metadata value",
      selection: "The selected session",
      columns: COLUMNS,
      live: {
        address: "/api/sessions",
        name: "sessions",
        key: (session) => session.session_id,
        kind: "session",
        last: "ended",
        every: EVERY_MS,
      },
      select: (session) => app.url.go({ session: session.session_id, variable: "", vq: "" }),
      bar: h("label", null, "Sort by ", order),
    });
    this.order = order;
    this.onEvent = ({ detail }) => {
      if (detail.session?.session_id === this.key) this.happened(detail.operation);
    };
    app.events.addEventListener("event", this.onEvent);
  }

  show() {
    const sort = this.app.url.get("sort");
    this.order.value = sort in ORDERS ? sort : "activity";
    super.show();
    this.beside?.show();
  }

  close() {
    this.app.events.removeEventListener("event", this.onEvent);
    super.close();
  }

  happened(operation) {
    // One that has ended may be there again, under the same name.
    if (operation === "started") this.open(this.key, true);
    else this.beside.read();
    this.beside.show();
  }

  selected() {
    return this.app.url.get("session");
  }

  panel(id) {
    return new SessionPanel(this.app, id);
  }

  texts(session) {
    return [session.session_id, ...Object.values(session.metadata)];
  }

  sort(sessions) {
    return sessions.sort(ORDERS[this.order.value][1]);
  }

  sum(found, all) {
    const busy = all.filter((session) => session.active_operations).length;
    const many = this.live.isCut ? `the first ${count(MAX_ENTRIES)} sessions` : counted(all.length, "session");
    return `${this.words().length ? `${count(found.length)} of ` : ""}${many} · ${count(busy)} active`;
  }

  nothing(hasWords) {
    return hasWords ? "No session matches." : "No sessions yet. A client opens one before it calls a tool.";
  }

  fill(cells, session) {
    setText(cells[0], session.session_id);
    setText(cells[1], count(session.active_operations));
    setText(cells[2], count(session.variable_count));
    setText(cells[3], ago(session.last_activity, this.app.events.now()));
    setText(cells[4], timeOf(session.created_at));
    setText(
      cells[5],
      oneLine(
        Object.entries(session.metadata)
          .map(([name, value]) => `${name}: ${value}`)
          .join(", "),
      ),
    );
  }
}

export const open = (app) => new SessionsView(app);
