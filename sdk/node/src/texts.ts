/** Values and numbers in the texts of errors. */

/** The name that an error shows, such as "RangeError"; that of its class if it has none of its own. */
export function classNameOf(error: Error): string {
  const name = error.name;
  const ownClass = error.constructor?.name;
  return (name === "Error" && ownClass ? ownClass : name) || "Error";
}

/** Whether a value can be a name on the wire, which has no form for a lone surrogate. */
export function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.isWellFormed();
}

/** Names a value for an error text, shortly. */
export function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (value instanceof Error) return `${classNameOf(value)}: ${value.message}`;
  if (typeof value === "function") return `the function ${value.name || "(anonymous)"}`;
  if (typeof value !== "object" || value === null) return String(value);
  const kind = Object.getPrototypeOf(value)?.constructor?.name ?? "Object";
  return kind === "Object" ? "an object" : kind === "Array" ? "an array" : `a ${kind}`;
}

/** Writes a number as error texts do: 10,485,760. */
export function withCommas(value: number): string {
  return value.toLocaleString("en-US");
}
