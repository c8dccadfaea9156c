// How far something is that goes on.

import { h, setAttribute, setText } from "./dom.js";
import { progressed } from "./format.js";

/** A bar and a line; hidden until there is something to tell. */
export class Progress {
  constructor() {
    this.bar = h("progress", { "aria-label": "Progress" });
    this.text = h("span");
    this.root = h("div.progress", { hidden: true }, this.bar, this.text);
  }

  /** Shows { current, total, message }, with a total of 0 if nobody knows; null: nothing. */
  show(progress) {
    this.root.hidden = !progress;
    if (!progress) return;
    const { current, total } = progress;
    setAttribute(this.bar, "max", total > 0 ? String(total) : null);
    setAttribute(this.bar, "value", total > 0 ? String(Math.max(0, Math.min(current, total))) : null);
    setText(this.text, progressed(progress));
  }
}
