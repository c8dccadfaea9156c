/** Listening to signals that many calls share. */

import { ValidationError } from "./errors.js";
import { describe } from "./texts.js";

/** What is called when a signal aborts. */
const callbacks = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls a function when a signal aborts, once.
 *
 * However many listen to a signal, it has one listener: Node.js warns of more than ten.
 *
 * @returns A function that ends this.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  checkSignal(signal);
  const known = callbacks.get(signal);
  const all = known ?? new Set<() => void>();
  all.add(callback);
  if (!known) {
    callbacks.set(signal, all);
    signal.addEventListener("abort", callAll, { once: true });
  }
  return () => {
    if (!all.delete(callback) || all.size > 0) return;
    callbacks.delete(signal);
    signal.removeEventListener("abort", callAll);
  };
}

/** Refuses what is no signal. */
export function checkSignal(signal: unknown): void {
  if (!(signal instanceof AbortSignal)) {
    throw new ValidationError(`signal must be an AbortSignal, not ${describe(signal)}`);
  }
}

function callAll(this: AbortSignal): void {
  const all = callbacks.get(this);
  callbacks.delete(this);
  for (const callback of [...(all ?? [])]) callback();
}
