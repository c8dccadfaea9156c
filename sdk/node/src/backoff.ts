/** Exponential back-off. */
import { onAbort } from "./abort.js";

/** The first wait before a retry, doubled each time up to the last. */
export const FIRST_MS = 100;
export const LAST_MS = 5_000;

/** Waits that grow; each is shortened at random, so that callers that failed together do not retry together. */
export class Backoff {
  #wait = FIRST_MS;

  /** Returns the milliseconds to wait before the next retry. */
  next(): number {
    const wait = this.#wait;
    this.#wait = Math.min(wait * 2, LAST_MS);
    return wait * (0.5 + Math.random() / 2);
  }

  /** Begins anew, after something has worked. */
  reset(): void {
    this.#wait = FIRST_MS;
  }
}

/** Waits; rejects with the signal's reason if that aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const timer = setTimeout(() => {
      ignore?.();
      resolve();
    }, ms);
    const ignore =
      signal &&
      onAbort(signal, () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
  });
}
