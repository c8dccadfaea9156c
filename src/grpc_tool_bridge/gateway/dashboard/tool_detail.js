// One tool: what it is, a form for its arguments, calls of it, and the same call elsewhere.

import { formSchema, joinArguments, splitArguments } from "./call_arguments.js";
import { CallPanel, SESSION } from "./call_panel.js";
import { atMost, facts, h, replace } from "./dom.js";
import { parseExact } from "./exact_json.js";
import { written } from "./fields.js";
import { counted, cut, duration, pretty } from "./format.js";
import { copyButton } from "./output.js";
import { isTagged, typeName } from "./schema.js";
import { SchemaForm } from "./schema_form.js";
import { commandLine, curl, python } from "./snippets.js";

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
    this.changed = () => {
      this.touched = true;
      this.refresh();
    };
    this.refresh = atMost(250, () => this.keep());
    this.form = new SchemaForm(this.schema, this.changed);
    this.form.root.addEventListener("keydown", (event) => this.pressed(event));
    this.fresh = JSON.stringify(this.form.value);
    this.json = written(
      { "aria-label": "All arguments as JSON" },
      { rows: 12, check: (value) => (isMap(value) ? "" : 'Give an object: {"name": value, …}.') },
    );
    this.json.control.addEventListener("input", this.changed);
    this.json.control.addEventListener("keydown", (event) => this.pressed(event));
    this.place = h("div");
    this.mode = h("button.quiet", { type: "button", "aria-pressed": "false", onclick: () => this.switchMode() }, "JSON");
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
    const { url } = this.app;
    const linked = (worker) => h("a", { href: url.href({ view: "workers", worker }) }, worker);
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
        h("a", { href: url.href({ view: "calls", tool: spec.name }) }, "Calls"),
        h("a", { href: url.href({ view: "performance", tool: spec.name }) }, "Performance"),
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
      spec.examples?.length
        ? [h("h3", null, "Examples"), spec.examples.map((text) => h("pre", { tabindex: 0 }, cut(text, 5_000)))]
        : null,
    );
  }

  more(result, schema) {
    return [
      folded(`Result schema: ${typeName(result, result)}`, () => pretty(result)),
      folded("Argument schema", () => pretty(schema)),
      folded("Full specification", () => pretty(this.spec)),
    ];
  }

  /** Takes what the address says, unless it is what the page has written there. */
  show() {
    const { url } = this.app;
    for (const [field, name] of [
      [this.timeout, "timeout"],
      [this.key, "key"],
    ])
      if (document.activeElement !== field) field.value = url.get(name);
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
    let given = {};
    try {
      given = text ? parseExact(text) : {};
    } catch {
      this.note.textContent = "The arguments in the address are not JSON, so the form is empty.";
    }
    this.put(joinArguments(given, this.spec));
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
    this.app.url.go({ args: this.applied }, { replace: true });
    this.drawSnippets();
  }

  keepOptions() {
    this.app.url.go({ timeout: this.timeout.value, key: this.key.value }, { replace: true });
  }

  switchMode() {
    if (this.asJson && !this.json.control.reportValidity()) return;
    this.keep();
    this.app.url.go({ form: this.asJson ? "" : "json" });
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
    const pre = h("pre", { tabindex: 0, "aria-label": name });
    const root = h(
      "details.snippet",
      { ontoggle: () => this.drawSnippets() },
      h("summary", null, name),
      pre,
      copyButton(this.app, () => pre.textContent),
    );
    return { name, root, pre };
  }

  drawSnippets() {
    const open = this.snippets.filter(({ root }) => root.open);
    if (!open.length) return;
    const { hub } = this.app.events;
    const session = this.app.url.get("session");
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
    for (const { name, pre } of open) pre.textContent = SNIPPETS[name](call);
  }
}

const isMap = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !isTagged(value);

const LIMITS = {
  timeout_ms: (value) => `${duration(value * 1_000)} a call`,
  max_concurrent_calls: (value) => `${counted(value, "call")} at once`,
  rate_limit_per_minute: (value) => `${counted(value, "call")} a minute`,
  max_memory_bytes: (value) => `${counted(value, "byte")} of memory`,
};

// What is long is only written when somebody opens it.
function folded(title, text) {
  const pre = h("pre", { tabindex: 0 });
  return h(
    "details",
    {
      ontoggle: () => {
        pre.textContent = text();
      },
    },
    h("summary", null, title),
    pre,
  );
}
