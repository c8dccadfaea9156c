/** The peer for Node.js; the README of the repository's folder `conformance` has the protocol. */
import { createInterface } from "node:readline";
import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { errorFromInfo, errorInfo } from "../src/errors.js";
import { ErrorInfoSchema } from "../src/gen/dspex_bridge_pb.js";
import {
  deserializeValue,
  SerializationError,
  serializeValue,
  ToolBridgeError,
  ToolCommunicationError,
} from "../src/index.js";
import { statusOf } from "../src/link/status.js";
import { parse } from "../src/messages.js";
import { errorOfCode, errorOfTrailer } from "../src/transport/grpc.js";
import { fieldsOf, messageOf, schemaOf } from "./fields.js";
import { LinkPlayer, type Step } from "./linkplayer.js";
import { base64, bytes, describeValue, FORMS, type Meaning, realize } from "./meanings.js";
import { errorOf, type SessionRequest, Sessions } from "./sessions.js";

interface Request {
  id: number;
  do: string;
  any: string;
  meaning: Meaning;
  info?: string;
  status: { code: number; message: string };
  trailers: Record<string, string>;
  timestamp: { seconds: string; nanos: number };
  message: string;
  bytes: string;
  fields: Record<string, unknown>;
  role: string;
  hello: { peer: string; capacity?: number; features?: string[]; metadata?: Record<string, string> };
  steps: Step[];
}

const ACTIONS: Readonly<Record<string, (request: Request) => unknown>> = {
  hello: () => ({
    language: "Node.js",
    version: process.versions.node,
    forms: FORMS,
    roles: ["dialler", "worker", "hub"],
  }),
  decode_value: ({ any }) => ({ meaning: describeValue(read(any)) }),
  encode_value: ({ meaning }) => ({ any: write(realize(meaning)) }),
  round_trip: ({ any }) => ({ any: write(read(any)) }),
  decode_error: decodeError,
  encode_error: encodeError,
  decode_message: ({ message, bytes: data }) => {
    const schema = schemaOf(message);
    return { fields: fieldsOf(schema, parse(schema, bytes(data))) };
  },
  encode_message: ({ message, fields }) => {
    const schema = schemaOf(message);
    return { bytes: base64(toBinary(schema, messageOf(schema, fields))) };
  },
  link: ({ role, hello, steps }) => ({ steps: new LinkPlayer(role, hello).play(steps) }),
};

function read(any: string): unknown {
  let message: Any;
  try {
    message = parse(AnySchema, bytes(any));
  } catch (error) {
    throw new SerializationError(`it is not an Any: ${(error as Error).message}`);
  }
  return deserializeValue(message, { exact: true });
}

function write(value: unknown): string {
  return base64(toBinary(AnySchema, serializeValue(value)));
}

function decodeError({ info, status, trailers }: Request): unknown {
  if (info !== undefined) return { meaning: meaningOf(errorFromInfo(parse(ErrorInfoSchema, bytes(info)))) };
  const trailer = trailers["tool-bridge-error-bin"];
  const error = errorOfTrailer(trailer === undefined ? undefined : bytes(trailer));
  return { meaning: meaningOf(error ?? errorOfCode({ code: status.code, details: status.message })) };
}

function meaningOf(error: ToolBridgeError): unknown {
  const { type, message, details, origin, retryable, remoteStack } = error;
  if (error instanceof ToolCommunicationError) return { status: error.code, message: error.reason, retryable };
  return { type, message, details, origin, stacktrace: remoteStack, retryable };
}

function encodeError({ meaning, timestamp }: Request): unknown {
  const { type, message, details, retryable, stacktrace } = meaning as unknown as Record<string, never>;
  const error = new ToolBridgeError(String(message), { type, details, retryable, remoteStack: stacktrace });
  const info = errorInfo(error);
  info.timestamp = create(TimestampSchema, { seconds: BigInt(timestamp.seconds), nanos: timestamp.nanos });
  return { info: base64(toBinary(ErrorInfoSchema, info)), code: statusOf(error).code };
}

const sessions = new Sessions();

async function answer(request: Request & SessionRequest): Promise<unknown> {
  const action = ACTIONS[request.do] ?? sessions.actions[request.do];
  if (!action) return { error: { type: "Unimplemented", message: `this peer does not have ${request.do}` } };
  try {
    return { ok: (await action(request)) ?? {} };
  } catch (error) {
    return { error: errorOf(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request & SessionRequest;
  process.stdout.write(`${JSON.stringify({ id: request.id, ...((await answer(request)) as object) })}\n`);
}
process.exit();
