// A list of any length, of which only the rows in sight are elements.

import { eachFrame, h, setAttribute } from "./dom.js";

/** Milliseconds after which somebody who has scrolled is taken to have come to rest. */
const REST_MS = 120;

let lists = 0;

/**
 * A grid with one row for each entry, by keyboard and by pointer.
 *
 * It is a table to a screen reader, which is told how many rows there are and which one is current. At its top it follows
 * what comes; elsewhere, and where the keyboard is in it, it keeps its place. Escape goes back to the top.
 */
export class VirtualList {
  /**
   * @param {object} given
   * @param {string} given.label What it lists.
   * @param {{title: string, name: string}[]} given.columns Its columns; `name` is the class of their cells.
   * @param {function(HTMLElement[], *, HTMLElement): void} given.fill Writes an entry into the cells of a row.
   * @param {function(*): *} given.key Returns what tells an entry from others.
   * @param {function(*): void} given.onSelect Called when somebody chooses an entry.
   * @param {string} [given.empty] What is said where there are no entries.
   * @param {number} [given.rowHeight] In pixels; that of the style sheet's `.row`.
   * @param {object} [given.tree] If entries are under others: `level(entry)` from 0; `isOpen(entry)`, null if nothing is under
   *   it; `parent(entry)`; `toggle(entry, open)`, which shows the entries anew. An element ".twist" in a row folds and unfolds.
   */
  constructor({ label, columns, fill, key, onSelect, empty = "Nothing here.", rowHeight = 34, tree = null }) {
    this.columns = columns;
    this.fill = fill;
    this.key = key;
    this.onSelect = onSelect;
    this.rowHeight = rowHeight;
    this.tree = tree;
    this.id = `list${++lists}`;
    this.entries = [];
    this.selected = "";
    this.rows = [];
    this.current = -1;
    this.first = 0;
    this.isStale = true;
    this.top = 0;
    this.height = 0;
    this.held = null;
    this.resting = 0;
    this.head = h("div.row.head", { role: "row", "aria-rowindex": 1 },
      columns.map(({ title, name }) => h(`div.${name}`, { role: "columnheader" }, title)));
    this.space = h("div.space", { role: "presentation" });
    this.empty = h("p.empty", { hidden: true }, empty);
    this.body = h("div.body", { role: "rowgroup" }, this.space);
    this.root = h("div.list", { role: tree ? "treegrid" : "grid", "aria-label": label, tabindex: 0,
      onkeydown: (event) => this.pressed(event), onclick: (event) => this.clicked(event) }, this.head, this.body);
    this.toTop = h("button.to-top", { type: "button", hidden: true, onclick: () => this.goToTop() }, "↑ To the top");
    this.holder = h("div.listing", null, this.root, this.toTop, this.empty);
    const draw = eachFrame(() => this.drawn());
    /** Writes the rows in sight anew, in the next frame. */
    this.draw = () => { this.isStale = true; draw(); };
    this.drawScrolled = draw;
    this.root.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.root);
  }

  /** Shows other entries; what somebody has scrolled to stays in place although others came before it. */
  show(entries) {
    if (this.resting) {
      // A list that is moved while somebody scrolls stutters.
      this.held = entries;
      return;
    }
    this.held = null;
    const before = this.entries;
    const more = Math.max(0, entries.length - before.length);
    const at = (index) => (before[index] === undefined ? -1 : near(entries, this.key(before[index]), this.key, index + more));
    const current = at(this.current);
    const kept = this.anchor();
    const place = kept === this.current ? current : at(kept);
    this.entries = entries;
    this.current = current;
    this.space.style.height = `${entries.length * this.rowHeight}px`;
    if (place >= 0 && place !== kept) this.scrollTo(this.top + (place - kept) * this.rowHeight);
    setAttribute(this.root, "aria-rowcount", String(entries.length + 1));
    this.empty.hidden = entries.length > 0;
    this.draw();
  }

  /** Returns the index of the row that stays where it is; -1: none, as the list follows what comes. */
  anchor() {
    const first = Math.floor(this.top / this.rowHeight);
    const isSeen = this.current >= first && this.current * this.rowHeight < this.top + this.height;
    if (isSeen && this.root.matches(":focus-visible")) return this.current;
    return this.top > 0 ? first : -1;
  }

  /** Marks the entry with this key; empty: none. */
  select(key) {
    if (this.selected === key) return;
    this.selected = key;
    this.draw();
  }

  close() {
    clearTimeout(this.resting);
    this.observer.disconnect();
  }

  /** Goes to where what comes is seen. */
  goToTop() {
    this.current = -1;
    this.scrollTo(0);
    this.root.focus({ preventScroll: true });
    this.draw();
  }

  scrollTo(top) {
    this.root.scrollTop = top;
    this.top = this.root.scrollTop;
  }

  scrolled() {
    const { scrollTop } = this.root;
    if (Math.abs(scrollTop - this.top) < 1) return;
    this.top = scrollTop;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.rested(), REST_MS);
    this.drawScrolled();
  }

  rested() {
    this.resting = 0;
    if (this.held) this.show(this.held);
  }

  resized() {
    this.height = this.root.clientHeight - this.rowHeight;
    this.top = this.root.scrollTop;
    this.draw();
  }

  drawn() {
    const first = Math.max(0, Math.floor(this.top / this.rowHeight) - 4);
    const last = Math.min(this.entries.length, first + Math.ceil(Math.max(0, this.height) / this.rowHeight) + 9);
    while (this.rows.length < last - first) this.rows.push(this.made());
    this.turn(first - this.first);
    this.first = first;
    this.rows.forEach((row, place) => {
      const index = first + place;
      if (row.element.hidden !== index >= last) row.element.hidden = index >= last;
      // Where somebody only scrolls, the rows that stay are as they were.
      if (index < last && (this.isStale || row.index !== index)) this.drawRow(row, index);
    });
    this.isStale = false;
    const current = this.current >= first && this.current < last ? `${this.id}-${this.current}` : null;
    setAttribute(this.root, "aria-activedescendant", current);
    this.toTop.hidden = this.top < 2 * this.rowHeight;
  }

  /** Puts rows that were scrolled out of sight at one end to the other one. */
  turn(by) {
    if (Math.abs(by) >= this.rows.length) return;
    for (let left = by; left > 0; left--) {
      const row = this.rows.shift();
      this.rows.push(row);
      this.body.append(row.element);
    }
    for (let left = by; left < 0; left++) {
      const row = this.rows.pop();
      this.rows.unshift(row);
      this.space.after(row.element);
    }
  }

  drawRow(row, index) {
    const entry = this.entries[index];
    row.element.style.transform = `translateY(${index * this.rowHeight}px)`;
    row.index = index;
    setAttribute(row.element, "id", `${this.id}-${index}`);
    setAttribute(row.element, "aria-rowindex", String(index + 2));
    setAttribute(row.element, "aria-selected", String(this.key(entry) === this.selected));
    if (this.tree) {
      const isOpen = this.tree.isOpen(entry);
      setAttribute(row.element, "aria-level", String(this.tree.level(entry) + 1));
      setAttribute(row.element, "aria-expanded", isOpen === null ? null : String(isOpen));
    }
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
    if (!row || event.target.closest("a, button")) return;
    if (event.target.closest(".twist")) this.toggle(row.index);
    else this.choose(row.index);
  }

  choose(index) {
    if (this.entries[index] === undefined) return;
    this.current = index;
    this.onSelect(this.entries[index]);
    this.draw();
  }

  toggle(index, isOpen = !this.tree.isOpen(this.entries[index])) {
    const entry = this.entries[index];
    if (!entry || this.tree.isOpen(entry) === null) return;
    this.current = index;
    this.tree.toggle(entry, isOpen);
  }

  pressed(event) {
    if (event.target !== this.root || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.height / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.go(this.current + steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.choose(this.current);
    else if (event.key === "ArrowRight" && this.tree) this.inwards();
    else if (event.key === "ArrowLeft" && this.tree) this.outwards();
    else if (event.key === "Escape" && (this.top > 0 || this.current >= 0)) this.goToTop();
    else return;
    event.preventDefault();
  }

  /** Makes another row the current one. */
  go(index) {
    this.current = Math.max(0, Math.min(this.entries.length - 1, index));
    this.reveal(this.current);
    this.draw();
  }

  /** Unfolds the current row, or goes to the first one under it. */
  inwards() {
    const entry = this.entries[this.current];
    const isOpen = entry && this.tree.isOpen(entry);
    if (isOpen) this.go(this.current + 1);
    else if (isOpen === false) this.toggle(this.current, true);
  }

  /** Folds the current row, or goes to the one above it. */
  outwards() {
    const entry = this.entries[this.current];
    if (!entry) return;
    const parent = this.tree.parent(entry);
    if (this.tree.isOpen(entry)) this.toggle(this.current, false);
    else if (parent) this.go(near(this.entries, this.key(parent), this.key, this.current));
  }

  reveal(index) {
    const top = index * this.rowHeight;
    const height = this.height - this.rowHeight;
    if (top < this.top) this.scrollTo(top);
    else if (top > this.top + height) this.scrollTo(top - height);
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
