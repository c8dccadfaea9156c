// Children of an element, one for each entry, which stay the same elements while what they show changes.

/** Shows entries as children, in their order; while somebody points at one or has the focus in one, none changes place. */
export class Keyed {
  /**
   * @param {HTMLElement} parent Has these children and no others.
   * @param {object} given
   * @param {function(*): string} given.key Returns what tells an entry from others.
   * @param {function(*): object} given.make Makes { element, … } for an entry.
   * @param {function(object, *): void} [given.fill] Writes an entry into what was made for it.
   */
  constructor(parent, { key, make, fill = () => {} }) {
    this.parent = parent;
    this.key = key;
    this.make = make;
    this.fill = fill;
    this.made = new Map();
  }

  /** Shows these entries; `order` names how they are sorted: if it is another than before, they change place at once. */
  show(entries, order = "") {
    const holds = order === this.order && this.parent.matches(":hover, :focus-within");
    this.order = order;
    const before = this.made;
    this.made = new Map();
    for (const entry of entries) {
      let key = this.key(entry);
      // Clients choose ids, and some may be there twice.
      for (let again = 1; this.made.has(key); again++) key = `${this.key(entry)}\n${again}`;
      const made = before.get(key) ?? this.make(entry);
      before.delete(key);
      this.fill(made, entry);
      this.made.set(key, made);
    }
    for (const { element } of before.values()) element.remove();
    if (holds) this.add();
    else this.arrange();
  }

  /** Adds what is new at the end. */
  add() {
    for (const { element } of this.made.values()) if (element.parentNode !== this.parent) this.parent.append(element);
  }

  arrange() {
    let place = this.parent.firstChild;
    for (const { element } of this.made.values()) {
      if (element === place) place = place.nextSibling;
      else this.parent.insertBefore(element, place);
    }
  }
}
