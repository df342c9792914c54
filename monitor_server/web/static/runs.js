// The list of runs: a page of it at a time, found by words, project and state; chosen ones are compared.

import { number, read } from "./api.js";
import { incidentBadge, stateBadge } from "./badges.js";
import { choices, element } from "./elements.js";
import { poll } from "./polling.js";
import { sparkline } from "./sparkline.js";
import { ago, clockTime, count, figure, multiplier, plural, stepsMade } from "./words.js";

const PAGE = 50;
const SPARKLINE_POINTS = 60;
const MOST_COMPARED = 8;
const MOST_TAGS = 3;
const TYPING_MS = 200;
const TICK_MS = 2000;
const RECENT_STEPS = 1000;  // of a sparkline, as the service counts them

const FILTERS = {
  all: "",
  living: "&state=running&state=silent",
  ended: "&state=finished&state=halted&state=failed",
};

const place = (id) => document.getElementById(id);
const list = place("runs");
const asked = new URLSearchParams(location.search);
const wish = { filter: FILTERS[asked.get("show")] === undefined ? "all" : asked.get("show"), search: asked.get("search") ?? "", project: asked.get("project") ?? "" };
const cursors = [""];  // of the pages before this one, and this one's own
const chosen = new Set();
const shown = new Map();  // the runs of this page by their ids, as they are now
let followed = "";
let next = null;

async function refresh(signal) {
  const mark = wanted();
  const [page, projects] = await Promise.all([read(mark, signal), read("/projects", signal)]);
  if (mark !== wanted()) return;
  next = page.next;
  showProjects(projects.projects);
  show(page.runs);
  const isUnfiltered = wish.filter === "all" && !wish.search && !wish.project && cursors.length === 1;
  place("empty").hidden = page.runs.length > 0 || !isUnfiltered;
  place("none").hidden = page.runs.length > 0 || isUnfiltered;
  list.hidden = page.runs.length === 0;
  place("pages").hidden = next === null && cursors.length === 1;
  place("newer").disabled = cursors.length === 1;
  place("older").disabled = next === null;
  place("which-page").textContent = `page ${cursors.length}`;
  followShown();
  document.body.dataset.drawn = "yes";
}

/** Steps are no events, so that the stream is told whose progress it is to tell: that of the runs on this page. */
function followShown() {
  const living = [...shown.values()].filter((run) => run.state === "running" || run.state === "silent");
  const path = living.map((run) => `&progress=${run.run_id}`).join("");
  if (path === followed) return;
  followed = path;
  now.follow();
}

function isProgress({ kind, data }) {
  const run = shown.get(data.run_id);
  if (kind !== "progress" || !run) return kind === "progress";
  const isNewAttempt = data.attempt !== run.attempt;
  Object.assign(run, {
    state: data.state, attempt: data.attempt, step: data.step, lr_scale: data.lr_scale, rollbacks: data.rollbacks,
    loss: data.signals.loss ?? null, last_seen_at: data.last_seen_at, recent_loss: continued(run, data, isNewAttempt),
  });
  refill(row(run.run_id), run);
  return !isNewAttempt;  // after a rollback the line is another one from the beginning on
}

function continued({ recent_loss: { steps, values } }, { step, signals }, isNewAttempt) {
  const known = steps.at(-1) ?? -1;
  if (isNewAttempt || step === null || step <= known || signals.loss === undefined) return { steps, values };
  const first = Math.max(0, steps.findIndex((one) => one > step - RECENT_STEPS));
  return { steps: [...steps.slice(first), step], values: [...values.slice(first), signals.loss] };
}

function row(runId) {
  return list.querySelector(`[data-run="${runId}"]`);
}

function wanted() {
  const words = wish.search ? `&search=${encodeURIComponent(wish.search)}` : "";
  const project = wish.project ? `&project=${encodeURIComponent(wish.project)}` : "";
  const cursor = cursors.at(-1) ? `&cursor=${encodeURIComponent(cursors.at(-1))}` : "";
  return `/runs?limit=${PAGE}&loss_points=${SPARKLINE_POINTS}${FILTERS[wish.filter]}${words}${project}${cursor}`;
}

/** Rows that are there stay, so that neither the keyboard's place nor a half-made click is lost. */
function show(runs) {
  shown.clear();
  for (const run of runs) shown.set(run.run_id, run);
  const had = new Map([...list.children].map((one) => [one.dataset.run, one]));
  const rows = runs.map((run) => {
    const known = had.get(run.run_id);
    if (known) {
      refill(known, run);
      return known;
    }
    const made = element("article.run", { "data-run": run.run_id, "data-state": run.state }, chooser(run));
    refill(made, run);
    return made;
  });
  if (rows.length !== list.children.length || rows.some((row, index) => row !== list.children[index])) {
    const focused = document.activeElement;
    list.replaceChildren(...rows);
    if (list.contains(focused)) focused.focus();
  }
}

function refill(row, run) {
  row.dataset.state = run.state;
  const cells = [
    element("span.who", {},
      element("span.dim", {}, run.project, tags(run)),
    ),
    element("span.status", {}, stateBadge(run.state), incidentBadge(run.active_incident)),
    element("span.progress-cell", {},
      element("span", {}, element("b", {}, count(stepsMade(run))), run.total_steps ? ` / ${count(run.total_steps)}` : "", " steps"),
      run.total_steps ? progress(run) : null),
    element("span.loss", {}, element("span", {}, element("span.dim.label", {}, "loss "), element(Number.isFinite(number(run.loss) ?? 0) ? "b" : "b.lost", {}, figure(number(run.loss)))),
      element("span.history.dim", {}, history(run))),
    sparkline(run.recent_loss),
    element("time.dim", { title: clockTime(run.last_seen_at) }, ago(run.last_seen_at)),
  ];
  const [box, link] = [row.querySelector(".choose"), row.querySelector("a.name") ?? element("a.name", {})];
  link.href = `/runs/${run.run_id}`;
  if (link.textContent !== run.run) link.textContent = run.run;
  const isFocused = document.activeElement === link;
  cells[0].prepend(link);
  row.replaceChildren(box, ...cells);
  if (isFocused) link.focus();
}

function tags(run) {
  const told = Object.entries(run.tags);
  return [
    ...told.slice(0, MOST_TAGS).map(([name, value]) => element("span.tag", {}, `${name}=${value}`)),
    told.length > MOST_TAGS ? element("span.tag", {}, `+${told.length - MOST_TAGS}`) : null,
  ];
}

function chooser(run) {
  const box = element("input", { type: "checkbox", "aria-label": `Compare ${run.run}` });
  box.checked = chosen.has(run.run_id);
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(run.run_id);
    else chosen.delete(run.run_id);
    tellChosen();
  });
  return element("label.choose", {}, box);
}

function tellChosen() {
  const many = Math.min(chosen.size, MOST_COMPARED);
  const link = place("compare");
  link.hidden = chosen.size === 0;
  link.textContent = chosen.size > MOST_COMPARED ? `Compare the first ${MOST_COMPARED}` : `Compare ${plural(many, "run")}`;
  link.href = `/compare?${new URLSearchParams([...chosen].slice(0, MOST_COMPARED).map((one) => ["run", one]))}`;
}

function progress(run) {
  return element("progress", { max: run.total_steps, value: Math.min(run.total_steps, stepsMade(run)), "aria-label": "steps made" });
}

function history(run) {
  const words = [];
  if (run.rollbacks) words.push(plural(run.rollbacks, "rollback"));
  if (run.lr_scale !== 1) words.push(`rate ${multiplier(run.lr_scale)}`);
  return words.join(" · ");
}

function showProjects(projects) {
  const box = place("project");
  const names = ["", ...projects.map((one) => one.project)];
  if (names.join("\n") !== [...box.options].map((one) => one.value).join("\n")) {
    const counts = new Map(projects.map((one) => [one.project, one.runs]));
    box.replaceChildren(...names.map((name) => element("option", { value: name }, name ? `${name} (${count(counts.get(name))})` : "all projects")));
    box.value = wish.project;
  }
  box.hidden = projects.length < 2 && !wish.project;
}

function changed() {
  cursors.length = 1;
  const told = new URLSearchParams();
  if (wish.filter !== "all") told.set("show", wish.filter);
  if (wish.search) told.set("search", wish.search);
  if (wish.project) told.set("project", wish.project);
  window.history.replaceState(null, "", told.size ? `?${told}` : location.pathname);
  now();
}

place("server-address").textContent = JSON.stringify(location.origin);
place("search").value = wish.search;
const now = poll(refresh, () => `/events?kind=run&kind=incident${followed}`, isProgress);
setInterval(() => {
  if (document.hidden) return;
  for (const run of shown.values()) row(run.run_id).querySelector("time").textContent = ago(run.last_seen_at);
}, TICK_MS);
choices(place("filters"), [["all", "All"], ["living", "Running"], ["ended", "Ended"]], wish.filter,
  (one) => { wish.filter = one; changed(); });
let typing = null;
place("search").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => { wish.search = event.target.value.trim(); changed(); }, TYPING_MS);
});
place("project").addEventListener("change", (event) => { wish.project = event.target.value; changed(); });
place("older").addEventListener("click", () => { if (next) { cursors.push(next); now(); scrollTo(0, 0); } });
place("newer").addEventListener("click", () => { if (cursors.length > 1) { cursors.pop(); now(); scrollTo(0, 0); } });
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    place("search").focus();
  }
});
