/** Who has called a tool, as the hub says. */
import { ProtocolError } from "../errors.js";

/** In a worker's hello: the hub tells it who calls. */
export const PRINCIPAL_FEATURE = "principal";
/** In the metadata of a hub's call: a JSON object with "name", and "groups", "method", "claims" and "via" if there are. */
export const PRINCIPAL_KEY = "tool-bridge-principal";

/** On whose behalf a tool is called. */
export interface Principal {
  readonly name: string;
  readonly groups: readonly string[];
  /** What else its proof says of it, of what the hub's setting `forwarded_claims` names. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** How it has proved who it is: "token", "jwt", "certificate" or "user". */
  readonly method: string;
}

/** A principal, and how a call came from it. */
export interface CallerFacts {
  readonly principal: Principal | undefined;
  readonly via: readonly string[];
}

const NOBODY: CallerFacts = Object.freeze({ principal: undefined, via: Object.freeze([]) });

/** Reads who has made a call. */
export function readCaller(metadata: ReadonlyMap<string, string>): CallerFacts {
  const text = metadata.get(PRINCIPAL_KEY);
  if (text === undefined) return NOBODY;
  const found = parsed(text);
  const { name, groups = [], method = "", claims = {}, via = [] } = found;
  if (typeof name !== "string" || typeof method !== "string") throw unreadable();
  if (!areTexts(groups) || !areTexts(via) || !isObject(claims)) throw unreadable();
  return { principal: { name, groups, claims, method }, via };
}

function parsed(text: string): Record<string, unknown> {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    throw unreadable();
  }
  if (!isObject(found)) throw unreadable();
  return found;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function areTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function unreadable(): ProtocolError {
  return new ProtocolError(`the metadata ${PRINCIPAL_KEY} of a call is not a JSON object with the name of its caller`);
}
