/** Iterators that can be left at any time. */
import { checkSignal } from "../abort.js";

/** The reason of a stream whose reader has left. */
const LEFT = new Error("the reader has left");

/**
 * Makes a generator whose `return` ends it at once.
 *
 * An async generator only ends once what it waits for is there, which for a stream may be never.
 *
 * @param make - Makes the generator, which ends when the signal aborts.
 * @param signal - The caller's own signal.
 */
export function leavable<T>(
  make: (signal: AbortSignal) => AsyncGenerator<T, void, undefined>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  if (signal) checkSignal(signal);
  const leaving = new AbortController();
  const values = make(signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal);
  const ended = (error: unknown): IteratorResult<T, void> => {
    if (error !== LEFT) throw error;
    return { done: true, value: undefined };
  };
  return {
    next: () => values.next().catch(ended),
    return: () => {
      leaving.abort(LEFT);
      return values.return().catch(ended);
    },
    throw: (error: unknown) => {
      leaving.abort(LEFT);
      return values.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return();
    },
  };
}
