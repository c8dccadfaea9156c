// The sessions: all of them, and one with its variables.

import { ChoiceField } from "../address_fields.js";
import { setText } from "../dom.js";
import { ago, count, oneLine, timeOf } from "../format.js";
import { ListView } from "../list_view.js";
import { url } from "../url.js";
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
  { title: "Hub", name: "of-hub" },
];
const byName = (a, b) => (a.session_id < b.session_id ? -1 : 1);
const highest = (name) => (a, b) => (a[name] < b[name] ? 1 : a[name] > b[name] ? -1 : byName(a, b));
const ORDERS = {
  activity: highest("last_activity"),
  created: highest("created_at"),
  name: byName,
  calls: highest("active_operations"),
};
const TITLES = { activity: "Last activity", created: "Created", name: "Name", calls: "Calls in flight" };

class SessionsView extends ListView {
  constructor(app) {
    const order = new ChoiceField("Sort by", "sort", TITLES, "activity");
    super(app, {
      name: "sessions",
      title: "Sessions",
      placeholder: "A name, a metadata value",
      selection: "The selected session",
      closes: { session: "", variable: "", vq: "" },
      columns: COLUMNS,
      live: {
        address: "/api/sessions",
        name: "sessions",
        key: (session) => session.session_id,
        kind: "session",
        last: "ended",
        every: EVERY_MS,
      },
      select: (session) => url.go({ session: session.session_id, variable: "", vq: "" }),
      fields: [order],
    });
    this.order = order;
    this.onEvent = ({ detail }) => {
      if (detail.session?.session_id === this.key) this.happened(detail.operation);
    };
    app.events.addEventListener("event", this.onEvent);
  }

  close() {
    this.app.events.removeEventListener("event", this.onEvent);
    super.close();
  }

  happened(operation) {
    // One that has ended may be there again, under the same name.
    if (operation === "started") this.open(this.key, true);
    else this.panelShown.read();
  }

  selected() {
    return url.get("session");
  }

  panel(id) {
    return new SessionPanel(this.app, id);
  }

  texts(session) {
    return [session.session_id, this.hubOf(session), ...Object.values(session.metadata)];
  }

  sort(sessions) {
    return sessions.sort(ORDERS[this.order.value]);
  }

  sum(found, all) {
    const busy = all.filter((session) => session.active_operations).length;
    return `${this.counted(found, all, "session")} · ${count(busy)} active`;
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
    setText(cells[6], this.hubOf(session));
  }
}

export const open = (app) => new SessionsView(app);
