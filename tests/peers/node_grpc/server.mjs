// A gRPC service of Node.js with reflection: node server.mjs; it prints its address as JSON.
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import protobuf from "protobufjs";

const file = fileURLToPath(new URL("peers.proto", import.meta.url));
const definition = protoLoader.loadSync(file, { keepCase: true, longs: String, oneofs: true });
const { Peers } = grpc.loadPackageDefinition(definition).peers.v1;

// google/rpc/status.proto and error_details.proto, as far as they are used here.
const { root: rpc } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message BadRequest {
    message FieldViolation { string field = 1; string description = 2; }
    repeated FieldViolation field_violations = 1;
  }
`, { keepCase: true });

function encoded(name, value) {
  return rpc.lookupType(`google.rpc.${name}`).encode(value).finish();
}

function failure({ code, message, field, retry_seconds: seconds }) {
  const details = [];
  const add = (name, value) =>
    details.push({ type_url: `type.googleapis.com/google.rpc.${name}`, value: encoded(name, value) });
  if (field) {
    add("BadRequest", { field_violations: [{ field, description: "must be even" }] });
  }
  if (Number(seconds)) {
    add("RetryInfo", { retry_delay: { seconds: Number(seconds) } });
  }
  const metadata = new grpc.Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(encoded("Status", { code, message, details })));
  return { code, details: message, metadata };
}

let cancelled = 0;

const methods = {
  Echo: (call, answer) => answer(null, call.request),
  Count: (call) => {
    const first = BigInt(call.request.first ?? 0);
    for (let step = 0; step < (call.request.count ?? 0); step += 1) {
      call.write({ value: (first + BigInt(step)).toString() });
    }
    call.end();
  },
  Sum: (call, answer) => {
    let sum = 0n;
    call.on("data", ({ value }) => { sum += BigInt(value ?? 0); });
    call.on("end", () => answer(null, { value: sum.toString() }));
  },
  RunningSum: (call) => {
    let sum = 0n;
    call.on("data", ({ value }) => {
      sum += BigInt(value ?? 0);
      call.write({ value: sum.toString() });
    });
    call.on("end", () => call.end());
  },
  Fail: (call, answer) => answer(failure(call.request)),
  FailLater: (call) => {
    call.write({ value: "1" });
    call.emit("error", failure(call.request));
  },
  Wait: (call) => call.on("cancelled", () => { cancelled += 1; }),
  Cancelled: (_, answer) => answer(null, { value: String(cancelled) }),
  Metadata: (call, answer) => {
    const values = Object.entries(call.metadata.getMap()).filter(([, value]) => typeof value === "string");
    answer(null, { values: Object.fromEntries(values) });
  },
  DayAfter: (call, answer) =>
    answer(null, { seconds: (BigInt(call.request.seconds ?? 0) + 86_400n).toString(), nanos: call.request.nanos }),
};

const server = new grpc.Server();
server.addService(Peers.service, methods);
new ReflectionService(definition).addToServer(server);
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) {
    throw error;
  }
  process.stdout.write(`${JSON.stringify({ address: `127.0.0.1:${port}` })}\n`);
});
