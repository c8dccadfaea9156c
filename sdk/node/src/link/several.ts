/** Several hubs of which any will do: the next one is dialled when a hub is gone. */
import type { ToolBridgeError } from "../errors.js";
import { isTransient, linkError, reasonOf } from "./status.js";
import type { Endpoint, FrameStream, StreamHandlers } from "./streams.js";

/** How long a hub may take to say hello before the next one is dialled; twice as long after each round in vain. */
const GREETING_MS = 3_000;
const LONGEST_GREETING_MS = 20_000;
/** Addresses that a text for people names; the others are counted. */
const MAX_SHOWN = 5;

/** Hubs that are dialled one after another until one of them takes a link. */
export class SeveralEndpoints implements Endpoint {
  readonly name: string;
  readonly #endpoints: readonly Endpoint[];
  /** Since the last pause: why each hub was left. */
  readonly #reasons = new Map<string, ToolBridgeError>();
  #at = 0;
  /** Rounds in vain since a hub has served. */
  #rounds = 0;

  /** @param endpoints - The hubs, the first one first; at least one. */
  constructor(endpoints: readonly Endpoint[]) {
    this.#endpoints = endpoints;
    const shown = endpoints.slice(0, MAX_SHOWN).map(({ where }) => where);
    const more = endpoints.length - shown.length;
    this.name = shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
  }

  get where(): string {
    return this.#current.where;
  }

  get greetingMs(): number {
    return Math.min(GREETING_MS * 2 ** this.#rounds, LONGEST_GREETING_MS);
  }

  dial(handlers: StreamHandlers): FrameStream {
    return this.#current.dial(handlers);
  }

  moveOn(error: ToolBridgeError | undefined, { served }: { served: boolean }): ToolBridgeError | undefined {
    if (served) {
      this.#reasons.clear();
      this.#rounds = 0;
    }
    this.#reasons.set(this.where, error ?? linkError("UNAVAILABLE", "the hub is shutting down"));
    this.#at = (this.#at + 1) % this.#endpoints.length;
    if (this.#reasons.size < this.#endpoints.length) return undefined;
    const summary = this.#inVain();
    this.#reasons.clear();
    this.#rounds += 1;
    return summary;
  }

  close(): void {
    for (const endpoint of this.#endpoints) endpoint.close();
  }

  get #current(): Endpoint {
    return this.#endpoints[this.#at]!;
  }

  /** Returns the error for a round in which no hub has served; one that may come back counts most. */
  #inVain(): ToolBridgeError {
    const errors = [...this.#reasons.values()];
    const lost = errors.find(isTransient);
    if (!lost) return errors[0]!;
    const told = [...this.#reasons].slice(0, MAX_SHOWN).map(([where, error]) => `${where}: ${reasonOf(error)}`);
    const more = errors.length - told.length;
    const reasons = told.join("; ") + (more > 0 ? `; and ${more} more` : "");
    return linkError("UNAVAILABLE", `none of the ${errors.length} hubs serves: ${reasons}`);
  }
}
