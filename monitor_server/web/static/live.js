// Being told when something changes, instead of asking: the service's stream of events, read with fetch, which unlike
// EventSource tells a refusal from a service that is gone. What an event says is not used, only that it came.

const RETRY_MS = 5000;
const AFTER_REFUSAL_MS = 60000;

/** Calls `changed()` after every event of /api/v1{path} and `connected(is)` as the stream comes and goes.
    Gives two functions: begin and end. */
export function follow(path, changed, connected) {
  let controller = null;
  let timer = null;
  let lastId = "";

  async function listen() {
    controller = new AbortController();
    let pause = RETRY_MS;
    try {
      const headers = { accept: "text/event-stream" };
      if (lastId) headers["last-event-id"] = lastId;
      const response = await fetch(`/api/v1${path}`, { headers, signal: controller.signal, cache: "no-store" });
      if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream")) {
        pause = AFTER_REFUSAL_MS;  // no such stream here, or too many follow: polling does it as well
        await response.body?.cancel();
      } else {
        connected(true);
        for await (const event of events(response.body)) {
          if (event.id) lastId = event.id;
          if (event.kind !== "connected") changed();
        }
      }
    } catch {
      // Gone: by us, or by the service. Polling says so, where it is of interest.
    }
    connected(false);
    if (controller !== null) timer = setTimeout(listen, pause);
  }

  return {
    begin() {
      if (controller === null) listen();
    },
    end() {
      clearTimeout(timer);
      const ended = controller;
      controller = null;
      ended?.abort();
    },
  };
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
      const event = { kind: "message", id: "", isComment: true };
      for (const line of part.split("\n")) {
        if (line.startsWith("event:")) event.kind = line.slice(6).trim();
        if (line.startsWith("id:")) event.id = line.slice(3).trim();
        if (line.startsWith("data:")) event.isComment = false;
      }
      if (!event.isComment) yield event;
    }
  }
}
