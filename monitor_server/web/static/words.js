// Numbers, times and kinds as a person says them.

import { serverNow } from "./api.js";

const KINDS = {
  non_finite: "non-finite values",
  loss_spike: "loss spike",
  grad_explosion: "exploding gradient",
  grad_vanishing: "vanishing gradient",
  no_update: "no update",
};

export function kindWords(kind) {
  return KINDS[kind] ?? kind.replaceAll("_", " ");
}

/** Four significant digits, without a tail of zeros; NaN and infinities by name. */
export function figure(value) {
  if (value === null) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-2 || size >= 1e6)) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  return String(Number(value.toPrecision(4)));
}

export function count(value) {
  return value === null ? "–" : value.toLocaleString("en");
}

export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function ago(seconds) {
  const age = Math.max(0, serverNow() - seconds);
  if (age < 3) return "now";
  return `${duration(age)} ago`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function clockTime(seconds) {
  return new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** Steps are counted from 0: after step 9 ten are made. */
export function stepsMade(run) {
  return run.step === null ? 0 : run.step + 1;
}

/** The multiplier as a person reads it. */
export function multiplier(scale) {
  return `×${figure(scale)}`;
}

export function sentenceCase(words) {
  return words === "" ? "" : words[0].toUpperCase() + words.slice(1);
}

const ACTIONS = {
  rollback: "roll back",
  lower_learning_rate: "lower the rate",
  rewarm_up: "warm up again",
  reset_moments: "reset moments",
  skip_data_window: "skip data",
  save_now: "save now",
  rerun_test: "re-run test",
  tighten_clipping: "tighten clipping",
  loosen_clipping: "loosen clipping",
  scale_learning_rate: "scale the rate",
  set_loss_scale: "set the loss scale",
  skip_update: "skip updates",
  skip_batch: "skip a batch",
  halt: "halt",
};

export function actionWords(action) {
  return ACTIONS[action] ?? action.replaceAll("_", " ");
}

/** A cause's short name as words: "learning_rate_raised" gives "learning rate raised". */
export function causeWords(cause) {
  return cause.replaceAll("_", " ");
}

/** The name of a figure of the evidence as words. */
export function signalWords(name) {
  if (name === "z") return "Robust z-score";
  return sentenceCase(name.replaceAll("_", " ").replace(/^lr /, "rate ").replace("grad ", "gradient "));
}
