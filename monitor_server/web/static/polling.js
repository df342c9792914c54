// Ask again and again, but only while somebody looks, never twice at once, and slower while nobody answers.
// Where the service tells of changes by itself, it is asked when it does, and seldom otherwise.

import { follow } from "./live.js";

export const EVERY_MS = 2000;
const SELDOM_MS = 20000;
const SLOWEST_MS = 30000;
const ANSWER_WITHIN_MS = 20000;
const REST = 3;  // A run of millions of steps takes a second to sum up: rest three times as long as the answer took.
const GATHER_MS = 250;  // changes come in bursts

/** Calls `work(signal)` now, after every event of `following` (a path of the API), and while the tab is visible every
    two seconds, or every `whileTold` milliseconds where that stream is open; the page says when it fails.
    The function that comes back asks at once. */
export function poll(work, following = null, whileTold = SELDOM_MS) {
  const banner = document.getElementById("connection");
  let timer = null;
  let busy = false;
  let again = false;
  let isTold = false;
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
      pause = Math.max(isTold ? whileTold : EVERY_MS, REST * (performance.now() - began));
      banner.hidden = true;
    } catch (error) {
      pause = Math.min(2 * Math.min(pause, SLOWEST_MS / 2), SLOWEST_MS);
      banner.textContent = error.status ? error.message : "The service does not answer; trying again";
      banner.hidden = false;
    } finally {
      busy = false;
      timer = setTimeout(round, again ? 0 : pause);
    }
  }

  function soon() {
    if (busy) { again = true; return; }
    clearTimeout(timer);
    timer = setTimeout(round, GATHER_MS);
  }

  const stream = following === null ? null : follow(following, soon, (is) => {
    const wasTold = isTold;
    isTold = is;
    // A stream that broke off may mean a service that restarts: look now, and every two seconds from here on.
    if (wasTold && !is) { pause = EVERY_MS; soon(); }
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      stream?.end();
    } else {
      stream?.begin();
      round();
    }
  });
  if (!document.hidden) stream?.begin();
  round();
  return round;
}
