// A view of a list of the hub: what is found in it, and beside it what is selected.

import { atMost, h, replace, setText } from "./dom.js";
import { failure } from "./failure.js";
import { LiveList } from "./live_list.js";
import { VirtualList } from "./virtual_list.js";

/**
 * What views such as those of sessions and workers share. The kinds of it say the rest:
 *
 * `texts(entry)`, in which words are found; `sort(entries)`; `fill(cells, entry, element)`; `sum(found, all)`, a line about them;
 * `nothing(hasWords)`, what is said where there are none; `selected()`, the key of what the address selects, empty: nothing;
 * `panel(key)`, which shows it: { root, heading, update(), close() }.
 */
export class ListView {
  /**
   * @param {object} app What every view gets.
   * @param {object} given
   * @param {string} given.name The class of the view.
   * @param {string} given.title Its heading, and the label of its list.
   * @param {string} given.placeholder What can be searched for.
   * @param {string} given.selection What the panel shows.
   * @param {object[]} given.columns As of a VirtualList.
   * @param {object} given.live As of a LiveList.
   * @param {function(object): void} given.select Called with the entry that somebody chooses.
   * @param {Array} [given.bar] What stands beside the search.
   */
  constructor(app, { name, title, placeholder, selection, columns, live, select, bar = [] }) {
    this.app = app;
    this.beside = null;
    this.key = "";
    this.live = new LiveList(app, live);
    this.search = h("input", {
      type: "search",
      placeholder,
      autocomplete: "off",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }),
    });
    this.list = new VirtualList({
      label: title,
      columns,
      key: live.key,
      onSelect: select,
      fill: (cells, entry, element) => this.fill(cells, entry, element),
    });
    this.summary = h("p.summary");
    this.problem = h("div");
    this.place = h("aside.detail", { "aria-label": selection, hidden: true });
    this.lists = h("div.lists", null, this.list.holder);
    this.root = h(
      `section.view.${name}`,
      null,
      h("h1.hidden", null, title),
      h("div.bar", null, h("label", null, "Find ", this.search), bar),
      this.summary,
      this.problem,
      h("div.split", null, this.lists, this.place),
    );
    this.refresh = atMost(200, () => this.draw());
    this.live.addEventListener("change", this.refresh);
    // Times go on although nothing happens.
    this.ticking = setInterval(this.refresh, 1_000);
  }

  show() {
    if (document.activeElement !== this.search) this.search.value = this.app.url.get("q");
    this.open(this.selected());
    this.draw();
  }

  close() {
    this.closed = true;
    clearInterval(this.ticking);
    this.beside?.close();
    this.live.close();
    this.list.close();
  }

  open(key, again = false) {
    if (key === this.key && !again) return;
    const wasInLists = this.lists.contains(document.activeElement);
    const hadFocus = wasInLists || this.place.contains(document.activeElement);
    this.key = key;
    this.beside?.close();
    this.beside = key ? this.panel(key) : null;
    replace(this.place, this.beside?.root);
    this.place.hidden = !key;
    this.place.scrollTop = 0;
    if (!hadFocus) return;
    // On a narrow screen one takes the place of the other.
    if (!key) this.list.root.focus();
    else if (!wasInLists || !this.lists.offsetParent) this.beside.heading.focus();
  }

  /** Returns the entries that have the words that are searched for. */
  found(entries, texts) {
    const words = this.words();
    return words.length
      ? entries.filter((entry) => {
          const said = texts(entry).map((text) => text.toLowerCase());
          return words.every((word) => said.some((text) => text.includes(word)));
        })
      : entries;
  }

  words() {
    return this.app.url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
  }

  /** Returns all entries of the list. */
  all() {
    return [...this.live.entries.values()];
  }

  draw() {
    if (this.closed) return;
    const all = this.all();
    const found = this.sort(this.found(all, this.texts));
    setText(this.list.empty, this.live.loaded ? this.nothing(this.words().length > 0) : "Loading…");
    this.list.show(found);
    this.list.select(this.key);
    setText(this.summary, this.sum(found, all));
    this.drawProblem(this.live.error);
    this.beside?.update();
  }

  /** Says what is wrong, if anything is. */
  drawProblem(error, advice = this.live.loaded ? "The list may be out of date." : "") {
    const stamp = error ? `${error.status} ${error.message}` : "";
    if (stamp === this.problemShown) return;
    this.problemShown = stamp;
    replace(this.problem, error ? failure(error.info, advice) : null);
  }
}
