// Lines over time, as SVG: with axes, a legend that hides lines, a cursor, and a table of the same numbers.

import { eachFrame, h, replace, setAttribute, setText, svg } from "./dom.js";
import { clock, timeOf } from "./format.js";
import { Keyed } from "./keyed.js";
import { nearest, pathOf, scaleFor, timeTicks } from "./scales.js";

const LEFT = 58;
const RIGHT = 8;
const TOP = 18;
const BOTTOM = 22;

/**
 * A chart of some lines.
 *
 * It shows a moment where the pointer is, or by arrow keys; several charts show the same one if their owner hands
 * `onCursor` on to the others' `point`.
 */
export class Chart {
  /**
   * @param {object} given
   * @param {string} given.title What it shows, with its unit.
   * @param {{name: string, title: string, value: function(object): ?number}[]} given.lines Its lines: `name` is a class.
   * @param {function(number): string} given.format Writes a number with its unit.
   * @param {function(number): string} [given.tick] Writes it beside the axis.
   * @param {object} [given.scale] As `scaleFor` takes it: log, whole.
   * @param {string} given.empty What is said if no line has a point.
   * @param {function(?number): void} given.onCursor The moment that somebody points at; null: none.
   * @param {function(string, boolean): void} given.onToggle Somebody hides or shows a line.
   */
  constructor({ title, lines, format, tick = format, scale = {}, empty, onCursor, onToggle }) {
    Object.assign(this, { title, lines, format, tick, scale, onCursor, onToggle });
    this.points = [];
    this.from = 0;
    this.to = 1;
    this.cursor = null;
    this.hidden = new Set();
    this.drawn = null;
    this.makePlot(empty);
    this.legend = lines.map((line) => this.makeEntry(line));
    this.moment = h("span.moment");
    this.kind = h("span.kind");
    this.makeTable();
    this.root = h(
      "figure.chart.card",
      { "aria-label": title },
      h("figcaption", null, h("h2", null, title), " ", this.kind, this.moment),
      h("div.legend", { role: "group", "aria-label": `Lines of ${title}` }, this.legend.map(({ element }) => element)),
      h("div.plot", null, this.plot, this.nothing), this.details);
    this.draw = eachFrame(() => this.redraw());
    this.observer = new ResizeObserver(this.draw);
    this.observer.observe(this.plot);
  }

  makePlot(empty) {
    this.grid = svg("g.grid");
    this.paths = this.lines.map(({ name }) => svg(`path.line.${name}`));
    this.cross = svg("line.cross");
    this.dots = this.lines.map(({ name }) => svg(`circle.dot.${name}`, { r: 3.5 }));
    this.plot = svg("svg", {
      tabindex: 0, role: "slider", "aria-label": `${this.title}: a moment`, "aria-valuemin": 0,
      onpointermove: (event) => this.pointed(event), onpointerdown: (event) => this.pointed(event),
      onpointerleave: () => this.onCursor(null), onblur: () => this.onCursor(null),
      onkeydown: (event) => this.pressed(event),
    }, this.grid, [...this.paths].reverse(), this.cross, this.dots);
    this.nothing = h("p.nothing", null, empty);
  }

  makeEntry(line) {
    const value = h("span.value");
    const sample = svg("svg.sample", { viewBox: "0 0 20 8", width: 20, height: 8, "aria-hidden": "true" },
      svg(`path.line.${line.name}`, { d: "M1 4H19" }));
    const element = h("button.entry", { type: "button", "aria-pressed": "true",
      onclick: () => this.onToggle(line.name, !this.hidden.has(line.name)) }, sample, line.title, " ", value);
    return { element, value, name: line.name };
  }

  makeTable() {
    const body = h("tbody");
    this.rows = new Keyed(body, {
      key: ({ key }) => key,
      make: (point) => ({
        element: h(
          "tr",
          null,
          h("th", { scope: "row" }, timeOf(point.at)),
          this.lines.map(({ value }) => h("td", null, this.written(value(point)))),
        ),
      }),
    });
    const table = h("table", null, h("caption.hidden", null, `${this.title}, newest first`),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Time"),
        this.lines.map(({ title }) => h("th", { scope: "col" }, title)))), body);
    this.details = h("details", { ontoggle: () => this.draw() }, h("summary", null, "As a table"),
      h("div.numbers", { tabindex: 0, role: "region", "aria-label": `${this.title}, as a table` }, table));
  }

  /** Shows points between two moments, oldest first: { key, at, joined, … }. */
  show(points, from, to) {
    Object.assign(this, { points, from, to });
    this.draw();
  }

  /** Hides these lines. */
  hide(names) {
    this.hidden = new Set(names);
    for (const { element, name } of this.legend) setAttribute(element, "aria-pressed", String(!this.hidden.has(name)));
    this.draw();
  }

  /** Shows the values of a moment; null: of the last point. */
  point(at) {
    this.cursor = at;
    this.draw();
  }

  close() {
    this.observer.disconnect();
  }

  redraw() {
    const width = this.plot.clientWidth;
    const height = this.plot.clientHeight;
    if (!width) return;
    const seen = this.lines.filter(({ name }) => !this.hidden.has(name));
    const numbers = seen.flatMap(({ value }) => this.points.map(value)).filter((number) => number !== null);
    const scale = scaleFor(numbers, { ...this.scale, before: this.drawn?.scale });
    const x = (at) => LEFT + ((at - this.from) / (this.to - this.from)) * (width - LEFT - RIGHT);
    const y = (number) => height - BOTTOM - scale.at(number) * (height - TOP - BOTTOM);
    this.drawn = { scale, x, y, width, height };
    this.drawGrid();
    this.lines.forEach(({ name, value }, index) => {
      setAttribute(this.paths[index], "d", this.hidden.has(name) ? "" : pathOf(this.points, x, y, value));
    });
    setText(this.kind, scale.log ? "log scale" : "");
    this.nothing.hidden = this.points.some((point) => this.lines.some(({ value }) => value(point) !== null));
    this.drawCursor();
    if (this.details.open) this.rows.show([...this.points].reverse());
  }

  drawGrid() {
    const { scale, x, y, width, height } = this.drawn;
    const times = timeTicks(this.from, this.to, Math.max(2, Math.floor((width - LEFT) / 84)));
    const shown = (at) => clock(at).slice(-12, times.step < 60_000 ? -4 : -7);
    replace(this.grid,
      scale.ticks.map((tick) => [
        svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
        svg("text.tick", { x: LEFT - 6, y: y(tick) + 4 }, this.tick(tick))]),
      times.ticks.filter((at) => x(at) < width - 26).map((at) => [
        svg("line", { x1: x(at), x2: x(at), y1: height - BOTTOM, y2: height - BOTTOM + 4 }),
        svg("text.moment", { x: x(at), y: height - 5 }, shown(at))]));
  }

  drawCursor() {
    const { x, y, height } = this.drawn;
    const last = this.points.length - 1;
    const place = this.cursor === null ? last : nearest(this.points, this.cursor);
    const point = this.points[place];
    const isShown = this.cursor !== null && point !== undefined;
    this.cross.toggleAttribute("hidden", !isShown);
    if (isShown) set(this.cross, { x1: x(point.at), x2: x(point.at), y1: TOP - 6, y2: height - BOTTOM });
    this.lines.forEach(({ name, value }, index) => {
      const number = point ? value(point) : null;
      const isOn = isShown && number !== null && !this.hidden.has(name);
      this.dots[index].toggleAttribute("hidden", !isOn);
      if (isOn) set(this.dots[index], { cx: x(point.at), cy: y(number) });
      setText(this.legend[index].value, this.written(number));
    });
    setText(this.moment, point ? `${isShown ? "at" : "latest:"} ${timeOf(point.at)}` : "");
    set(this.plot, { "aria-valuemax": Math.max(0, last), "aria-valuenow": Math.max(0, place) });
    const told = point && this.lines.map(({ title, value }) => `${title} ${this.written(value(point))}`).join(", ");
    // Said while somebody goes from moment to moment, and not whenever a point comes.
    if (!isShown && document.activeElement === this.plot) return;
    set(this.plot, { "aria-valuetext": told ? `${timeOf(point.at)}: ${told}` : this.nothing.textContent });
  }

  written(number) {
    return number === null || number === undefined ? "–" : this.format(number);
  }

  pointed(event) {
    if (!this.drawn || !this.points.length) return;
    const { width } = this.drawn;
    const part = (event.clientX - this.plot.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
    this.onCursor(this.points[nearest(this.points, this.from + part * (this.to - this.from))].at);
  }

  pressed(event) {
    const last = this.points.length - 1;
    if (event.key === "Escape") this.onCursor(null);
    if (last < 0) return;
    const place = this.cursor === null ? last + 1 : nearest(this.points, this.cursor);
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, ArrowDown: place - 1, ArrowUp: place + 1, PageDown: place - 10,
      PageUp: place + 10, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.onCursor(this.points[Math.max(0, Math.min(last, to))].at);
  }
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, String(value));
}
