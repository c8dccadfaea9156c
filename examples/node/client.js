// A client of the worker's tools. `node client.js [ADDRESS]`
import { connect, ToolBridgeError } from "grpc-tool-bridge";

const client = await connect(process.argv[2] ?? "127.0.0.1:50051");
const session = await client.session();
try {
  console.log(await session.call("slugify", { text: "Hello, World!" }));

  for await (const number of session.stream("countdown", { start: 3 })) console.log(number);

  await session.call("countdown", { start: "three" });
} catch (error) {
  if (!(error instanceof ToolBridgeError)) throw error;
  console.log(`${error.type}: ${error.message}`);
} finally {
  await session.end();
  await client.close();
}
