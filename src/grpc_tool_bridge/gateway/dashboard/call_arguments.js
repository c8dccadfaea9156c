// The arguments of a call: by name as far as they have names, and those of `*names` by position.

import { isMap } from "./schema.js";

/** Among arguments by name, in an address: all that are given by position. */
const POSITIONAL = "*";
/** Defaults that a schema does not tell exactly. */
const EXACT = new Set(["int", "bytes"]);

const has = (argument, kind) => argument.validation?.custom_rules?.includes(kind) ?? false;

/** The arguments that can be given by position, in order, and the one that takes any number more. */
export function positions(spec) {
  const found = spec.arguments ?? [];
  const end = found.findIndex((argument) =>
    ["var-positional", "keyword-only", "var-keyword"].some((kind) => has(argument, kind)),
  );
  return { named: end < 0 ? found : found.slice(0, end), starred: found.find((argument) => has(argument, "var-positional")) };
}

// What those that have no names are called in a form; no argument has such a name.
const starredName = ({ name }) => `*${name}`;

/** The schema of a form: that of the arguments, with those of `*names`, and defaults as exact as the hub knows them. */
export function formSchema(schema, spec) {
  const { starred } = positions(spec);
  const defaults = new Map((spec.arguments ?? []).map(({ name, default_value: value }) => [name, value]));
  const parts = Object.entries(schema.properties ?? {}).map(([name, part]) => [
    name,
    EXACT.has(defaults.get(name)?.$type) ? { ...part, default: defaults.get(name) } : part,
  ]);
  if (starred)
    parts.push([
      starredName(starred),
      { type: "array", items: {}, description: starred.description || "Further arguments, by position." },
    ]);
  return { ...schema, properties: Object.fromEntries(parts) };
}

/** Splits what a form gives into what a call takes: { args, kwargs }. */
export function splitArguments(given, spec) {
  const { named, starred } = positions(spec);
  if (!starred) return { args: [], kwargs: given };
  const { [starredName(starred)]: more, ...kwargs } = given;
  if (!Array.isArray(more) || more.length === 0) return { args: [], kwargs };
  // What comes before them has to be given by position, too.
  const args = named.map(({ name, default_value: value }) => (Object.hasOwn(given, name) ? given[name] : (value ?? null)));
  const taken = new Set(named.map(({ name }) => name));
  return { args: [...args, ...more], kwargs: Object.fromEntries(Object.entries(kwargs).filter(([name]) => !taken.has(name))) };
}

/**
 * Names the arguments of a call as a form does: given is an object of arguments by name, in which `*` is a list of those by
 * position, or only that list. Anything else is no arguments.
 */
export function joinArguments(given, spec) {
  const { named, starred } = positions(spec);
  if (isMap(given) && (!Array.isArray(given[POSITIONAL]) || named.some(({ name }) => name === POSITIONAL))) return given;
  const { [POSITIONAL]: list, ...kwargs } = isMap(given) ? given : { [POSITIONAL]: given };
  if (!Array.isArray(list)) return {};
  const pairs = list.slice(0, named.length).map((value, index) => [named[index].name, value]);
  const more = list.slice(named.length);
  const rest = more.length ? [[starred ? starredName(starred) : POSITIONAL, more]] : [];
  return Object.fromEntries([...pairs, ...Object.entries(kwargs), ...rest]);
}
