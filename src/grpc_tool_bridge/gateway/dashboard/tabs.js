// The other pages of this hub in the same browser, which has but six connections to a hub for all of them.

/** Pages that stay connected though nobody sees them all; of more, those are asked to let go that were seen longest ago. */
const MAX_CONNECTED = 3;

/** What a page knows of the others. Pages tell each other whether they are connected, and since when nobody sees them. */
export class Tabs {
  /**
   * @param {function(): void} letGo Called when this page, which nobody sees, is to leave its connection to others.
   */
  constructor(letGo) {
    this.letGo = letGo;
    this.id = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.isConnected = false;
    this.hiddenAt = 0;
    this.others = new Map();
    this.channel = new BroadcastChannel("tool bridge");
    this.channel.addEventListener("message", ({ data }) => this.heard(data));
    addEventListener("pagehide", () => this.tell(false));
  }

  /** Tells the others how things are here. */
  tell(isConnected = this.isConnected) {
    this.isConnected = isConnected;
    if (!document.hidden) this.hiddenAt = 0;
    else if (!this.hiddenAt) this.hiddenAt = Date.now();
    this.channel.postMessage({ id: this.id, isConnected, hiddenAt: this.hiddenAt });
  }

  heard({ id, isConnected, hiddenAt }) {
    const isNew = !this.others.has(id);
    this.others.set(id, { isConnected, hiddenAt });
    // One that was opened now does not know the others yet.
    if (isNew) this.tell();
    if (isLeast({ isConnected: this.isConnected, hiddenAt: this.hiddenAt }, [...this.others.values()])) this.letGo();
  }
}

/** Whether of too many connected pages this one was seen longest ago. */
export function isLeast(own, others) {
  if (!own.isConnected || !own.hiddenAt) return false;
  const connected = others.filter((each) => each.isConnected);
  return connected.length >= MAX_CONNECTED && connected.every((each) => !each.hiddenAt || each.hiddenAt > own.hiddenAt);
}
