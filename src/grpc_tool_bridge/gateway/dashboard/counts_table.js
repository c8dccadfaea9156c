// The tools, or the workers, with their counts of the last ten minutes.

import { SearchField } from "./address_fields.js";
import { get } from "./api.js";
import { h, setAttribute, setText } from "./dom.js";
import { count, counted, milliseconds, percent, rate } from "./format.js";
import { Keyed } from "./keyed.js";
import { url } from "./url.js";

const LIMIT = 100;
const MOST = 1_000;
// What the hub sorts by; it has no order for the others.
const COLUMNS = [
  { name: "name", title: "Name", sort: "name" },
  { name: "calls", title: "Calls", sort: "calls" },
  { name: "rate", title: "Per second" },
  { name: "errors", title: "Errors", sort: "errors" },
  { name: "p50", title: "p50", sort: "p50" },
  { name: "p95", title: "p95", sort: "p95" },
  { name: "p99", title: "p99", sort: "p99" },
  { name: "active", title: "In flight" },
];
const KINDS = { tools: "Tools", workers: "Workers" };

/** The table; what is found, sorted and shown stands in the address. */
export class CountsTable {
  constructor() {
    this.asked = 0;
    this.tabs = Object.entries(KINDS).map(([kind, title]) => h("a", { "data-kind": kind }, title));
    this.search = new SearchField("A part of a name", "find");
    this.heads = COLUMNS.map((column) => this.makeHead(column));
    const body = h("tbody");
    this.rows = new Keyed(body, { key: ({ name }) => name, make: () => this.makeRow(), fill: (row, counts) => this.fill(row, counts) });
    this.note = h("p.summary", null, "…");
    this.more = h("a", { hidden: true });
    this.root = h(
      "section.card.counts",
      { "aria-label": "Tools and workers" },
      h("div.bar", null, h("nav.choice", { "aria-label": "What is counted" }, this.tabs), this.search.root),
      h(
        "div.scroll",
        { tabindex: 0, role: "region", "aria-label": "Counts of the last ten minutes" },
        h(
          "table",
          null,
          h("caption.hidden", null, "Counts of the last ten minutes"),
          h(
            "thead",
            null,
            h(
              "tr",
              null,
              this.heads.map(({ element }) => element),
            ),
          ),
          body,
        ),
      ),
      h("div.bar", null, this.note, this.more),
    );
  }

  get kind() {
    return url.get("table") === "workers" ? "workers" : "tools";
  }

  get sort() {
    return COLUMNS.find(({ sort }) => sort && sort === url.get("sort"))?.sort ?? "calls";
  }

  get limit() {
    return url.get("limit") ? MOST : LIMIT;
  }

  /** What the hub is asked for; another text: another table. */
  get query() {
    return { sort: this.sort, limit: this.limit, find: url.get("find") };
  }

  makeHead({ name, title, sort }) {
    const link = sort ? h("a", null, title) : title;
    return { element: h(`th.${name}`, { scope: "col" }, link), link, sort };
  }

  makeRow() {
    const link = h("a");
    const cells = COLUMNS.slice(1).map(({ name }) => h(`td.${name}`));
    return { element: h("tr", null, h("th.name", { scope: "row" }, link), cells), link, cells };
  }

  fill({ element, link, cells }, counts) {
    const one = this.kind === "tools" ? "tool" : "worker";
    setText(link, counts.name);
    setAttribute(link, "href", url.href({ tool: "", worker: "", [one]: counts.name }));
    setAttribute(element, "aria-current", url.get(one) === counts.name ? "true" : null);
    const errors = counts.errors ? `${count(counts.errors)} (${percent(counts.errors, counts.calls)})` : "0";
    const texts = [count(counts.calls), rate(counts.calls / this.seconds), errors,
      ...[counts.p50_ms, counts.p95_ms, counts.p99_ms].map(milliseconds), count(counts.active)];
    for (const [index, cell] of cells.entries()) setText(cell, texts[index]);
    cells[2].classList.toggle("bad", counts.errors > 0);
  }

  /** Follows the address. */
  show() {
    for (const tab of this.tabs) {
      tab.href = url.href({ table: tab.dataset.kind === "tools" ? "" : tab.dataset.kind, find: "", limit: "" });
      setAttribute(tab, "aria-current", tab.dataset.kind === this.kind ? "true" : null);
    }
    this.search.follow();
    for (const { element, link, sort } of this.heads) {
      if (!sort) continue;
      link.href = url.href({ sort: sort === "calls" ? "" : sort });
      const order = sort === "name" ? "ascending" : "descending";
      setAttribute(element, "aria-sort", sort === this.sort ? order : null);
    }
    if (this.told) this.draw();
  }

  /** Asks the hub, and shows the answer unless something else is wanted by then. */
  async read() {
    const turn = ++this.asked;
    const { kind, query } = this;
    const told = await get(`/api/history/${kind}`, query);
    if (turn !== this.asked) return;
    this.told = { kind, rows: told[kind], count: told.count, order: JSON.stringify([kind, query]), limit: query.limit };
    this.seconds = Math.max(1, told.seconds);
    this.draw();
  }

  draw() {
    const { kind, rows, count: all, order, limit } = this.told;
    if (kind !== this.kind) return;
    this.rows.show(rows, order);
    const one = kind === "tools" ? "tool" : "worker";
    const found = url.get("find") ? " with this in the name" : "";
    if (!rows.length) setText(this.note, `No ${one} ${found ? "with this in its name " : ""}had a call in the last ten minutes.`);
    else if (all > rows.length) setText(this.note, `${count(rows.length)} of ${counted(all, one)}${found}, over the last ten minutes`);
    else setText(this.note, `${counted(rows.length, one)}${found}, over the last ten minutes`);
    this.more.hidden = !(all > rows.length && limit < MOST) && limit < MOST;
    this.more.href = url.href({ limit: limit < MOST ? "all" : "" });
    setText(this.more, limit < MOST ? "Show all" : `Show only ${count(LIMIT)}`);
  }
}
