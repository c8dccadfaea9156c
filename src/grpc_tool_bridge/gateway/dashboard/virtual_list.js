// A list of any length, of which only the rows in sight are elements.

import { eachFrame, h, setAttribute } from "./dom.js";

let lists = 0;

/**
 * A grid with one row for each entry, by keyboard and by pointer.
 *
 * It is a table to a screen reader, which is told how many rows there are and which one is current.
 */
export class VirtualList {
  /**
   * @param {object} given
   * @param {string} given.label What it lists.
   * @param {{title: string, name: string}[]} given.columns Its columns; `name` is the class of their cells.
   * @param {function(HTMLElement[], *): void} given.fill Writes an entry into the cells of a row.
   * @param {function(*): string} given.key Returns what tells an entry from others.
   * @param {function(*): void} given.onSelect Called when somebody chooses an entry.
   * @param {string} [given.empty] What is said where there are no entries.
   * @param {number} [given.rowHeight] In pixels; that of the style sheet's `.row`.
   */
  constructor({ label, columns, fill, key, onSelect, empty = "Nothing here.", rowHeight = 34 }) {
    this.columns = columns;
    this.fill = fill;
    this.key = key;
    this.onSelect = onSelect;
    this.rowHeight = rowHeight;
    this.id = `list${++lists}`;
    this.entries = [];
    this.selected = "";
    this.rows = [];
    this.current = -1;
    this.head = h("div.row.head", { role: "row", "aria-rowindex": 1 },
      columns.map(({ title, name }) => h(`div.${name}`, { role: "columnheader" }, title)));
    this.space = h("div.space", { role: "presentation" });
    this.empty = h("p.empty", { hidden: true }, empty);
    this.body = h("div.body", { role: "rowgroup" }, this.space);
    this.root = h("div.list", { role: "grid", "aria-label": label, tabindex: 0,
      onkeydown: (event) => this.pressed(event), onclick: (event) => this.clicked(event) }, this.head, this.body);
    this.holder = h("div.listing", null, this.root, this.empty);
    this.draw = eachFrame(() => this.drawn());
    this.root.addEventListener("scroll", this.draw, { passive: true });
    this.observer = new ResizeObserver(this.draw);
    this.observer.observe(this.root);
  }

  /** Shows other entries; what somebody has scrolled to stays in place although others came before it. */
  show(entries) {
    const before = this.entries;
    const top = Math.floor(this.root.scrollTop / this.rowHeight);
    this.entries = entries;
    this.space.style.height = `${entries.length * this.rowHeight}px`;
    if (top > 0 && before[top] !== undefined) {
      const key = this.key(before[top]);
      const now = near(entries, key, this.key, top + Math.max(0, entries.length - before.length));
      if (now >= 0 && now !== top) this.root.scrollTop += (now - top) * this.rowHeight;
    }
    setAttribute(this.root, "aria-rowcount", String(entries.length + 1));
    this.empty.hidden = entries.length > 0;
    this.draw();
  }

  /** Marks the entry with this key; empty: none. */
  select(key) {
    if (this.selected === key) return;
    this.selected = key;
    this.draw();
  }

  close() {
    this.observer.disconnect();
  }

  drawn() {
    const height = this.root.clientHeight - this.rowHeight;
    const first = Math.max(0, Math.floor(this.root.scrollTop / this.rowHeight) - 4);
    const last = Math.min(this.entries.length, first + Math.ceil(Math.max(0, height) / this.rowHeight) + 9);
    while (this.rows.length < last - first) this.rows.push(this.made());
    this.rows.forEach((row, place) => {
      const index = first + place;
      row.element.hidden = index >= last;
      if (index < last) this.drawRow(row, index);
    });
    const current = this.current >= first && this.current < last ? `${this.id}-${this.current}` : null;
    setAttribute(this.root, "aria-activedescendant", current);
  }

  drawRow(row, index) {
    const entry = this.entries[index];
    row.element.style.transform = `translateY(${index * this.rowHeight}px)`;
    row.index = index;
    setAttribute(row.element, "id", `${this.id}-${index}`);
    setAttribute(row.element, "aria-rowindex", String(index + 2));
    setAttribute(row.element, "aria-selected", String(this.key(entry) === this.selected));
    row.element.classList.toggle("current", index === this.current);
    this.fill(row.cells, entry, row.element);
  }

  made() {
    const cells = this.columns.map(({ name }) => h(`div.${name}`, { role: "gridcell" }));
    const element = h("div.row", { role: "row" }, cells);
    const row = { element, cells, index: -1 };
    element.row = row;
    this.body.append(element);
    return row;
  }

  clicked(event) {
    const row = event.target.closest(".row")?.row;
    // A link or a button in a row does what it says.
    if (row && !event.target.closest("a, button")) this.choose(row.index);
  }

  choose(index) {
    if (this.entries[index] === undefined) return;
    this.current = index;
    this.onSelect(this.entries[index]);
    this.draw();
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.root.clientHeight / this.rowHeight) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      this.current = Math.max(0, Math.min(this.entries.length - 1, this.current + steps[event.key]));
      this.reveal(this.current);
      this.draw();
    } else if ((event.key === "Enter" || event.key === " ") && event.target === this.root) {
      event.preventDefault();
      this.choose(this.current);
    }
  }

  reveal(index) {
    const top = index * this.rowHeight;
    const height = this.root.clientHeight - 2 * this.rowHeight;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top > this.root.scrollTop + height) this.root.scrollTop = top - height;
  }
}

/** Looks for an entry by its key, from a place on outwards. */
function near(entries, key, keyOf, place) {
  for (let step = 0; step < entries.length; step++) {
    for (const index of [place + step, place - step]) {
      if (entries[index] !== undefined && keyOf(entries[index]) === key) return index;
    }
  }
  return -1;
}
