// What happens in the hub, as it happens: one stream of events for the whole page.

import { get, retryAfter } from "./api.js";
import { Tabs } from "./tabs.js";

/** New calls a second that the hub tells of at most; the others it counts. */
const CALLS_PER_SECOND = 25;
/** Milliseconds that a page that nobody sees stays connected. */
const HIDDEN_MS = 60_000;

/**
 * The connection to the hub.
 *
 * It tells "event" (`detail`: an AdminEvent; `text`: as it was written), "state" (it is "connecting", "live", "lost", "paused"
 * or "refused") and "open" (a connection was made; another `epoch` than before is another hub, which remembers nothing).
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
    this.hiding = 0;
    // Milliseconds that this clock is ahead of the hub's; the least that was seen, as events take time to come.
    this.ahead = Number.POSITIVE_INFINITY;
    document.addEventListener("visibilitychange", () => this.seen());
    this.tabs = new Tabs(() => this.pause());
  }

  /** The hub's clock, in milliseconds. */
  now() {
    return Date.now() - (Number.isFinite(this.ahead) ? this.ahead : 0);
  }

  connect() {
    this.leave();
    if (document.hidden) {
      this.become("paused");
      return;
    }
    if (this.state !== "lost") this.become("connecting");
    const query = new URLSearchParams({ kinds: "call,worker,session", calls_per_second: CALLS_PER_SECOND, arguments: "true" });
    const source = new EventSource(`/api/events?${query}`);
    this.source = source;
    this.tabs.tell(true);
    // What comes before it is known which hub this is.
    let early = [];
    source.addEventListener("data", ({ data }) => {
      if (early) early.push(data);
      else this.took(data);
    });
    source.addEventListener("open", async () => {
      // Asked for now, as the hub that answers is the one that the events are from, or this connection is lost again.
      const hub = await this.ask(source);
      if (!hub || this.source !== source || source.readyState === EventSource.CLOSED) return;
      this.opened(hub);
      const events = early;
      early = null;
      for (const data of events) this.took(data);
    });
    // The browser's own error, or the hub's last event: that it ends.
    source.addEventListener("error", () => { if (this.source === source) this.lost(); });
  }

  /** Asks the hub what it is; null: it does not say, and this connection was given up. */
  async ask(source) {
    try {
      return await get("/api/hub");
    } catch (error) {
      if (this.source !== source) return null;
      if (error.status === 401) this.refuse();
      else this.retry();
      return null;
    }
  }

  opened(hub) {
    this.hub = hub;
    this.epoch = hub.epoch;
    this.retries = 0;
    this.become("live");
    this.dispatchEvent(new Event("open"));
  }

  took(text) {
    const event = JSON.parse(text);
    this.ahead = Math.min(this.ahead, Date.now() - Date.parse(event.timestamp));
    const told = new CustomEvent("event", { detail: event });
    told.text = text;
    this.dispatchEvent(told);
  }

  /** The connection has failed; a browser does not say whether because the hub wants its token. */
  async lost() {
    const source = this.source;
    source.close();
    if (this.state === "live") this.become("lost");
    if ((await this.ask(source)) && this.source === source) this.retry();
  }

  retry() {
    this.leave();
    this.become("lost");
    this.timer = setTimeout(() => this.connect(), retryAfter(this.retries++));
  }

  refuse() {
    this.leave();
    this.become("refused");
  }

  leave() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** A page that nobody sees costs the hub nothing after a while. */
  seen() {
    clearTimeout(this.hiding);
    this.tabs.tell();
    if (document.hidden) this.hiding = setTimeout(() => this.pause(), HIDDEN_MS);
    else if (this.state === "paused") this.connect();
  }

  pause() {
    if (!document.hidden || this.state === "refused") return;
    this.leave();
    this.tabs.tell(false);
    this.become("paused");
  }
}
