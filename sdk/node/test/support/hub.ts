/** A hub of Python for the tests, in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Milliseconds after which a test gives up; no test takes as long. */
export const PATIENCE = 30_000;

const PACKAGE = new URL("../../../", import.meta.url);
const PYTHON = process.env.PYTHON ?? fileURLToPath(new URL("../../.venv/bin/python", PACKAGE));
const SCRIPT = fileURLToPath(new URL("test/hub.py", PACKAGE));

/** How a call of the Python client ended. */
export interface PythonOutcome {
  /** The result as Python writes it. */
  ok?: string;
  error?: { type: string; message: string; details: Record<string, string>; stack: string; retryable: boolean };
}

/** A running hub. */
export class Hub implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: Interface;
  readonly #waiting: ((line: string) => void)[] = [];

  private constructor(process: ChildProcess) {
    this.#process = process;
    this.#lines = createInterface({ input: process.stdout! });
    this.#lines.on("line", (line) => this.#waiting.shift()?.(line));
  }

  /** `host:port`. */
  address = "";

  /** Starts a hub; without an address it takes a free port. With a folder for certificates it wants TLS and a token. */
  static async start(address = "127.0.0.1:0", folder = ""): Promise<Hub> {
    const child = spawn(PYTHON, [SCRIPT, address, folder], { stdio: ["pipe", "pipe", "inherit"] });
    const hub = new Hub(child);
    hub.address = JSON.parse(await hub.#next()) as string;
    return hub;
  }

  /** Calls a tool with the Python client. */
  async callFromPython(
    tool: string,
    request: { args?: unknown[]; kwargs?: object; stream?: boolean } = {},
  ): Promise<PythonOutcome> {
    this.#process.stdin!.write(`${JSON.stringify({ tool, ...request })}\n`);
    return JSON.parse(await this.#next()) as PythonOutcome;
  }

  /** Shuts the hub down: its calls in flight finish. */
  async stop(): Promise<void> {
    this.#process.stdin!.end();
    await once(this.#process, "exit");
  }

  /** Ends the hub as a crash would. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #next(): Promise<string> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error("the hub has ended"));
      this.#process.once("exit", onExit);
      this.#waiting.push((line) => {
        this.#process.off("exit", onExit);
        resolve(line);
      });
    });
  }
}
