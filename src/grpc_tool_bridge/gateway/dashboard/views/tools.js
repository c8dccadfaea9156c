// The tools: all of them, by words, and one with a form to call it.

import { ApiError, all, get, path } from "../api.js";
import { atMost, h, replace, setText } from "../dom.js";
import { failure } from "../failure.js";
import { counted, oneLine } from "../format.js";
import { KINDS, ToolDetail } from "../tool_detail.js";
import { VirtualList } from "../virtual_list.js";

const COLUMNS = [
  { title: "Tool", name: "tool" },
  { title: "Kind", name: "kind" },
  { title: "Runs in", name: "where" },
  { title: "What it does", name: "about" },
];
/** Milliseconds after which a worker that is gone may have left its tools. */
const GONE_MS = [6_000, 31_000];
const MOST_TOOLS = 20_000;
const MOST_SESSIONS = 1_000;

class ToolsView {
  constructor(app) {
    this.app = app;
    this.tools = [];
    this.detail = null;
    this.search = h("input", {
      type: "search",
      placeholder: "A name, a description",
      autocomplete: "off",
      oninput: () => app.url.go({ q: this.search.value }, { replace: true }),
    });
    this.sessions = h("datalist", { id: "tool-sessions" });
    this.session = h("input", {
      list: "tool-sessions",
      autocomplete: "off",
      placeholder: "Hub tools",
      onfocus: () => this.listSessions(),
      onchange: () => app.url.go({ session: this.session.value }),
    });
    this.summary = h("p.summary", null, "Loading…");
    this.problem = h("div");
    this.list = new VirtualList({
      label: "Tools",
      columns: COLUMNS,
      fill: (cells, tool) => this.fill(cells, tool),
      key: (tool) => tool.name,
      onSelect: (tool) => app.url.go({ tool: tool.name, ...(tool.name === app.url.get("tool") ? {} : NOTHING) }),
      empty: "Loading…",
    });
    this.aside = h("aside.detail", { "aria-label": "The selected tool", hidden: true });
    this.root = h(
      "section.view.toolbox",
      null,
      h("h1.hidden", null, "Tools"),
      h("div.bar", null, h("label", null, "Find ", this.search), h("label", null, "Session ", this.session), this.sessions),
      this.summary,
      this.problem,
      h("div.split", null, this.list.holder, this.aside),
    );
    this.onOpen = () => {
      if (!this.reading || this.reading.done) this.load();
    };
    const again = atMost(2_000, () => this.load());
    this.onEvent = ({ detail }) => {
      if (!detail.worker) return;
      again();
      // Tools of one that is gone stay for a while, in which it may come back; no event tells of their end.
      if (detail.operation !== "disconnected") return;
      this.timers.forEach(clearTimeout);
      this.timers = GONE_MS.map((later) => setTimeout(again, later));
    };
    this.timers = [];
    app.events.addEventListener("open", this.onOpen);
    app.events.addEventListener("event", this.onEvent);
  }

  show() {
    const { url } = this.app;
    if (document.activeElement !== this.search) this.search.value = url.get("q");
    if (document.activeElement !== this.session) this.session.value = url.get("session");
    if (this.loaded !== url.get("session")) this.load();
    this.draw();
    this.showDetail();
  }

  close() {
    this.app.events.removeEventListener("open", this.onOpen);
    this.app.events.removeEventListener("event", this.onEvent);
    this.timers.forEach(clearTimeout);
    this.reading?.abort();
    this.detail?.close();
    this.list.close();
  }

  async load() {
    const session = this.app.url.get("session");
    this.loaded = session;
    this.reading?.abort();
    const reading = new AbortController();
    this.reading = reading;
    const found = [];
    try {
      for await (const tool of all(
        "/api/tools",
        "tools",
        { session_id: session },
        { most: MOST_TOOLS, signal: reading.signal },
      )) {
        found.push({ ...tool, words: `${tool.name}\n${tool.description}`.toLowerCase() });
      }
      replace(this.problem);
    } catch (error) {
      if (reading.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      replace(
        this.problem,
        failure(error.info),
        session ? h("a", { href: this.app.url.href({ session: "" }) }, "Show the hub's tools") : null,
      );
      // What was there may still be there when the hub is back.
      if (error.status === 0) return;
    } finally {
      reading.done = true;
    }
    this.tools = found;
    this.draw();
    if (this.isMissing) {
      this.shown = null;
      this.showDetail();
    }
  }

  async listSessions() {
    const found = [];
    try {
      for await (const session of all("/api/sessions", "sessions", {}, { most: MOST_SESSIONS })) found.push(session.session_id);
    } catch (error) {
      // A session can be typed all the same.
      if (!(error instanceof ApiError)) throw error;
    }
    replace(
      this.sessions,
      found.map((id) => h("option", { value: id })),
    );
  }

  draw() {
    const words = this.app.url.get("q").toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length ? this.tools.filter((tool) => words.every((word) => tool.words.includes(word))) : this.tools;
    const of = words.length ? ` of ${counted(this.tools.length, "tool")}` : "";
    setText(this.summary, words.length ? `${found.length.toLocaleString("en")}${of}` : counted(found.length, "tool"));
    setText(this.list.empty, words.length ? "No tool matches." : "No tools yet. Start the hub with: grpc-tool-bridge serve --tools my_tools.py, or connect a worker.");
    this.list.show(found);
    this.list.select(this.app.url.get("tool"));
  }

  fill(cells, tool) {
    setText(cells[0], tool.name);
    setText(cells[1], `${KINDS[tool.type] ?? tool.type}${tool.of_session ? ", of the session" : ""}`);
    setText(cells[2], tool.workers ? counted(tool.workers, "worker") : tool.of_hub === false ? "no worker" : "the hub");
    setText(cells[3], oneLine(tool.description));
  }

  async showDetail() {
    const { url } = this.app;
    const name = url.get("tool");
    const key = name && JSON.stringify([name, url.get("session")]);
    this.aside.hidden = !name;
    if (this.shown === key) {
      this.detail?.show();
      return;
    }
    this.shown = key;
    this.isMissing = false;
    this.detail?.close();
    this.detail = null;
    replace(this.aside);
    if (!name) return;
    const close = h(
      "a.close",
      { href: url.href({ tool: "", ...NOTHING }), "aria-label": "Close", onclick: () => this.list.root.focus() },
      "×",
    );
    const title = h("h2", null, name);
    replace(this.aside, close, title);
    try {
      const tool = await get(path("api", "tools", name), { session_id: url.get("session") });
      if (this.shown !== key) return;
      this.detail = new ToolDetail(this.app, tool);
      this.aside.append(this.detail.root);
      this.detail.show();
    } catch (error) {
      if (this.shown !== key) return;
      if (!(error instanceof ApiError)) throw error;
      this.aside.append(failure(error.info));
      // It is asked for again when the hub is back, or has other tools.
      this.isMissing = true;
    }
  }
}

/** What belongs to a tool that was selected before. */
const NOTHING = { args: "", form: "", timeout: "", key: "" };

export const open = (app) => new ToolsView(app);
