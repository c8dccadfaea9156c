// One variable: its value, and how it is changed.

import { ApiError, isReachable, ofVariable, send } from "../api.js";
import { ask } from "../dialog.js";
import { button, Facts, facts, h, pre, replace, setText } from "../dom.js";
import { Problem } from "../failure.js";
import { written } from "../fields.js";
import { bytes, count, cut, moment } from "../format.js";
import { arranged } from "../raw_json.js";
import { url } from "../url.js";

/** Characters of a value that are shown; a longer one cannot be changed here. */
const MAX_CHARS = 100_000;

/** The variable that is selected. */
export class VariablePanel {
  constructor(app, session, name, store) {
    Object.assign(this, { app, session, name, store });
    this.shown = undefined;
    this.base = null;
    this.heading = h("h3.variable-name", null, name);
    this.close = h("a.close", { "aria-label": "Close" }, "×");
    this.facts = new Facts(["Type", "Revision", "Created", "Updated", "By", "Size", "Secret"]);
    this.tags = h("div");
    this.value = pre("", "Value");
    this.edit = button("Change…", () => this.begin(), ".quiet");
    this.remove = button("Delete…", () => this.askToDelete(), ".danger");
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
    this.close.href = url.href({ variable: "" });
    const { entry } = this;
    const stamp = `${entry?.revision} ${entry?.details?.metadata.revision} ${this.store.isLive} ${this.store.ended}`;
    if (stamp === this.shown) return;
    this.shown = stamp;
    this.edit.hidden = this.base !== null || !entry || !isReachable(this.name) || entry.length > MAX_CHARS;
    this.remove.hidden = !entry || !isReachable(this.name);
    this.value.hidden = !entry || entry.text === null;
    this.drawFacts(entry);
    if (entry?.text) setText(this.value, cut(arranged(entry.text), MAX_CHARS));
    setText(this.note, this.words(entry));
    this.drawChange(entry);
  }

  words(entry) {
    if (!entry) return this.store.isLive ? "No such variable." : "";
    if (entry.secret) return "Its value is secret and is not shown here.";
    if (!isReachable(this.name))
      return "A browser cannot change a variable with this name, since it means a folder in an address. Use a client.";
    if (entry.text === null) return "The value is too large to be shown here.";
    if (entry.length > MAX_CHARS) return "The value is too large to be changed here.";
    return "";
  }

  drawFacts(entry) {
    const metadata = entry?.details?.metadata;
    const now = entry && {
      Type: entry.details?.type,
      Revision: count(entry.revision),
      Updated: moment(entry.updatedAt),
      Secret: entry.secret ? "yes" : "",
      Created: metadata && moment(metadata.created_at),
      By: metadata?.created_by,
      Size: entry.details && bytes(entry.details.size_bytes),
    };
    this.facts.set(now ?? {});
    const tags = Object.entries(metadata?.tags ?? {});
    replace(this.tags, tags.length ? [h("h3", null, "Tags"), facts(tags)] : null);
  }

  begin() {
    const { entry } = this;
    this.base = entry.revision;
    const text = entry.text === null ? "" : arranged(entry.text);
    const rows = Math.min(16, Math.max(3, text.split("\n").length + 1));
    this.field = written({ "aria-label": "New value (JSON)" }, { rows, text });
    this.problem = new Problem();
    this.theirs = h("div");
    this.save = h("button", { type: "submit" }, "Save");
    const form = h(
      "form",
      { onsubmit: (event) => this.submitted(event) },
      this.theirs,
      h("div.field", null, "New value (JSON)", this.field.root),
      this.problem.root,
      h(
        "div.bar",
        null,
        this.save,
        button("Discard", () => this.finish(), ".quiet"),
      ),
    );
    replace(this.editor, form);
    this.editor.hidden = false;
    this.edit.hidden = true;
    this.field.control.focus();
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
    const seen = entry?.secret ? "" : "Above is what it is now, below what you would save.";
    const changed = `It was changed meanwhile: revision ${count(revision)}, not ${count(this.base)}. ${seen}`;
    replace(this.theirs, h("p.changed-note", null, entry ? changed : "It was deleted meanwhile."));
  }

  async submitted(event) {
    event.preventDefault();
    if (this.save.disabled) return;
    this.save.disabled = true;
    this.problem.show(null);
    try {
      const body = `{"value":${this.field.control.value}}`;
      await send("PUT", ofVariable(this.session, this.name), body, { headers: { "If-Match": String(this.base) } });
      this.app.say("The variable was set.");
      this.finish();
    } catch (error) {
      if (error instanceof ApiError && error.info.type === "RevisionConflict") this.conflict(error);
      else this.problem.show(error);
    } finally {
      this.save.disabled = false;
    }
  }

  conflict(error) {
    const now = Number(error.info.details.revision);
    const overwrite = () => {
      this.base = now;
      this.save.form.requestSubmit();
    };
    const told = new ApiError(error.status, { type: error.info.type, message: error.info.message });
    const both = [
      h("div", null, h("h3", null, `In the hub: revision ${count(now)}`), pre(this.theirText(this.entry, now))),
      h("div", null, h("h3", null, "Yours"), pre(cut(this.field.control.value, MAX_CHARS))),
    ];
    const buttons = [
      button("Overwrite with yours", overwrite, ".danger"),
      button("Keep the hub's", () => this.finish(), ".quiet"),
    ];
    replace(this.theirs);
    this.problem.show(told, [h("div.both", null, both), h("div.bar", null, buttons)]);
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
