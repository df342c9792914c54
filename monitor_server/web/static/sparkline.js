// The recent loss in a small drawing: a line, its end, and a mark wherever the loss was no number.

import { number } from "./api.js";
import { svg } from "./elements.js";

const WIDTH = 140;
const HEIGHT = 32;
const EDGE = 3;

export function sparkline(recent) {
  const drawing = svg("svg", {
    class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": "recent loss",
  });
  if (!recent || recent.steps.length < 2) return drawing;
  const steps = recent.steps;
  const values = recent.values.map(number);
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const first = steps[0];
  const span = steps[steps.length - 1] - first;
  const x = (step) => EDGE + ((step - first) / span) * (WIDTH - 2 * EDGE);
  const y = (value) => high === low ? HEIGHT / 2 : HEIGHT - EDGE - ((value - low) / (high - low)) * (HEIGHT - 2 * EDGE);
  let path = "";
  let pen = "M";
  values.forEach((value, index) => {
    if (Number.isFinite(value)) {
      path += `${pen}${x(steps[index]).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    } else {
      pen = "M";
      drawing.append(svg("circle", { class: "lost", cx: x(steps[index]).toFixed(1), cy: EDGE + 1, r: 1.6 }));
    }
  });
  drawing.prepend(svg("path", { d: path }));
  const last = values[values.length - 1];
  if (Number.isFinite(last)) drawing.append(svg("circle", { class: "end", cx: WIDTH - EDGE, cy: y(last).toFixed(1), r: 2.2 }));
  return drawing;
}
