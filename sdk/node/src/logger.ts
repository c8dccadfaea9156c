/** Where the package writes what users may want to know; `console` is one, and so are pino and winston. */
export interface Logger {
  warn(message: string): void;
  info(message: string): void;
}
