// Ask again and again, but only while somebody looks, never twice at once, and slower while nobody answers.
// Where the service tells of changes by itself, it is asked when it does, and seldom otherwise.

import { follow } from "./live.js";

const EVERY_MS = 2000;
const SELDOM_MS = 20000;
const SLOWEST_MS = 30000;
const ANSWER_WITHIN_MS = 20000;
const REST = 3;  // A run of millions of steps takes a second to sum up: rest three times as long as the answer took.
const GATHER_MS = 250;  // changes come in bursts

/** Calls `work(signal)` now, after every event of `following()` (a path of the API) that `told(event)` does not take, and
    while the tab is visible every two seconds, or every twenty where that stream is open; the page says when it fails.
    The function that comes back asks at once; its `follow` opens the stream anew, for another path. */
export function poll(work, following = null, told = () => false) {
  const banner = document.getElementById("connection");
  let timer = null;
  let busy = false;
  let again = "";  // "now": somebody asked meanwhile; "soon": something changed meanwhile
  let isTold = false;
  let pause = EVERY_MS;
  let failures = 0;

  async function round() {
    if (busy) again = "now";
    if (busy || document.hidden) return;
    busy = true;
    again = "";
    clearTimeout(timer);
    const began = performance.now();
    let rest = GATHER_MS;
    try {
      await work(AbortSignal.timeout(ANSWER_WITHIN_MS));
      rest = Math.max(GATHER_MS, REST * (performance.now() - began));
      pause = Math.max(isTold ? SELDOM_MS : EVERY_MS, rest);
      failures = 0;
      banner.hidden = true;
    } catch (error) {
      pause = Math.min(EVERY_MS * 2 ** failures, SLOWEST_MS);
      failures = Math.min(failures + 1, 10);
      banner.textContent = error.status ? error.message : "The service does not answer; trying again";
      banner.hidden = false;
    } finally {
      busy = false;
      timer = setTimeout(round, { now: 0, soon: rest }[again] ?? pause);
    }
  }

  function soon() {
    if (busy) { again ||= "soon"; return; }
    clearTimeout(timer);
    timer = setTimeout(round, GATHER_MS);
  }

  const stream = following === null ? null : follow(following, (event) => told(event) || soon(), (is) => {
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
  return Object.assign(round, { follow: () => stream?.again() });
}
