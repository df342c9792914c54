// Ordering something by hand: an action, its parameters, and a question that names what follows.

import { send } from "./api.js";
import { confirmed } from "./confirming.js";
import { element } from "./elements.js";
import { ORDERS, consequences, isGrave, orderWords } from "./orders.js";
import { personName } from "./person.js";
import { count } from "./words.js";

const LIVING = new Set(["running", "silent"]);

export class CommandPanel {
  /** `place` gets the form; `ordered()` is told that something was. */
  constructor(place, runId, ordered) {
    this.runId = runId;
    this.waiting = "";
    this.ordered = ordered;
    this.told = element("p.answer", { role: "status" });
    this.hint = element("p.dim");
    this.choice = element("select.field", { "aria-label": "Action" },
      Object.entries(ORDERS).map(([action, { words }]) => element("option", { value: action }, words)));
    this.choice.value = "save_now";
    this.fields = element("span.parameters");
    this.button = element("button.button.second", { type: "submit" }, "Order …");
    this.form = element("form.command", {}, this.choice, this.fields, this.button);
    this.choice.addEventListener("input", () => this.showFields());  // before the form hears of it
    this.form.addEventListener("input", () => this.tell());
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.order(); });
    place.replaceChildren(this.form, this.hint, this.told);
    this.showFields();
  }

  /** `context`: { run, checkpoints } as the API answers them. */
  knows(context) {
    const before = this.context?.checkpoints.map((one) => one.checkpoint_id + one.state).join();
    this.context = context;
    if (this.choice.value === "rollback" && before !== context.checkpoints.map((one) => one.checkpoint_id + one.state).join()) this.showFields();
    this.tell();
  }

  /** The command that was ordered here and not answered yet, or "". */
  get waitsFor() {
    return this.waiting;
  }

  /** `answers`: what the trainer said to its commands. */
  hears(answers) {
    const mine = answers.find((one) => one.command_id === this.waiting);
    if (!mine) return;
    this.waiting = "";
    this.told.textContent = mine.reason;
  }

  showFields() {
    this.fields.replaceChildren(...ORDERS[this.choice.value].fields.map((field) => element("label", {}, `${field.label} `,
      field.kind === "checkpoint" ? this.checkpointField(field) : element("input.field.short", {
        type: "number", name: field.name, value: field.value, min: field.min, max: field.max, step: field.step, required: "",
      }))));
  }

  checkpointField(field) {
    const known = [...(this.context?.checkpoints ?? [])].reverse();
    const options = known.map((one) => element("option", { value: one.checkpoint_id }, `step ${count(one.step)}, ${one.state}`));
    const chosen = element("select.field", { name: field.name, "aria-label": field.label, required: "" }, options);
    const best = known.find((one) => one.state === "confirmed");
    if (best) chosen.value = best.checkpoint_id;
    return chosen;
  }

  wanted() {
    const order = { action: this.choice.value };
    for (const { name, kind } of ORDERS[order.action].fields) {
      const value = this.form.elements[name].value;
      order[name] = kind === "checkpoint" ? value : Number(value);
    }
    return order;
  }

  tell() {
    if (!this.context) return;
    const { run } = this.context;
    const refusal = run.mode === "observe" ? "This run is only observed: it takes no orders."
      : LIVING.has(run.state) ? "" : `The run is ${run.state}: nobody is there to carry out an order.`;
    this.button.disabled = refusal !== "";
    this.hint.textContent = refusal || consequences([this.wanted()], this.context);
  }

  async order() {
    const order = this.wanted();
    const agreed = await confirmed({
      title: `${orderWords(order, this.context)}?`,
      lines: [consequences([order], this.context), `It is carried out by ${this.context.run.run} at its next step boundary, or not at all.`],
      verb: isGrave([order]) ? "Halt it" : "Order it",
      isGrave: isGrave([order]),
    });
    if (!agreed) return;
    try {
      const command = await send(`/runs/${this.runId}/commands`, { orders: [order], issued_by: personName() || "a person" });
      this.waiting = command.command_id;
      this.told.textContent = `Ordered; it expires at ${new Date(command.expires_at * 1000).toLocaleTimeString()}.`;
      this.ordered();
    } catch (error) {
      this.told.textContent = error.status ? `Not ordered: ${error.message}.` : "Not ordered: the service does not answer.";
    }
  }
}
