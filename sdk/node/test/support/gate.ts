/** Something that a test waits for. */
export class Gate<T> {
  #opened!: Promise<T>;
  #open!: (value: T) => void;

  constructor() {
    this.reset();
  }

  /** Closes it again. */
  reset(): void {
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(value: T): void {
    this.#open(value);
  }

  /** Waits until it is open. */
  passed(): Promise<T> {
    return this.#opened;
  }
}
