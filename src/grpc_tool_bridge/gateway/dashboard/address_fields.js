// Fields of which each is a parameter of the address: { root, input, follow() }, where `follow` shows what the address says.

import { h, replace } from "./dom.js";
import { wordsOf } from "./format.js";
import { url } from "./url.js";

/** What is looked for; entries are `found` that have all its words. */
export class SearchField {
  constructor(placeholder, name = "q") {
    this.name = name;
    const go = () => url.go({ [name]: this.input.value }, { replace: true });
    this.input = h("input", { type: "search", placeholder, autocomplete: "off", maxlength: 256, oninput: go });
    this.root = h("label", null, "Find ", this.input);
  }

  follow() {
    if (document.activeElement !== this.input) this.input.value = url.get(this.name);
  }

  get words() {
    return wordsOf(url.get(this.name));
  }

  /** Returns the entries that have the words in one of their texts. */
  found(entries, texts) {
    const { words } = this;
    if (!words.length) return entries;
    return entries.filter((entry) => {
      const text = texts(entry).join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }
}

/** One of some values: { value: title, … }; the `usual` one does not stand in the address. */
export class ChoiceField {
  constructor(label, name, options, usual = "") {
    Object.assign(this, { name, options, usual });
    const go = () => url.go({ [name]: this.input.value === usual ? "" : this.input.value });
    this.input = h(
      "select",
      { onchange: go },
      Object.entries(options).map(([value, text]) => h("option", { value }, text)),
    );
    this.root = h("label", null, label, " ", this.input);
    this.follow();
  }

  /** What is chosen; the usual one where the address says what is none of them. */
  get value() {
    const value = url.get(this.name);
    return Object.hasOwn(this.options, value) ? value : this.usual;
  }

  follow() {
    this.input.value = this.value;
  }
}

let lists = 0;

/** An exact name; `suggest` returns names, or a promise of them, when somebody goes to the field. */
export class NameField {
  constructor(label, name, placeholder, suggest) {
    this.name = name;
    const names = h("datalist", { id: `names${++lists}` });
    this.input = h("input", {
      list: names.id,
      autocomplete: "off",
      placeholder,
      onfocus: async () =>
        replace(
          names,
          (await suggest()).map((value) => h("option", { value })),
        ),
      onchange: () => url.go({ [name]: this.input.value }),
    });
    this.root = h("label", null, label, " ", this.input, names);
  }

  follow() {
    if (document.activeElement !== this.input) this.input.value = url.get(this.name);
  }
}
