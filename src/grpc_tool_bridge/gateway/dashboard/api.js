// The hub over HTTP.

/** What the hub answers with instead of a result, or that it cannot be reached. */
export class ApiError extends Error {
  /**
   * @param {number} status The status code; 0: the hub could not be reached.
   * @param {object} info As ErrorInfo: type, message, details, stacktrace, retryable.
   */
  constructor(status, info) {
    super(info.message);
    this.name = "ApiError";
    this.status = status;
    this.info = info;
  }
}

/** The failure of a stream that has come to no end. */
export const lost = () => new ApiError(0, { type: "Unavailable", message: "The connection to the hub was lost before the end." });

/** Milliseconds until what has failed so often is tried again. */
export const retryAfter = (failures) => [500, 1_000, 2_000, 5_000][Math.min(failures, 3)];

/** Tells "login" when the hub wants its token again. */
export const access = new EventTarget();

/** Returns a path from parts, which may have any characters: `path("api", "sessions", id)`. */
export function path(...parts) {
  return `/${parts.map(encodeURIComponent).join("/")}`;
}

/** Returns the path of something in a session. */
export function ofSession(id, ...parts) {
  return path("api", "sessions", id, ...parts);
}

/** Returns the path of a variable; one that is called "watch" must not look like the route of watches. */
export function ofVariable(session, name) {
  return `${ofSession(session, "variables")}/${name === "watch" ? "%77atch" : encodeURIComponent(name)}`;
}

/** Whether a browser can ask for what has this name: it resolves the others before it sends a path. */
export const isReachable = (name) => name !== "." && name !== "..";

/** Returns the id of a new request; `randomUUID` is only there over TLS and at loopback addresses. */
export const newRequestId = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** GET; `query` without what is empty. */
export function get(address, query = {}, options = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return answer(given.length ? `${address}?${new URLSearchParams(given)}` : address, { ...options, method: "GET" });
}

/** POST, PUT or DELETE, with a body of JSON if there is one; a text is JSON already. */
export function send(method, address, body, options = {}) {
  return answer(address, { ...options, ...withBody(body, options.headers), method });
}

/** As `send`; returns the text of the answer, in which numbers are as the hub wrote them. */
export async function sendForText(method, address, body, options = {}) {
  const response = await fetched(address, { ...options, ...withBody(body, options.headers), method });
  return response.text();
}

/**
 * Yields all pages of a list, at most `most` entries: `for await (const entry of all("/api/sessions", "sessions"))`.
 *
 * `missing` is called with the name of each hub of a cluster that did not answer.
 */
export async function* all(address, name, query = {}, { most = 10_000, signal, missing = () => {} } = {}) {
  let token = "";
  let count = 0;
  do {
    const page = await get(address, { page_size: 1_000, ...query, page_token: token }, { signal });
    for (const hub of page.missing_hubs ?? []) missing(hub);
    for (const entry of page[name]) {
      if (count++ >= most) return;
      yield entry;
    }
    token = page.next_page_token;
  } while (token);
}

/**
 * Yields the events of a stream, as { event, id, data }, and `raw`, the data as it was written; leaving the loop ends it.
 *
 * With `after` it goes on after the event with that id; `opened` is called when the hub has begun to answer.
 */
export async function* stream(method, address, body, { signal, after = "", opened } = {}) {
  const headers = { Accept: "text/event-stream", ...(after && { "Last-Event-ID": after }) };
  const response = await fetched(address, { ...withBody(body, headers), method, signal });
  opened?.();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (let part = await reading(reader); !part.done; part = await reading(reader)) {
      text += part.value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const lines of events) {
        const event = parsed(lines);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function reading(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw lost();
  }
}

function parsed(lines) {
  const found = { event: "message", id: "", data: "" };
  for (const line of lines.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) found[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return found.data ? { ...found, raw: found.data, data: JSON.parse(found.data) } : null;
}

function withBody(body, headers = {}) {
  // Without one, a hub still wants to know that no form of another site has sent it.
  return { headers: { "Content-Type": "application/json", ...headers }, body: typeof body === "string" ? body : JSON.stringify(body) };
}

async function answer(address, options) {
  const response = await fetched(address, options);
  return response.json();
}

async function fetched(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { type: "Unavailable", message: "The hub cannot be reached." });
  }
  if (response.ok) return response;
  if (response.status === 401) access.dispatchEvent(new Event("login"));
  const told = await response.json().catch(() => null);
  throw new ApiError(response.status, told?.error ?? { type: "HttpError", message: `The hub answers ${response.status}.` });
}
