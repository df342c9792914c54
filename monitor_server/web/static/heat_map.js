// Layers over steps as colours, on a logarithmic scale: which layer it is that goes wrong, and when.

import { number } from "./api.js";
import { colourOf } from "./chart.js";
import { element } from "./elements.js";
import { lineage } from "./lineage.js";
import { count, figure } from "./words.js";

const ROW = 16;
const NAMES = 170;  // pixels for the layers' names, less on a narrow page
const AXIS = 22;
const STOPS = [[0, [32, 24, 92]], [0.25, [38, 97, 171]], [0.5, [36, 160, 150]], [0.75, [238, 190, 76]], [1, [222, 68, 42]]];

export class HeatMap {
  constructor(place) {
    this.canvas = element("canvas.heat", { role: "img", tabindex: "0" });
    this.words = element("p.dim.heat-words", { "aria-live": "polite" });
    this.scale = element("div.heat-scale", { "aria-hidden": "true" });
    place.replaceChildren(this.canvas, element("div.heat-foot", {}, this.words, this.scale));
    this.at = null;
    this.canvas.addEventListener("pointermove", (event) => this.point(event.offsetX, event.offsetY));
    this.canvas.addEventListener("pointerleave", () => { this.at = null; this.tell(); });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.paint()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  /** `told`: the API's answer; `run`, `attempts`: to leave out what was abandoned. */
  draw(told, run, attempts) {
    const columns = [];
    for (const part of lineage(attempts, run.attempt)) {
      const looks = told.attempts.find((one) => one.attempt === part.attempt);
      looks?.steps.forEach((step, index) => {
        if (step >= part.from && step < part.before) columns.push({ step, values: looks.values[index].map(number) });
      });
    }
    this.layers = told.layers;
    this.signal = told.signal;
    this.columns = columns.sort((one, other) => one.step - other.step);
    const positive = columns.flatMap((one) => one.values).filter((value) => Number.isFinite(value) && value > 0);
    this.low = Math.log10(positive.reduce((least, value) => Math.min(least, value), Infinity));
    this.high = Math.log10(positive.reduce((most, value) => Math.max(most, value), -Infinity));
    if (this.high - this.low < 0.1) this.high = this.low + 0.1;
    this.paint();
    this.tell();
  }

  get isEmpty() {
    return !this.columns?.length;
  }

  paint() {
    if (this.isEmpty) return;
    const unit = devicePixelRatio;
    const width = this.canvas.parentElement.clientWidth;
    this.names = Math.min(NAMES, Math.round(width * 0.32));
    const height = this.layers.length * ROW + AXIS;
    this.canvas.width = width * unit;
    this.canvas.height = height * unit;
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(unit, unit);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.cell = (width - this.names) / this.columns.length;
    this.columns.forEach(({ values }, index) => values.forEach((value, row) => {
      pen.fillStyle = this.colour(value);
      if (pen.fillStyle) pen.fillRect(this.names + index * this.cell, row * ROW, Math.ceil(this.cell), ROW - 1);
    }));
    pen.fillStyle = colourOf("--dim");
    this.layers.forEach((name, row) => pen.fillText(shortened(pen, name, this.names - 10), 0, row * ROW + ROW / 2));
    const every = Math.max(1, Math.ceil(80 / this.cell));
    pen.textAlign = "center";
    for (let index = Math.floor(every / 2); index < this.columns.length; index += every) {
      pen.fillText(count(this.columns[index].step), this.names + (index + 0.5) * this.cell, height - AXIS / 2);
    }
    const stops = STOPS.map(([place, rgb]) => `rgb(${rgb}) ${place * 100}%`).join(", ");
    const ramp = element("span.ramp");
    ramp.style.background = `linear-gradient(to right, ${stops})`;
    this.scale.replaceChildren(figure(10 ** this.low), ramp, figure(10 ** this.high));
  }

  colour(value) {
    if (value === null) return colourOf("--calm-ground");
    if (!Number.isFinite(value)) return colourOf("--incident");
    if (value <= 0) return colourOf("--line");
    const place = (Math.log10(value) - this.low) / (this.high - this.low);
    const upper = Math.max(1, STOPS.findIndex(([stop]) => stop >= place));
    const [[from, one], [to, other]] = [STOPS[upper - 1], STOPS[upper]];
    const share = (place - from) / (to - from);
    return `rgb(${one.map((part, index) => Math.round(part + share * (other[index] - part)))})`;
  }

  point(x, y) {
    if (this.isEmpty) return;
    const column = Math.floor((x - this.names) / this.cell);
    const row = Math.floor(y / ROW);
    this.at = column >= 0 && column < this.columns.length && row < this.layers.length ? [column, row] : null;
    this.tell();
  }

  key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move || this.isEmpty) return;
    event.preventDefault();
    const [column, row] = this.at ?? [this.columns.length - 1, 0];
    this.at = [clamp(column + move[0], this.columns.length), clamp(row + move[1], this.layers.length)];
    this.tell();
  }

  tell() {
    if (this.isEmpty) return;
    let [column, row] = this.at ?? [0, 0];
    if (this.at === null) {
      this.columns.forEach(({ values }, index) => values.forEach((value, layer) => {
        if ((value ?? -Infinity) > (this.columns[column].values[row] ?? -Infinity)) [column, row] = [index, layer];
      }));
    }
    const value = this.columns[column].values[row];
    const place = `${this.layers[row]} at step ${count(this.columns[column].step)}: ${figure(value)}`;
    this.words.textContent = this.at === null ? `The largest is ${place}.` : place;
    this.canvas.setAttribute("aria-label", `${this.layers.length} layers over ${this.columns.length} looks; ${this.words.textContent} Arrow keys read single values.`);
  }
}

function clamp(value, length) {
  return Math.max(0, Math.min(length - 1, value));
}

/** A name that is too long loses its beginning, which the layers of a model share. */
function shortened(pen, name, width) {
  if (pen.measureText(name).width <= width) return name;
  let end = name;
  while (end.length > 1 && pen.measureText(`…${end}`).width > width) end = end.slice(1);
  return `…${end}`;
}
