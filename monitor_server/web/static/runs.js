// The list of runs.

import { number, read } from "./api.js";
import { incidentBadge, stateBadge } from "./badges.js";
import { choices, element } from "./elements.js";
import { poll } from "./polling.js";
import { sparkline } from "./sparkline.js";
import { ago, clockTime, count, figure, multiplier, plural, stepsMade } from "./words.js";

const PAGE = 50;
const MOST = 500;
const SPARKLINE_POINTS = 60;

const FILTERS = {
  all: "",
  living: "&state=running&state=silent",
  ended: "&state=finished&state=halted&state=failed",
};

const list = document.getElementById("runs");
const empty = document.getElementById("empty");
const more = document.getElementById("more");
let filter = "all";
let limit = PAGE;

async function refresh(signal) {
  const asked = filter;
  const page = await read(`/runs?limit=${limit}&loss_points=${SPARKLINE_POINTS}${FILTERS[asked]}`, signal);
  if (asked !== filter) return;
  list.replaceChildren(...page.runs.map(row));
  list.hidden = page.runs.length === 0;
  empty.hidden = page.runs.length > 0 || filter !== "all";
  more.hidden = page.next === null || limit >= MOST;
}

function row(run) {
  return element("a.run", { href: `/runs/${run.run_id}`, "data-state": run.state },
    element("span.who", {},
      element("span.name", {}, run.run),
      element("span.dim", {}, run.project)),
    element("span.status", {}, stateBadge(run.state), incidentBadge(run.active_incident)),
    element("span.progress-cell", {},
      element("span", {}, element("b", {}, count(stepsMade(run))), run.total_steps ? ` / ${count(run.total_steps)}` : "", " steps"),
      run.total_steps ? progress(run) : null),
    element("span.loss", {}, element("span.dim.label", {}, "loss "), element("b", {}, figure(number(run.loss)))),
    sparkline(run.recent_loss),
    element("span.history.dim", {}, history(run)),
    element("time.dim", { title: clockTime(run.last_seen_at) }, ago(run.last_seen_at)));
}

function progress(run) {
  return element("progress", { max: run.total_steps, value: Math.min(run.total_steps, stepsMade(run)) });
}

function history(run) {
  const words = [];
  if (run.rollbacks) words.push(plural(run.rollbacks, "rollback"));
  if (run.lr_scale !== 1) words.push(`rate ${multiplier(run.lr_scale)}`);
  return words.join(" · ");
}

document.getElementById("server-address").textContent = JSON.stringify(location.origin);
const now = poll(refresh);
choices(document.getElementById("filters"), [["all", "All"], ["living", "Running"], ["ended", "Ended"]], filter,
  (chosen) => { filter = chosen; now(); });
more.addEventListener("click", () => { limit = Math.min(MOST, 2 * limit); now(); });
