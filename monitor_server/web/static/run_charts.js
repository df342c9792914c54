// The charts of a run: the loss, large, and a small chart for every other signal that the run measures.

import { number } from "./api.js";
import { Chart } from "./chart.js";
import { element } from "./elements.js";
import { branches, evaluated } from "./lineage.js";
import { actionWords, kindWords } from "./words.js";

const SMALL_CHARTS = [
  { title: "Gradient norm", signals: ["grad_norm"], mayBeLogarithmic: true },
  { title: "Gradient norm, after clipping", signals: ["grad_norm_clipped"], unless: "grad_norm", mayBeLogarithmic: true },
  { title: "Update / parameter ratio", signals: ["update_ratio"], mayBeLogarithmic: true },
  { title: "Learning rate", signals: ["learning_rate"], isRate: true },
  { title: "Loss scale", signals: ["loss_scale"], mayBeLogarithmic: true },
  { title: "Step time in seconds", signals: ["step_seconds"], mayBeLogarithmic: true },
];
const LOGARITHMIC_FROM = 30;
const DOT_COLOURS = ["--dots", "--attempt", "--warn", "--kept"];

/** Names of the signals to ask for, of those that the run measures. */
export function charted(run) {
  const wanted = ["lr_scale", ...SMALL_CHARTS.flatMap((one) => one.signals)];
  return ["loss", ...wanted.filter((name) => name in run.signals)];
}

export class RunCharts {
  /** `loss`, `small`: elements; `zoom(from, to)` as `Chart` tells it. */
  constructor(loss, small, zoom) {
    this.small = small;
    this.zoom = zoom;
    this.loss = new Chart(loss, { isTall: true, zoom });
    this.others = new Map();
    this.scale = "automatic";
    this.smoothing = 0;
  }

  look(range) {
    this.range = range;
    for (const chart of [this.loss, ...this.others.values()]) chart.look(range);
  }

  /** `told`: { run, buckets, attempts, incidents, decisions, checkpoints, evaluations } as the API answers them. */
  draw(told) {
    this.told = told;
    const { run, attempts } = told;
    const marks = marksOf(told);
    const line = (signal, more = {}) => ({ label: signal, ...branches(told.buckets, attempts, run.attempt, signal), ...more });
    const loss = line("loss");
    const validation = measured(told);
    this.show(this.loss, {
      lines: [loss], marks, smoothing: this.smoothing,
      dots: validation.filter((one) => one.label === "val_loss"),
      isLogarithmic: this.isLogarithmic([loss]),
    });
    const has = new Set(told.buckets.flatMap((one) => Object.keys(one.signals)));
    for (const { title, signals, unless, isRate, mayBeLogarithmic } of SMALL_CHARTS) {
      if (!has.has(signals[0]) || has.has(unless)) continue;
      const lines = isRate ? rates(line(signals[0], { label: "as scheduled" }), has.has("lr_scale") ? line("lr_scale") : null)
        : signals.map((signal) => line(signal));
      if (lines.every(isEmpty)) continue;
      const isLogarithmic = mayBeLogarithmic && this.isLogarithmic(lines);
      const smoothing = isRate ? 0 : this.smoothing;
      this.show(this.chartOf(title, isRate), { lines, marks: { ...marks, checkpoints: [] }, isLogarithmic, smoothing });
    }
    if (validation.length) {
      const lines = validation.map((one, index) => ({
        label: one.label, colour: DOT_COLOURS[index % DOT_COLOURS.length], abandoned: [],
        kept: one.points.map(({ step, value }) => ({ step, low: value, high: value, mean: value, nans: 0 })),
      }));
      this.show(this.chartOf("Validation", lines.length > 1), { lines, marks: { ...marks, checkpoints: [] }, isLogarithmic: this.isLogarithmic(lines) });
    }
  }

  /** Again with another scale or smoothing. */
  redraw() {
    if (this.told) this.draw(this.told);
  }

  show(chart, drawing) {
    chart.range = this.range ?? null;
    chart.draw(drawing);
  }

  isLogarithmic(lines) {
    return this.scale === "automatic" ? spansDecades(lines) : this.scale === "logarithmic";
  }

  chartOf(title, hasSeveral) {
    if (!this.others.has(title)) {
      const drawing = element("div.chart", { role: "img", "aria-label": `${title} over the steps` });
      const legend = title === "Learning rate" ? element("ul.legend", {},
        element("li.key.kept", {}, "as applied"), element("li.key.scheduled", {}, "as scheduled")) : null;
      this.small.append(element("section.panel", {},
        element("div.panel-heading", {}, element("h2", {}, title), hasSeveral ? legend : null), drawing));
      this.others.set(title, new Chart(drawing, { zoom: this.zoom }));
    }
    return this.others.get(title);
  }
}

/** What happened, for the marks of a chart. */
export function marksOf({ attempts, incidents, decisions, checkpoints }) {
  return {
    incidents: incidents.map((one) => ({ ...one, words: kindWords(one.kind) })),
    actions: decisions.filter((one) => one.verdict === "act" || one.verdict === "halt")
      .map((one) => ({ step: one.step, words: one.orders.map((order) => actionWords(order.action)).join(", ") })),
    attempts: attempts.filter((one) => one.attempt > 0),
    checkpoints,
  };
}

/** Every evaluation's figure, by name. */
function measured({ run, attempts, evaluations }) {
  const names = [...new Set(evaluations.flatMap((one) => Object.keys(one.values)))].sort();
  return names.map((name) => ({ label: name, points: evaluated(evaluations, attempts, run.attempt, name) }))
    .filter((one) => one.points.length);
}

/** The rate as the schedule set it and as it was applied: times the multiplier. */
function rates(scheduled, multiplier) {
  const by = new Map((multiplier?.kept ?? []).map((point) => [point.step, number(point.mean) ?? 1]));
  const times = (value, factor) => value === null ? null : number(value) * factor;
  const applied = scheduled.kept.map((point) => {
    const factor = by.get(point.step) ?? 1;
    return { ...point, low: times(point.low, factor), high: times(point.high, factor), mean: times(point.mean, factor) };
  });
  return [
    { ...scheduled, colour: "--dim", dash: [5, 4], abandoned: [] },
    { label: "as applied", kept: applied, abandoned: scheduled.abandoned },
  ];
}

function points({ kept, abandoned }) {
  return [...kept, ...abandoned.flatMap((branch) => branch.points)];
}

function isEmpty(line) {
  return points(line).every((point) => point.high === null && !point.nans);
}

/** Whether a linear scale would show the trouble and nothing else. */
function spansDecades(lines) {
  let low = Infinity;
  let high = -Infinity;
  for (const point of lines.flatMap(points)) {
    const mean = number(point.mean);
    if (!Number.isFinite(mean)) continue;
    low = Math.min(low, mean);
    high = Math.max(high, mean);
  }
  return low > 0 && high / low > LOGARITHMIC_FROM;
}
