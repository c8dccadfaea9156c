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

/** A list of facts: [["Session", "demo"], …], without those that have no value. */
export function facts(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl.facts", null, shown.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
}

/** A list of facts that are set again and again: { root, set({ Session: "demo" }) }; those without a value are hidden. */
export function liveFacts(names) {
  const rows = new Map(names.map((name) => [name, [h("dt", { hidden: true }, name), h("dd", { hidden: true })]]));
  const set = (values) => {
    for (const [name, [term, value]] of rows) {
      const text = values[name] ?? "";
      term.hidden = value.hidden = text === "";
      setText(value, String(text));
    }
  };
  return { root: h("dl.facts", null, [...rows.values()]), set };
}
