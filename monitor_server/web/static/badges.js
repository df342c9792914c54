// The state of a run, of an incident and of a decision, as small coloured words.

import { element } from "./elements.js";
import { kindWords } from "./words.js";

export function stateBadge(state) {
  return element(`span.badge.state-${state}`, {}, state);
}

/** A link-free badge for the incident that a person should see first, or nothing. */
export function incidentBadge(incident) {
  if (!incident) return null;
  return element(`span.badge.incident-${incident.state}.${incident.severity}`, { title: incident.summary },
    `${kindWords(incident.kind)}: ${incident.state}`);
}

const VERDICTS = { act: "acted", propose: "would act", wait: "waits", nothing: "nothing", halt: "halted" };

export function verdictBadge(verdict) {
  return element(`span.badge.verdict-${verdict}`, {}, VERDICTS[verdict] ?? verdict);
}
