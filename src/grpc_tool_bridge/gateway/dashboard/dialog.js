// A question before something that cannot be undone.

import { button, h } from "./dom.js";
import { Problem } from "./failure.js";

let dialogs = 0;

/**
 * Asks, and does it; what it fails with is shown where it was asked, and can be tried again.
 *
 * @param {object} given
 * @param {string} given.title The question.
 * @param {...*} given.body What comes of it, and fields; as children of `h`.
 * @param {string} given.action What the button says.
 * @param {boolean} [given.danger] Whether something is lost.
 * @param {function(AbortSignal): Promise<void>} given.work Does it; the signal says that the dialog was closed meanwhile.
 * @returns {Promise<boolean>} Whether it was done.
 */
export function ask({ title, body = [], action, danger = false, work }) {
  const id = `dialog${++dialogs}`;
  const closing = new AbortController();
  const problem = new Problem();
  const doing = h(danger ? "button.danger" : "button", { type: "submit" }, action);
  const back = button("Back", () => dialog.close(), ".quiet");
  let done = false;
  const submitted = async (event) => {
    event.preventDefault();
    if (doing.disabled) return;
    doing.disabled = true;
    problem.show(null);
    try {
      await work(closing.signal);
      done = true;
      dialog.close();
    } catch (error) {
      if (error.name !== "AbortError") problem.show(error);
    } finally {
      doing.disabled = false;
    }
  };
  const dialog = h(
    "dialog",
    { "aria-labelledby": id },
    h("form", { onsubmit: submitted }, h("h2", { id }, title), body, problem.root, h("div.bar.end", null, back, doing)),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      closing.abort();
      dialog.remove();
      resolve(done);
    });
  });
}
