// The calls that wait until somebody lets them run.

import { get, path, send } from "../api.js";
import { ask } from "../dialog.js";
import { button, Facts, h, replace, setText } from "../dom.js";
import { Problem } from "../failure.js";
import { counted, cut, duration, moment, oneLine } from "../format.js";
import { Keyed } from "../keyed.js";
import { Poll } from "../poll.js";

const POLL_MS = 1_000;
const MAX_CHARS = 20_000;

class ApprovalsView {
  constructor(app) {
    this.app = app;
    this.problem = new Problem();
    this.summary = h("p.summary", { role: "status" }, "…");
    this.list = h("ul.approvals", { "aria-label": "Calls that wait for approval, the oldest first" });
    this.cards = new Keyed(this.list, {
      key: ({ approval_id }) => approval_id,
      make: (approval) => this.make(approval),
      fill: (card, approval) => this.fill(card, approval),
    });
    this.root = h(
      "section.view.approvals",
      null,
      h("div.bar", null, h("h1", null, "Approvals")),
      this.problem.root,
      this.summary,
      this.list,
    );
    this.poll = new Poll(app.events, POLL_MS, () => this.read());
  }

  show() {}

  close() {
    this.poll.stop();
  }

  async read() {
    try {
      const { approvals, missing_hubs: missing } = await get("/api/approvals", { arguments: true, page_size: 200 });
      this.problem.show(null);
      this.cards.show(approvals);
      const told = approvals.length ? `${counted(approvals.length, "call waits", "calls wait")} for approval` : "No call waits for approval";
      const silent = missing.length ? ` · ${missing.map((hub) => oneLine(hub, 80)).join(", ")} did not answer` : "";
      setText(this.summary, told + silent);
    } catch (error) {
      this.problem.show(error, "Not up to date. Trying again…");
    }
  }

  make(approval) {
    const facts = new Facts(["Caller", "Through", "Session", "Hub", "Since", "Time left"]);
    const given = h("dl.arguments");
    const element = h(
      "li.card",
      null,
      h("h2", null, oneLine(approval.version ? `${approval.tool} ${approval.version}` : approval.tool, 200)),
      facts.root,
      h("h3", null, "Arguments"),
      given,
      h(
        "div.bar.end",
        null,
        button("Deny…", () => this.decide(approval, false), ".danger"),
        button("Grant…", () => this.decide(approval, true)),
      ),
    );
    const named = [...approval.args.map((text, place) => [`${place + 1}.`, text]), ...Object.entries(approval.kwargs)];
    replace(
      given,
      named.length
        ? named.flatMap(([name, text]) => [h("dt", null, oneLine(name, 200)), h("dd", null, h("pre", null, cut(text, MAX_CHARS)))])
        : h("dd", null, "none, or they are not shown because they have secrets"),
    );
    return { element, facts };
  }

  fill({ facts }, approval) {
    facts.set({
      Caller: approval.caller ? cut(approval.caller, 500) : "not known",
      Through: approval.via.map((each) => oneLine(each, 100)).join(", "),
      Session: cut(approval.session_id, 500),
      Hub: approval.hub || (this.app.events.hub?.name ?? ""),
      Since: moment(approval.started_at),
      "Time left": duration(approval.time_left_ms * 1_000),
    });
  }

  async decide(approval, grant) {
    const reason = h("input", { type: "text", maxlength: 500 });
    const done = await ask({
      title: grant ? `Let the call of ${oneLine(approval.tool, 100)} run?` : `Deny the call of ${oneLine(approval.tool, 100)}?`,
      body: grant
        ? [h("p", null, "It runs with exactly the arguments that are shown here.")]
        : [h("p", null, "Its caller gets PermissionDenied."), h("label", null, "Reason, told to the caller ", reason)],
      action: grant ? "Grant" : "Deny",
      danger: !grant,
      work: (signal) =>
        send(
          "POST",
          path("api", "approvals", approval.approval_id),
          { digest: approval.digest, grant, reason: reason.value, hub: approval.hub || null },
          { signal },
        ),
    });
    if (done) this.poll.now();
  }
}

export const open = (app) => new ApprovalsView(app);
