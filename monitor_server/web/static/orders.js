// Orders in words: what they do, and what follows from them for the training.

import { count, figure, plural } from "./words.js";

/** `context`: { run, checkpoints }. One entry per action that a person may order; `fields` are its parameters. */
export const ORDERS = {
  rollback: {
    words: "Roll back to a checkpoint",
    fields: [{ name: "checkpoint_id", label: "Checkpoint", kind: "checkpoint" }],
    consequence: (order, { run, checkpoints }) => {
      const target = checkpoints.find((one) => one.checkpoint_id === order.checkpoint_id);
      const lost = target && run.step !== null ? Math.max(0, run.step + 1 - target.step) : null;
      const where = target ? `the ${target.state} checkpoint of step ${count(target.step)}` : "a checkpoint";
      return `Model, optimizer, scheduler and scaler go back to ${where}. `
        + (lost === null ? "" : `${plural(lost, "step")} made since then ${lost === 1 ? "is" : "are"} abandoned and must be trained again. `)
        + "The data goes on from where it is.";
    },
  },
  lower_learning_rate: {
    words: "Lower the learning rate",
    fields: [{ name: "factor", label: "Times", kind: "number", value: 0.5, min: 0.001, max: 1, step: 0.001 }],
    consequence: (order, { run }) => `From the next step on the rate is the scheduled one times ${figure(run.lr_scale * order.factor)} `
      + `(now ${figure(run.lr_scale)}), whatever the schedule does, until somebody changes it.`,
  },
  scale_learning_rate: {
    words: "Scale the learning rate, also upwards",
    fields: [{ name: "factor", label: "Times", kind: "number", value: 2, min: 0.001, max: 1000, step: 0.001 }],
    consequence: (order, { run }) => `From the next step on the rate is the scheduled one times ${figure(run.lr_scale * order.factor)} `
      + `(now ${figure(run.lr_scale)}). A rate that is too high makes a training diverge.`,
  },
  rewarm_up: {
    words: "Warm the rate up again",
    fields: [{ name: "steps", label: "Over steps", kind: "number", value: 100, min: 1, max: 1000000, step: 1 }],
    consequence: (order) => `The rate falls to near 0 and rises to where it is now over ${plural(order.steps, "step")}; meanwhile little is learnt.`,
  },
  skip_data_window: {
    words: "Skip data",
    fields: [{ name: "batches", label: "Batches", kind: "number", value: 50, min: 1, max: 1000000, step: 1 }],
    consequence: (order) => `The next ${plural(order.batches, "batch", "batches")} of hook.batches(loader) are passed over and not trained on. `
      + "A loop that takes its data elsewhere is not affected.",
  },
  tighten_clipping: {
    words: "Tighten gradient clipping",
    fields: [{ name: "max_norm", label: "Largest norm", kind: "number", value: 0.5, min: 0.000001, max: 1000000, step: "any" }],
    consequence: (order) => `No gradient norm above ${figure(order.max_norm)} reaches the optimizer any more, however loosely the loop clips.`,
  },
  loosen_clipping: {
    words: "Lift the limit for gradient norms",
    fields: [],
    consequence: () => "The limit that was set for gradient norms is lifted; the loop's own clipping is left alone.",
  },
  skip_update: {
    words: "Leave the weights alone for a while",
    fields: [{ name: "updates", label: "Updates", kind: "number", value: 10, min: 1, max: 1000, step: 1 }],
    consequence: (order) => `The next ${plural(order.updates, "update")} ${order.updates === 1 ? "is" : "are"} not made: losses are measured, and nothing is learnt.`,
  },
  reset_moments: {
    words: "Reset the optimizer's moments",
    fields: [],
    consequence: () => "The optimizer forgets its moments and step counts, and needs a while to find its pace again. This cannot be undone.",
  },
  save_now: {
    words: "Save a checkpoint now",
    fields: [],
    consequence: () => "A checkpoint is taken at the next step boundary. The training waits as long as it usually does for one.",
  },
  rerun_test: {
    words: "Make the latest batch again (re-run test)",
    fields: [{ name: "times", label: "Passes", kind: "number", value: 2, min: 2, max: 16, step: 1 }],
    consequence: (order) => `The loop's latest batch is made ${order.times} times from the same state, and once from the newest confirmed checkpoint `
      + "if it is bad: that tells data, state and hardware apart. The training waits meanwhile and is as it was afterwards. "
      + "Its script must have given a function for it (hook.rerun_with).",
  },
  pause: {
    words: "Pause",
    fields: [{ name: "seconds", label: "Seconds", kind: "number", value: 3600, min: 1, max: 604800, step: 1 }],
    consequence: (order) => `The loop waits inside the hook for ${plural(order.seconds, "second")}, or until it is resumed. Its accelerators stand idle meanwhile.`,
  },
  resume: { words: "Resume", fields: [], consequence: () => "A paused loop goes on at once." },
  halt: {
    words: "Halt the training",
    fields: [],
    isGrave: true,
    consequence: () => "The loop ends with TrainingHalted, and nothing is restored. Somebody has to start it again by hand.",
  },
};

/** What an order says, in a few words. */
export function orderWords(order, { checkpoints }) {
  switch (order.action) {
    case "rollback": {
      const target = checkpoints.find((one) => one.checkpoint_id === order.checkpoint_id);
      return target ? `Roll back to the ${target.state} checkpoint of step ${count(target.step)}` : "Roll back to a checkpoint that is gone";
    }
    case "lower_learning_rate":
    case "scale_learning_rate": return `Multiply the learning rate by ${figure(order.factor)}`;
    case "rewarm_up": return `Warm the rate up over ${plural(order.steps, "step")}`;
    case "skip_data_window": return `Skip ${plural(order.batches, "batch", "batches")}`;
    case "skip_update": return `Leave out ${plural(order.updates, "update")}`;
    case "loosen_clipping": return order.max_norm == null ? "Lift the limit for gradient norms" : `Raise the limit for gradient norms to ${figure(order.max_norm)}`;
    case "tighten_clipping": return `Clip the gradient norm at ${figure(order.max_norm)}`;
    default: return ORDERS[order.action]?.words ?? order.action.replaceAll("_", " ");
  }
}

/** What follows from orders that are applied together, one sentence or more. */
export function consequences(orders, context) {
  return orders.map((order) => ORDERS[order.action]?.consequence(order, context) ?? "").filter(Boolean).join(" ");
}

export function isGrave(orders) {
  return orders.some((order) => ORDERS[order.action]?.isGrave);
}
