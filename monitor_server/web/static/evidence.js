// The evidence of an incident as plots: the steps before its onset to some way beyond, the loss and what moved first.

import { read } from "./api.js";
import { Chart } from "./chart.js";
import { element } from "./elements.js";
import { branches } from "./lineage.js";
import { marksOf } from "./run_charts.js";

const POINTS = 400;
const BEFORE = 120;  // steps before the onset that are always shown
const AFTER = 120;
const TITLES = { loss: "Loss", grad_norm: "Gradient norm", update_ratio: "Update / parameter ratio", step_seconds: "Step time in seconds" };
const ALSO = {
  grad_explosion: ["grad_norm", "loss"], grad_vanishing: ["grad_norm", "loss"], update_ratio: ["update_ratio", "loss"],
  no_update: ["update_ratio", "loss"], slow_step: ["step_seconds"],
};
const LOGARITHMIC_FROM = 30;

export class EvidenceCharts {
  constructor(place) {
    this.place = place;
    this.charts = new Map();
  }

  async draw({ run, incident, attempts, decisions, checkpoints, signal }) {
    const span = Math.max(1, incident.detected_step - incident.onset_step);
    const from = Math.max(0, incident.onset_step - Math.max(BEFORE, 2 * span));
    const to = incident.detected_step + Math.max(AFTER, 2 * span);
    const wanted = (ALSO[incident.kind] ?? ["loss", "grad_norm"]).filter((name) => name === "loss" || name in run.signals);
    const told = await read(
      `/runs/${run.run_id}/observations?signals=${wanted.join(",")}&points=${POINTS}&from_step=${from}&to_step=${to}`, signal);
    const last = Math.max(from + 1, ...told.attempts.map((one) => one.last_steps.at(-1) ?? 0));
    const marks = marksOf({ attempts, incidents: [incident], decisions, checkpoints });
    for (const name of wanted) {
      const line = { label: name, ...branches(told.attempts, attempts, run.attempt, name) };
      const chart = this.chartOf(name);
      chart.range = [from, Math.min(to, last)];
      chart.draw({ lines: [line], marks, isLogarithmic: spansDecades(line) });
    }
  }

  chartOf(name) {
    if (!this.charts.has(name)) {
      const drawing = element("div.chart.evidence", { role: "img", "aria-label": `${TITLES[name]} around the onset` });
      this.place.append(element("div", {}, element("h3", {}, TITLES[name]), drawing));
      this.charts.set(name, new Chart(drawing, { hasWords: true }));
    }
    return this.charts.get(name);
  }
}

function spansDecades(line) {
  const values = [...line.kept, ...line.abandoned.flatMap((one) => one.points)].map((one) => Number(one.mean)).filter((one) => Number.isFinite(one) && one > 0);
  return values.length > 1 && Math.max(...values) / Math.min(...values) > LOGARITHMIC_FROM;
}
