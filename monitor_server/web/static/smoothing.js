// An exponential average that begins without a bias and goes on after a gap as if there were none.

/** `values` may hold null, which stays null; `weight` of the past, 0 … 1. */
export function smoothed(values, weight) {
  let average = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    average = weight * average + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return average / mass;
  });
}
