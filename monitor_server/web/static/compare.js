// Several runs over the same steps: one signal as a line each, and where their set-ups differ.

import { number, read } from "./api.js";
import { stateBadge } from "./badges.js";
import { Chart } from "./chart.js";
import { flattened } from "./configuration.js";
import { choices, element } from "./elements.js";
import { branches } from "./lineage.js";
import { poll } from "./polling.js";
import { StepsWindow } from "./steps_window.js";
import { count, figure, multiplier, plural, stepsMade } from "./words.js";

const POINTS = 600;
const MOST = 8;  // as many colours as the eye keeps apart
const TITLES = {
  loss: "Loss", grad_norm: "Gradient norm", update_ratio: "Update ratio", learning_rate: "Learning rate",
  step_seconds: "Step time",
};

const place = (id) => document.getElementById(id);
const wanted = [...new Set(new URLSearchParams(location.search).getAll("run"))].slice(0, MOST);
const colourOf = (index) => `--series-${index + 1}`;
let signalName = "loss";
let scale = "linear";
let smoothing = 0;
let told = null;

const chart = new Chart(place("chart"), { isTall: true, zoom: (from, to) => steps.set(from === null ? null : [from, to]) });
const steps = new StepsWindow(place("steps-window"), (range) => { chart.look(range); now(); });
chart.look(steps.range);

async function refresh(signal) {
  if (wanted.length === 0) {
    place("comparison").hidden = true;
    place("nothing").hidden = false;
    return;
  }
  const range = steps.range;
  const name = signalName;
  const asked = range ? `&from_step=${Math.max(0, range[0] - 1)}&to_step=${range[1] + 1}` : "";
  const runs = await Promise.all(wanted.map(async (runId) => {
    const [run, observations, attempts] = await Promise.all([
      read(`/runs/${runId}`, signal),
      read(`/runs/${runId}/observations?signals=${name}&points=${POINTS}${asked}`, signal),
      read(`/runs/${runId}/attempts`, signal),
    ]);
    return { run, buckets: observations.attempts, attempts: attempts.attempts };
  }));
  if (String(range) !== String(steps.range) || name !== signalName) return;
  told = runs;
  if (range === null) steps.knows(0, Math.max(1, ...runs.flatMap((one) => one.buckets.map((bucket) => bucket.last_steps.at(-1)))));
  draw();
  showRuns();
  showDifferences();
  document.body.dataset.drawn = "yes";
}

function draw() {
  if (!told) return;
  const lines = told.map(({ run, buckets, attempts }, index) => ({
    label: run.run, colour: colourOf(index), hasBand: false,
    ...branches(buckets, attempts, run.attempt, signalName), abandoned: [],
  }));
  chart.range = steps.range;
  chart.draw({ lines, isLogarithmic: scale === "logarithmic", smoothing });
  place("title").textContent = TITLES[signalName];
  place("chart").setAttribute("aria-label", `${TITLES[signalName]} of ${plural(told.length, "run")} over the steps`);
}

function showRuns() {
  place("runs").replaceChildren(...told.map(({ run }, index) => {
    const others = new URLSearchParams(wanted.filter((one) => one !== run.run_id).map((one) => ["run", one]));
    return element("li", {},
      element(`span.swatch.series-${index + 1}`, { "aria-hidden": "true" }),
      element("a.name", { href: `/runs/${run.run_id}` }, run.run),
      element("span.dim", {}, run.project),
      stateBadge(run.state),
      element("span", {}, "loss ", element("b", {}, figure(number(run.loss)))),
      element("span.dim", {}, `${count(stepsMade(run))} steps, ${plural(run.rollbacks, "rollback")}, rate ${multiplier(run.lr_scale)}`),
      element("a.remove", { href: `/compare?${others}`, "aria-label": `Leave out ${run.run}` }, "×"));
  }));
}

function showDifferences() {
  const tables = told.map(({ run }) => new Map(flattened({
    mode: run.mode, total_steps: run.total_steps, checkpoint_every: run.description.checkpoint_every,
    world_size: run.description.world_size, tags: run.tags, ...run.description.config,
  })));
  const paths = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  const differing = paths.filter((path) => new Set(tables.map((table) => table.get(path))).size > 1);
  const same = paths.length - differing.length;
  place("same").textContent = told.length > 1 ? `${plural(same, "setting")} alike` : "";
  place("differences").replaceChildren(differing.length === 0 || told.length < 2
    ? element("p.dim", {}, told.length < 2 ? "Choose a second run on the page of runs." : "They are set up alike.")
    : element("table.pairs", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "setting"),
        told.map(({ run }, index) => element("th", { scope: "col" },
          element(`span.swatch.series-${index + 1}`, { "aria-hidden": "true" }), run.run)))),
      element("tbody", {}, differing.map((path) => element("tr", {}, element("th", { scope: "row" }, path),
        tables.map((table) => element("td", {}, table.get(path) ?? "–")))))));
}

choices(place("signals"), Object.entries(TITLES), signalName, (chosen) => { signalName = chosen; now(); });
choices(place("scale"), [["linear", "Linear"], ["logarithmic", "Log"]], scale, (chosen) => { scale = chosen; draw(); });
choices(place("smoothing"), [[0, "Off"], [0.8, "Some"], [0.97, "Much"]], smoothing, (chosen) => { smoothing = chosen; draw(); });
// Of other runs it is not told, and these may well have ended.
const now = poll(refresh, () => `/events?kind=run${wanted.map((one) => `&progress=${encodeURIComponent(one)}`).join("")}`);
