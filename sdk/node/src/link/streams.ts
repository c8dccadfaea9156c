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
  /** The hub's address, for error texts. */
  readonly where: string;
  dial(handlers: StreamHandlers): FrameStream;
  close(): void;
}
