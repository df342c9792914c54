// Asking before something is done: a dialog that names the consequence, with the keyboard's focus on the way back.

import { element } from "./elements.js";

/** Whether the person agrees. `words`: { title, lines, verb, isGrave }. */
export function confirmed({ title, lines, verb, isGrave = false }) {
  return new Promise((resolve) => {
    const no = element("button.button.second", { type: "button" }, "Cancel");
    const yes = element(`button.button${isGrave ? ".grave" : ""}`, { type: "button" }, verb);
    const dialog = element("dialog.confirm", { "aria-labelledby": "confirm-title" },
      element("h2", { id: "confirm-title" }, title),
      ...lines.filter(Boolean).map((line) => element("p", {}, line)),
      element("div.buttons", {}, no, yes));
    let answer = false;
    no.addEventListener("click", () => dialog.close());
    yes.addEventListener("click", () => { answer = true; dialog.close(); });
    dialog.addEventListener("close", () => { dialog.remove(); resolve(answer); });
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}
