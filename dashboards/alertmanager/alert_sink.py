"""A receiver for Alertmanager's webhook that prints one line per alert: to see the chain work before a real
receiver is set, and to test it.

    python alert_sink.py --host 0.0.0.0 --port 9095

Standard library only, so that it runs in a bare Python image.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_BODY_BYTES = 1 << 20

Receive = Callable[[dict[str, Any]], None]


def line_of(alert: dict[str, Any]) -> str:
    """One alert as a line for people.

    >>> line_of({"status": "firing", "labels": {"alertname": "A", "severity": "critical"},
    ...          "annotations": {"summary": "It burns.", "link": "http://x/1"}})
    'firing   critical A: It burns. http://x/1'
    """
    labels, notes = alert.get("labels", {}), alert.get("annotations", {})
    words = [f"{labels.get('alertname', '?')}:", notes.get("summary", ""), notes.get("link", "")]
    return f"{alert.get('status', '?'):8} {labels.get('severity', '')} " + " ".join(w for w in words if w)


def print_alerts(notification: dict[str, Any]) -> None:
    """Print every alert of a notification, at once also where standard output is a pipe."""
    for alert in notification.get("alerts", []):
        print(line_of(alert), flush=True)


def listen(host: str, port: int, receive: Receive = print_alerts) -> ThreadingHTTPServer:
    """A server, not yet serving, that hands every notification (the webhook's JSON, version 4) to ``receive``.

    Port 0 takes a free one. A body that is no JSON object is answered 400, one over 1 MiB 413.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            """For health checks."""
            self._answer(200)

        def do_POST(self) -> None:
            """A notification."""
            length = int(self.headers.get("Content-Length") or 0)
            if length > MAX_BODY_BYTES:
                self.close_connection = True
                return self._answer(413)
            try:
                body = json.loads(self.rfile.read(length))
            except ValueError:
                return self._answer(400)
            if not isinstance(body, dict):
                return self._answer(400)
            receive(body)
            return self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing per request: the alerts are the output."""

    return ThreadingHTTPServer((host, port), Handler)


def main() -> None:
    """Run the command line until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9095)
    arguments = parser.parse_args()
    with listen(arguments.host, arguments.port) as server:
        print(f"waiting for alerts on {arguments.host}:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    main()
