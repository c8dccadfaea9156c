// A client of the official TypeScript SDKs. It does everything that a client can do with the tools of
// tests/e2e/mcp_client_tools.py, and prints a report of it as JSON: of each step, what came of it, or its error.
//
//   node client.mjs SDK TARGET...    SDK: 1 (protocol 2025-11-25) or 2 (2026-07-28); TARGET: a URL, or a command

const [sdk, ...target] = process.argv.slice(2);
const url = target[0].startsWith("http") ? new URL(target[0]) : undefined;
const patience = { timeout: 30_000 };
// The output is the report alone.
console.debug = console.info = console.log = console.error;

/** What is heard: by its kind, values, and whoever waits for the next one. */
const heard = { progress: [], log: [], tools: [], resources: [], asked: [] };
const waiting = [];

function hear(kind, value) {
  heard[kind].push(value);
  for (const check of waiting.slice()) check();
}

function hears(kind, count = 1) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`heard no ${kind}`)), patience.timeout);
    const check = () => {
      if (heard[kind].length < count) return;
      clearTimeout(timer);
      waiting.splice(waiting.indexOf(check), 1);
      resolve(heard[kind]);
    };
    waiting.push(check);
    check();
  });
}

function answer(request) {
  hear("asked", request.params);
  return { action: "accept", content: { sure: true, size: "l" } };
}

async function first() {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  const types = await import("@modelcontextprotocol/sdk/types.js");
  const client = new Client({ name: "typescript-1", version: "1" }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(types.ElicitRequestSchema, answer);
  const listen = (schema, kind) => client.setNotificationHandler(schema, (message) => hear(kind, message.params ?? {}));
  listen(types.LoggingMessageNotificationSchema, "log");
  listen(types.ToolListChangedNotificationSchema, "tools");
  listen(types.ResourceUpdatedNotificationSchema, "resources");
  await client.connect(url ? new StreamableHTTPClientTransport(url) : stdio(StdioClientTransport));

  /** Loses the connection while a tool runs, and takes its result over another one of the same session. */
  async function resume() {
    const info = { name: "typescript-1", version: "1" };
    const lost = new Client(info, {});
    const transport = new StreamableHTTPClientTransport(url);
    await lost.connect(transport);
    let resumptionToken;
    const call = { method: "tools/call", params: { name: "finish_later", arguments: {} } };
    const begun = new Promise((resolve) => {
      const onresumptiontoken = (token) => (resumptionToken = token);
      const options = { ...patience, onresumptiontoken, onprogress: resolve };
      lost.request(call, types.CallToolResultSchema, options).catch(resolve);
    });
    await begun;
    const { sessionId } = transport;
    await lost.close();
    const again = new Client(info, {});
    const next = new StreamableHTTPClientTransport(url, { sessionId });
    next.setProtocolVersion(types.LATEST_PROTOCOL_VERSION);
    await again.connect(next);
    await again.callTool({ name: "let_finish", arguments: {} }, undefined, patience);
    const result = await again.request(call, types.CallToolResultSchema, { ...patience, resumptionToken });
    await next.terminateSession();
    await again.close();
    return result;
  }

  return {
    client,
    resume: url && resume,
    prepare: () => client.setLoggingLevel("debug"),
    version: types.LATEST_PROTOCOL_VERSION,
    call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, { ...patience, ...options }),
    follow: (uri) => client.subscribeResource({ uri }),
  };
}

async function second() {
  const { Client, LOG_LEVEL_META_KEY, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
  const client = new Client(
    { name: "typescript-2", version: "1" },
    { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode: { pin: "2026-07-28" } } },
  );
  client.setRequestHandler("elicitation/create", answer);
  const listen = (method, kind) => client.setNotificationHandler(method, (message) => hear(kind, message.params ?? {}));
  listen("notifications/message", "log");
  listen("notifications/tools/list_changed", "tools");
  listen("notifications/resources/updated", "resources");
  await client.connect(url ? new StreamableHTTPClientTransport(url) : stdio(StdioClientTransport));
  const meta = { _meta: { [LOG_LEVEL_META_KEY]: "debug" } };
  return {
    client,
    prepare: async () => (await client.listen({ toolsListChanged: true })).honoredFilter,
    version: client.getNegotiatedProtocolVersion(),
    call: (name, args, options) => client.callTool({ name, arguments: args, ...meta }, { ...patience, ...options }),
    follow: (uri) => client.listen({ resourceSubscriptions: [uri] }),
  };
}

function stdio(Transport) {
  return new Transport({ command: target[0], args: target.slice(1), env: process.env, stderr: "inherit" });
}

const { client, prepare, version, call, follow, resume } = await (sdk === "1" ? first() : second());
const report = { version, server: client.getServerVersion(), capabilities: client.getServerCapabilities() };

async function step(name, action) {
  try {
    report[name] = { came: await action() };
  } catch (error) {
    report[name] = { error: String(error), code: error.code, data: error.data };
  }
}

async function listed() {
  const found = [];
  let cursor;
  do {
    const page = await client.listTools(cursor ? { cursor } : {});
    found.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor);
  return found;
}

/** Lists the tools each time that they have changed, until they are as expected; returns their names. */
async function toldUntil(expected) {
  for (let seen = 0; ; seen = heard.tools.length) {
    await hears("tools", seen + 1);
    const names = (await listed()).map((tool) => tool.name);
    if (expected(names)) return names;
  }
}

await step("prepared", prepare);
await step("tools", listed);
await step("add", () => call("add", { a: 2, b: 3 }));
await step("measure", () => call("measure", { name: "ö" }));
await step("picture", () => call("picture", {}));
await step("count", () => call("count", { to: 3 }));
await step("work", async () => {
  // These SDKs drop what comes in one piece with the result.
  const working = call("work", { steps: 3 }, { onprogress: (progress) => hear("progress", progress) });
  const told = { progress: await hears("progress", 3), log: await hears("log", 3) };
  await call("was_heard", {});
  return { ...told, result: await working };
});
await step("fail", () => call("fail", {}));
await step("wrong", () => call("add", { a: "two" }));
await step("unknown", () => call("no_such_tool", {}));
await step("confirm", async () => ({ result: await call("confirm", { what: "it" }), asked: heard.asked }));
await step("cancelled", async () => {
  const stop = new AbortController();
  const begun = () => stop.abort(new Error("stopped here"));
  const error = await call("wait", {}, { signal: stop.signal, onprogress: begun }).catch(String);
  return { error, result: await call("was_cancelled", {}) };
});
await step("variables", async () => {
  await call("remember", { name: "note", value: "first" });
  const { resources } = await client.listResources();
  const found = resources.find((resource) => resource.name === "note");
  const before = await client.readResource({ uri: found.uri });
  await follow(found.uri);
  await call("remember", { name: "note", value: "second" });
  const told = await hears("resources");
  return { found, before, told, after: await client.readResource({ uri: found.uri }) };
});
await step("changes", async () => {
  await call("grow", {});
  await toldUntil((names) => names.includes("grown"));
  const result = await call("grown", {});
  await call("shrink", {});
  return { result, left: await toldUntil((names) => !names.includes("grown")) };
});
if (resume) await step("resumed", resume);
await client.close();
// A pipe takes it later, and a subscription would keep this program from its end.
process.stdout.write(JSON.stringify(report), () => process.exit(0));
