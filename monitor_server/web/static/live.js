// Being told when something changes, instead of asking: the service's stream of events, read with fetch, which unlike
// EventSource tells a refusal from a service that is gone.

const RETRY_MS = 5000;
const AFTER_REFUSAL_MS = 60000;

/** Calls `changed(event)` after every event of /api/v1{path()} and `connected(is)` as the stream comes and goes. An event
    has a `kind` and `data`, its document. Gives three functions: begin, end, and again for a path that has changed. */
export function follow(path, changed, connected) {
  let controller = null;
  let timer = null;
  let lastId = "";

  async function listen() {
    const mine = new AbortController();
    controller = mine;
    let pause = RETRY_MS;
    try {
      const headers = { accept: "text/event-stream" };
      if (lastId) headers["last-event-id"] = lastId;
      const response = await fetch(`/api/v1${path()}`, { headers, signal: mine.signal, cache: "no-store" });
      if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
        pause = AFTER_REFUSAL_MS;  // no such stream here, or too many follow: polling does it as well
        await response.body?.cancel();
      } else {
        connected(true);
        for await (const event of events(response.body)) {
          if (event.id) lastId = event.id;
          if (event.kind !== "connected") changed(event);
        }
      }
    } catch {
      // Gone: by us, or by the service. Polling says so, where it is of interest.
    }
    if (controller !== null && controller !== mine) return;  // another stream has taken its place
    connected(false);
    if (controller !== null) timer = setTimeout(listen, pause);
  }

  function begin() {
    if (controller === null) listen();
  }

  function end() {
    clearTimeout(timer);
    const ended = controller;
    controller = null;
    ended?.abort();
  }

  function again() {
    if (controller === null) return;
    clearTimeout(timer);
    const former = controller;
    listen();  // first, so that the former one knows that it ended for another
    former.abort();
  }

  return { begin, end, again };
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const event = { kind: "message", id: "", data: null };
      for (const line of part.split("\n")) {
        if (line.startsWith("event:")) event.kind = line.slice(6).trim();
        if (line.startsWith("id:")) event.id = line.slice(3).trim();
        if (line.startsWith("data:")) event.data = JSON.parse(line.slice(5));
      }
      if (event.data !== null) yield event;
    }
  }
}
