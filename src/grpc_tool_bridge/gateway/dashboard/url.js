// What is shown stands in the query of the address: the view, what it is filtered by, what is selected, the theme.

import { h } from "./dom.js";

/** What stays when another view is opened. */
const KEPT = ["theme"];

/** The address of the page. It tells "change" when it has become another. */
class Address extends EventTarget {
  constructor() {
    super();
    this.read();
    addEventListener("popstate", () => this.changed());
    document.addEventListener("click", (event) => this.clicked(event));
  }

  read() {
    this.query = new URLSearchParams(location.search);
  }

  /** Returns a parameter; empty: there is none. */
  get(name) {
    return this.query.get(name) ?? "";
  }

  get view() {
    return this.get("view") || "calls";
  }

  /**
   * Returns an address with some parameters changed, such as "?view=tools&tool=add".
   *
   * With `view` among them only what every view has is kept of the others. An empty value removes a parameter.
   */
  href(changes) {
    const query = new URLSearchParams();
    for (const [name, value] of this.query) if (!("view" in changes) || KEPT.includes(name)) query.set(name, value);
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || value === null || value === undefined) query.delete(name);
      else query.set(name, value);
    }
    if (query.get("view") === "calls") query.delete("view");
    return `?${query}`;
  }

  /** Goes to another address; `replace`: without a step in the browser's history, as while somebody types. */
  go(changes, { replace = false } = {}) {
    this.open(this.href(changes), replace);
  }

  open(href, replace) {
    if (href === (location.search || "?")) return;
    history[replace ? "replaceState" : "pushState"](null, "", href);
    this.changed();
  }

  changed() {
    this.read();
    this.dispatchEvent(new Event("change"));
  }

  clicked(event) {
    const link = event.target.closest?.("a[href^='?']");
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    this.open(link.getAttribute("href"), false);
  }
}

export const url = new Address();

/** A link to another address of the page, as `url.href` takes it. */
export const link = (text, changes, kind = "a") => h(kind, { href: url.href(changes) }, text);

/** A link to a tool. */
export const toolLink = (name, session = "") => link(name, { view: "tools", session, tool: name }, "a.mono");
