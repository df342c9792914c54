// All runs at once: what goes wrong how often, what it costs, and what was kept.

import { read } from "./api.js";
import { incidentBadge } from "./badges.js";
import { choices, element, fact, svg } from "./elements.js";
import { poll } from "./polling.js";
import { incidentAddress } from "./story.js";
import { ago, causeWords, clockTime, count, duration, kindWords, plural, sentenceCase } from "./words.js";

const PERIODS = [["86400", "Day"], ["604800", "Week"], ["2592000", "Month"], ["", "All"]];
const FATES = [
  ["recovered", "recovered by a remedy"], ["healed", "ended by itself"], ["living", "still going on"],
  ["escalated", "needed a person"],
];
const LATEST = 12;
const WIDTH = 1000;

const place = (id) => document.getElementById(id);
let seconds = "";
let project = "";

async function refresh(signal) {
  const only = project ? `&project=${encodeURIComponent(project)}` : "";
  const asked = `${seconds}:${project}`;
  const [fleet, projects, incidents] = await Promise.all([
    read(`/fleet?${seconds ? `seconds=${seconds}` : ""}${only}`, signal),
    read("/projects", signal),
    read(`/incidents?limit=${LATEST}${only}`, signal),
  ]);
  if (asked !== `${seconds}:${project}`) return;
  showProjects(projects.projects);
  showNumbers(fleet);
  showTallies(fleet);
  showLatest(incidents.incidents.filter((one) => !project || one.project === project));
  document.body.dataset.drawn = "yes";
}

function showProjects(projects) {
  const chosen = place("project");
  const wanted = ["", ...projects.map((one) => one.project)];
  chosen.hidden = projects.length < 2 && !project;
  if (wanted.join("\n") === [...chosen.options].map((one) => one.value).join("\n")) return;
  chosen.replaceChildren(...wanted.map((name) => element("option", { value: name }, name || "all projects")));
  chosen.value = project;
}

function showNumbers(fleet) {
  const total = (name) => fleet.tallies.reduce((sum, one) => sum + one[name], 0);
  const runs = Object.values(fleet.runs).reduce((sum, one) => sum + one, 0);
  place("numbers").replaceChildren(
    fact("Runs", count(runs), Object.entries(fleet.runs).map(([state, many]) => `${many} ${state}`).join(", ")),
    fact("Incidents", count(total("incidents"))),
    fact("Recovered", count(total("recovered")), "ended after a remedy"),
    fact("Needed a person", count(total("escalated"))),
    fact("Steps lost", lost(fleet.steps_lost, fleet.seconds_lost), "trained and then gone back on"),
    fact("Steps saved", lost(fleet.steps_saved, fleet.seconds_saved),
      "made by rescued runs beyond the place where each first failed: at most so much would have been trained in vain"));
}

function lost(steps, seconds) {
  return seconds > 0 ? [count(steps), element("span.dim.aside", {}, ` ${duration(seconds)}`)] : count(steps);
}

function showTallies(fleet) {
  const kinds = [...new Set(fleet.tallies.map((one) => one.kind))];
  if (kinds.length === 0) {
    place("tallies").replaceChildren(element("p.dim", {}, "No incident in this time."));
    return;
  }
  const of = (kind) => fleet.tallies.filter((one) => one.kind === kind);
  const sum = (rows, name) => rows.reduce((total, one) => total + one[name], 0);
  const most = Math.max(...kinds.map((kind) => sum(of(kind), "incidents")));
  place("tallies").replaceChildren(
    element("ul.legend", {}, FATES.map(([fate, words]) => element(`li.key.fate-${fate}`, {}, words))),
    element("div.scroll", { tabindex: "0", role: "region", "aria-label": "Incidents by kind and cause" },
      element("table.tallies", {},
        element("thead", {}, element("tr", {},
          ...["Kind and cause", "Incidents", "", "Runs", "Steps lost", "Time lost"].map((words) => element("th", { scope: "col" }, words)))),
        kinds.map((kind) => {
          const rows = of(kind);
          return element("tbody", {},
            tallyRow(sentenceCase(kindWords(kind)), "kind", rows, sum, most),
            rows.filter((one) => one.cause).map((one) => tallyRow(causeWords(one.cause), "cause", [one], sum, most)));
        }))),
    fleet.is_complete ? "" : element("p.dim", {}, "There are more incidents than are counted here; choose a shorter time."));
}

function tallyRow(words, kind, rows, sum, most) {
  return element(`tr.${kind}`, {},
    element("th", { scope: "row" }, words),
    element("td.number", {}, count(sum(rows, "incidents"))),
    element("td.bar-cell", {}, bar(rows, sum, most)),
    element("td.number", {}, kind === "kind" && rows.length > 1 ? "" : count(sum(rows, "runs"))),
    element("td.number", {}, count(sum(rows, "steps_lost"))),
    element("td.number", {}, sum(rows, "seconds_lost") > 0 ? duration(sum(rows, "seconds_lost")) : "–"));
}

function bar(rows, sum, most) {
  let x = 0;
  const told = FATES.map(([fate, words]) => [fate, words, sum(rows, fate)]).filter(([, , many]) => many > 0);
  const parts = told.map(([fate, , many]) => {
    const width = (many / most) * WIDTH;
    const part = svg("rect", { class: `fate-${fate}`, x: x.toFixed(1), y: 0, width: width.toFixed(1), height: 12 });
    x += width;
    return part;
  });
  const label = told.map(([, words, many]) => `${many} ${words}`).join(", ");
  return svg("svg", { class: "bar", viewBox: `0 0 ${WIDTH} 12`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...parts);
}

function showLatest(incidents) {
  place("latest").replaceChildren(...(incidents.length ? incidents.map((one) => element("li", {},
    incidentBadge(one),
    element("span.what", {},
      element("a", { href: incidentAddress(one) }, `${one.project} / ${one.run}`),
      element("span.dim", {}, ` ${one.outcome || one.summary}`)),
    element("time.dim", { title: clockTime(one.opened_at) }, ago(one.opened_at)))) : [element("li.dim", {}, "None.")]));
  place("latest-count").textContent = plural(incidents.length, "incident");
}

choices(place("periods"), PERIODS, seconds, (chosen) => { seconds = chosen; now(); });
place("project").addEventListener("change", (event) => { project = event.target.value; now(); });
const now = poll(refresh, () => "/events?kind=incident");
