// One run: its loss with every attempt, its incidents, and what was decided, in sentences.

import { number, read } from "./api.js";
import { incidentBadge, stateBadge, verdictBadge } from "./badges.js";
import { Chart } from "./chart.js";
import { choices, element } from "./elements.js";
import { branches, evaluated, lineage } from "./lineage.js";
import { poll } from "./polling.js";
import { ago, clockTime, count, figure, kindWords, multiplier, plural, stepsMade } from "./words.js";

const SMALL_CHARTS = {
  grad_norm: "Gradient norm",
  learning_rate: "Learning rate, as scheduled",
  lr_scale: "Learning-rate multiplier",
  update_ratio: "Update / parameter ratio",
};
const POINTS = 800;
const MOST_CHECKPOINTS = 12;
const LOGARITHMIC_FROM = 30;

const place = (id) => document.getElementById(id);
const runId = place("run").dataset.runId;
const lossChart = new Chart(place("loss-chart"), "loss", true);
const smallCharts = new Map();
let scale = "automatic";
let drawn = null;
let seen = "";

async function refresh(signal) {
  const run = await read(`/runs/${runId}`, signal);
  document.title = `${run.run} · trainguard`;
  showSummary(run);
  // Every envelope moves last_seen_at: while it stands still there is nothing else to ask for.
  const mark = `${run.last_seen_at}:${run.state}:${run.attempt}:${run.last_decision}`;
  if (mark === seen) return;
  const signals = ["loss", ...Object.keys(SMALL_CHARTS)].join(",");
  const [observations, attempts, incidents, decisions, checkpoints, evaluations] = await Promise.all([
    read(`/runs/${runId}/observations?signals=${signals}&points=${POINTS}`, signal),
    read(`/runs/${runId}/attempts`, signal),
    read(`/runs/${runId}/incidents`, signal),
    read(`/runs/${runId}/decisions`, signal),
    read(`/runs/${runId}/checkpoints`, signal),
    read(`/runs/${runId}/evaluations`, signal),
  ]);
  seen = mark;
  drawn = {
    run, buckets: observations.attempts, attempts: attempts.attempts, incidents: incidents.incidents,
    evaluations: evaluations.evaluations,
  };
  drawCharts();
  showStory(incidents.incidents, decisions.decisions);
  showAttempts(run, attempts.attempts);
  showCheckpoints(checkpoints.checkpoints);
  showAbout(run.description);
}

function showSummary(run) {
  place("summary").replaceChildren(
    element("div.heading", {},
      element("div", {},
        element("p.dim.crumb", {}, element("a", { href: "/" }, "Runs"), " / ", run.project),
        element("h1", {}, run.run)),
      element("div.status", {}, stateBadge(run.state), incidentBadge(run.active_incident))),
    element("dl.facts", {},
      fact("Steps made", run.total_steps ? `${count(stepsMade(run))} / ${count(run.total_steps)}` : count(stepsMade(run))),
      fact("Loss", figure(number(run.loss))),
      fact("Attempt", count(run.attempt)),
      fact("Rollbacks", count(run.rollbacks)),
      fact("Learning rate", multiplier(run.lr_scale)),
      fact("Mode", run.mode),
      fact("Last seen", ago(run.last_seen_at), clockTime(run.last_seen_at))),
    run.last_decision ? element("p.latest", {}, run.last_decision) : "");
}

function fact(name, words, title = "") {
  return element("div", { title }, element("dt", {}, name), element("dd", {}, words));
}

function drawCharts() {
  if (!drawn) return;
  const { run, buckets, attempts } = drawn;
  const marks = {
    incidents: drawn.incidents.map((one) => ({ ...one, words: kindWords(one.kind) })),
    attempts: attempts.filter((one) => one.attempt > 0),
  };
  const loss = branches(buckets, attempts, run.attempt, "loss");
  const dots = evaluated(drawn.evaluations, attempts, run.attempt, "val_loss");
  lossChart.draw(loss, marks, scale === "automatic" ? spansDecades(loss) : scale === "logarithmic", dots);
  for (const [signal, title] of Object.entries(SMALL_CHARTS)) {
    const found = branches(buckets, attempts, run.attempt, signal);
    if ([...found.kept, ...found.abandoned.flatMap((branch) => branch.points)].every((point) => point.high === null)) continue;
    chartOf(signal, title).draw(found, marks, signal === "grad_norm" && spansDecades(found));
  }
}

function chartOf(signal, title) {
  if (!smallCharts.has(signal)) {
    const drawing = element("div.chart");
    place("small-charts").append(element("section.panel", {}, element("h2", {}, title), drawing));
    smallCharts.set(signal, new Chart(drawing, signal));
  }
  return smallCharts.get(signal);
}

/** Whether a linear scale would show the trouble and nothing else. */
function spansDecades({ kept, abandoned }) {
  const values = [...kept, ...abandoned.flatMap((branch) => branch.points)].map((point) => number(point.mean)).filter(Number.isFinite);
  const low = values.reduce((least, one) => Math.min(least, one), Infinity);
  const high = values.reduce((most, one) => Math.max(most, one), -Infinity);
  return low > 0 && high / low > LOGARITHMIC_FROM;
}

function showStory(incidents, decisions) {
  if (incidents.length === 0) {
    place("story").replaceChildren(element("p.dim", {}, "Nothing. The run has had no incident."));
    return;
  }
  place("story").replaceChildren(...incidents.map((incident) => {
    const mine = decisions.filter((one) => one.incident_id === incident.incident_id);
    return element(`article.panel.incident.${incident.severity}`, {},
      element("header", {},
        element("h3", {}, sentenceCase(kindWords(incident.kind))),
        incidentBadge(incident),
        element("time.dim", { title: clockTime(incident.opened_at) }, ago(incident.opened_at))),
      element("p", {}, `${incident.summary} Began at step ${count(incident.onset_step)}, seen at step ${count(incident.detected_step)}.`),
      element("ol.decisions", {}, mine.map((one) => element("li", {},
        verdictBadge(one.verdict),
        element("span", {}, one.reason),
        element("span.dim.when", { title: clockTime(one.decided_at) },
          `step ${count(one.step)}${one.decided_by === "local" ? ", decided in the trainer" : ""}`)))),
      incident.outcome && !mine.some((one) => one.reason === incident.outcome)
        ? element("p.outcome", {}, incident.outcome) : null);
  }));
}

function showAttempts(run, attempts) {
  const inForce = new Map(lineage(attempts, run.attempt).map((part) => [part.attempt, part]));
  place("attempts").replaceChildren(element("ol.lines", {}, attempts.map((one) => {
    const part = inForce.get(one.attempt);
    const fate = one.attempt === run.attempt ? "in force"
      : part ? `kept up to step ${count(part.before - 1)}` : "abandoned";
    return element(`li${part ? "" : ".gone"}`, {},
      element("b", {}, `Attempt ${one.attempt}`),
      ` ${one.reason === "start" ? "began" : `by ${one.reason}`} at step ${count(one.start_step)}; ${fate}.`);
  })));
}

function showCheckpoints(checkpoints) {
  const newest = checkpoints.slice(-MOST_CHECKPOINTS).reverse();
  if (newest.length === 0) {
    place("checkpoints").replaceChildren(element("p.dim", {}, "None reported."));
    return;
  }
  place("checkpoints").replaceChildren(element("ol.lines", {}, newest.map((one) => element("li", { title: one.reason },
    element(`span.badge.checkpoint-${one.state}`, {}, one.state), ` step ${count(one.step)}, ${one.place}`))));
}

function showAbout(description) {
  const tags = Object.entries(description.tags).map(([name, words]) => fact(name, words));
  place("about").replaceChildren(element("dl.lines", {},
    fact("Run", description.run_id),
    description.hostname ? fact("Host", description.hostname) : null,
    fact("Processes", count(description.world_size)),
    fact("Started", clockTime(description.started_at)),
    description.checkpoint_every ? fact("Checkpoint every", plural(description.checkpoint_every, "step")) : null,
    tags));
}

function sentenceCase(words) {
  return words[0].toUpperCase() + words.slice(1);
}

choices(place("scale"), [["automatic", "Auto"], ["linear", "Linear"], ["logarithmic", "Log"]], scale, (chosen) => {
  scale = chosen;
  drawCharts();
});
poll(refresh);
