// One incident: what happened, since when, on what evidence, why, what was decided, what it cost, and what comes next.

import { number, read, send } from "./api.js";
import { incidentBadge, stateBadge } from "./badges.js";
import { CommandPanel } from "./command_panel.js";
import { confirmed } from "./confirming.js";
import { element, fact } from "./elements.js";
import { EvidenceCharts } from "./evidence.js";
import { consequences, isGrave, orderWords } from "./orders.js";
import { bindName, personName } from "./person.js";
import { poll } from "./polling.js";
import { decisionLog } from "./story.js";
import { ago, clockTime, count, duration, figure, kindWords, plural, sentenceCase, signalWords } from "./words.js";

const REMARKS = {
  acknowledged: "has seen it", comment: "said", approved: "approved the proposal", declined: "declined the proposal",
  resolved: "closed it by hand",
};
const SUPPORT = { strong: "the run's own numbers show it", some: "the numbers fit it", weak: "common, and nothing speaks against it" };

const place = (id) => document.getElementById(id);
const { runId, incidentId } = place("incident").dataset;
const charts = new EvidenceCharts(place("evidence-charts"));
const panel = new CommandPanel(place("command-panel"), runId, () => now());
let story = null;
let context = null;
let drawn = "";

async function refresh(signal) {
  const of = (what) => read(`/runs/${runId}/${what}`, signal);
  const [told, run, checkpoints, attempts] = await Promise.all([
    read(`/incidents/${incidentId}`, signal), read(`/runs/${runId}`, signal), of("checkpoints?removed=true"), of("attempts"),
  ]);
  story = told;
  context = { run, checkpoints: checkpoints.checkpoints };
  const { incident } = told;
  document.title = `${sentenceCase(kindWords(incident.kind))} of ${run.run} · trainguard`;
  showHead(incident, run);
  showProposal();
  showNext(incident, run);
  showFacts(incident, run);
  showEvidence(incident);
  showCauses(incident);
  showDecisions();
  showPeople(incident);
  panel.knows({ run, checkpoints: context.checkpoints.filter((one) => one.state !== "removed") });
  const mark = `${run.last_seen_at}:${incident.updated_at}:${run.attempt}`;
  if (mark !== drawn) {
    await charts.draw({ run, incident, attempts: attempts.attempts, decisions: told.decisions, checkpoints: context.checkpoints, signal });
    drawn = mark;
  }
  document.body.dataset.drawn = "yes";
}

function showHead(incident, run) {
  place("head").replaceChildren(
    element("div.heading", {},
      element("div", {},
        element("p.dim.crumb", {}, element("a", { href: "/" }, "Runs"), ` / ${run.project} / `, element("a", { href: `/runs/${runId}` }, run.run)),
        element("h1", {}, sentenceCase(kindWords(incident.kind)))),
      element("div.status", {}, incidentBadge(incident), element(`span.badge.severity-${incident.severity}`, {}, incident.severity),
        stateBadge(run.state), story.silenced ? element("span.badge", {}, "silenced") : null,
        incident.acknowledged_by ? element("span.badge", { title: clockTime(incident.acknowledged_at) }, `seen by ${incident.acknowledged_by}`) : null)),
    element("p.lead", {}, incident.summary));
}

function showFacts(incident, run) {
  const ended = incident.closed_at;
  const seconds = number(run.signals.step_seconds) ?? 0;
  place("facts").replaceChildren(
    fact("Began", `step ${count(incident.onset_step)}`),
    fact("Seen", [`step ${count(incident.detected_step)}`, element("span.dim.aside", {}, ` +${count(incident.detected_step - incident.onset_step)}`)], `${plural(incident.detected_step - incident.onset_step, "step")} after it began`),
    fact(ended ? "Lasted" : "Going on for", duration(Math.max(0, (ended ?? Date.now() / 1000) - incident.opened_at)), clockTime(incident.opened_at)),
    fact("Attempt", count(incident.attempt)),
    fact("Remedies tried", count(incident.rung)),
    fact("Steps lost", incident.steps_lost > 0 && seconds > 0
      ? [count(incident.steps_lost), element("span.dim.aside", {}, ` ${duration(incident.steps_lost * seconds)}`)] : count(incident.steps_lost)));
}

/** The panel is made anew only for another proposal, and then keeps what somebody has typed. */
function showProposal() {
  const proposal = story.proposal ?? null;
  const shown = place("proposal");
  shown.hidden = proposal === null;
  if (proposal === null) { shown.replaceChildren(); delete shown.dataset.decision; return; }
  if (shown.dataset.decision === proposal.decision_id) return;
  shown.dataset.decision = proposal.decision_id;
  const former = shown.querySelector("input");
  const comment = element("input.field.wide", { type: "text", maxlength: 1000, placeholder: "a word for the record (may be left out)", "aria-label": "Comment on your answer" });
  comment.value = former?.value ?? "";  // what was typed for the proposal before this one
  const isTyping = former !== null && document.activeElement === former;
  const approve = element(`button.button${isGrave(proposal.orders) ? ".grave" : ""}`, { type: "button" }, "Approve …");
  const decline = element("button.button.second", { type: "button" }, "Decline …");
  approve.addEventListener("click", () => answer("approve", proposal, comment));
  decline.addEventListener("click", () => answer("decline", proposal, comment));
  shown.replaceChildren(
    element("h2", {}, "Waiting for your answer"),
    element("p", {}, proposal.reason),
    element("ol.orders", {}, proposal.orders.map((order) => element("li", {}, orderWords(order, context)))),
    element("p.dim", {}, consequences(proposal.orders, context)),
    element("div.buttons", {}, approve, decline, comment));
  if (isTyping) comment.focus();
}

async function answer(verb, proposal, comment) {
  const isYes = verb === "approve";
  const agreed = await confirmed({
    title: isYes ? "Approve the proposal?" : "Decline the proposal?",
    lines: isYes
      ? [consequences(proposal.orders, context), `${context.run.run} carries it out at its next step boundary, and then stands a probation.`]
      : ["Nothing is done, and the same thing is not proposed again. If it gets worse, something else may be."],
    verb: isYes ? "Approve" : "Decline",
    isGrave: isYes && isGrave(proposal.orders),
  });
  if (agreed) await say(verb, { decision_id: proposal.decision_id, comment: comment.value.trim() });
}

/** Do something to the incident, and say how it went. */
async function say(verb, body = {}) {
  try {
    await send(`/incidents/${incidentId}/${verb}`, { by: personName(), ...body });
    place("answer").textContent = "";
  } catch (error) {
    place("answer").textContent = error.status ? `Not done: ${error.message}.` : "Not done: the service does not answer.";
  }
  now();
}

function showNext(incident, run) {
  const first = incident.diagnosis[0];
  const words = {
    open: story.proposal ? "Your answer: until then nothing is done." : incident.outcome || "It is watched; the next decision follows.",
    recovering: `${run.run} has the command, or gets it with its next receipt, and answers at a step boundary.`,
    watching: incident.outcome || "It is on probation.",
    resolved: incident.outcome || "Nothing; it is over.",
    escalated: incident.outcome || "Nothing more is done by itself. A person must look.",
  };
  place("next").replaceChildren(
    element("p", {}, words[incident.state] ?? incident.outcome),
    first && incident.state !== "resolved" ? element("p", {}, element("b", {}, "For you: "), first.next_step) : "");
}

function showEvidence(incident) {
  const told = Object.entries(incident.evidence);
  const rows = told.map(([name, value]) => element("tr", {},
    element("th", { scope: "row" }, signalWords(name)), element("td", {}, figure(number(value)))));
  place("evidence").replaceChildren(
    rows.length ? element("table.pairs", {}, element("tbody", {}, rows)) : element("p.dim", {}, "No figures were told."),
    element("ol.findings", {}, story.findings.slice(0, 20).map((one) => element("li", {},
      element(`span.badge.severity-${one.severity}`, {}, one.severity), ` step ${count(one.step)}: ${one.message}`))));
}

function showCauses(incident) {
  place("causes").replaceChildren(...(incident.diagnosis.length ? incident.diagnosis.map((one) => element("li", {},
    element("div.cause", {}, element(`span.badge.support-${one.support}`, { title: SUPPORT[one.support] }, one.support), element("b", {}, one.statement)),
    one.evidence.length ? element("ul.dim", {}, one.evidence.map((line) => element("li", {}, line))) : null,
    element("p", {}, one.next_step))) : [element("li.dim", {}, "Nothing is known yet.")]));
}

function showDecisions() {
  const commands = story.commands.map((one) => element("li", {},
    element(`span.badge.command-${one.state}`, {}, one.state),
    element("span", {}, one.orders.map((order) => orderWords(order, context)).join(", then "),
      element("span.dim", {}, ` by ${one.issued_by === "policy" ? "the playbook" : one.issued_by}${answered(one)}`)),
    element("span.dim.when", { title: clockTime(one.issued_at) }, ago(one.issued_at))));
  place("decisions").replaceChildren(
    story.decisions.length ? decisionLog(story.decisions) : element("p.dim", {}, "Nothing has been decided yet."),
    commands.length ? element("h3", {}, "Commands") : "",
    commands.length ? element("ol.decisions", {}, commands) : "");
}

function answered(command) {
  const answer = story.acknowledgements.find((one) => one.command_id === command.command_id);
  return answer ? `; ${answer.reason}` : "";
}

function showPeople(incident) {
  place("remarks").replaceChildren(...story.remarks.map((one) => element("li", {},
    element("b", {}, one.made_by), ` ${REMARKS[one.kind] ?? one.kind}`, one.comment ? [": ", one.comment] : "",
    element("time.dim.when", { title: clockTime(one.made_at) }, ago(one.made_at)))));
  const isActive = ["open", "recovering", "watching"].includes(incident.state);
  place("acknowledge").disabled = Boolean(incident.acknowledged_by);
  place("resolve").disabled = !isActive;
}

bindName(place("name"), place("name").closest("label"));
place("acknowledge").addEventListener("click", () => say("acknowledge"));
place("comment-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const comment = place("comment").value.trim();
  if (!comment) return;
  await say("comment", { comment });
  if (!place("answer").textContent) place("comment").value = "";
});
place("resolve").addEventListener("click", async () => {
  const agreed = await confirmed({
    title: "Close the incident by hand?",
    lines: ["trainguard stops looking after it. If the trouble goes on, it opens a new one."],
    verb: "Close it",
  });
  if (agreed) await say("resolve");
});
place("silence-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const seconds = Number(place("silence-for").value);
  const agreed = await confirmed({
    title: `Be silent about ${context.run.run} for ${duration(seconds)}?`,
    lines: ["Nobody is told of this run's incidents meanwhile, but of an escalation. Decisions are made as before."],
    verb: "Silence it",
  });
  if (!agreed) return;
  try {
    await send("/silences", { run_id: runId, seconds, created_by: personName() });
    place("answer").textContent = "";
  } catch (error) {
    place("answer").textContent = error.status ? `Not silenced: ${error.message}.` : "Not silenced: the service does not answer.";
  }
  now();
});
const now = poll(refresh, () => `/events?run_id=${runId}`);
