// Elements, from plain calls. What a tool or a model has written is only ever put in as text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Makes an element.
 *
 * @param {string} tag Its name, with classes after dots: "button.quiet".
 * @param {object} [properties] Attributes; `on…` are listeners, `text` is its text, and what is null or false is left out.
 * @param {...(Node|string|null|undefined|Array)} children What it contains; strings become text.
 */
export function h(tag, properties, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElement(name), classes, properties, children);
}

/** Makes an element of SVG; as `h`. */
export function svg(tag, properties, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElementNS(SVG, name), classes, properties, children);
}

function filled(made, classes, properties, children) {
  made.classList.add(...classes);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  put(made, ...children);
  return made;
}

/** Adds children to an element, as `h` does. */
export function put(element, ...children) {
  element.append(...children.flat(Number.POSITIVE_INFINITY).filter((child) => child !== null && child !== undefined));
}

/** Replaces the children of an element. */
export function replace(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

/** Sets the text of an element, if it is another. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute, if it is another; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Returns a function that calls `work` in the next frame, once however often it was called until then. */
export function eachFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; work(); });
  };
}

/** Returns a function that calls `work` at most once in so many milliseconds, and once more after the last call. */
export function atMost(milliseconds, work) {
  let timer = 0;
  let last = -milliseconds;
  return () => {
    if (timer) return;
    const wait = Math.max(0, last + milliseconds - performance.now());
    timer = setTimeout(() => { timer = 0; last = performance.now(); work(); }, wait);
  };
}

/** A button that calls something; `kind` is its classes, such as ".quiet". */
export const button = (text, onclick, kind = "") => h(`button${kind}`, { type: "button", onclick }, text);

/** A text of many lines, which the keyboard can scroll. */
export const pre = (text, label = null) => h("pre", { tabindex: 0, "aria-label": label }, text);

/** What is hidden until somebody unfolds it; `onopen` is called then. */
export function folded(title, content, onopen = () => {}) {
  const root = h("details", { ontoggle: () => root.open && onopen() }, h("summary", null, title), content);
  return root;
}

const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));

/** A list of facts: [["Session", "demo"], …], without those that have no value. */
export const facts = (entries) =>
  h(
    "dl.facts",
    null,
    entries.filter(([, value]) => (value ?? "") !== "").map(([name, value]) => fact(name, value)),
  );

/** A list of facts that are set again and again; a value is a text or { text, href }, and those without one are hidden. */
export class Facts {
  constructor(names) {
    this.rows = new Map(names.map((name) => [name, fact(name)]));
    this.root = h("dl.facts", null, [...this.rows.values()]);
    this.set({});
  }

  set(values) {
    for (const [name, row] of this.rows) {
      const value = values[name] ?? "";
      row.hidden = (value.text ?? value) === "";
      if (value.href === undefined) setText(row.lastChild, String(value));
      else this.setLink(row.lastChild, value);
    }
  }

  setLink(place, { text, href }) {
    if (!place.firstElementChild) replace(place, h("a"));
    setText(place.firstChild, text);
    setAttribute(place.firstChild, "href", href);
  }
}
