// One run: its signals with every attempt, its incidents, and what was decided, in sentences.

import { number, read } from "./api.js";
import { incidentBadge, stateBadge } from "./badges.js";
import { CommandPanel } from "./command_panel.js";
import { configuration } from "./configuration.js";
import { choices, element, fact } from "./elements.js";
import { LayersPanel } from "./layers_panel.js";
import { lineage } from "./lineage.js";
import { poll } from "./polling.js";
import { charted, RunCharts } from "./run_charts.js";
import { StepsWindow } from "./steps_window.js";
import { incidentCard } from "./story.js";
import { ago, clockTime, count, figure, multiplier, plural, stepsMade } from "./words.js";

const POINTS = 800;
const MOST_CHECKPOINTS = 12;

const place = (id) => document.getElementById(id);
const runId = place("run").dataset.runId;
const charts = new RunCharts(place("loss-chart"), place("small-charts"), (from, to) => steps.set(from === null ? null : [from, to]));
const steps = new StepsWindow(place("steps-window"), (range) => { charts.look(range); seen = ""; now(); });
charts.look(steps.range);
const layers = new LayersPanel(place("layers"), place("layer-signals"), place("heat-map"), runId);
const panel = new CommandPanel(place("command-panel"), runId, () => now());
let seen = "";
let advised = "";

async function refresh(signal) {
  const run = await read(`/runs/${runId}`, signal);
  document.title = `${run.run} · trainguard`;
  showSummary(run);
  // Every envelope moves last_seen_at: while it stands still there is nothing else to ask for.
  const mark = `${run.last_seen_at}:${run.state}:${run.attempt}:${run.last_decision}`;
  if (mark === seen) return;
  const range = steps.range;
  // Half a window more on either side, so that the lines do not end inside the chart.
  const asked = range ? `&from_step=${Math.max(0, range[0] - 1)}&to_step=${range[1] + 1}` : "";
  const of = (what) => read(`/runs/${runId}/${what}`, signal);
  const [observations, attempts, incidents, decisions, checkpoints, evaluations] = await Promise.all([
    of(`observations?signals=${charted(run).join(",")}&points=${POINTS}${asked}`),
    of("attempts"), of("incidents"), of("decisions"), of("checkpoints"), of("evaluations"),
  ]);
  if (String(range) !== String(steps.range)) return;  // looked away meanwhile; the next answer is on its way
  seen = mark;
  if (range === null) steps.knows(0, Math.max(1, ...observations.attempts.map((one) => one.last_steps.at(-1))));
  charts.draw({
    run, buckets: observations.attempts, ...attempts, ...incidents, ...decisions, ...checkpoints, ...evaluations,
  });
  showStory(incidents.incidents, decisions.decisions);
  showAttempts(run, attempts.attempts);
  showCheckpoints(checkpoints.checkpoints);
  showAbout(run.description);
  panel.knows({ run, ...checkpoints });
  if (panel.waitsFor) panel.hears((await of("acknowledgements")).acknowledgements);
  await layers.refresh(run, attempts.attempts, range, signal);
  // A restart may have been set up otherwise; what is advised follows from that alone.
  if (advised !== JSON.stringify(run.description)) {
    showAdvice((await of("advice")).advice);
    advised = JSON.stringify(run.description);
  }
  document.body.dataset.drawn = "yes";
}

function showSummary(run) {
  place("summary").replaceChildren(
    element("div.heading", {},
      element("div", {},
        element("p.dim.crumb", {}, element("a", { href: "/" }, "Runs"), " / ", run.project),
        element("h1", {}, run.run)),
      element("div.status", {}, stateBadge(run.state), incidentBadge(run.active_incident))),
    element("dl.facts", {},
      fact("Steps made", [count(stepsMade(run)), run.total_steps ? element("span.dim.aside", {}, ` / ${count(run.total_steps)}`) : ""]),
      fact("Loss", figure(number(run.loss))),
      fact("Attempt", count(run.attempt)),
      fact("Rollbacks", count(run.rollbacks)),
      fact("Learning rate", multiplier(run.lr_scale)),
      fact("Mode", run.mode),
      fact("Last seen", ago(run.last_seen_at), clockTime(run.last_seen_at))),
    run.last_decision ? element("p.latest", {}, run.last_decision) : "");
}

function showStory(incidents, decisions) {
  place("story").replaceChildren(...(incidents.length
    ? incidents.map((incident) => incidentCard(incident, decisions))
    : [element("p.dim", {}, "Nothing. The run has had no incident.")]));
}

function showAdvice(advice) {
  place("advice-panel").hidden = advice.length === 0;
  place("advice").replaceChildren(...advice.map((one) => element("li", {},
    element("div.cause", {}, element(`span.badge.advice-${one.weight}`, {}, one.weight), element("b", {}, one.statement)),
    element("p", {}, one.remedy))));
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
  place("configuration").replaceChildren(configuration(description.config));
}

choices(place("scale"), [["automatic", "Auto"], ["linear", "Linear"], ["logarithmic", "Log"]], charts.scale, (chosen) => {
  charts.scale = chosen;
  charts.redraw();
});
choices(place("smoothing"), [[0, "Off"], [0.8, "Some"], [0.97, "Much"]], charts.smoothing, (chosen) => {
  charts.smoothing = chosen;
  charts.redraw();
});
const now = poll(refresh, () => `/events?run_id=${runId}`);
