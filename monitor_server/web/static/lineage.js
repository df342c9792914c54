// Which steps made the model what it is, and which were abandoned by a rollback.

/** The stretches { attempt, from, before } that lead to `attempt`, the earliest first; `before` may be Infinity. */
export function lineage(attempts, attempt) {
  const known = new Map(attempts.map((one) => [one.attempt, one]));
  const stretches = [];
  let before = Infinity;
  for (let current = attempt; current !== null && current !== undefined;) {
    const report = known.get(current);
    const start = report?.start_step ?? 0;
    if (start < before) stretches.push({ attempt: current, from: start, before });
    before = Math.min(before, start);
    const parent = report?.parent;
    current = parent !== null && parent !== undefined && parent < current ? parent : null;
  }
  return stretches.reverse();
}

/** Evaluations of steps in force that measured `name`, as { step, value }. An evaluation belongs before its step. */
export function evaluated(evaluations, attempts, attempt, name) {
  const way = lineage(attempts, attempt);
  return evaluations
    .filter((one) => name in one.values)
    .filter((one) => way.some((part) => part.attempt === one.attempt && one.step >= part.from && one.step <= part.before))
    .map((one) => ({ step: one.step, value: one.values[name] }))
    .sort((one, other) => one.step - other.step);
}

/** Buckets of every attempt as points, parted into one line in force and one abandoned line per branch. */
export function branches(buckets, attempts, attempt, signal) {
  const way = lineage(attempts, attempt);
  const kept = [];
  const abandoned = [];
  for (const one of buckets) {
    const stretch = way.find((part) => part.attempt === one.attempt);
    const lost = [];
    const column = one.signals[signal];
    one.first_steps.forEach((first, index) => {
      const point = {
        step: one.counts[index] === 1 ? first : Math.round((first + one.last_steps[index]) / 2),
        low: column.minimum[index], high: column.maximum[index], mean: column.mean[index],
        nans: column.nan_count[index],
      };
      const inForce = stretch && first >= stretch.from && first < stretch.before;
      (inForce ? kept : lost).push(point);
    });
    if (lost.length) abandoned.push({ attempt: one.attempt, points: lost });
  }
  kept.sort((one, other) => one.step - other.step);
  // A branch begins where it left the line in force, so that the eye can follow it.
  for (const branch of abandoned) {
    const root = kept.findLast((point) => point.step < branch.points[0].step);
    if (root) branch.points.unshift(root);
  }
  return { kept, abandoned };
}
