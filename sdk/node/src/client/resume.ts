/** Streams that resume over the next connection when one is lost. */
import { Backoff, pause } from "../backoff.js";
import type { ToolBridgeError } from "../errors.js";
import { CALL_TIMEOUT_MS, type MessageStream } from "./caller.js";

/** A stream that can be resumed, and how far it has been read. */
export interface Resumable<T> {
  /** Opens the stream: the first one, or one for what follows `again` after a loss. */
  open(again: boolean): Promise<MessageStream>;
  /** Returns what the reader gets for a message; undefined if it is a repetition. */
  take(message: Buffer): T | undefined;
  /** Whether the stream can be resumed after this error. */
  resumesAfter(error: unknown): error is ToolBridgeError;
  /** Whether the last stream, which lasted so long, made progress. */
  hasProgressed(ms: number): boolean;
}

/**
 * Iterates over a stream, and resumes it over another one when it is lost.
 *
 * It backs off before each retry, and gives up after 30 s without progress.
 */
export async function* resumed<T>(reading: Resumable<T>, signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
  const backoff = new Backoff();
  let giveUpAt: number | undefined;
  for (let again = false; ; again = true) {
    let began: number | undefined;
    let stream: MessageStream | undefined;
    try {
      stream = await reading.open(again);
      began = performance.now();
      for (let message = await stream.read(); message; message = await stream.read()) {
        const taken = reading.take(message);
        if (taken !== undefined) yield taken;
      }
      return;
    } catch (error) {
      const now = performance.now();
      if (began !== undefined && reading.hasProgressed(now - began)) {
        backoff.reset();
        giveUpAt = undefined;
      }
      if (!reading.resumesAfter(error)) throw error;
      giveUpAt ??= now + CALL_TIMEOUT_MS;
      if (now > giveUpAt) throw error;
    } finally {
      stream?.cancel();
    }
    await pause(backoff.next(), signal);
  }
}
