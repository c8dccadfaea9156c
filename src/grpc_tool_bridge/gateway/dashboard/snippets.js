// The same call elsewhere: in a shell by curl, in Python, and by the command line.

import { positions } from "./call_arguments.js";
import { isTagged, itemOf, propertiesOf, resolve, restOf, shapeOf, variantOf } from "./schema.js";

/** Quotes a word for a POSIX shell. */
export const shellWord = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

const TOKEN = "TOOL_BRIDGE_TOKEN";
// What stands in an environment variable is in no history of a shell.
const exported = (call) => (call.needsToken ? [`# export ${TOKEN}=…`] : []);

/**
 * A call for curl.
 *
 * @param {object} call
 * @param {string} call.origin Of the hub over HTTP.
 * @param {string} call.address Of the hub over gRPC, or empty.
 * @param {boolean} call.needsToken
 * @param {boolean} call.tls
 * @param {string} call.session
 * @param {boolean} call.makesSession Whether the session may have to be made first.
 * @param {string} call.tool
 * @param {Array} call.args
 * @param {object} call.kwargs
 * @param {boolean} call.streams
 * @param {number|null} call.timeoutMs
 * @param {string} call.key The idempotency key, or empty.
 * @param {object} call.schema What the arguments have to be.
 * @param {object} call.spec
 */
export function curl(call) {
  const token = call.needsToken ? ` -H "Authorization: Bearer $${TOKEN}"` : "";
  const post = (path, headers, body) =>
    `curl -s${call.streams && path ? "N" : ""}${token}${headers} ${shellWord(`${call.origin}/api/sessions${path}`)} --json ${shellWord(JSON.stringify(body))}`;
  const key = call.key && !call.streams ? ` -H ${shellWord(`Idempotency-Key: ${call.key}`)}` : "";
  const body = {
    ...(call.args.length ? { args: call.args } : {}),
    kwargs: call.kwargs,
    ...(call.timeoutMs ? { timeout_ms: call.timeoutMs } : {}),
  };
  const path = `/${encodeURIComponent(call.session)}/tools/${encodeURIComponent(call.tool)}/${call.streams ? "stream?events=true" : "execute"}`;
  return [
    ...exported(call),
    ...(call.makesSession ? [`${post("", "", { session_id: call.session })} >/dev/null`] : []),
    post(path, key, body),
  ].join("\n");
}

/** A program in Python that makes a call. */
export function python(call) {
  const writer = new PythonWriter(call.schema);
  const types = new Map((call.spec.arguments ?? []).map((argument) => [argument.name, argument.python_type]));
  const argument = (name, value) => writer.argument(value, writer.named(name), types.get(name));
  const named = Object.entries(call.kwargs).filter(([name]) => isIdentifier(name));
  const others = Object.entries(call.kwargs).filter(([name]) => !isIdentifier(name));
  const given = [
    ...call.args.map((value) => writer.argument(value, {})),
    ...named.map(([name, value]) => `${name}=${argument(name, value)}`),
    ...(others.length
      ? [`**{${others.map(([name, value]) => `${JSON.stringify(name)}: ${argument(name, value)}`).join(", ")}}`]
      : []),
  ];
  const options = [
    ...(call.timeoutMs ? [`timeout=${call.timeoutMs / 1_000}`] : []),
    ...(call.key && !call.streams ? [`idempotency_key=${JSON.stringify(call.key)}`] : []),
  ];
  const bridge = [
    call.address ? JSON.stringify(call.address) : "",
    call.needsToken ? `token=os.environ["${TOKEN}"]` : "",
    call.tls ? "tls=True" : "",
  ].filter(Boolean);
  const long = given.join(", ").length > 60;
  const inside = long ? `\n            ${given.join(",\n            ")},\n        ` : given.join(", ");
  const modules = ["asyncio", ...writer.modules, ...(call.needsToken ? ["os"] : [])].sort();
  return [
    ...modules.map((name) => `import ${name}`),
    "",
    "from grpc_tool_bridge import GRPCToolBridge",
    "",
    "",
    "async def main() -> None:",
    `    async with GRPCToolBridge(${bridge.join(", ")}) as bridge:`,
    `        tools = await bridge.initialize(${JSON.stringify(call.session)})`,
    `        tool = tools[${JSON.stringify(call.tool)}]${options.length ? `.with_options(${options.join(", ")})` : ""}`,
    ...(call.streams
      ? [`        async for value in tool.stream(${inside}):`, "            print(value)"]
      : [`        result = await tool(${inside})`, "        print(result)"]),
    "",
    "",
    "asyncio.run(main())",
  ].join("\n");
}

const KEYWORDS = new Set(
  (
    "False None True and as assert async await break class continue def del elif else except finally for from global if " +
    "import in is lambda nonlocal not or pass raise return try while with yield"
  ).split(" "),
);
const isIdentifier = (name) => /^[A-Za-z_]\w*$/.test(name) && !KEYWORDS.has(name);

/** The schema of a name of an object. */
const partOf = (schema, name) => propertiesOf(schema).find(([one]) => one === name)?.[1] ?? restOf(schema) ?? {};

/** Writes values as Python's literals, of the types that a schema names. */
class PythonWriter {
  constructor(whole) {
    this.whole = whole;
    this.modules = new Set();
  }

  named(name) {
    return partOf(resolve(this.whole, this.whole), name);
  }

  argument(value, schema, type) {
    if (type === "Decimal" && typeof value === "string") return this.of("decimal", `decimal.Decimal(${JSON.stringify(value)})`);
    return this.value(value, schema);
  }

  of(module, text) {
    this.modules.add(module);
    return text;
  }

  value(value, given) {
    if (value === null) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (isTagged(value)) return this.tagged(value);
    const shape = shapeOf(given, this.whole);
    if (shape.kind === "union") {
      const index = variantOf(value, shape.variants, this.whole);
      return this.value(value, index < 0 ? {} : shape.variants[index]);
    }
    if (typeof value === "string") return this.text(value, shape.kind === "text" ? shape.schema.format : "");
    if (typeof value === "number") return JSON.stringify(value);
    if (Array.isArray(value)) return `[${value.map((item, index) => this.value(item, itemOf(shape.schema, index))).join(", ")}]`;
    return `{${Object.entries(value)
      .map(([name, item]) => `${JSON.stringify(name)}: ${this.value(item, partOf(shape.schema, name))}`)
      .join(", ")}}`;
  }

  text(text, format) {
    const quoted = JSON.stringify(text);
    const date = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text);
    if (format === "date" && date) return this.of("datetime", `datetime.date(${date.slice(1).map(Number).join(", ")})`);
    if (format === "date-time") return this.of("datetime", `datetime.datetime.fromisoformat(${quoted})`);
    if (format === "time") return this.of("datetime", `datetime.time.fromisoformat(${quoted})`);
    return format === "uuid" ? this.of("uuid", `uuid.UUID(${quoted})`) : quoted;
  }

  tagged({ $type: type, value }) {
    const inner = () => this.value(value, {});
    const list = () => (Array.isArray(value) ? value.map((item) => this.value(item, {})) : []);
    switch (type) {
      case "int":
        return /^[+-]?\d+$/.test(value) ? String(value) : `int(${inner()})`;
      case "float":
        return /^[+-]?\d+\.?\d*(e[+-]?\d+)?$/i.test(value) ? value : `float(${inner()})`;
      case "bytes":
        return bytesLiteral(value) ?? this.of("base64", `base64.b64decode(${inner()})`);
      case "date":
      case "datetime":
      case "time":
        if (typeof value === "string") return this.of("datetime", `datetime.${type}.fromisoformat(${inner()})`);
        break;
      case "timedelta":
        return this.of(
          "datetime",
          typeof value === "number" ? `datetime.timedelta(seconds=${value})` : `datetime.timedelta(**${inner()})`,
        );
      case "UUID":
        return this.of("uuid", `uuid.UUID(${inner()})`);
      case "Decimal":
        return this.of("decimal", `decimal.Decimal(${inner()})`);
      case "complex":
        return `complex(${list().join(", ")})`;
      case "tuple":
        return `(${list().join(", ")}${list().length === 1 ? "," : ""})`;
      case "set":
      case "frozenset":
        return `${type}([${list().join(", ")}])`;
      case "dict":
        return `dict(${inner()})`;
    }
    // Nobody here knows how to make one: what it is stands where one is to be made.
    return `NotImplemented(${JSON.stringify(type)})`;
  }
}

// A short one that can be read.
function bytesLiteral(base64) {
  let text;
  try {
    text = atob(base64);
  } catch {
    return null;
  }
  return /^[\x20-\x7e]{0,60}$/.test(text) ? `b${JSON.stringify(text)}` : null;
}

const UNFIT = /(?![\n\t])\p{Cc}|\p{Bidi_Control}/u;

/** A call by the command line. */
export function commandLine(call) {
  const words = call.streams ? ["stream"] : ["call"];
  if (call.address) words.push("--address", shellWord(call.address));
  if (call.tls) words.push("--tls");
  // Without one, the command makes a session for this call.
  if (!call.makesSession) words.push("--session", shellWord(call.session));
  if (call.timeoutMs) words.push("--timeout", String(call.timeoutMs / 1_000));
  words.push("--json");
  const piped = [];
  const whole = readSchema(call);
  const { named } = positions(call.spec);
  const word = (value, schema) => {
    const text = wordOf(value, schema, whole);
    if (text !== null) return text;
    piped.push(JSON.stringify(value));
    return "-";
  };
  for (const [name, value] of Object.entries(call.kwargs)) {
    words.push(`--kwarg ${shellWord(`${name}=${word(value, partOf(whole, name))}`)}`);
  }
  const positional = call.args.map((value, index) =>
    shellWord(word(value, named[index] ? partOf(whole, named[index].name) : {})),
  );
  words.push("--", shellWord(call.tool), ...positional);
  // A terminal takes some characters for keys, also where a shell would take them as they are.
  const unfit = UNFIT.test(words.join("")) || Object.keys(call.kwargs).some((name) => /^$|=|\0/.test(name)) || piped.length > 1;
  if (unfit) return "# These arguments cannot be written in a command line.";
  const input = piped.length ? `printf %s ${shellWord(piped[0])} | ` : "";
  return [...exported(call), `${input}grpc-tool-bridge ${words.join(" ")}`].join("\n");
}

/** The schema that the command reads; one that is too long for a form is not too long for it. */
function readSchema({ spec, schema }) {
  try {
    return JSON.parse(spec.input_schema) ?? schema;
  } catch {
    return schema;
  }
}

/** Writes an argument as the command reads it: a text as it is where only a text can stand; null: only as JSON on stdin. */
function wordOf(value, given, whole) {
  const types = typesOf(given, whole);
  if (types.size !== 1 || !types.has("string")) return JSON.stringify(value);
  // A text is all that can be written as it is.
  if (typeof value !== "string" || value === "-" || UNFIT.test(value) || !value.isWellFormed()) return null;
  return value;
}

/** The types that the command takes a schema for (cli/arguments.py); it does not look as far as a form does. */
function typesOf(schema, whole, seen = new Set()) {
  if (typeof schema !== "object" || schema === null) return new Set(["any"]);
  // What it has said before it says no more.
  if (seen.has(schema)) return new Set();
  seen.add(schema);
  if (typeof schema.$ref === "string") return typesOf(whole.$defs?.[schema.$ref.split("/").at(-1)], whole, seen);
  const choices = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(choices)) return new Set(choices.flatMap((choice) => [...typesOf(choice, whole, seen)]));
  if (schema.type) return new Set([schema.type].flat());
  const values = schema.enum ?? ("const" in schema ? [schema.const] : []);
  return new Set(values.length ? values.map((value) => typeof value) : ["any"]);
}
