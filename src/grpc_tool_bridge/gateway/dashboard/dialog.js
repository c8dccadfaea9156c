// A question before something that cannot be undone.

import { ApiError } from "./api.js";
import { h, replace } from "./dom.js";
import { failure } from "./failure.js";

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
  const problem = h("div", { role: "alert" });
  const button = h(danger ? "button.danger" : "button", { type: "submit" }, action);
  const cancel = h("button.quiet", { type: "button", onclick: () => dialog.close() }, "Back");
  let done = false;
  const submitted = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    replace(problem);
    try {
      await work(closing.signal);
      done = true;
      dialog.close();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      replace(problem, failure(error.info));
    } finally {
      button.disabled = false;
    }
  };
  const dialog = h(
    "dialog",
    { "aria-labelledby": id },
    h("form", { onsubmit: submitted }, h("h2", { id }, title), body, problem, h("div.bar.end", null, cancel, button)),
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
