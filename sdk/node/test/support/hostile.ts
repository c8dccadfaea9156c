/** A hub that breaks the rules, for the tests. */
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import {
  type Envelope,
  EnvelopeSchema,
  InitializeSessionResponseSchema,
  LinkFrameSchema,
  RegisterToolsResponseSchema,
  SessionInfoSchema,
} from "../../src/gen/dspex_bridge_pb.js";

const OPENING: Record<string, () => Uint8Array> = {
  InitializeSession: () => written(InitializeSessionResponseSchema, { success: true }),
  GetSessionInfo: () => written(SessionInfoSchema, {}),
  RegisterTools: () => written(RegisterToolsResponseSchema, { success: true }),
};

/** The hub's end of one link. */
export class HostileLink {
  constructor(readonly stream: ServerDuplexStream<Buffer, Buffer>) {}

  /** Sends bytes as a frame. */
  raw(...bytes: number[]): void {
    this.stream.write(Buffer.from(bytes));
  }

  send(...envelopes: MessageInitShape<typeof EnvelopeSchema>[]): void {
    const frame = create(LinkFrameSchema, { envelopes: envelopes.map((each) => create(EnvelopeSchema, each)) });
    this.stream.write(Buffer.from(toBinary(LinkFrameSchema, frame)));
  }

  reply(id: bigint, value: Uint8Array): void {
    this.send({ id, kind: { case: "reply", value } });
  }

  hello(protocol = 1): void {
    this.send({ kind: { case: "hello", value: { protocol, peer: "hostile" } } });
  }
}

export interface HostileHub extends AsyncDisposable {
  address: string;
}

/** Starts a hub; `act` gets each call but those that open a session, and each answer. */
export async function hostileHub(
  onLink: (link: HostileLink) => void,
  act: (link: HostileLink, envelope: Envelope) => void = () => undefined,
): Promise<HostileHub> {
  const server = new Server({ "grpc.max_send_message_length": -1 });
  const same = (frame: Buffer) => frame;
  const link = {
    path: "/dspex.bridge.SnakepitBridge/Link",
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  server.addService({ link } as never, {
    link: (stream: ServerDuplexStream<Buffer, Buffer>) => {
      const end = new HostileLink(stream);
      stream.on("error", () => undefined);
      stream.on("data", (frame: Buffer) => {
        for (const envelope of fromBinary(LinkFrameSchema, frame).envelopes) {
          const opening = envelope.kind.case === "call" ? OPENING[envelope.kind.value.method] : undefined;
          if (opening) end.reply(envelope.id, opening());
          else act(end, envelope);
        }
      });
      onLink(end);
    },
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    address: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

export function written<M extends DescMessage>(schema: M, message: MessageInitShape<M>): Uint8Array {
  return toBinary(schema, create(schema, message));
}
