// The calls of the last minutes as bars, those of a tool or a session in a row of their own; now is at the right.

import { eachFrame, h, setAttribute, setText } from "./dom.js";
import { count, counted, duration } from "./format.js";
import { placed } from "./timeline_lanes.js";

const ROW = 13;
const AXIS = 16;
/** Pixels that the shortest bar is wide, and that one may miss it by. */
const LEAST = 2;
const NEAR = 3;
/** Later ones lie on earlier ones. */
const ORDER = ["done", "unknown", "cancelled", "waiting", "running", "failed"];
const SUMMARY_MS = 2_000;

const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** A timeline. It is a picture: what it shows is in the list of calls too. */
export class Timeline {
  /**
   * @param {function(object): void} onSelect Called with a call that somebody has clicked on.
   */
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.canvas = h("canvas", { role: "img", "aria-label": "Timeline of calls", onpointermove: (event) => this.pointed(event),
      onpointerleave: () => this.hover(null), onclick: () => this.hovered && this.onSelect(this.hovered) });
    this.tip = h("div.tip", { hidden: true, "aria-hidden": "true" });
    this.root = h("div.timeline", null, this.canvas, this.tip);
    this.bars = [];
    this.byState = new Map();
    this.groups = [];
    this.rows = new Map();
    this.lanes = new Map();
    this.hovered = null;
    this.selected = null;
    this.span = 60_000;
    this.now = () => Date.now();
    this.theme = "";
    this.width = 0;
    this.timer = 0;
    this.toldAt = Number.NEGATIVE_INFINITY;
    /** How often it was painted, and how many milliseconds that took in all. */
    this.paints = 0;
    this.spent = 0;
    this.paint = eachFrame(() => this.painted());
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.root);
    this.onSeen = () => { if (!document.hidden) this.paint(); };
    document.addEventListener("visibilitychange", this.onSeen);
  }

  close() {
    clearTimeout(this.timer);
    this.observer.disconnect();
    document.removeEventListener("visibilitychange", this.onSeen);
    this.canvas.remove();
  }

  /**
   * Shows other calls.
   *
   * @param {Iterable<object>} calls All calls that are wanted; those of the time that is shown are taken.
   * @param {object} given
   * @param {number} given.span Milliseconds that are shown.
   * @param {string} given.by What a group has in common: "tool" or "session".
   * @param {function(): number} given.now The hub's clock, in milliseconds.
   * @param {object|null} given.selected The call that is marked.
   */
  show(calls, { span, by, now, selected }) {
    if (this.by !== by) this.lanes.clear();
    Object.assign(this, { span, by, now, selected });
    const at = now();
    const least = (LEAST * span) / Math.max(1, this.width);
    this.bars = [];
    for (const call of calls) {
      const to = endOf(call, at);
      if (to >= at - span && call.startedAt <= at) {
        this.bars.push({ key: call.key, call, name: call[by], from: call.startedAt, to: Math.max(to, call.startedAt + least) });
      }
    }
    if (this.lanes.size > 4 * this.bars.length + 1_000) this.lanes.clear();
    Object.assign(this, placed(this.bars, Math.max(1, Math.floor((this.height - AXIS) / ROW)), this.lanes));
    this.byState = Map.groupBy(this.bars, ({ call }) => call.state);
    this.describe();
    this.paint();
  }

  describe() {
    if (performance.now() - this.toldAt < SUMMARY_MS) return;
    this.toldAt = performance.now();
    const states = ORDER.filter((state) => this.byState.has(state)).map((state) => `${this.byState.get(state).length} ${state}`);
    setAttribute(this.canvas, "aria-label", `Timeline of the last ${count(this.span / 1_000)} seconds: ${counted(this.bars.length, "call")} of `
      + `${counted(new Set(this.bars.map(({ name }) => name)).size, this.by)}${states.length ? `, ${states.join(", ")}` : ""}`);
  }

  resized() {
    const ratio = devicePixelRatio;
    this.width = this.root.clientWidth;
    this.height = this.root.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.theme = "";
    this.paint();
  }

  painted() {
    clearTimeout(this.timer);
    if (document.hidden || !this.width || !this.canvas.isConnected) return;
    const begun = performance.now();
    this.readColours();
    const { context } = this;
    const now = this.now();
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.paintAxis(context);
    for (const state of ORDER) this.paintBars(context, state, now);
    this.paintNames(context);
    for (const call of [this.selected, this.hovered]) if (call) this.outline(context, call, now);
    this.paints += 1;
    const cost = performance.now() - begun;
    this.spent += cost;
    // It is painted again when the bars have gone on by a pixel, and takes a twentieth of the time at most.
    const pixel = this.span / (this.width * devicePixelRatio);
    if (this.bars.length) this.timer = setTimeout(this.paint, still.matches ? 1_000 : Math.max(15, pixel, 20 * cost));
  }

  paintAxis(context) {
    const step = this.span <= 60_000 ? 10_000 : 60_000;
    const bottom = this.height - AXIS;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let back = 0; back < this.span; back += step) {
      const x = Math.round(this.width - (back * this.width) / this.span) - 0.5;
      context.fillStyle = this.colours.line;
      context.fillRect(x, 0, 1, bottom);
      context.fillStyle = this.colours.quiet;
      context.fillText(back ? `−${step < 60_000 ? `${back / 1_000} s` : `${back / 60_000} min`}` : "now", x - 2, bottom + AXIS / 2);
    }
    context.fillStyle = this.colours.line;
    for (const { row } of this.groups) if (row) context.fillRect(0, row * ROW - 0.5, this.width, 1);
  }

  paintBars(context, state, now) {
    context.fillStyle = this.fills[state];
    for (const bar of this.byState.get(state) ?? []) {
      const { x, y, width } = this.box(bar, now);
      context.fillRect(x, y, width, ROW - 3);
    }
  }

  paintNames(context) {
    context.textAlign = "left";
    context.font = "600 11px system-ui, sans-serif";
    for (const { name, row } of this.groups) {
      const shown = name.length > 28 ? `${name.slice(0, 27)}…` : name;
      context.globalAlpha = 0.85;
      context.fillStyle = this.colours.card;
      context.fillRect(0, row * ROW + 0.5, context.measureText(shown).width + 8, ROW - 1.5);
      context.globalAlpha = 1;
      context.fillStyle = this.colours.text;
      context.fillText(shown, 4, row * ROW + ROW / 2);
    }
  }

  outline(context, call, now) {
    const bar = this.bars.find((each) => each.call === call);
    if (!bar) return;
    const { x, y, width } = this.box(bar, now);
    context.strokeStyle = this.colours.text;
    context.lineWidth = 2;
    context.strokeRect(x - 2, y - 1, width + 4, ROW - 1);
  }

  box({ key, call, from }, now) {
    const scale = this.width / this.span;
    const x = Math.max(0, this.width - (now - from) * scale);
    const right = this.width - (now - endOf(call, now)) * scale;
    return { x, y: this.rows.get(key) * ROW + 1.5, width: Math.max(LEAST, right - x) };
  }

  /** Colours are those of the style sheet; states differ in their patterns too. */
  readColours() {
    const theme = `${document.documentElement.dataset.theme} ${dark.matches}`;
    if (this.theme === theme) return;
    this.theme = theme;
    this.context = this.canvas.getContext("2d");
    const ink = (name) => {
      // A custom property is as it was written: what it comes to shows where it is used.
      this.tip.style.color = `var(--${name})`;
      return getComputedStyle(this.tip).color;
    };
    this.colours = Object.fromEntries(["line", "quiet", "card", "text", ...ORDER].map((name) => [name, ink(name)]));
    this.tip.style.color = "";
    this.fills = Object.fromEntries(ORDER.map((state) => [state, pattern(this.context, state, this.colours[state])]));
  }

  pointed({ offsetX, offsetY }) {
    const row = Math.floor(offsetY / ROW);
    const now = this.now();
    let found = null;
    let best = NEAR + 1;
    for (const bar of this.bars) {
      if (this.rows.get(bar.key) !== row) continue;
      const { x, width } = this.box(bar, now);
      const away = Math.max(x - offsetX, offsetX - x - width, 0);
      if (away < best) [found, best] = [bar.call, away];
    }
    this.hover(found, offsetX, offsetY);
  }

  hover(call, x = 0, y = 0) {
    this.hovered = call;
    this.canvas.classList.toggle("on", call !== null);
    this.tip.hidden = call === null;
    if (call) {
      const elapsed = call.elapsedUs(this.now());
      setText(this.tip, [call.tool, call.state, elapsed === null ? "" : duration(elapsed), call.session, call.error?.type]
        .filter(Boolean).join(" · ").slice(0, 300));
      this.tip.style.insetBlockStart = `${y + 14}px`;
      this.tip.style.insetInlineStart = `${Math.max(0, Math.min(x + 8, this.width - this.tip.offsetWidth - 4))}px`;
    }
    this.paint();
  }
}

/** When a call ended; of one that ended unseen, only that it began is known. */
const endOf = (call, now) => (call.over ? (call.endedAt ?? call.startedAt) : now);

const STROKES = {
  failed: [[0, 6, 6, 0]],
  cancelled: [[0, 0, 6, 6]],
  waiting: [[1, 0, 1, 6]],
  unknown: [[0, 3, 6, 3]],
};

/** Stripes for what did not go well or has not begun; plain for what runs and is done. */
function pattern(context, state, colour) {
  if (!(state in STROKES)) return colour;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const drawing = tile.getContext("2d");
  drawing.fillStyle = drawing.strokeStyle = colour;
  drawing.globalAlpha = state === "failed" ? 0.65 : 0.25;
  drawing.fillRect(0, 0, 6, 6);
  drawing.globalAlpha = 1;
  drawing.lineWidth = 2;
  for (const [x, y, toX, toY] of STROKES[state]) {
    drawing.beginPath();
    drawing.moveTo(x, y);
    drawing.lineTo(toX, toY);
    drawing.stroke();
  }
  return context.createPattern(tile, "repeat");
}
