// Asking again and again, while somebody looks.

/** Calls something at once and then every so often, until it is stopped; not while the page is out of sight. */
export class Poll {
  /**
   * @param {number} milliseconds From one answer to the next question.
   * @param {function(): Promise<void>} work What is called, never twice at a time. What it throws is its own affair.
   */
  constructor(milliseconds, work) {
    this.milliseconds = milliseconds;
    this.work = work;
    this.timer = 0;
    this.busy = false;
    this.again = false;
    this.stopped = false;
    this.onSeen = () => {
      if (!document.hidden) this.now();
    };
    document.addEventListener("visibilitychange", this.onSeen);
    this.now();
  }

  /** Calls it now, or as soon as it has ended if it is at work. */
  async now() {
    clearTimeout(this.timer);
    this.again = this.busy;
    if (this.busy || this.stopped) return;
    this.busy = true;
    try {
      await this.work();
    } finally {
      this.busy = false;
      if (this.again) this.now();
      else if (!this.stopped)
        this.timer = setTimeout(() => {
          if (!document.hidden) this.now();
        }, this.milliseconds);
    }
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.onSeen);
  }
}
