// Ask again and again, but only while somebody looks, never twice at once, and slower while nobody answers.

const EVERY_MS = 2000;
const SLOWEST_MS = 30000;
const ANSWER_WITHIN_MS = 10000;

/** Calls `work(signal)` now and every two seconds while the tab is visible; the page says when it fails. */
export function poll(work) {
  const banner = document.getElementById("connection");
  let timer = null;
  let busy = false;
  let pause = EVERY_MS;

  async function round() {
    if (busy || document.hidden) return;
    busy = true;
    clearTimeout(timer);
    try {
      await work(AbortSignal.timeout(ANSWER_WITHIN_MS));
      pause = EVERY_MS;
      banner.hidden = true;
    } catch (error) {
      pause = Math.min(2 * pause, SLOWEST_MS);
      banner.textContent = error.status ? error.message : "The service does not answer; trying again";
      banner.hidden = false;
    } finally {
      busy = false;
      timer = setTimeout(round, pause);
    }
  }

  document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : round());
  round();
  return round;
}
