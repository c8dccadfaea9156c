// The arguments of a call: by name as far as they have names, and those of `*names` by position.

import { isTagged, objectOf } from "./schema.js";

/** Among the arguments of a form: the list of those that have no name. */
export const POSITIONAL = "*";

const has = (argument, kind) => argument.validation?.custom_rules?.includes(kind) ?? false;

/** The arguments that can be given by position, in order, and whether any number may follow them. */
function positions(spec) {
  const found = spec.arguments ?? [];
  const end = found.findIndex((argument) => ["var-positional", "keyword-only", "var-keyword"].some((kind) => has(argument, kind)));
  return { named: end < 0 ? found : found.slice(0, end), starred: found.find((argument) => has(argument, "var-positional")) };
}

/** The schema of a form: that of the arguments, with those of `*names`, and defaults as exact as the hub knows them. */
export function formSchema(schema, spec) {
  const { starred } = positions(spec);
  const exact = new Map((spec.arguments ?? []).map((argument) => [argument.name, argument.default_value]));
  const parts = Object.entries(schema.properties ?? {}).map(([name, part]) => [name,
    Object.hasOwn(Object(part), "default") && exact.get(name) !== undefined ? { ...part, default: exact.get(name) } : part]);
  if (starred && !parts.some(([name]) => name === POSITIONAL)) {
    parts.push([POSITIONAL, { type: "array", items: {}, description: `*${starred.name}: further arguments, by position. ${starred.description}`.trim() }]);
  }
  return { ...schema, properties: objectOf(parts) };
}

/** Splits what a form gives into what a call takes: { args, kwargs }. */
export function splitArguments(given, spec) {
  const { named, starred } = positions(spec);
  const { [POSITIONAL]: more, ...kwargs } = given;
  if (!starred || !Array.isArray(more) || more.length === 0) return { args: [], kwargs: starred ? kwargs : given };
  // What comes before them has to be given by position, too.
  const args = named.map(({ name, default_value: value }) => (Object.hasOwn(given, name) ? given[name] : (value ?? null)));
  const taken = new Set(named.map(({ name }) => name));
  return { args: [...args, ...more], kwargs: objectOf(Object.entries(kwargs).filter(([name]) => !taken.has(name))) };
}

/** Names the arguments of a call, as far as they have names; what cannot be read is no arguments. */
export function joinArguments(given, spec) {
  const isMap = typeof given === "object" && given !== null && !Array.isArray(given) && !isTagged(given);
  const { named, starred } = positions(spec);
  if (isMap && (starred || !Array.isArray(given[POSITIONAL]) || named.some(({ name }) => name === POSITIONAL))) return given;
  const { [POSITIONAL]: list, ...kwargs } = isMap ? given : { [POSITIONAL]: given };
  if (!Array.isArray(list)) return {};
  const pairs = list.slice(0, named.length).map((value, index) => [named[index].name, value]);
  const more = list.slice(named.length);
  return objectOf([...pairs, ...Object.entries(kwargs), ...(more.length ? [[POSITIONAL, more]] : [])]);
}
