// What values of a schema are edited with: of any depth, made as far as somebody goes.

import { button, h, replace } from "./dom.js";
import { chosen, fixed, newId, typed, written } from "./fields.js";
import { isMap, isTagged, itemOf, propertiesOf, resolve, restOf, shapeOf, typeName, untagged, variantOf } from "./schema.js";

/** What a form knows in all its parts: its whole schema, and what is called when somebody has changed something. */
export const formOf = (whole, changed) => ({ whole, changed, seeded: 0, unions: 0, room: { fields: MOST_FIELDS } });

const SCALARS = new Set(["text", "bytes", "integer", "number"]);
/** Levels that are there before anybody asks for them; a schema may need itself. */
const MOST_SEEDED = 5;
/** Fields that are there before anybody asks for more, and options that count as one of them; a schema may have any number. */
const MOST_FIELDS = 600;
const OPTIONS = 20;
/** Unions that are kinds of a union; one may be a kind of itself. */
const MOST_UNIONS = 5;

/** Any value of a schema. What its form cannot show is shown as JSON. */
function slot(given, within, names) {
  const shape = within.unions > MOST_UNIONS ? { kind: "json", schema: {} } : shapeOf(given, within.whole);
  const said = h("p.problem", { hidden: true });
  const place = h("div.slot");
  let inner = null;
  const become = (editor, note) => {
    inner = editor;
    replace(place, note, editor.root, said);
  };
  const asForm = (seeded = 0) => become(made(shape, { ...within, seeded }, names));
  const useForm = () => {
    within.room.fields = MOST_FIELDS;
    asForm();
    within.changed();
    inner.control?.focus();
  };
  const asJson = () =>
    become({ ...written(names), isInstead: true }, h("p.type", null, "As JSON. ", button("Use the form", useForm, ".quiet")));
  within.room.fields -= 1 + ((shape.schema.enum ?? shape.variants)?.length ?? 0) / OPTIONS;
  if (within.seeded > MOST_SEEDED || within.room.fields < 0) asJson();
  else asForm(within.seeded + 1);
  return {
    root: place,
    get control() {
      return inner.control;
    },
    get: () => inner.get(),
    set(value) {
      if (inner.isInstead) asForm();
      if (inner.set(value)) return true;
      asJson();
      return inner.set(value);
    },
    find: (key) => inner.find?.(key),
    tell(text) {
      said.textContent = text;
      said.hidden = text === "";
    },
  };
}

function made(shape, given, names) {
  const { kind, schema } = shape;
  const within = { ...given, unions: kind === "union" ? given.unions + 1 : 0 };
  if (SCALARS.has(kind)) return typed(shape, names);
  switch (kind) {
    case "const":
      return fixed(schema.const, names);
    case "null":
      return fixed(null, names);
    case "enum":
      return chosen(schema.enum, names);
    case "boolean":
      return chosen([true, false], names);
    case "union":
      return unionEditor(shape, within, names);
    case "array":
      return arrayEditor(shape, within, names);
    case "object":
      return objectEditor(shape, within, names);
    default:
      return written(names);
  }
}

/** A button that has a sign instead of words. */
const signed = (sign, label, onclick) => h("button.quiet", { type: "button", "aria-label": label, title: label, onclick }, sign);

/** One of several schemas. */
function unionEditor({ variants }, within, names) {
  const place = h("div");
  const editors = new Map();
  const choice = h(
    "select",
    {
      "aria-label": "Kind of value",
      onchange: () => {
        show(Number(choice.value));
        within.changed();
      },
    },
    variants.map((variant, index) => h("option", { value: index }, typeName(variant, within.whole))),
  );
  let current = null;
  function show(index) {
    choice.value = index;
    if (!editors.has(index)) editors.set(index, slot(variants[index], within, names));
    current = editors.get(index);
    replace(place, current.root);
  }
  show(
    Math.max(
      0,
      variants.findIndex((variant) => shapeOf(variant, within.whole).kind !== "null"),
    ),
  );
  return {
    root: h("div.union", null, choice, place),
    get control() {
      return current.control ?? choice;
    },
    get: () => current.get(),
    set(value) {
      const index = variantOf(value, variants, within.whole);
      if (index < 0) return false;
      show(index);
      return current.set(value);
    },
    find: (key) => current.find(key),
  };
}

/** A list: of entries that can be added, removed and moved. */
function arrayEditor({ schema }, within, names) {
  const list = h("ol");
  const entries = () => [...list.children].map((element) => element.entry);
  const isTuple = Array.isArray(schema.prefixItems);
  const more = () => {
    put().control?.focus();
    within.changed();
  };
  const add = button("Add an entry", more, ".quiet");
  function put(value) {
    const entry = slot(itemOf(schema, list.children.length), within, { "aria-label": "Entry" });
    if (value !== undefined) entry.set(value);
    const element = h("li", null, h("div.entry", null, entry.root));
    if (!isTuple)
      element.firstChild.append(
        signed("↑", "Move up", (event) => move(element, element.previousElementSibling, event)),
        signed("↓", "Move down", (event) => move(element.nextElementSibling, element, event)),
        signed("×", "Remove", () => remove(element)),
      );
    element.entry = entry;
    list.append(element);
    return entry;
  }
  function move(later, earlier, event) {
    if (!later || !earlier) return;
    earlier.before(later);
    event.currentTarget.focus();
    within.changed();
  }
  function remove(element) {
    const next = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    (next?.querySelector("button:last-child") ?? add).focus();
    within.changed();
  }
  const least = Math.min(schema.minItems ?? 0, 20);
  for (let index = 0; index < least; index++) put();
  return {
    root: h("div.nested", { role: "group", ...names }, list, isTuple && !schema.items ? null : add),
    control: add,
    get: () =>
      entries()
        .map((entry) => entry.get())
        .map((value) => (value === undefined ? "" : value)),
    set(value) {
      const items = untagged(value, "array");
      if (!Array.isArray(items) || items.length > 500) return false;
      list.replaceChildren();
      items.forEach((item) => {
        put(item);
      });
      return true;
    },
    find: (key) => entries()[key],
  };
}

/** An object: names that are known, and others where there may be others. */
export function objectEditor({ schema }, within, names, isWhole = false) {
  const fields = propertiesOf(schema).map(([name, part, required]) => property(name, part, required, within));
  const known = new Map(fields.map((field) => [field.name, field]));
  const rest = restOf(schema);
  const others = h("div.others");
  const more = () => {
    put("").focus();
    within.changed();
  };
  const add = button("Add a name", more, ".quiet");
  function put(name, value) {
    const label = h("input", { "aria-label": "Name", value: name, required: true, autocomplete: "off" });
    const entry = slot(rest ?? {}, within, { "aria-label": "Value" });
    if (value !== undefined) entry.set(value);
    const remove = () => {
      element.remove();
      add.focus();
      within.changed();
    };
    const element = h("div.entry", null, label, entry.root, signed("×", "Remove", remove));
    element.entry = [label, entry];
    others.append(element);
    return label;
  }
  const pairs = () => [...others.children].map((element) => element.entry);
  return {
    root: h(isWhole ? "div" : "div.nested", isWhole ? null : { role: "group", ...names }, [
      fields.map(({ root }) => root),
      others,
      rest && add,
    ]),
    get control() {
      return fields[0]?.control ?? add;
    },
    get: () =>
      Object.fromEntries(
        [
          ...fields.map((field) => [field.name, field.get()]),
          ...pairs()
            .filter(([label]) => label.value !== "")
            .map(([label, entry]) => [label.value, entry.get()]),
        ].filter(([, value]) => value !== undefined),
      ),
    set(value) {
      if (!isMap(value)) return false;
      for (const field of fields) field.set(Object.hasOwn(value, field.name) ? value[field.name] : undefined);
      others.replaceChildren();
      for (const [name, inner] of Object.entries(value)) if (!known.has(name)) put(name, inner);
      return true;
    },
    find: (key) => known.get(key) ?? pairs().find(([label]) => label.value === key)?.[1],
  };
}

/** A name of an object, with its value. One that may be left out is left out until somebody gives it. */
function property(name, given, required, within) {
  const schema = resolve(given, within.whole);
  const id = newId();
  const names = { "aria-labelledby": id };
  const hasDefault = Object.hasOwn(schema, "default");
  const place = h("div");
  let inner = null;
  const said = h("p.problem", { hidden: true });
  const show = (seeded = 0) => {
    inner = slot(given, { ...within, seeded }, names);
    // Who gives it wants something else than nothing.
    if (hasDefault && schema.default !== null) inner.set(schema.default);
    replace(place, inner.root);
  };
  const hide = () => {
    inner = null;
    replace(place);
  };
  const box = required
    ? null
    : h("input", {
        type: "checkbox",
        onchange: () => {
          if (box.checked) show();
          else hide();
          if (box.checked) inner.control?.focus();
          within.changed();
        },
      });
  const told = hasDefault ? `default ${cutDefault(schema.default)}` : "optional";
  const label = h(
    "label.name",
    {
      onclick: () => {
        if (!box) inner?.control?.focus();
      },
    },
    box,
    h("span", { id }, name),
  );
  const root = h(
    "div.field",
    null,
    h("div.line", null, label, h("span.type", null, `${typeName(given, within.whole)} · ${required ? "required" : told}`)),
    schema.description ? h("p.help", null, schema.description) : null,
    place,
    said,
  );
  if (required) show(within.seeded);
  return {
    name,
    root,
    get control() {
      return inner?.control ?? box;
    },
    get: () => inner?.get(),
    set(value) {
      if (value === undefined) {
        if (required) show();
        else hide();
      } else {
        if (!inner) show();
        inner.set(value);
      }
      if (box) box.checked = value !== undefined;
    },
    find: (key) => inner?.find(key),
    tell(text) {
      said.textContent = text;
      said.hidden = text === "";
    },
  };
}

const cutDefault = (value) => {
  const text = JSON.stringify(isTagged(value) ? value.value : value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};
