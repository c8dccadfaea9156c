/** Processes of Python for the figures. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

const PACKAGE = new URL("../../", import.meta.url);
const ROOT = new URL("../../", PACKAGE);
const PYTHON = process.env.PYTHON ?? fileURLToPath(new URL(".venv/bin/python", ROOT));

/** A process that answers lines of JSON. */
export class PythonProcess implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  /** What it printed first: where it listens. */
  address = "";

  private constructor(args: string[]) {
    this.#process = spawn(PYTHON, args, { cwd: fileURLToPath(ROOT), stdio: ["pipe", "pipe", "inherit"] });
    const lines: Interface = createInterface({ input: this.#process.stdout! });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  /** Starts `bench/python.py`. */
  static async start(...args: string[]): Promise<PythonProcess> {
    return PythonProcess.#started([fileURLToPath(new URL("bench/python.py", PACKAGE)), ...args]);
  }

  /** Starts the peer that is nothing but grpc.aio. */
  static async startBare(): Promise<PythonProcess> {
    return PythonProcess.#started(["-m", "benchmarks.server", "bare"]);
  }

  static async #started(args: string[]): Promise<PythonProcess> {
    const python = new PythonProcess(args);
    python.address = (await python.#next()) as string;
    return python;
  }

  /** Asks for a measurement. */
  async ask(request: object): Promise<number> {
    this.#process.stdin!.write(`${JSON.stringify(request)}\n`);
    return (await this.#next()) as number;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.stdin!.end();
    if (this.#process.exitCode === null) await once(this.#process, "exit");
  }

  async #next(): Promise<unknown> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("a process of Python has ended");
    return JSON.parse(value);
  }
}
