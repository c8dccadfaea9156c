/** Keeps a link up: dials it when it is first needed, and again whenever it is lost. */
import { onAbort } from "../abort.js";
import { Backoff, pause } from "../backoff.js";
import { CallCancelledError, DeadlineExceededError, type ToolBridgeError } from "../errors.js";
import type { LinkEvent } from "../gen/dspex_bridge_pb.js";
import type { OutgoingCall } from "./calls.js";
import { type Carrier, LinkConnection, type Serve } from "./connection.js";
import { withTimeout } from "./envelopes.js";
import type { Greeting } from "./protocol.js";
import { isTransient, linkError, reasonOf } from "./status.js";
import type { Endpoint } from "./streams.js";

/** The longest time that a timer of Node takes. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** After a link that lasted so long, the back-off starts from the beginning. */
const STABLE_MS = 5_000;

export interface DialerOptions {
  greeting: Greeting;
  /** Serves the hub's calls; undefined: they are refused. */
  serve?: Serve;
  /** Decides whether to dial again after this error; if not, the next call dials. */
  dialAgain?: (error: ToolBridgeError) => boolean;
  /** Called with each link but the first, before other calls use it. */
  onRelinked?: (link: LinkConnection) => Promise<void>;
  /** Called when a link is lost or a dial has failed, and it will be dialled again. */
  onWaiting?: (error: ToolBridgeError) => void;
}

interface Pending {
  payload: Uint8Array;
  /** Fails the call if no link takes it in time. */
  timer: NodeJS.Timeout;
  /** When its own time is over, on the clock of `performance`. */
  deadline: number;
}

interface Waiter {
  resolve: () => void;
  reject: (error: ToolBridgeError) => void;
}

/**
 * One link for all calls to a hub.
 *
 * When a link is lost, its calls in flight fail with UNAVAILABLE; new calls wait for the next link, each within its own
 * time.
 */
export class Dialer implements Carrier {
  readonly where: string;
  readonly #endpoint: Endpoint;
  readonly #options: DialerOptions;
  readonly #pending = new Map<OutgoingCall, Pending>();
  readonly #links = new Set<LinkConnection>();
  readonly #waiters = new Set<Waiter>();
  readonly #closing = new AbortController();
  #current: LinkConnection | undefined;
  #keeping: Promise<void> | undefined;
  #linkedBefore = false;
  #retiring = false;
  #failure: ToolBridgeError | undefined;

  constructor(endpoint: Endpoint, options: DialerOptions) {
    this.where = endpoint.name ?? endpoint.where;
    this.#endpoint = endpoint;
    this.#options = options;
  }

  /** The link that takes calls now. */
  get current(): LinkConnection | undefined {
    return this.#current;
  }

  /**
   * Waits for the link.
   *
   * @param timeoutMs - How long to keep dialling.
   * @throws ToolBridgeError if the hub cannot be reached, or refuses the link.
   */
  async connect(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) throw signal.reason;
    if (this.#current) return;
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        ignore?.();
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        resolve: () => {
          leave();
          resolve();
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const ignore = signal && onAbort(signal, () => waiter.reject(signal.reason as ToolBridgeError));
      const timer = setTimeout(() => waiter.reject(this.#noLink(timeoutMs)), timeoutMs);
      this.#waiters.add(waiter);
      this.#want();
    });
  }

  send(call: OutgoingCall, payload: Uint8Array, timeoutMs: number): void {
    const link = this.#current;
    if (link?.takesCalls && this.#pending.size === 0) {
      link.send(call, payload);
      return;
    }
    if (this.#closing.signal.aborted) {
      call.fail(this.#closing.signal.reason as ToolBridgeError);
      return;
    }
    this.#wait(call, payload, timeoutMs);
    this.#want();
  }

  cancel(call: OutgoingCall): void {
    if (!this.#forget(call)) call.owner?.cancel(call);
  }

  grant(call: OutgoingCall, size: number): void {
    call.owner?.grant(call, size);
  }

  tell(call: OutgoingCall, event: LinkEvent): void {
    call.owner?.tell(call, event);
  }

  /**
   * Stops dialling, and waits until the hub's calls have ended.
   *
   * @returns Whether they ended within `graceMs`.
   */
  async drain(graceMs: number): Promise<boolean> {
    this.#retiring = true;
    const late = new AbortController();
    const timeout = pause(graceMs, late.signal).then(
      () => false,
      () => true,
    );
    // The hub makes no calls over a link that is still being dialled.
    const used = [...this.#links].filter((link) => link.isAccepted);
    const drained = Promise.all(used.map((link) => link.drain(graceMs))).then(() => true);
    const finished = await Promise.race([drained, timeout]);
    late.abort();
    return finished;
  }

  /** Closes the link; calls in flight fail. */
  async close(): Promise<void> {
    const reason = new CallCancelledError("the connection to the hub was closed before the answer came");
    if (!this.#closing.signal.aborted) this.#closing.abort(reason);
    for (const call of [...this.#pending.keys()]) {
      this.#forget(call);
      call.fail(reason);
    }
    for (const waiter of [...this.#waiters]) waiter.reject(reason);
    for (const link of [...this.#links]) link.close(reason);
    await this.#keeping;
    this.#endpoint.close();
  }

  // ------------------------------------------------------------------------------------------------ pending

  #wait(call: OutgoingCall, payload: Uint8Array, timeoutMs: number): void {
    const timer = setTimeout(
      () => {
        this.#pending.delete(call);
        call.fail(this.#noLink(timeoutMs));
      },
      Math.min(timeoutMs, LONGEST_TIMER_MS),
    );
    this.#pending.set(call, { payload, timer, deadline: performance.now() + timeoutMs });
  }

  #forget(call: OutgoingCall): Pending | undefined {
    const pending = this.#pending.get(call);
    if (pending) {
      clearTimeout(pending.timer);
      this.#pending.delete(call);
    }
    return pending;
  }

  #sendPending(): void {
    for (const call of this.#pending.keys()) {
      const link = this.#current;
      if (!link?.takesCalls) return;
      const { payload, deadline } = this.#forget(call)!;
      // What is left of its time rules over the timeout in the request.
      const left = Math.max(1, Math.ceil(deadline - performance.now()));
      if (left < LONGEST_TIMER_MS) call.prefix = withTimeout(call.prefix, left);
      link.send(call, payload);
    }
  }

  #noLink(timeoutMs: number): ToolBridgeError {
    const seconds = Number((timeoutMs / 1000).toFixed(2));
    if (this.#current) return linkError("DEADLINE_EXCEEDED", `the link had no room for the call within ${seconds} s`);
    const why = this.#failure ? `: ${reasonOf(this.#failure)}` : "";
    return linkError("UNAVAILABLE", `there was no link to ${this.where} within ${seconds} s${why}`);
  }

  // ----------------------------------------------------------------------------------------------- dialling

  #want(): void {
    if (this.#closing.signal.aborted || this.#retiring) return;
    this.#keeping ??= this.#keepLinked().finally(() => {
      this.#keeping = undefined;
    });
  }

  /** Dials, and dials again when the link is lost or drains. */
  async #keepLinked(): Promise<void> {
    const backoff = new Backoff();
    while (!this.#closing.signal.aborted && !this.#retiring) {
      const link = new LinkConnection(this.#endpoint, {
        greeting: this.#options.greeting,
        serve: this.#options.serve,
      });
      this.#links.add(link);
      void link.ended.then((unsent) => this.#ended(link, unsent));
      const began = performance.now();
      const ended = await this.#takeUp(link);
      if (this.#closing.signal.aborted || this.#retiring) return;
      const served = link.isAccepted && performance.now() - began > STABLE_MS;
      if (served) backoff.reset();
      const error = this.#endpoint.moveOn ? this.#endpoint.moveOn(ended, { served }) : ended;
      if (this.#endpoint.moveOn && !error) {
        // Another hub may serve at once.
        if (ended) this.#options.onWaiting?.(ended);
        continue;
      }
      if (error && !link.isAccepted) this.#failed(error);
      if (error && !this.#dialAgain(error)) return;
      await pause(backoff.next(), this.#closing.signal).catch(() => undefined);
    }
  }

  /** Uses a link until it takes no further calls; returns what it ended with. */
  async #takeUp(link: LinkConnection): Promise<ToolBridgeError | undefined> {
    try {
      await link.greeted;
      if (this.#linkedBefore) await this.#options.onRelinked?.(link);
    } catch (error) {
      // A hub that does not take the session may take other calls.
      if (link.error) return link.error;
      this.#options.onWaiting?.(error as ToolBridgeError);
    }
    this.#linkedBefore = true;
    this.#failure = undefined;
    this.#current = link;
    link.onWritable = () => {
      if (this.#pending.size > 0) this.#sendPending();
    };
    for (const waiter of [...this.#waiters]) waiter.resolve();
    this.#sendPending();
    await link.unusable;
    link.onWritable = undefined;
    this.#current = undefined;
    return link.error;
  }

  #dialAgain(error: ToolBridgeError): boolean {
    const again = (this.#options.dialAgain ?? isTransient)(error);
    if (again) this.#options.onWaiting?.(error);
    return again;
  }

  #failed(error: ToolBridgeError): void {
    this.#failure = error;
    if ((this.#options.dialAgain ?? isTransient)(error)) return;
    for (const waiter of [...this.#waiters]) waiter.reject(error);
    for (const call of [...this.#pending.keys()]) {
      this.#forget(call);
      call.fail(error);
    }
  }

  #ended(link: LinkConnection, unsent: { call: OutgoingCall; payload: Uint8Array }[]): void {
    this.#links.delete(link);
    for (const { call, payload } of unsent) {
      if (call.over || call.givenUp) continue;
      // The link may have refused it.
      call.lane = undefined;
      call.owner = undefined;
      const left = call.deadline - performance.now();
      if (this.#closing.signal.aborted) call.fail(this.#closing.signal.reason as ToolBridgeError);
      else if (left <= 0) call.fail(new DeadlineExceededError("the call timed out before it was sent"));
      else this.#wait(call, payload, left);
    }
    if (this.#pending.size > 0) this.#want();
  }
}
