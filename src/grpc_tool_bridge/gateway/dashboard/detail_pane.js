// The pane beside a list, for what is selected in it.

import { h, setAttribute } from "./dom.js";
import { url } from "./url.js";

/** A pane with a heading; its cross, or Escape outside of a field, closes it. */
export class DetailPane {
  /**
   * @param {string} label What it shows.
   * @param {object} closes What the address is without it, as `url.href` takes it.
   */
  constructor(label, closes) {
    this.closes = closes;
    this.heading = h("h2", { tabindex: -1 });
    this.closing = h("a.close", { "aria-label": "Close" }, "×");
    this.body = h("div");
    const pressed = ({ key, target }) => {
      if (key === "Escape" && !target.closest("input, textarea, select")) this.closing.click();
    };
    this.root = h(
      "aside.detail",
      { "aria-label": label, hidden: true, onkeydown: pressed },
      this.closing,
      this.heading,
      this.body,
    );
  }

  follow() {
    setAttribute(this.closing, "href", url.href(this.closes));
  }
}
