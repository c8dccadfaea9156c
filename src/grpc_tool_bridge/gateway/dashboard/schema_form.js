// A form made from a JSON Schema.

import { h } from "./dom.js";
import { formOf, objectEditor } from "./editors.js";
import { problemsOf, resolve } from "./schema.js";

/** The form of a tool's arguments. */
export class SchemaForm {
  /**
   * @param {object} schema What the arguments have to be, an object.
   * @param {function(): void} onChange Called when somebody has changed something.
   */
  constructor(schema, onChange) {
    this.within = formOf(schema, onChange);
    this.editor = objectEditor({ schema: resolve(schema, schema) }, this.within, {}, true);
    this.root = h(
      "form.arguments",
      { novalidate: true, oninput: onChange, onsubmit: (event) => event.preventDefault() },
      this.editor.root,
    );
  }

  get value() {
    return this.editor.get();
  }

  set value(value) {
    this.editor.set(value);
  }

  /** Whether all of it can be sent; if not, the first field that is wrong says why. */
  check() {
    return this.root.reportValidity();
  }

  /** Says at each argument what the hub has found wrong with it. */
  tell(problems) {
    this.within.told?.forEach((field) => {
      field.tell("");
    });
    this.within.told = [];
    for (const [name, text] of Object.entries(problems)) {
      for (const [path, problem] of problemsOf(String(text))) {
        const field = findField(this.editor, [name, ...path]);
        if (!field) continue;
        field.tell(path.length && field === this.editor.find(name) ? String(text) : problem);
        this.within.told.push(field);
      }
    }
  }
}

// The deepest part of a form on a path.
function findField(editor, path) {
  const inner = editor.find?.(path[0]);
  if (!inner) return null;
  return (path.length > 1 && findField(inner, path.slice(1))) || inner;
}
