// What a call has answered: one value, or many as they come.

import { button, eachFrame, h, pre, put, replace, setText } from "./dom.js";
import { bytes, count, counted, cut, oneLine } from "./format.js";
import { Progress } from "./progress.js";
import { arranged, oneLineOf, readable } from "./raw_json.js";

/** Values of a stream that are shown; of more, the last. */
const MOST_VALUES = 1_000;
const MOST_LOGS = 200;

/** Copies a text, also where the page is not served over TLS, and says what came of it. */
async function copy(text, app) {
  try {
    await navigator.clipboard.writeText(text);
    app.say("Copied.");
  } catch {
    const field = h("textarea", { class: "hidden" });
    field.value = text;
    document.body.append(field);
    const before = document.activeElement;
    field.select();
    app.say(document.execCommand("copy") ? "Copied." : "The browser does not let this page copy.");
    field.remove();
    before?.focus();
  }
}

/** A button that copies what `text` returns. */
export const copyButton = (app, text, label = "Copy") => button(label, () => copy(text(), app), ".quiet");

/** A button that saves what `text` returns as a file. */
function saveButton(text, name) {
  const save = () => {
    const address = URL.createObjectURL(new Blob([text()], { type: "application/octet-stream" }));
    h("a", { href: address, download: name }).click();
    // The browser has taken it by then.
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  };
  return button("Download", save, ".quiet");
}

/** One value, and the JSON that it was read from: as it is if it is a text, else as JSON; of a large one the beginning. */
export function valueView(value, json, app) {
  const isText = typeof value === "string";
  const whole = () => (isText ? value : arranged(json));
  const kind = h("span.type", null, isText ? `text, ${counted(value.length, "character")}` : kindOf(value));
  const buttons = [copyButton(app, whole), saveButton(whole, isText ? "result.txt" : "result.json")];
  return h("div.value", null, h("div.line", null, h("h3", null, "Result"), kind, buttons), pre(readable(json), "Result"));
}

function kindOf(value) {
  if (Array.isArray(value)) return `list, ${counted(value.length, "entry", "entries")}`;
  if (value === null) return "nothing (null)";
  if (typeof value !== "object") return typeof value;
  if (typeof value.$type !== "string") return `object, ${counted(Object.keys(value).length, "name")}`;
  const isBytes = value.$type === "bytes" && typeof value.value === "string";
  const size = isBytes ? `, about ${bytes(Math.floor((value.value.length * 3) / 4))}` : "";
  return `${value.$type}${size}`;
}

/** The values, the progress and the log of a stream, as they come; bounded, however long it is. */
export class StreamView {
  constructor(app) {
    this.values = [];
    this.count = 0;
    this.drawn = 0;
    this.logs = [];
    this.progress = null;
    this.bar = new Progress();
    this.summary = h("span.type");
    this.list = h("ol.stream", { tabindex: 0, "aria-label": "Values" });
    this.log = h("ol.log", { tabindex: 0, "aria-label": "Log", hidden: true });
    const whole = () => this.values.join("\n");
    this.root = h(
      "div.value",
      null,
      this.bar.root,
      this.log,
      h("div.line", null, h("h3", null, "Values"), this.summary, copyButton(app, whole), saveButton(whole, "values.jsonl")),
      this.list,
    );
    this.draw = eachFrame(() => this.redraw());
  }

  /** Takes an event of the stream. */
  take({ event, data, raw }) {
    if (event === "data") {
      this.values.push(raw);
      this.count += 1;
      if (this.values.length > 2 * MOST_VALUES) this.values = this.values.slice(-MOST_VALUES);
    } else if (event === "progress") {
      this.progress = data;
    } else if (event === "log") {
      this.logs.push(data);
      if (this.logs.length > MOST_LOGS) this.logs.shift();
      this.logged = true;
    }
    this.draw();
  }

  redraw() {
    const isAtEnd = this.list.scrollTop + this.list.clientHeight > this.list.scrollHeight - 8;
    const fresh = this.values.slice(-Math.min(this.count - this.drawn, MOST_VALUES));
    if (this.count > this.drawn) {
      const from = this.count - fresh.length;
      const item = (value, place) => h("li", { value: from + place + 1 }, oneLineOf(value, 2_000));
      put(this.list, fresh.map(item));
      while (this.list.children.length > MOST_VALUES) this.list.firstChild.remove();
      if (isAtEnd) this.list.scrollTop = this.list.scrollHeight;
    }
    this.drawn = this.count;
    const all = count(this.count);
    setText(this.summary, this.count > MOST_VALUES ? `the last ${count(MOST_VALUES)} of ${all}` : all);
    this.bar.show(this.progress);
    if (!this.logged) return;
    this.logged = false;
    this.log.hidden = false;
    const line = ({ level, message, fields }) => {
      const more = Object.keys(fields ?? {}).length ? h("span.type", null, ` ${oneLine(fields, 500)}`) : null;
      return h("li", { "data-level": level }, h("strong", null, level), ` ${cut(message, 2_000)}`, more);
    };
    replace(this.log, this.logs.map(line));
    this.log.scrollTop = this.log.scrollHeight;
  }
}
