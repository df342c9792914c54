// What happened and what was decided, in sentences.

import { incidentBadge, verdictBadge } from "./badges.js";
import { element } from "./elements.js";
import { ago, clockTime, count, kindWords, sentenceCase } from "./words.js";

const DECIDERS = { local: ", decided in the trainer", person: ", decided by a person", server: "" };

/** The decisions on one incident, in the order of time. */
export function decisionLog(decisions) {
  return element("ol.decisions", {}, decisions.map((one) => element("li", {},
    verdictBadge(one.verdict),
    element("span", {}, one.reason),
    element("span.dim.when", { title: clockTime(one.decided_at) }, `step ${count(one.step)}${DECIDERS[one.decided_by] ?? ""}`))));
}

/** An incident as a card of its run's page. */
export function incidentCard(incident, decisions) {
  const mine = decisions.filter((one) => one.incident_id === incident.incident_id);
  const cause = incident.diagnosis?.[0];
  return element(`article.panel.incident.${incident.severity}`, {},
    element("header", {},
      element("h3", {}, element("a", { href: incidentAddress(incident) }, sentenceCase(kindWords(incident.kind)))),
      incidentBadge(incident),
      element("time.dim", { title: clockTime(incident.opened_at) }, ago(incident.opened_at))),
    element("p", {}, `${incident.summary} Began at step ${count(incident.onset_step)}, seen at step ${count(incident.detected_step)}.`),
    cause ? element("p", {}, element("b", {}, "Likely cause: "), cause.statement) : null,
    decisionLog(mine),
    incident.outcome && !mine.some((one) => one.reason === incident.outcome)
      ? element("p.outcome", {}, incident.outcome) : null,
    needsAnswer(incident, mine)
      ? element("p", {}, element("a.button", { href: incidentAddress(incident) }, "Answer the proposal")) : null);
}

export function incidentAddress(incident) {
  return `/runs/${incident.run_id}/incidents/${incident.incident_id}`;
}

/** The proposal that waits for a person, or undefined. */
export function standingProposal(incident, decisions) {
  const latest = decisions.at(-1);
  return incident.state === "open" && latest?.verdict === "propose" ? latest : undefined;
}

function needsAnswer(incident, decisions) {
  return standingProposal(incident, decisions) !== undefined;
}
