// Signals over the steps: lines in force with their band of extremes, abandoned branches in grey, marks on top.

import { number } from "./api.js";
import { drawEvents, drawSpans } from "./marks.js";
import { smoothed } from "./smoothing.js";
import { figure } from "./words.js";

const KEY = "steps";
const NO_MARKS = { incidents: [], actions: [], attempts: [], checkpoints: [] };
const SHORTEST_DRAG = 4;  // pixels; less is a click

/** One chart. `draw` takes what is to be seen, `look` which steps of it; `zoom(from, to)` is told of a drag and
    `zoom(null)` of a double click, which every chart of a page shares. */
export class Chart {
  /** `place`: an element that gives the size. `isTall`: with a legend. `hasWords`: at the marks. */
  constructor(place, { isTall = false, hasWords = isTall, zoom = () => {} } = {}) {
    this.place = place;
    this.isTall = isTall;
    this.hasWords = hasWords;
    this.zoom = zoom;
    this.plot = null;
    this.shape = "";
    this.range = null;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  /** `lines`: [{ label, colour, dash, kept, abandoned }] with points { step, low, high, mean, nans };
      `dots`: [{ label, colour, points: [{ step, value }] }]; `marks`: what happened; `smoothing`: 0 … 1. */
  draw({ lines, dots = [], marks = NO_MARKS, isLogarithmic = false, smoothing = 0 }) {
    this.lines = lines;
    this.dots = dots.filter((one) => one.points.length);
    this.isLogarithmic = isLogarithmic;
    this.smoothing = smoothing;
    const lost = lines.flatMap((line) => line.kept.filter((point) => point.nans > 0 || isInfinite(point)));
    this.marks = { ...NO_MARKS, ...marks, lost };
    const labels = (listed) => listed.map((one) => one.label).join();
    const branched = lines.map((line) => line.abandoned.length).join();
    const shape = [labels(lines), branched, labels(this.dots), isLogarithmic, smoothing > 0].join(":");
    if (this.plot === null || shape !== this.shape) {
      this.shape = shape;
      this.rebuild();
    } else {
      this.plot.setData(this.columns());
    }
  }

  /** Show the steps [from, to], or all for null. What is drawn already moves at once, finer points come later. */
  look(range) {
    this.range = range;
    if (this.plot) this.plot.setData(this.plot.data);
  }

  rebuild() {
    if (!this.lines) return;
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
    const steps = (points) => points.map((point) => point.step);
    const tables = this.lines.flatMap(({ kept, abandoned }) => {
      const mean = kept.map((point) => draws(point.mean));
      const inForce = [kept.map((point) => draws(point.high)), kept.map((point) => draws(point.low))];
      inForce.push(...(this.smoothing > 0 ? [mean, smoothed(mean, this.smoothing)] : [mean]));
      return [
        ...abandoned.map(({ points }) => [steps(points), points.map((point) => draws(point.mean))]),
        [steps(kept), ...inForce],
      ];
    });
    tables.push(...this.dots.map(({ points }) => [steps(points), points.map((point) => draws(point.value))]));
    return window.uPlot.join(tables);
  }

  options() {
    const colour = colourOf;
    const font = "12px system-ui, sans-serif";
    const ruled = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--dim"), font, ticks: ruled, grid: ruled };
    const [series, bands] = this.series(colour);
    return {
      ...this.size(),
      cursor: {
        // A drag belongs to the chart it is made in: the others are told of its outcome, by us.
        sync: { key: KEY, filters: { pub: (kind) => kind !== "mousedown" && kind !== "mouseup" } },
        points: { size: 6 },
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => { this.zoom(null); return null; } },
      },
      legend: { show: this.isTall, live: true },
      scales: {
        x: { time: false, range: (_, low, high) => this.range ?? (low === high ? [low - 1, high + 1] : [low, high]) },
        y: { distr: this.isLogarithmic ? 3 : 1 },
      },
      axes: [
        { ...axis, space: 70, size: 30, values: (_, ticks) => ticks.map((tick) => Number.isInteger(tick) ? tick.toLocaleString("en") : "") },
        { ...axis, size: 60, space: this.isTall ? 34 : 22, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : figure(tick)) },
      ],
      series,
      bands,
      hooks: {
        drawClear: [(plot) => drawSpans(plot, this.marks, colour)],
        draw: [(plot) => drawEvents(plot, this.marks, colour, this.hasWords)],
        setSelect: [(plot) => this.dragged(plot)],
      },
    };
  }

  series(colour) {
    const hidden = { class: "extreme", points: { show: false }, value };
    const series = [{ label: "step", value: (_, step) => step === null || step === undefined ? "–" : step.toLocaleString("en") }];
    const bands = [];
    this.lines.forEach((line, index) => {
      const stroke = colour(line.colour ?? "--kept");
      for (const branch of line.abandoned) {  // first, so that the line in force lies on top
        series.push({ ...hidden, class: index ? "extreme" : "branch", label: `abandoned attempt ${branch.attempt}`, stroke: colour("--abandoned"), width: 2 });
      }
      if (line.hasBand !== false) bands.push({ series: [series.length, series.length + 1], fill: colour("--band") });
      series.push({ ...hidden, label: `highest ${line.label}`, width: 0 }, { ...hidden, label: `lowest ${line.label}`, width: 0 });
      if (this.smoothing > 0) series.push({ ...hidden, label: `${line.label} as measured`, stroke: colour("--band-line"), width: 1 });
      series.push({ label: line.label, stroke, width: 2, dash: line.dash, points: { show: false }, value });
    });
    for (const one of this.dots) {
      const points = { show: true, size: 7, width: 2, fill: colour("--panel") };
      series.push({ label: one.label, stroke: colour(one.colour ?? "--dots"), paths: () => null, value, points });
    }
    return [series, bands];
  }

  dragged(plot) {
    const { left, width } = plot.select;
    if (width === 0) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (width < SHORTEST_DRAG) return;
    this.zoom(Math.max(0, Math.floor(plot.posToVal(left, "x"))), Math.ceil(plot.posToVal(left + width, "x")));
  }
}

/** A colour of the style sheet, as it is now: light or dark. */
export function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function value(_, shown) {
  return shown === null || shown === undefined ? "–" : figure(shown);
}

function isInfinite(point) {
  return [point.low, point.high].some((one) => Math.abs(number(one) ?? 0) === Infinity);
}
