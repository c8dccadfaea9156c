// One field of a form: what a value of each kind is edited with.

import { button, h } from "./dom.js";
import { bytes } from "./format.js";
import { parseExact } from "./raw_json.js";
import { example, numberOf, problemOfBytes, problemOfNumber, problemOfText, tagged, textOf } from "./schema.js";

let ids = 0;

/** Returns an id that no element has yet. */
export const newId = () => `field${++ids}`;

/**
 * An editor of a value: { root, control, get(), set(value), tell(text) }.
 *
 * `get` returns undefined where nothing is given. `set` returns false where the value cannot be shown. `control` is what
 * gets the focus. What is wrong with a field is said beneath it once somebody has left it, or has tried to send it.
 */
function editorOf(control, { problem, get, set }, ...beside) {
  const said = h("p.problem", { id: newId(), hidden: true });
  control.setAttribute("aria-describedby", said.id);
  let isTold = false;
  const show = (text) => {
    said.textContent = text;
    said.hidden = text === "";
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  };
  const check = () => {
    control.setCustomValidity(problem());
    if (isTold) show(control.validationMessage);
  };
  control.addEventListener("input", check);
  for (const event of ["change", "invalid"])
    control.addEventListener(event, () => {
      isTold = true;
      check();
    });
  check();
  return {
    root: h("div.editor", null, beside.length ? h("div.line", null, control, beside) : control, said),
    control,
    get,
    set(value) {
      const taken = set(value);
      check();
      return taken;
    },
    tell: show,
  };
}

/** A text of one or many lines, a number, bytes: what is typed. */
export function typed({ kind, schema }, names) {
  const isLong = kind === "text" && !schema.format && !schema.pattern && !(schema.maxLength <= 100);
  const control = h(isLong ? "textarea" : "input", {
    ...names,
    rows: isLong ? 1 : null,
    autocomplete: "off",
    spellcheck: isLong ? null : "false",
    placeholder: kind === "bytes" ? "base64" : example(schema.format) || null,
    inputmode: kind === "integer" ? "numeric" : null,
  });
  if (schema.format === "date") control.type = "date";
  const readers = {
    text: [(text) => problemOfText(text, schema), (text) => (text === "" && schema.format ? undefined : text)],
    bytes: [problemOfBytes, (text) => tagged("bytes", text.replace(/\s/g, "").replaceAll("-", "+").replaceAll("_", "/"))],
  };
  const [problem, read] = readers[kind] ?? [
    (text) => problemOfNumber(text, kind, schema),
    (text) => (text === "" ? undefined : numberOf(text, kind)),
  ];
  const beside = kind === "bytes" ? [fileButton(control)] : schema.format === "date-time" ? [nowButton(control)] : [];
  return editorOf(
    control,
    {
      problem: () => problem(control.value),
      get: () => read(control.value),
      set(value) {
        const text = textOf(value, kind);
        if (text === null) return false;
        // A date that a calendar has not, and what somebody has begun to write.
        if (control.type === "date" && text !== "" && !/^\d{4}-\d\d-\d\d$/.test(text)) control.type = "text";
        control.value = text;
        // Fields change line breaks.
        return control.value === text;
      },
    },
    ...beside,
  );
}

function entered(control, text) {
  control.value = text;
  control.dispatchEvent(new Event("input", { bubbles: true }));
  control.dispatchEvent(new Event("change", { bubbles: true }));
}

const nowButton = (control) => button("Now", () => entered(control, new Date().toISOString()), ".quiet");

function fileButton(control) {
  const size = h("span.type");
  const file = h("input", {
    type: "file",
    "aria-label": "Read a file",
    onchange: async () => {
      const [chosen] = file.files;
      if (!chosen) return;
      entered(control, base64Of(new Uint8Array(await chosen.arrayBuffer())));
      size.textContent = bytes(chosen.size);
    },
  });
  return [file, size];
}

function base64Of(content) {
  const parts = [];
  for (let from = 0; from < content.length; from += 32_768)
    parts.push(String.fromCharCode(...content.subarray(from, from + 32_768)));
  return btoa(parts.join(""));
}

/** One of some values. */
export function chosen(options, names) {
  const others = new Set(options.filter((option) => typeof option !== "string").map((option) => JSON.stringify(option)));
  const control = h(
    "select",
    names,
    options.map((option, index) => h("option", { value: index }, labelOf(option, others))),
  );
  return editorOf(control, {
    problem: () => "",
    get: () => options[control.value],
    set(value) {
      const text = JSON.stringify(value);
      const index = options.findIndex((option) => JSON.stringify(option) === text);
      if (index >= 0) control.value = index;
      return index >= 0;
    },
  });
}

// A text stands without quotation marks, unless another option would look the same.
const labelOf = (option, others) =>
  typeof option === "string" && option !== "" && !others.has(option) ? option : JSON.stringify(option);

/** The one value that there can be. */
export function fixed(value, names) {
  const root = h("output.fixed", names, JSON.stringify(value));
  return { root, control: null, get: () => value, set: (given) => JSON.stringify(given) === JSON.stringify(value), tell() {} };
}

/** Any value, as JSON, which begins with a text; `check` returns what is wrong with one. */
export function written(names, { rows = 1, check = () => "", text = "" } = {}) {
  const control = h("textarea.json", {
    ...names,
    rows,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: 'JSON: "text", 1, [1, 2], {"name": null}',
  });
  control.value = text;
  return editorOf(control, {
    problem() {
      try {
        return check(parseExact(control.value));
      } catch (error) {
        const problem = control.value.trim() ? `This is not JSON: ${error.message}.` : "Give a value as JSON.";
        return `${problem} A text stands in quotation marks.`;
      }
    },
    get() {
      try {
        return parseExact(control.value);
      } catch {
        return control.value.trim() === "" ? undefined : control.value;
      }
    },
    set(value) {
      control.value = value === undefined ? "" : JSON.stringify(value, null, 2);
      return true;
    },
  });
}
