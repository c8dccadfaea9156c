// What happens in the hub, as it happens: one stream of events for the whole page.

import { get } from "./api.js";

/** New calls a second that the hub tells of at most; the others it counts. */
export const CALLS_PER_SECOND = 50;
/** Milliseconds that a page that nobody sees stays connected. */
const HIDDEN_MS = 60_000;
const RETRY_MS = [500, 1_000, 2_000, 5_000];

/**
 * The connection to the hub.
 *
 * It tells "event" (`detail`: an AdminEvent), "state" (it is "connecting", "live", "lost", "paused" or "refused") and
 * "open" (a connection was made; `detail.restarted`: the hub is another one than before, and remembers nothing).
 */
export class Events extends EventTarget {
  constructor() {
    super();
    this.state = "connecting";
    this.epoch = "";
    /** What the hub says of itself: version, uptime …; null until it is known. */
    this.hub = null;
    this.source = null;
    this.retries = 0;
    this.timer = 0;
    // Milliseconds that this clock is ahead of the hub's; the least that was seen, as events take time to come.
    this.ahead = Number.POSITIVE_INFINITY;
    document.addEventListener("visibilitychange", () => this.seen());
  }

  /** The hub's clock, in milliseconds. */
  now() {
    return Date.now() - (Number.isFinite(this.ahead) ? this.ahead : 0);
  }

  async connect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    if (this.state !== "lost") this.become("connecting");
    try {
      this.hub = await get("/api/hub");
    } catch (error) {
      if (error.status === 401) this.become("refused");
      else this.retry();
      return;
    }
    const restarted = this.epoch !== "" && this.epoch !== this.hub.epoch;
    this.epoch = this.hub.epoch;
    const query = new URLSearchParams({ kinds: "call,worker,session", calls_per_second: CALLS_PER_SECOND, arguments: "true" });
    const source = new EventSource(`/api/events?${query}`);
    this.source = source;
    source.addEventListener("open", () => {
      this.retries = 0;
      this.become("live");
      this.dispatchEvent(new CustomEvent("open", { detail: { restarted } }));
    });
    source.addEventListener("data", (event) => this.took(JSON.parse(event.data)));
    // The browser's own error, or the hub's last event: that it ends.
    source.addEventListener("error", () => { if (this.source === source) this.retry(); });
  }

  took(event) {
    this.ahead = Math.min(this.ahead, Date.now() - Date.parse(event.timestamp));
    this.dispatchEvent(new CustomEvent("event", { detail: event }));
  }

  retry() {
    this.source?.close();
    this.source = null;
    this.become("lost");
    this.timer = setTimeout(() => this.connect(), RETRY_MS[Math.min(this.retries++, RETRY_MS.length - 1)]);
  }

  become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** A page that nobody sees costs the hub nothing after a while. */
  seen() {
    if (document.hidden) {
      if (this.state === "live") this.timer = setTimeout(() => this.pause(), HIDDEN_MS);
    } else if (this.state === "paused") {
      this.connect();
    } else if (this.state === "live") {
      clearTimeout(this.timer);
    }
  }

  pause() {
    this.source?.close();
    this.source = null;
    this.become("paused");
  }
}
