// One session: what it is, what it has, and its end.

import { ApiError, all, get, isReachable, ofSession, send } from "../api.js";
import { ask } from "../dialog.js";
import { button, Facts, facts, folded, h, replace, setText } from "../dom.js";
import { failure, Problem } from "../failure.js";
import { ago, count, counted, cut, moment } from "../format.js";
import { Poll } from "../poll.js";
import { link, toolLink } from "../url.js";
import { VariablesPanel } from "./variables.js";

const EVERY_MS = 3_000;

/** A session that is selected: its id is `title`; `ended` says whether it is over. */
export class SessionPanel {
  constructor(app, id) {
    this.app = app;
    this.title = id;
    this.ended = false;
    this.problem = new Problem();
    this.facts = new Facts(["In flight", "Variables", "Visible tools", "Last activity", "Created"]);
    this.metadata = h("div");
    const links = h(
      "p.links",
      null,
      link("Calls", { view: "calls", session: id }),
      link("Tools", { view: "tools", session: id }),
      link("Agents and runs", { view: "agents", session: id }),
    );
    const end = button("End session…", () => this.askToEnd(), ".danger");
    this.living = h("div", { hidden: true }, h("div.bar", null, links, end), this.facts.root, this.metadata);
    this.root = h("div.session", null, this.problem.root, this.living);
    this.variables = null;
    if (isReachable(id)) {
      this.poll = new Poll(app.events, EVERY_MS, () => this.ask());
      return;
    }
    const message = `A browser cannot ask for a session that is called "${id}", since it means a folder in an address.`;
    this.finish(new ApiError(0, { type: "Unreachable", message }), "Use the command line or a client over gRPC.");
  }

  update() {
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
    try {
      const info = await get(ofSession(this.title));
      if (!this.ended) this.took(info);
    } catch (error) {
      if (this.ended) return;
      const isGone = error.status === 410;
      const advice = isGone ? "Its variables, tools and agents are gone. It is shown again if a client opens it again." : "";
      if (isGone || error.status === 404) this.finish(error, advice);
      else this.problem.show(error);
    }
  }

  took(info) {
    this.problem.show(null);
    if (!this.variables) {
      this.living.hidden = false;
      this.variables = new VariablesPanel(this.app, this.title);
      this.root.append(this.variables.root, this.tools());
      this.variables.show();
      const entries = Object.entries(info.metadata).map(([name, value]) => [name, cut(value, 2_000)]);
      replace(this.metadata, entries.length ? [h("h3", null, "Metadata"), facts(entries)] : null);
    }
    this.info = info;
    const own = info.active_operations ? ", including this page" : "";
    this.facts.set({
      "In flight": `${counted(info.active_operations, "call or watch", "calls and watches")}${own}`,
      Variables: count(info.variable_count),
      "Visible tools": count(info.tool_count),
      "Last activity": ago(info.last_activity, this.app.events.now()),
      Created: moment(info.created_at),
    });
  }

  finish(error, advice) {
    this.close();
    this.variables = null;
    replace(this.root, this.problem.root);
    this.problem.show(error, advice);
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
          `“${cut(this.title, 100)}” ends for all its clients: its ${counted(this.info?.variable_count ?? 0, "variable")}, its own tools and its agents are lost.`,
        ),
        h("label.check", null, force, " Cancel its calls in flight; otherwise it ends when they have finished."),
        note,
      ],
      work: async (signal) => {
        if (busy && !force.checked) setText(note, "Waiting for its calls to finish…");
        await send("DELETE", `${ofSession(this.title)}${force.checked ? "?force=true" : ""}`, undefined, { signal });
        this.app.say("The session has ended.");
      },
    });
    if (!this.ended) this.read();
  }

  /** Its own tools, asked for when somebody wants to see them. */
  tools() {
    const body = h("div");
    const note = (text) => replace(body, h("p.quiet-text", null, text));
    const item = ({ name, description }) =>
      h("li", null, toolLink(name, this.title), description ? ` ${cut(description, 200)}` : "");
    return folded("Own tools", body, async () => {
      note("Loading…");
      try {
        const found = [];
        for await (const tool of all("/api/tools", "tools", { session_id: this.title })) if (tool.of_session) found.push(tool);
        if (found.length) replace(body, h("ul.plain", null, found.map(item)));
        else note("None: it uses the hub's tools.");
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        replace(body, failure(error.info));
      }
    });
  }
}
