// One signal over the steps: the line in force with its band of extremes, abandoned branches in grey, marks on top.

import { number } from "./api.js";
import { figure } from "./words.js";

const cursors = window.uPlot.sync("steps");

export class Chart {
  /** `place`: an element that gives the size. `name`: for the legend. `isTall`: with marks and their words. */
  constructor(place, name, isTall = false) {
    this.place = place;
    this.name = name;
    this.isTall = isTall;
    this.isLogarithmic = false;
    this.plot = null;
    this.shape = "";
    this.marks = { incidents: [], attempts: [], lost: [] };
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  /** `found` comes from `branches`, `dots` from `evaluated`; `marks` are the run's incidents and attempts. */
  draw(found, marks, isLogarithmic, dots = []) {
    this.found = found;
    this.dots = dots;
    this.marks = { ...marks, lost: found.kept.filter((point) => point.nans > 0 || isInfinite(point)) };
    const shape = `${found.abandoned.length}:${isLogarithmic}:${dots.length > 0}`;
    this.isLogarithmic = isLogarithmic;
    if (this.plot === null || shape !== this.shape) {
      this.shape = shape;
      this.rebuild();
    } else {
      this.plot.setData(this.columns());
    }
  }

  rebuild() {
    if (!this.found) return;
    this.plot?.destroy();
    this.plot = new window.uPlot(this.options(), this.columns(), this.place);
  }

  size() {
    return { width: Math.max(120, this.place.clientWidth), height: Math.max(80, this.place.clientHeight) };
  }

  columns() {
    const draws = (value) => {
      const read = number(value);
      return read === null || !Number.isFinite(read) || (this.isLogarithmic && read <= 0) ? null : read;
    };
    const { kept, abandoned } = this.found;
    const branched = abandoned.map(({ points }) => [points.map((point) => point.step), points.map((point) => draws(point.mean))]);
    const inForce = ["high", "low", "mean"].map((name) => kept.map((point) => draws(point[name])));
    const tables = [...branched, [kept.map((point) => point.step), ...inForce]];
    if (this.dots.length) tables.push([this.dots.map((dot) => dot.step), this.dots.map((dot) => draws(dot.value))]);
    return window.uPlot.join(tables);
  }

  options() {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: colour("--dim"), font: "12px system-ui, sans-serif", ticks: { stroke: colour("--line"), width: 1 }, grid: { stroke: colour("--line"), width: 1 } };
    const abandoned = this.found.abandoned.map((branch) => ({
      label: `abandoned attempt ${branch.attempt}`, stroke: colour("--abandoned"), width: 2, points: { show: false }, value,
    }));
    const dots = {
      label: "val_loss", stroke: colour("--dots"), paths: () => null, value,
      points: { show: true, size: 7, width: 2, fill: colour("--panel") },
    };
    return {
      ...this.size(),
      cursor: { sync: { key: cursors.key }, points: { size: 6 }, drag: { x: true, y: false } },
      legend: { show: this.isTall, live: true },
      scales: { x: { time: false }, y: { distr: this.isLogarithmic ? 3 : 1 } },
      axes: [
        { ...axis, space: 70, size: 30, values: (_, ticks) => ticks.map((tick) => Number.isInteger(tick) ? tick.toLocaleString("en") : "") },
        { ...axis, size: 60, space: this.isTall ? 34 : 22, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : figure(tick)) },
      ],
      series: [
        { label: "step", value: (_, step) => step === null || step === undefined ? "–" : step.toLocaleString("en") },
        ...abandoned,  // first, so that the line in force lies on top
        { label: "highest", class: "extreme", width: 0, points: { show: false }, value },
        { label: "lowest", class: "extreme", width: 0, points: { show: false }, value },
        { label: this.name, stroke: colour("--kept"), width: 2, points: { show: false }, value },
        ...(this.dots.length ? [dots] : []),
      ],
      bands: [{ series: [abandoned.length + 1, abandoned.length + 2], fill: colour("--band") }],
      hooks: {
        drawClear: [(plot) => this.drawUnder(plot, colour)],
        draw: [(plot) => this.drawOver(plot, colour)],
      },
    };
  }

  /** Incidents from onset to detection, below the lines. */
  drawUnder(plot, colour) {
    const { ctx, bbox } = plot;
    ctx.save();
    clip(ctx, bbox);
    for (const incident of this.marks.incidents) {
      const from = plot.valToPos(incident.onset_step, "x", true);
      const to = plot.valToPos(incident.detected_step, "x", true);
      ctx.fillStyle = colour("--incident-area");
      ctx.fillRect(from, bbox.top, Math.max(2 * devicePixelRatio, to - from), bbox.height);
    }
    ctx.restore();
  }

  /** The step of each detection, the beginning of each attempt, and where the loss was no number. */
  drawOver(plot, colour) {
    const { ctx, bbox } = plot;
    const unit = devicePixelRatio;
    ctx.save();
    clip(ctx, bbox);
    ctx.font = `${11 * unit}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    const line = (step, stroke, dash, words, row) => {
      const x = Math.round(plot.valToPos(step, "x", true)) + (unit % 2) / 2;  // on the pixel, not between two
      ctx.strokeStyle = ctx.fillStyle = stroke;
      ctx.lineWidth = unit;
      ctx.setLineDash(dash.map((length) => length * unit));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (!this.isTall) return;
      const width = ctx.measureText(words).width;
      const isNearEdge = x + width + 5 * unit > bbox.left + bbox.width;
      ctx.fillText(words, isNearEdge ? x - width - 4 * unit : x + 4 * unit, bbox.top + (3 + 14 * row) * unit);
    };
    this.marks.incidents.forEach((one, index) => line(one.detected_step, colour("--incident"), [4, 3], one.words, index % 3));
    this.marks.attempts.forEach((one, index) => line(one.start_step, colour("--attempt"), [1, 3], `↺ attempt ${one.attempt}`, 3 + index % 3));
    ctx.fillStyle = colour("--incident");
    for (const point of this.marks.lost) {
      const x = plot.valToPos(point.step, "x", true);
      const y = bbox.top + bbox.height;
      ctx.beginPath();
      ctx.moveTo(x - 3.5 * unit, y);
      ctx.lineTo(x, y - 6 * unit);
      ctx.lineTo(x + 3.5 * unit, y);
      ctx.fill();
    }
    ctx.restore();
  }
}

function value(_, shown) {
  return shown === null || shown === undefined ? "–" : figure(shown);
}

function isInfinite(point) {
  return [point.low, point.high].some((one) => Math.abs(number(one) ?? 0) === Infinity);
}

function clip(ctx, bbox) {
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
}

