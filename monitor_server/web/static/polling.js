// Ask again and again, but only while somebody looks, never twice at once, and slower while nobody answers.

const EVERY_MS = 2000;
const SLOWEST_MS = 30000;
const ANSWER_WITHIN_MS = 20000;
const REST = 3;  // A run of millions of steps takes a second to sum up: rest three times as long as the answer took.

/** Calls `work(signal)` now and every two seconds while the tab is visible; the page says when it fails.
    The function that comes back asks at once. */
export function poll(work) {
  const banner = document.getElementById("connection");
  let timer = null;
  let busy = false;
  let again = false;
  let pause = EVERY_MS;

  async function round() {
    if (busy) again = true;
    if (busy || document.hidden) return;
    busy = true;
    again = false;
    clearTimeout(timer);
    const began = performance.now();
    try {
      await work(AbortSignal.timeout(ANSWER_WITHIN_MS));
      pause = Math.max(EVERY_MS, REST * (performance.now() - began));
      banner.hidden = true;
    } catch (error) {
      pause = Math.min(2 * pause, SLOWEST_MS);
      banner.textContent = error.status ? error.message : "The service does not answer; trying again";
      banner.hidden = false;
    } finally {
      busy = false;
      timer = setTimeout(round, again ? 0 : pause);
    }
  }

  document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : round());
  round();
  return round;
}
