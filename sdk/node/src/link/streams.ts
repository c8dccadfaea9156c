/** What carries the frames of a link: a stream of gRPC, or memory in tests. */
import type { ToolBridgeError } from "../errors.js";

/** Called by a stream. */
export interface StreamHandlers {
  onFrame(frame: Buffer): void;
  /** Called when the stream takes frames again, after `write` returned false. */
  onDrain(): void;
  /** Called once, when the stream has ended. */
  onEnd(error: ToolBridgeError): void;
}

/** A stream of frames in both directions. */
export interface FrameStream {
  /** Sends a frame; returns whether the stream takes more now. */
  write(frame: Buffer): boolean;
  /** Ends the stream once all frames were sent. */
  end(): void;
  /** Ends the stream immediately. */
  cancel(): void;
}

/** Where a hub is. */
export interface Endpoint {
  /** The address of the hub that is dialled next, for error texts. */
  readonly where: string;
  /** All addresses, where there are several. */
  readonly name?: string;
  /** How long the hub may take to say hello; undefined: as long as any. */
  readonly greetingMs?: number;
  dial(handlers: StreamHandlers): FrameStream;
  /**
   * Turns to the next hub, where there are several.
   *
   * @param error - Why the hub was left; undefined: it drains.
   * @returns Undefined if the next one is to be dialled at once; after a round in vain, why none serves.
   */
  moveOn?(error: ToolBridgeError | undefined, how: { served: boolean }): ToolBridgeError | undefined;
  close(): void;
}
