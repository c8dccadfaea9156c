// The variables of a session, as they change.

import { SearchField } from "../address_fields.js";
import { ofVariable, send } from "../api.js";
import { ask } from "../dialog.js";
import { atMost, button, h, setText } from "../dom.js";
import { written } from "../fields.js";
import { count, counted, timeOf } from "../format.js";
import { url } from "../url.js";
import { VirtualList } from "../virtual_list.js";
import { MARK_MS, WatchedVariables } from "../watched_variables.js";
import { VariablePanel } from "./variable_panel.js";

const COLUMNS = [
  { title: "Name", name: "name" },
  { title: "Value", name: "value" },
  { title: "Type", name: "type" },
  { title: "Revision", name: "number.revision" },
  { title: "Updated", name: "time.updated" },
];

/** The list of the variables of a session, and the one that is selected. */
export class VariablesPanel {
  constructor(app, session) {
    this.app = app;
    this.session = session;
    this.panel = null;
    this.store = new WatchedVariables(session, () => app.events.now());
    this.title = h("h3", null, "Variables");
    this.search = new SearchField("A name", "vq");
    this.state = h("p.summary");
    this.list = new VirtualList({
      label: "Variables",
      columns: COLUMNS,
      fill: (cells, entry, element) => this.fill(cells, entry, element),
      key: (entry) => entry.name,
      empty: "No variables.",
      onSelect: (entry) => url.go({ variable: entry.name }),
    });
    this.place = h("div");
    this.root = h(
      "section.variables",
      { "aria-label": "Variables" },
      h(
        "div.bar",
        null,
        this.title,
        this.search.root,
        button("New…", () => this.create(), ".quiet"),
      ),
      this.state,
      this.list.holder,
      this.place,
    );
    this.refresh = atMost(150, () => this.draw());
    this.store.addEventListener("change", () => {
      this.refresh();
      this.later();
    });
    // A page that nobody sees watches nothing.
    this.onState = () => this.store.pause(app.events.state === "paused");
    app.events.addEventListener("state", this.onState);
  }

  show() {
    this.search.follow();
    const name = url.get("variable");
    if (name !== (this.panel?.name ?? "")) {
      this.panel?.root.remove();
      this.panel = name ? new VariablePanel(this.app, this.session, name, this.store) : null;
      if (this.panel) this.place.append(this.panel.root);
    }
    this.draw();
  }

  close() {
    this.closed = true;
    this.app.events.removeEventListener("state", this.onState);
    clearTimeout(this.marks);
    this.store.close();
    this.list.close();
  }

  /** What is marked is so for some seconds only. */
  later() {
    clearTimeout(this.marks);
    this.marks = setTimeout(() => {
      this.store.forget();
      this.draw();
    }, MARK_MS + 50);
  }

  draw() {
    if (this.closed) return;
    this.store.forget();
    const isSearched = this.search.words.length > 0;
    const all = [...this.store.entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const found = this.search.found(all, (entry) => [entry.name]);
    this.list.holder.style.height = `${Math.min(10, Math.max(3, found.length + 1)) * this.list.rowHeight + 18}px`;
    this.list.show(found);
    this.list.select(url.get("variable"));
    setText(this.list.empty, isSearched ? "No variable matches." : "No variables.");
    setText(this.title, `Variables (${count(this.store.count)})`);
    const few = isSearched ? `${counted(found.length, "variable")} found · ` : "";
    const live = `${few}Live. The session does not expire while this is open.`;
    setText(this.state, this.store.ended ? "No longer watched." : this.store.isLive ? live : "Connecting…");
    this.panel?.update();
  }

  fill(cells, entry, element) {
    const marked = this.store.isMarked(entry);
    element.dataset.change = entry.deletedAt !== null ? "deleted" : marked ? "changed" : "";
    setText(cells[0], `${marked ? "● " : ""}${entry.name}`);
    setText(cells[1], entry.deletedAt !== null ? "deleted" : entry.secret ? "secret" : entry.line);
    setText(cells[2], entry.details?.type ?? "");
    setText(cells[3], count(entry.revision));
    setText(cells[4], timeOf(entry.deletedAt ?? entry.updatedAt));
  }

  create() {
    const name = h("input", { type: "text", required: true, maxlength: 256, autocomplete: "off" });
    const value = written({ "aria-label": "Value (JSON)" }, { rows: 3 });
    const secret = h("input", { type: "checkbox" });
    return ask({
      title: "New variable",
      action: "Create",
      body: [
        h("label.field", null, "Name", name),
        h("div.field", null, "Value (JSON)", value.root),
        h("label.check", null, secret, " Secret: its value is not shown in the dashboard, listings and logs."),
      ],
      work: async () => {
        const body = `{"value":${value.control.value},"metadata":${secret.checked ? '{"secret":true}' : "{}"}}`;
        // Only if there is none.
        await send("PUT", ofVariable(this.session, name.value), body, { headers: { "If-Match": "0" } });
        this.app.say("The variable was created.");
        url.go({ variable: name.value });
      },
    });
  }
}
