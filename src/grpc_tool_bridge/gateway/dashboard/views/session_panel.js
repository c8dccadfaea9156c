// One session: what it is, what it has, and its end.

import { all, get, ofSession, send } from "../api.js";
import { ask } from "../dialog.js";
import { facts, h, liveFacts, replace, setText } from "../dom.js";
import { failure } from "../failure.js";
import { ago, count, counted, cut, moment } from "../format.js";
import { Poll } from "../poll.js";
import { VariablesPanel } from "./variables.js";

const EVERY_MS = 3_000;
/** A browser resolves these before it sends a path. */
const UNREACHABLE = new Set([".", ".."]);

/** A session that is selected. `id` is its id; `ended` says whether it is over. */
export class SessionPanel {
  constructor(app, id) {
    this.app = app;
    this.id = id;
    this.ended = false;
    this.heading = h("h2", { tabindex: -1 }, id);
    this.closing = h("a.close", { "aria-label": "Close" }, "×");
    this.problem = h("div", { role: "status" });
    this.facts = liveFacts(["In flight", "Variables", "Visible tools", "Last activity", "Created"]);
    this.metadata = h("div");
    this.end = h("button.danger", { type: "button", onclick: () => this.askToEnd() }, "End session…");
    this.links = h(
      "p.links",
      null,
      ["calls", "tools", "agents"].map((view) =>
        h(
          "a",
          { href: app.url.href({ view, session: id }) },
          { calls: "Calls", tools: "Tools", agents: "Agents and runs" }[view],
        ),
      ),
    );
    this.living = h("div", { hidden: true }, h("div.bar", null, this.links, this.end), this.facts.root, this.metadata);
    this.root = h("div.session", null, this.closing, this.heading, this.problem, this.living);
    this.variables = null;
    if (UNREACHABLE.has(id)) {
      this.finish(
        {
          type: "Unreachable",
          message: `A browser cannot ask for a session that is called "${id}", since it means a folder in an address.`,
        },
        "Use the command line or a client over gRPC.",
      );
    } else {
      this.poll = new Poll(EVERY_MS, () => this.ask());
    }
  }

  /** It is asked for by itself. */
  update() {}

  show() {
    this.closing.href = this.app.url.href({ session: "", variable: "", vq: "" });
    this.variables?.show();
  }

  close() {
    this.ended = true;
    this.poll?.stop();
    this.variables?.close();
  }

  read() {
    this.poll?.now();
  }

  async ask() {
    let info;
    try {
      info = await get(ofSession(this.id));
    } catch (error) {
      if (!("status" in error)) throw error;
      if (this.ended) return;
      if (error.status === 404 || error.status === 410)
        this.finish(
          error.info,
          error.status === 410 ? "Its variables, tools and agents are gone. It is shown again if a client opens it again." : "",
        );
      else replace(this.problem, failure(error.info));
      return;
    }
    if (!this.ended) this.took(info);
  }

  took(info) {
    replace(this.problem);
    if (!this.variables) {
      this.living.hidden = false;
      this.variables = new VariablesPanel(this.app, this.id);
      this.root.append(this.variables.root, this.tools());
      this.variables.show();
      const entries = Object.entries(info.metadata);
      replace(
        this.metadata,
        entries.length ? [h("h3", null, "Metadata"), facts(entries.map(([name, value]) => [name, cut(value, 2_000)]))] : null,
      );
    }
    this.info = info;
    this.facts.set({
      "In flight": `${counted(info.active_operations, "call or watch", "calls and watches")}${info.active_operations ? ", including this page" : ""}`,
      Variables: count(info.variable_count),
      "Visible tools": count(info.tool_count),
      "Last activity": ago(info.last_activity, this.app.events.now()),
      Created: moment(info.created_at),
    });
  }

  finish(info, advice) {
    this.ended = true;
    this.poll?.stop();
    this.living.hidden = true;
    this.variables?.close();
    replace(this.root, this.closing, this.heading, this.problem);
    replace(this.problem, failure(info, advice));
  }

  async askToEnd() {
    const force = h("input", { type: "checkbox" });
    // The page's own watch ends with the session.
    const busy = Math.max(0, (this.info?.active_operations ?? 1) - 1);
    const note = h("p.quiet-text", { role: "status" });
    await ask({
      title: "End this session?",
      action: "End session",
      danger: true,
      body: [
        h(
          "p",
          null,
          `“${cut(this.id, 100)}” ends for all its clients: its ${counted(this.info?.variable_count ?? 0, "variable")}, its own tools and its agents are lost.`,
        ),
        h("label.check", null, force, " Cancel its calls in flight; otherwise it ends when they have finished."),
        note,
      ],
      work: async (signal) => {
        if (busy && !force.checked) setText(note, "Waiting for its calls to finish…");
        await send("DELETE", `${ofSession(this.id)}${force.checked ? "?force=true" : ""}`, undefined, { signal });
        this.app.say("The session has ended.");
      },
    });
    if (!this.ended) this.read();
  }

  /** Its own tools, asked for when somebody wants to see them. */
  tools() {
    const body = h("div");
    const list = async () => {
      if (!folded.open) return;
      replace(body, h("p.quiet-text", null, "Loading…"));
      try {
        const found = [];
        for await (const tool of all("/api/tools", "tools", { session_id: this.id })) if (tool.of_session) found.push(tool);
        replace(
          body,
          found.length
            ? h(
                "ul.plain",
                null,
                found.map((tool) => this.tool(tool)),
              )
            : h("p.quiet-text", null, "None: it uses the hub's tools."),
        );
      } catch (error) {
        if (!("status" in error)) throw error;
        replace(body, failure(error.info));
      }
    };
    const folded = h("details", { ontoggle: list }, h("summary", null, "Own tools"), body);
    return folded;
  }

  tool({ name, description }) {
    return h(
      "li",
      null,
      h("a.mono", { href: this.app.url.href({ view: "tools", session: this.id, tool: name }) }, name),
      description ? ` ${cut(description, 200)}` : "",
    );
  }
}
