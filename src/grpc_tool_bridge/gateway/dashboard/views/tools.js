// The tools: all of them, by words, and one with a form to call it.

import { NameField } from "../address_fields.js";
import { ApiError, all, get, path } from "../api.js";
import { h, replace, setText } from "../dom.js";
import { Problem } from "../failure.js";
import { counted, oneLine } from "../format.js";
import { ListView } from "../list_view.js";
import { Poll } from "../poll.js";
import { KINDS, ToolDetail } from "../tool_detail.js";
import { link, url } from "../url.js";

const EVERY_MS = 3_000;
const COLUMNS = [
  { title: "Tool", name: "tool" },
  { title: "Kind", name: "kind" },
  { title: "Runs in", name: "where" },
  { title: "Tags", name: "tags" },
  { title: "What it does", name: "about" },
];
const NONE = "No tools yet. Start the hub with: grpc-tool-bridge serve --tools my_tools.py, or connect a worker.";
const MOST_SESSIONS = 1_000;
/** What belongs to a tool that was selected before. */
const NOTHING = { args: "", form: "", timeout: "", key: "" };

class ToolsView extends ListView {
  constructor(app) {
    super(app, {
      name: "toolbox",
      title: "Tools",
      placeholder: "A name, a description",
      selection: "The selected tool",
      closes: { tool: "", ...NOTHING },
      columns: COLUMNS,
      live: {
        address: "/api/tools",
        name: "tools",
        key: (tool) => tool.name,
        query: () => ({ session_id: url.get("session"), tags: url.get("tags") }),
        every: EVERY_MS,
      },
      select: (tool) => url.go({ tool: tool.name, ...(tool.name === url.get("tool") ? {} : NOTHING) }),
      fields: [
        new NameField("Session", "session", "Hub tools", sessionIds),
        new NameField("Tags", "tags", "Any", () => this.tags()),
      ],
    });
  }

  /** The key of a tool: the same name is another tool in another session. */
  selected() {
    const name = url.get("tool");
    return name && JSON.stringify([name, url.get("session")]);
  }

  panel(key) {
    return new ToolPanel(this.app, ...JSON.parse(key));
  }

  texts(tool) {
    return [tool.name, tool.description, tool.deprecated, ...tool.tags];
  }

  /** The tags of the tools that are listed. */
  tags() {
    return [...new Set(this.all().flatMap(({ tags }) => tags))].sort();
  }

  sum(found, all) {
    return this.counted(found, all, "tool");
  }

  nothing(hasWords) {
    return hasWords || url.get("tags") ? "No tool matches." : NONE;
  }

  trouble() {
    const [error, advice] = super.trouble();
    return [error, url.get("session") && !this.live.loaded ? link("Show the hub's tools", { session: "" }) : advice];
  }

  draw() {
    super.draw();
    this.list.select(url.get("tool"));
  }

  fill(cells, tool) {
    setText(cells[0], tool.name);
    setText(cells[1], `${KINDS[tool.type] ?? tool.type}${tool.of_session ? ", of the session" : ""}`);
    setText(cells[2], tool.workers ? counted(tool.workers, "worker") : tool.of_hub === false ? "no worker" : "the hub");
    setText(cells[3], tool.tags.join(", "));
    setText(cells[4], oneLine(`${tool.deprecated ? `Deprecated: ${tool.deprecated}. ` : ""}${tool.description}`));
  }
}

async function sessionIds() {
  const found = [];
  try {
    for await (const session of all("/api/sessions", "sessions", {}, { most: MOST_SESSIONS })) found.push(session.session_id);
  } catch (error) {
    // A session can be typed all the same.
    if (!(error instanceof ApiError)) throw error;
  }
  return found;
}

/** The tool that is selected, once the hub has it. */
class ToolPanel {
  constructor(app, name, session) {
    Object.assign(this, { app, session });
    this.title = name;
    this.problem = new Problem();
    this.root = h("div", null, this.problem.root);
    this.detail = null;
    this.poll = new Poll(app.events, EVERY_MS, () => this.read());
  }

  close() {
    this.poll.stop();
    this.closed = true;
    this.detail?.close();
  }

  update() {
    this.detail?.update();
  }

  async read() {
    try {
      const tool = await get(path("api", "tools", this.title), { session_id: this.session });
      if (this.closed) return;
      this.poll.stop();
      this.detail = new ToolDetail(this.app, tool);
      this.detail.update();
      replace(this.root, this.detail.root);
    } catch (error) {
      this.problem.show(error);
    }
  }
}

export const open = (app) => new ToolsView(app);
