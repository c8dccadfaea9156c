/**
 * Why frames go over grpc-js: the same calls over it and over connect-node, with envelopes batched in each turn of the
 * event loop and without. `npm run bench:transports`
 */
import { create, createFileRegistry, type DescMethodBiDiStreaming, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChannelCredentials, Client } from "@grpc/grpc-js";
import { EnvelopeSchema, InitializeSessionRequestSchema } from "../src/gen/dspex_bridge_pb.js";
import { readFrame } from "../src/link/envelopes.js";
import { writeArguments, writeCallee } from "../src/toolmessages.js";
import { Writer } from "../src/wire.js";
import { Hub } from "../test/support/hub.js";

const ROUNDS = 5;
const CALLS = 10_000;
const SESSION = "transports";

/** Sends envelopes as one frame. */
type Send = (envelopes: Uint8Array[]) => void;
/** Opens a link; `onAnswers` is called with the number of envelopes of each frame. */
type Open = (address: string, onAnswers: (count: number) => void) => { send: Send; close: () => void };

/** grpc-js, whose messages are the bytes of a frame. */
const overGrpc: Open = (address, onAnswers) => {
  const client = new Client(address, ChannelCredentials.createInsecure());
  const same = (frame: Buffer) => frame;
  const call = client.makeBidiStreamRequest("/dspex.bridge.SnakepitBridge/Link", same, same);
  call.on("data", (frame: Buffer) => onAnswers(readFrame(frame).length));
  call.on("error", () => undefined);
  const writer = new Writer();
  return {
    send: (envelopes) => {
      for (const envelope of envelopes) writer.bytes(0x0a, envelope);
      call.write(writer.finish());
    },
    close: () => {
      call.cancel();
      client.close();
    },
  };
};

/** connect-node, whose messages are frames of bytes: to parse each envelope would take longer. */
const overConnect: Open = (address, onAnswers) => {
  const stop = new AbortController();
  const transport = createGrpcTransport({ baseUrl: `http://${address}` });
  const waiting: Uint8Array[][] = [];
  let wake: () => void = () => undefined;
  async function* frames() {
    for (;;) {
      for (let next = waiting.shift(); next; next = waiting.shift())
        yield create(LINK.input, { envelopes: next } as never);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  const read = async () => {
    const answer = await transport.stream(LINK, stop.signal, undefined, undefined, frames());
    for await (const frame of answer.message)
      onAnswers((frame as unknown as { envelopes: unknown[] }).envelopes.length);
  };
  read().catch(() => undefined);
  return {
    send: (envelopes) => {
      waiting.push(envelopes);
      wake();
    },
    close: () => stop.abort(),
  };
};

const LINK = linkOfBytes();

/** The method Link, whose frames have envelopes that are not parsed. */
function linkOfBytes(): DescMethodBiDiStreaming {
  const file = create(FileDescriptorProtoSchema, {
    name: "frames.proto",
    package: "dspex.bridge",
    syntax: "proto3",
    messageType: [
      { name: "Frame", field: [{ name: "envelopes", jsonName: "envelopes", number: 1, label: 3, type: 12 }] },
    ],
    service: [
      {
        name: "SnakepitBridge",
        method: [
          {
            name: "Link",
            inputType: ".dspex.bridge.Frame",
            outputType: ".dspex.bridge.Frame",
            clientStreaming: true,
            serverStreaming: true,
          },
        ],
      },
    ],
  });
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
  return registry.getService("dspex.bridge.SnakepitBridge")!.method.link as DescMethodBiDiStreaming;
}

function envelopeOf(id: number, method: string, payload: Uint8Array): Uint8Array {
  return toBinary(
    EnvelopeSchema,
    create(EnvelopeSchema, { id: BigInt(id), kind: { case: "call", value: { method, payload } } }),
  );
}

/** What a stretch of calls took: wall-clock time and this process's own, in microseconds a call. */
interface Taken {
  wall: number;
  cpu: number;
}

/** Makes calls, `width` at once. */
async function measured(open: Open, address: string, { batched, width }: Way): Promise<Taken> {
  const hello = toBinary(EnvelopeSchema, create(EnvelopeSchema, { kind: { case: "hello", value: { protocol: 1 } } }));
  const initialize = toBinary(
    InitializeSessionRequestSchema,
    create(InitializeSessionRequestSchema, { sessionId: SESSION }),
  );
  const writer = new Writer();
  writeCallee(writer, SESSION, "add");
  writeArguments(writer, "add", [20, 22]);
  const request = writer.finish();
  let id = 3;
  const calls = width === 1 ? CALLS / 10 : CALLS;
  let left = calls;
  let waiting: Uint8Array[] = [];
  let answered = 0;
  let began = 0;
  let cpu = process.cpuUsage();
  return new Promise((resolve) => {
    const flush = () => {
      link.send(waiting);
      waiting = [];
    };
    const call = () => {
      if (left-- <= 0) return;
      const envelope = envelopeOf(id, "ExecuteTool", request);
      id += 2;
      if (!batched) link.send([envelope]);
      else if (waiting.push(envelope) === 1) setImmediate(flush);
    };
    const link = open(address, (count) => {
      // The hello, the session's defaults and the session itself come first.
      if (began === 0) {
        answered += count;
        if (answered < 3) return;
        answered = 0;
        began = performance.now();
        cpu = process.cpuUsage();
        for (let caller = 0; caller < width; caller++) call();
        return;
      }
      for (let answer = 0; answer < count; answer++) call();
      answered += count;
      if (answered < calls) return;
      link.close();
      const { user, system } = process.cpuUsage(cpu);
      resolve({ wall: ((performance.now() - began) * 1000) / calls, cpu: (user + system) / calls });
    });
    link.send([hello, envelopeOf(1, "InitializeSession", initialize)]);
  });
}

interface Way {
  batched: boolean;
  width: number;
}

await using hub = await Hub.start();
const transports: Record<string, Open> = { "grpc-js": overGrpc, "connect-node": overConnect };
const ways: Record<string, Way> = {
  "100 at once, batched": { batched: true, width: 100 },
  "100 at once, a frame for each": { batched: false, width: 100 },
  "one at a time": { batched: true, width: 1 },
};
const taken = new Map<string, Taken[]>();
for (let round = 0; round <= ROUNDS; round++) {
  for (const [way, how] of Object.entries(ways)) {
    for (const [transport, open] of Object.entries(transports)) {
      const name = `${way}, ${transport}`;
      const figure = await measured(open, hub.address, how);
      // The first round warms everything up.
      if (round > 0) taken.set(name, [...(taken.get(name) ?? []), figure]);
    }
  }
}
const median = (figures: number[]) => figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)]!;
for (const [name, figures] of taken) {
  const wall = median(figures.map((figure) => figure.wall));
  const cpu = median(figures.map((figure) => figure.cpu));
  console.log(
    `${name.padEnd(48)} ${Math.round(1e6 / wall)} calls/s, ${Math.round(wall)} us each, ${cpu.toFixed(1)} us of CPU`,
  );
}
