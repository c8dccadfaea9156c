/** A proxy between a client and its hub, which loses connections when a test says so. */
import { createConnection, createServer, type Server, type Socket } from "node:net";

export class FlakyProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #held = false;

  private constructor(hub: string) {
    const [host, port] = hub.split(":");
    this.#server = createServer((near) => {
      if (this.#held) {
        near.destroy();
        return;
      }
      const far = createConnection(Number(port), host);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on("error", () => undefined);
        from.on("close", () => to.destroy());
        from.pipe(to);
      }
    });
  }

  /** Listens on a free port. */
  static async start(hub: string): Promise<FlakyProxy> {
    const proxy = new FlakyProxy(hub);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): string {
    const address = this.#server.address();
    return typeof address === "object" && address ? `127.0.0.1:${address.port}` : "";
  }

  /** Loses all connections, and refuses further ones until `restore`. */
  hold(): void {
    this.#held = true;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
  }

  /** Takes connections again. */
  restore(): void {
    this.#held = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hold();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
