// A view of a list of the hub: what is found in it, and beside it what is selected.

import { SearchField } from "./address_fields.js";
import { DetailPane } from "./detail_pane.js";
import { atMost, h, replace, setText } from "./dom.js";
import { Problem } from "./failure.js";
import { count, counted, oneLine } from "./format.js";
import { LiveList, MAX_ENTRIES } from "./live_list.js";
import { VirtualList } from "./virtual_list.js";

/**
 * What views such as those of sessions and workers share. The kinds of it say the rest:
 *
 * `texts(entry)`, in which words are found; `sort(entries)`; `fill(cells, entry, element)`; `sum(found, all)`, a line about them;
 * `nothing(hasWords)`, what is said where there are none; `selected()`, the key of what the address selects, empty: nothing;
 * `panel(key)`, which shows it: { title, root, update(), close() }.
 */
export class ListView {
  /**
   * @param {object} app What every view gets.
   * @param {object} given
   * @param {string} given.name The class of the view.
   * @param {string} given.title Its heading, and the label of its list.
   * @param {string} given.placeholder What can be searched for.
   * @param {string} given.selection What the pane shows.
   * @param {object} given.closes What the address is without what is selected.
   * @param {object[]} given.columns As of a VirtualList.
   * @param {object} given.live As of a LiveList.
   * @param {function(object): void} given.select Called with the entry that somebody chooses.
   * @param {object[]} [given.fields] What stands beside the search, of address_fields.js.
   */
  constructor(app, { name, title, placeholder, selection, closes, columns, live, select, fields = [] }) {
    this.app = app;
    this.panelShown = null;
    this.key = "";
    this.live = new LiveList(app, live);
    this.search = new SearchField(placeholder);
    this.fields = [this.search, ...fields];
    this.list = new VirtualList({
      label: title,
      columns,
      key: live.key,
      onSelect: select,
      fill: (cells, entry, element) => this.fill(cells, entry, element),
    });
    this.summary = h("p.summary");
    this.problem = new Problem();
    this.pane = new DetailPane(selection, closes);
    this.lists = h("div.lists", null, this.list.holder);
    this.root = h(
      `section.view.${name}`,
      null,
      h("h1.hidden", null, title),
      h(
        "div.bar",
        null,
        this.fields.map(({ root }) => root),
      ),
      this.summary,
      this.problem.root,
      h("div.split", null, this.lists, this.pane.root),
    );
    this.refresh = atMost(200, () => this.draw());
    this.live.addEventListener("change", this.refresh);
    // Times go on although nothing happens.
    this.ticking = setInterval(this.refresh, 1_000);
  }

  show() {
    for (const field of this.fields) field.follow();
    this.live.follow();
    this.open(this.selected());
    this.draw();
  }

  close() {
    this.closed = true;
    clearInterval(this.ticking);
    this.panelShown?.close();
    this.live.close();
    this.list.close();
  }

  open(key, again = false) {
    if (key === this.key && !again) return;
    const { root, body, heading } = this.pane;
    const wasInLists = this.lists.contains(document.activeElement);
    const hadFocus = wasInLists || root.contains(document.activeElement);
    this.key = key;
    this.panelShown?.close();
    this.panelShown = key ? this.panel(key) : null;
    replace(body, this.panelShown?.root);
    root.hidden = !key;
    root.scrollTop = 0;
    if (!hadFocus) return;
    // On a narrow screen one takes the place of the other.
    if (!key) this.list.root.focus();
    else if (!wasInLists || !this.lists.offsetParent) heading.focus();
  }

  /** Returns all entries of the list. */
  all() {
    return [...this.live.entries.values()];
  }

  sort(entries) {
    return entries;
  }

  /** Returns "12 sessions", or "3 of 12 sessions" where some are searched for. */
  counted(found, all, one) {
    const many = this.live.isCut ? `the first ${count(MAX_ENTRIES)} ${one}s` : counted(all.length, one);
    return this.search.words.length ? `${count(found.length)} of ${many}` : many;
  }

  draw() {
    if (this.closed) return;
    const all = this.all();
    const found = this.sort(this.search.found(all, (entry) => this.texts(entry)));
    setText(this.list.empty, this.live.loaded ? this.nothing(this.search.words.length > 0) : "Loading…");
    this.list.show(found);
    this.list.select(this.key);
    setText(this.summary, this.sum(found, all) + missing(this.live.missing));
    this.problem.show(...this.trouble());
    this.pane.follow();
    this.panelShown?.update();
    setText(this.pane.heading, this.panelShown?.title ?? "");
  }

  /** Returns the name of the hub of an entry; events are of the hub of this page. */
  hubOf({ hub }) {
    return hub || (this.app.events.hub?.name ?? "");
  }

  /** Returns what is wrong, if anything is, and what one can do about it. */
  trouble() {
    return [this.live.error, this.live.loaded ? "The list may be out of date." : ""];
  }
}

/** Says which hubs did not answer. */
function missing(hubs) {
  if (!hubs.length) return "";
  return ` · ${hubs.map((hub) => oneLine(hub, 80)).join(", ")} did not answer: what ${hubs.length > 1 ? "they have" : "it has"} is missing`;
}
