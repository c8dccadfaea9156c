// One variable: its value, and how it is changed.

import { ApiError, ofVariable, send } from "../api.js";
import { ask } from "../dialog.js";
import { facts, h, liveFacts, replace, setText } from "../dom.js";
import { failure } from "../failure.js";
import { bytes, count, cut, moment } from "../format.js";
import { arranged } from "../raw_json.js";

/** Characters of a value that are shown; a longer one cannot be changed here. */
const MAX_CHARS = 100_000;
/** A browser resolves these before it sends a path. */
const UNREACHABLE = new Set([".", ".."]);

/** A field for JSON. */
export const jsonField = (text) => {
  const field = h("textarea", {
    rows: Math.min(16, Math.max(3, text.split("\n").length + 1)),
    spellcheck: "false",
    autocomplete: "off",
    required: true,
    oninput: () => field.setCustomValidity(""),
  });
  field.value = text;
  return field;
};

/** Returns the JSON in a field; what is not JSON is said at the field, and is an ApiError. */
export function readJson(field) {
  try {
    JSON.parse(field.value);
    return field.value;
  } catch (error) {
    field.setCustomValidity(`This is not JSON: ${error.message}. A text stands in quotes, such as "Berlin".`);
    field.reportValidity();
    throw new ApiError(422, { type: "NotJson", message: `${error.message}. A text stands in quotes, such as "Berlin".` });
  }
}

/** The variable that is selected. */
export class VariablePanel {
  constructor(app, session, name, store) {
    Object.assign(this, { app, session, name, store });
    this.shown = undefined;
    this.base = null;
    this.heading = h("h3.variable-name", null, name);
    this.close = h("a.close", { href: app.url.href({ variable: "" }), "aria-label": "Close" }, "×");
    this.facts = liveFacts(["Type", "Revision", "Created", "Updated", "By", "Size", "Secret"]);
    this.tags = h("div");
    this.value = h("pre", { tabindex: 0, "aria-label": "Value" });
    this.edit = h("button.quiet", { type: "button", onclick: () => this.begin() }, "Change…");
    this.remove = h("button.danger", { type: "button", onclick: () => this.askToDelete() }, "Delete…");
    this.note = h("p.quiet-text");
    this.editor = h("div", { hidden: true });
    this.root = h(
      "section.variable",
      { "aria-label": "The selected variable" },
      h("div.bar", null, this.heading, this.close),
      this.facts.root,
      this.tags,
      this.value,
      this.editor,
      this.note,
      h("div.bar", null, this.edit, this.remove),
    );
  }

  get entry() {
    const entry = this.store.entries.get(this.name);
    return entry && entry.deletedAt === null ? entry : null;
  }

  /** Shows what the store has now. */
  update() {
    this.close.href = this.app.url.href({ variable: "" });
    const { entry } = this;
    const stamp = `${entry?.revision} ${entry?.details?.metadata.revision} ${this.store.isLive} ${this.store.ended}`;
    if (stamp === this.shown) return;
    this.shown = stamp;
    const isReachable = !UNREACHABLE.has(this.name);
    this.edit.hidden = this.base !== null || !entry || !isReachable || entry.length > MAX_CHARS;
    this.remove.hidden = !entry || !isReachable;
    this.value.hidden = !entry || entry.text === null;
    this.drawFacts(entry);
    if (entry?.text) setText(this.value, cut(arranged(entry.text), MAX_CHARS));
    setText(this.note, this.words(entry, isReachable));
    this.drawChange(entry);
  }

  words(entry, isReachable) {
    if (!entry) return this.store.isLive ? "No such variable." : "";
    if (entry.secret) return "Its value is secret and is not shown here.";
    if (!isReachable)
      return "A browser cannot change a variable with this name, since it means a folder in an address. Use a client.";
    if (entry.text === null) return "The value is too large to be shown here.";
    if (entry.length > MAX_CHARS) return "The value is too large to be changed here.";
    return "";
  }

  drawFacts(entry) {
    const metadata = entry?.details?.metadata;
    this.facts.set(
      entry
        ? {
            Type: entry.details?.type,
            Revision: count(entry.revision),
            Updated: moment(entry.updatedAt),
            Secret: entry.secret ? "yes" : "",
            Created: metadata && moment(metadata.created_at),
            By: metadata?.created_by,
            Size: entry.details && bytes(entry.details.size_bytes),
          }
        : {},
    );
    const tags = Object.entries(metadata?.tags ?? {});
    replace(this.tags, tags.length ? [h("h3", null, "Tags"), facts(tags)] : null);
  }

  // ---------------------------------------------------------------------------------------------- changing it

  begin() {
    const { entry } = this;
    this.base = entry.revision;
    this.field = jsonField(entry.text === null ? "" : arranged(entry.text));
    this.problem = h("div", { role: "alert" });
    this.theirs = h("div");
    this.save = h("button", { type: "submit" }, "Save");
    replace(
      this.editor,
      h(
        "form",
        { onsubmit: (event) => this.submitted(event) },
        this.theirs,
        h("label.field", null, "New value (JSON)", this.field),
        this.problem,
        h("div.bar", null, this.save, h("button.quiet", { type: "button", onclick: () => this.finish() }, "Discard")),
      ),
    );
    this.editor.hidden = false;
    this.edit.hidden = true;
    this.field.focus();
  }

  finish() {
    this.base = null;
    replace(this.editor);
    this.editor.hidden = true;
    this.shown = undefined;
    this.update();
    if (!this.edit.hidden) this.edit.focus();
    else this.close.focus();
  }

  /** Says that what somebody is changing has been changed by another meanwhile. */
  drawChange(entry) {
    if (this.base === null) return;
    const revision = entry?.revision ?? 0;
    if (revision === this.base) return;
    replace(
      this.theirs,
      h(
        "p.changed-note",
        null,
        entry
          ? `It was changed meanwhile: revision ${count(revision)}, not ${count(this.base)}. ${entry.secret ? "" : "Above is what it is now, below what you would save."}`
          : "It was deleted meanwhile.",
      ),
    );
  }

  async submitted(event) {
    event.preventDefault();
    if (this.save.disabled) return;
    this.save.disabled = true;
    replace(this.problem);
    try {
      const body = `{"value":${readJson(this.field)}}`;
      await send("PUT", ofVariable(this.session, this.name), body, { headers: { "If-Match": String(this.base) } });
      this.app.say("The variable was set.");
      this.finish();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.info.type === "RevisionConflict") this.conflict(error);
      else replace(this.problem, failure(error.info));
    } finally {
      this.save.disabled = false;
    }
  }

  conflict(error) {
    const now = Number(error.info.details.revision);
    const { entry } = this;
    const yours = this.field.value;
    replace(this.theirs);
    replace(
      this.problem,
      failure({ type: error.info.type, message: error.info.message }),
      h(
        "div.both",
        null,
        h(
          "div",
          null,
          h("h3", null, `In the hub: revision ${count(now)}`),
          h("pre", { tabindex: 0 }, this.theirText(entry, now)),
        ),
        h("div", null, h("h3", null, "Yours"), h("pre", { tabindex: 0 }, cut(yours, MAX_CHARS))),
      ),
      h(
        "div.bar",
        null,
        h(
          "button.danger",
          {
            type: "button",
            onclick: () => {
              this.base = now;
              this.save.form.requestSubmit();
            },
          },
          "Overwrite with yours",
        ),
        h("button.quiet", { type: "button", onclick: () => this.finish() }, "Keep the hub's"),
      ),
    );
  }

  theirText(entry, now) {
    if (!now) return "(deleted)";
    if (entry?.secret) return "(secret)";
    if (entry?.revision !== now || entry.text === null) return "(see above)";
    return cut(arranged(entry.text), MAX_CHARS);
  }

  async askToDelete() {
    const { revision } = this.entry;
    await ask({
      title: "Delete this variable?",
      action: "Delete",
      danger: true,
      body: h("p", null, `“${this.name}” is lost for all clients of the session.`),
      work: async () => {
        // Not if it has become another meanwhile, which nobody here has seen.
        await send("DELETE", ofVariable(this.session, this.name), undefined, { headers: { "If-Match": String(revision) } });
        this.app.say("The variable was deleted.");
      },
    });
  }
}
