// What happened, drawn over and under the lines of a chart: incidents, actions, attempts, checkpoints, lost numbers.

const ROW = 14;  // pixels between the words of neighbouring marks

/** Incidents from onset to detection, below the lines. */
export function drawSpans(plot, marks, colour) {
  const { ctx, bbox } = plot;
  inside(plot, () => {
    for (const incident of marks.incidents) {
      const from = plot.valToPos(incident.onset_step, "x", true);
      const to = plot.valToPos(incident.detected_step, "x", true);
      ctx.fillStyle = colour("--incident-area");
      ctx.fillRect(from, bbox.top, Math.max(2 * devicePixelRatio, to - from), bbox.height);
    }
  });
}

/** Lines for detections, actions and attempts; a tick per checkpoint; a triangle wherever a value was no number. */
export function drawEvents(plot, marks, colour, hasWords) {
  const { ctx, bbox } = plot;
  const unit = devicePixelRatio;
  inside(plot, () => {
    ctx.font = `${11 * unit}px system-ui, sans-serif`;
    ctx.textBaseline = "top";
    ctx.textAlign = "left";
    const written = [];
    const line = (step, stroke, dash, words, row) => {
      const x = Math.round(plot.valToPos(step, "x", true)) + (unit % 2) / 2;  // on the pixel, not between two
      ctx.strokeStyle = ctx.fillStyle = stroke;
      ctx.lineWidth = unit;
      ctx.setLineDash(dash.map((length) => length * unit));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      if (!hasWords) return;
      words = fitting(ctx, words, 0.6 * bbox.width);
      const width = ctx.measureText(words).width;
      const isNearEdge = x + width + 5 * unit > bbox.left + bbox.width;
      const left = Math.max(bbox.left, isNearEdge ? x - width - 4 * unit : x + 4 * unit);
      written.push({ words, stroke, left, top: bbox.top + (3 + ROW * row) * unit, width });
    };
    marks.incidents.forEach((one, index) => line(one.detected_step, colour("--incident"), [4, 3], one.words, index % 2));
    marks.actions.forEach((one, index) => line(one.step, colour("--action"), [], one.words, 2 + index % 2));
    marks.attempts.forEach((one, index) => line(one.start_step, colour("--attempt"), [1, 3], `↺ attempt ${one.attempt}`, 4 + index % 2));
    ctx.setLineDash([]);
    // Last and on a ground of their own, so that no line crosses the words out.
    for (const { words, stroke, left, top, width } of written) {
      ctx.fillStyle = colour("--panel");
      ctx.fillRect(left - unit, top - unit, width + 2 * unit, 13 * unit);
      ctx.fillStyle = stroke;
      ctx.fillText(words, left, top);
    }
    for (const one of marks.checkpoints) {
      const x = Math.round(plot.valToPos(one.step, "x", true));
      ctx.fillStyle = colour(`--checkpoint-${one.state}`);
      ctx.fillRect(x - unit, bbox.top + bbox.height - 9 * unit, 2 * unit, 9 * unit);
    }
    ctx.fillStyle = colour("--incident");
    for (const point of marks.lost) {
      const x = plot.valToPos(point.step, "x", true);
      const y = bbox.top + bbox.height;
      ctx.beginPath();
      ctx.moveTo(x - 3.5 * unit, y);
      ctx.lineTo(x, y - 6 * unit);
      ctx.lineTo(x + 3.5 * unit, y);
      ctx.fill();
    }
  });
}

/** As much of the words as there is room for. */
function fitting(ctx, words, room) {
  let short = words;
  while (short.length > 1 && ctx.measureText(short).width > room) short = `${short.slice(0, -2).trimEnd()}…`;
  return short;
}

function inside(plot, work) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  work();
  ctx.restore();
}
