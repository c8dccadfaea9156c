// One tool: what it is, a form for its arguments, calls of it, and the same call elsewhere.

import { formSchema, joinArguments, splitArguments } from "./call_arguments.js";
import { CallPanel, SESSION } from "./call_panel.js";
import { atMost, button, facts, folded, h, pre, replace, setText } from "./dom.js";
import { written } from "./fields.js";
import { counted, cut, duration, pretty } from "./format.js";
import { copyButton } from "./output.js";
import { parseExact } from "./raw_json.js";
import { isMap, typeName } from "./schema.js";
import { SchemaForm } from "./schema_form.js";
import { commandLine, curl, python } from "./snippets.js";
import { link, url } from "./url.js";

/** Characters of arguments that an address can have. */
const MOST_ARGS = 6_000;
export const KINDS = { STANDARD: "plain", STREAMING: "streaming", BATCH: "batch", COMPOSITE: "composite" };
const NUMBERS = Object.keys(KINDS);
const SNIPPETS = { curl, Python: python, "Command line": commandLine };

/** The selected tool. */
export class ToolDetail {
  /**
   * @param {object} app As views get it.
   * @param {object} tool What `/api/tools/{tool}` says.
   */
  constructor(app, { spec, arguments: schema, result, workers }) {
    this.app = app;
    this.spec = spec;
    this.schema = formSchema(schema, spec);
    this.streams = NUMBERS[spec.type] === "STREAMING";
    this.applied = "";
    this.note = h("p.type", { role: "status" });
    this.changed = atMost(250, () => this.keep());
    this.form = new SchemaForm(this.schema, this.changed);
    this.fresh = JSON.stringify(this.form.value);
    this.json = written(
      { "aria-label": "All arguments as JSON" },
      { rows: 12, check: (value) => (isMap(value) ? "" : 'Give an object: {"name": value, …}.') },
    );
    this.json.control.addEventListener("input", this.changed);
    this.place = h("div", { onkeydown: (event) => this.pressed(event) });
    this.mode = button("JSON", () => this.switchMode(), ".quiet");
    this.mode.setAttribute("aria-pressed", "false");
    this.panel = new CallPanel(app, {
      streams: this.streams,
      read: (streams) => this.read(streams),
      tell: (details) => this.form.tell(details),
    });
    this.timeout = h("input", {
      type: "number",
      min: 1,
      step: 1,
      placeholder: "the tool's own",
      oninput: () => this.keepOptions(),
    });
    this.key = h("input", { maxlength: 256, autocomplete: "off", placeholder: "none", oninput: () => this.keepOptions() });
    this.snippets = Object.keys(SNIPPETS).map((name) => this.snippet(name));
    this.root = h(
      "div",
      null,
      this.about(workers),
      h(
        "section",
        { "aria-label": "Arguments" },
        h("div.line", null, h("h3", null, "Arguments"), this.mode),
        this.place,
        this.note,
        h("div.options", null, h("label", null, "Timeout in ms ", this.timeout), h("label", null, "Idempotency key ", this.key)),
      ),
      this.panel.root,
      h("h3", null, "Call it from"),
      this.snippets.map(({ root }) => root),
      this.more(result, schema),
    );
    this.asJson = false;
    replace(this.place, this.form.root);
    this.onState = () => this.drawSnippets();
    app.events.addEventListener("state", this.onState);
  }

  close() {
    this.app.events.removeEventListener("state", this.onState);
    this.panel.close();
  }

  about(workers) {
    const { spec } = this;
    const limits = Object.entries(spec.limits ?? {})
      .filter(([, value]) => value)
      .map(([name, value]) => LIMITS[name]?.(value) ?? `${name} ${value}`);
    const linked = (worker) => link(worker, { view: "workers", worker });
    const others = workers.length > 10 ? ` and ${counted(workers.length - 10, "other")}` : null;
    return h(
      "div",
      null,
      spec.description
        .split(/\n\s*\n/)
        .filter((text) => text.trim())
        .map((text) => h("p.paragraph", null, text.trim())),
      h(
        "p.links",
        null,
        link("Calls", { view: "calls", tool: spec.name }),
        link("Performance", { view: "performance", tool: spec.name }),
      ),
      facts([
        ["Kind", KINDS[NUMBERS[spec.type]] ?? String(spec.type)],
        ["Runs in", workers.length ? h("span.links", null, workers.slice(0, 10).map(linked), others) : "the hub"],
        ["Version", spec.version],
        ["Idempotent", spec.idempotent ? "yes: a failed call may be repeated" : ""],
        ["Limits", limits.join(", ")],
        ["Result", spec.return_type?.python_type ?? ""],
        ...Object.entries(spec.metadata ?? {}).map(([name, value]) => [name, cut(value, 500)]),
      ]),
      spec.examples?.length ? [h("h3", null, "Examples"), spec.examples.map((text) => pre(cut(text, 5_000)))] : null,
    );
  }

  more(result, schema) {
    // What is long is only written when somebody unfolds it.
    const later = (title, value) => {
      const text = pre("");
      return folded(title, text, () => setText(text, pretty(value)));
    };
    return [
      later(`Result schema: ${typeName(result, result)}`, result),
      later("Argument schema", schema),
      later("Full specification", this.spec),
    ];
  }

  /** Takes what the address says, unless it is what the page has written there. */
  update() {
    if (document.activeElement !== this.timeout) this.timeout.value = url.get("timeout");
    if (document.activeElement !== this.key) this.key.value = url.get("key");
    const text = url.get("args");
    if (text !== this.applied) {
      this.applied = text;
      this.apply(text);
    }
    if ((url.get("form") === "json") !== this.asJson) this.setMode(url.get("form") === "json");
    this.drawSnippets();
  }

  apply(text) {
    this.note.textContent = "";
    try {
      this.put(joinArguments(text ? parseExact(text) : {}, this.spec));
    } catch (error) {
      this.put({});
      // What is nested without end has no room on a stack.
      const why = error instanceof SyntaxError ? "not JSON" : "nested too deeply";
      this.note.textContent = `The arguments in the address are ${why}; the form is empty.`;
    }
  }

  put(value) {
    if (this.asJson) this.json.set(value);
    else this.form.value = value;
  }

  get value() {
    return this.asJson ? this.json.get() : this.form.value;
  }

  /** Writes what somebody has filled in into the address. */
  keep() {
    const text = JSON.stringify(this.value) ?? "";
    const isFresh = text === this.fresh || text === "{}";
    const isLong = text.length > MOST_ARGS;
    this.note.textContent = isLong
      ? "These arguments are too long for the address: they are lost when the page is reloaded, and not in its link."
      : "";
    this.applied = isFresh || isLong ? "" : text;
    url.go({ args: this.applied }, { replace: true });
    this.drawSnippets();
  }

  keepOptions() {
    url.go({ timeout: this.timeout.value, key: this.key.value }, { replace: true });
  }

  switchMode() {
    if (this.asJson && !this.json.control.reportValidity()) return;
    this.keep();
    url.go({ form: this.asJson ? "" : "json" });
  }

  setMode(asJson) {
    const value = this.value;
    this.asJson = asJson;
    this.put(isMap(value) ? value : {});
    this.mode.setAttribute("aria-pressed", String(asJson));
    replace(this.place, asJson ? this.json.root : this.form.root);
  }

  pressed(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    const isLong = event.target.tagName === "TEXTAREA";
    if (event.ctrlKey || event.metaKey || (!isLong && event.target.tagName === "INPUT")) {
      event.preventDefault();
      this.panel.runDefault();
    }
  }

  call(streams) {
    const value = this.value;
    return {
      ...splitArguments(isMap(value) ? value : {}, this.spec),
      tool: this.spec.name,
      streams,
      timeoutMs: Number(this.timeout.value) || null,
      key: this.key.value,
    };
  }

  /** Returns the call that is asked for; null: something has to be mended first. */
  read(streams) {
    if (!(this.asJson ? this.json.control.reportValidity() : this.form.check()) || !this.timeout.reportValidity()) return null;
    this.keep();
    return { ...this.call(streams), key: streams ? "" : this.key.value };
  }

  snippet(name) {
    const text = pre("", name);
    const root = folded(name, [text, copyButton(this.app, () => text.textContent)], () => this.drawSnippets());
    return { name, root, text };
  }

  drawSnippets() {
    const open = this.snippets.filter(({ root }) => root.open);
    if (!open.length) return;
    const { hub } = this.app.events;
    const session = url.get("session");
    // What listens everywhere is reached by the name that the page came from.
    const address = (hub?.address ?? "").replace(/^(0\.0\.0\.0|\[::\]):/, `${location.hostname}:`);
    const call = {
      ...this.call(this.streams),
      origin: location.origin,
      address,
      needsToken: Boolean(hub?.needs_token),
      tls: location.protocol === "https:",
      session: session || SESSION,
      makesSession: !session,
      schema: this.schema,
      spec: this.spec,
    };
    for (const { name, text } of open) setText(text, SNIPPETS[name](call));
  }
}

const LIMITS = {
  timeout_ms: (value) => `${duration(value * 1_000)} a call`,
  max_concurrent_calls: (value) => `${counted(value, "call")} at once`,
  rate_limit_per_minute: (value) => `${counted(value, "call")} a minute`,
  max_memory_bytes: (value) => `${counted(value, "byte")} of memory`,
};
