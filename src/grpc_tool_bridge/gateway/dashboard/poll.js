// Asking again and again, while somebody looks.

/** Calls something at once, then every so often, and when there is a connection anew; not while the page is out of sight. */
export class Poll {
  /**
   * @param {EventTarget} events The connection to the hub.
   * @param {number} milliseconds From one answer to the next question.
   * @param {function(): Promise<void>} work What is called, never twice at a time. What it throws is its own affair.
   */
  constructor(events, milliseconds, work) {
    this.milliseconds = milliseconds;
    this.work = work;
    this.timer = 0;
    this.busy = false;
    this.again = false;
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    document.addEventListener("visibilitychange", () => document.hidden || this.now(), { signal });
    events.addEventListener("open", () => this.now(), { signal });
    this.now();
  }

  /** Calls it now, or as soon as it has ended if it is at work. */
  async now() {
    clearTimeout(this.timer);
    const { signal } = this.stopping;
    this.again = this.busy;
    if (this.busy || signal.aborted) return;
    this.busy = true;
    try {
      await this.work();
    } finally {
      this.busy = false;
      if (this.again) this.now();
      else if (!signal.aborted) this.timer = setTimeout(() => document.hidden || this.now(), this.milliseconds);
    }
  }

  stop() {
    this.stopping.abort();
    clearTimeout(this.timer);
  }
}
