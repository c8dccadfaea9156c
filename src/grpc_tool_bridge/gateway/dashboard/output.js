// What a call has answered: one value, or many as they come.

import { eachFrame, h, put, replace } from "./dom.js";
import { bytes, count, counted, cut, oneLine } from "./format.js";
import { arranged, oneLineOf } from "./raw_json.js";

/** Values of a stream that are shown; of more, the last. */
export const MOST_VALUES = 1_000;
const MOST_LOGS = 200;
const MOST_CHARS = 200_000;

/** Copies a text, also where the page is not served over TLS, and says what came of it. */
export async function copy(text, app) {
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
export const copyButton = (app, text, label = "Copy") =>
  h("button.quiet", { type: "button", onclick: () => copy(text(), app) }, label);

/** A button that saves what `text` returns as a file. */
function saveButton(text, name) {
  return h(
    "button.quiet",
    {
      type: "button",
      onclick: () => {
        const address = URL.createObjectURL(new Blob([text()], { type: "application/octet-stream" }));
        h("a", { href: address, download: name }).click();
        // The browser has taken it by then.
        setTimeout(() => URL.revokeObjectURL(address), 60_000);
      },
    },
    "Download",
  );
}

/** One value, and the JSON that it was read from: as it is if it is a text, else as JSON; of a large one the beginning. */
export function valueView(value, json, app) {
  const isText = typeof value === "string";
  const whole = () => (isText ? value : arranged(json));
  const more = json.length > MOST_CHARS ? `… (${count(json.length - MOST_CHARS)} more characters)` : "";
  return h(
    "div.value",
    null,
    h(
      "div.line",
      null,
      h("h3", null, "Result"),
      h("span.type", null, isText ? `text, ${counted(value.length, "character")}` : kindOf(value)),
      copyButton(app, whole),
      saveButton(whole, isText ? "result.txt" : "result.json"),
    ),
    h(
      "pre",
      { tabindex: 0, "aria-label": "Result" },
      isText ? cut(value, MOST_CHARS) : `${arranged(json.slice(0, MOST_CHARS))}${more}`,
    ),
  );
}

function kindOf(value) {
  if (Array.isArray(value)) return `list, ${counted(value.length, "entry", "entries")}`;
  if (value === null) return "nothing (null)";
  if (typeof value !== "object") return typeof value;
  if (typeof value.$type !== "string") return `object, ${counted(Object.keys(value).length, "name")}`;
  const size =
    value.$type === "bytes" && typeof value.value === "string"
      ? `, about ${bytes(Math.floor((value.value.length * 3) / 4))}`
      : "";
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
    this.bar = h("progress", { "aria-label": "Progress", hidden: true });
    this.message = h("span");
    this.summary = h("span.type");
    this.list = h("ol.stream", { tabindex: 0, "aria-label": "Values" });
    this.log = h("ol.log", { tabindex: 0, "aria-label": "Log", hidden: true });
    const whole = () => this.values.join("\n");
    this.root = h(
      "div.value",
      null,
      h("div.line", null, this.bar, this.message),
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
      put(
        this.list,
        fresh.map((value, place) => h("li", { value: from + place + 1 }, oneLineOf(value, 2_000))),
      );
      while (this.list.children.length > MOST_VALUES) this.list.firstChild.remove();
      if (isAtEnd) this.list.scrollTop = this.list.scrollHeight;
    }
    this.drawn = this.count;
    this.summary.textContent =
      this.count > MOST_VALUES ? `the last ${count(MOST_VALUES)} of ${count(this.count)}` : count(this.count);
    this.drawProgress();
    if (!this.logged) return;
    this.logged = false;
    this.log.hidden = false;
    replace(
      this.log,
      this.logs.map(({ level, message, fields }) =>
        h(
          "li",
          { "data-level": level },
          h("strong", null, level),
          ` ${cut(message, 2_000)}`,
          Object.keys(fields ?? {}).length ? h("span.type", null, ` ${oneLine(fields, 500)}`) : null,
        ),
      ),
    );
    this.log.scrollTop = this.log.scrollHeight;
  }

  drawProgress() {
    if (!this.progress) return;
    const { current, total, message } = this.progress;
    this.bar.hidden = false;
    if (total > 0) Object.assign(this.bar, { max: total, value: Math.max(0, Math.min(current, total)) });
    else this.bar.removeAttribute("value");
    this.message.textContent = `${total > 0 ? `${count(current)} of ${count(total)}` : count(current)} ${cut(message, 500)}`;
  }
}
