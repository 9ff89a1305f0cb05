#!/usr/bin/env python3
"""An HTTP worker that finds lines in text files.

GET /search?q=WORD   {"query": WORD, "matches": [{"file", "line", "text"}]}, at most 20
GET /healthz         200 as long as requests are served
GET /readyz          200 once the sources are read

Environment: RESEARCHER_PORT (18080), RESEARCHER_SOURCES (the current directory).
It tells the service manager READY=1, WATCHDOG=1 and STOPPING=1 (sd_notify(3)), if there is one.
"""

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MATCHES_MAX = 20
FILES_MAX = 500
FILE_BYTES_MAX = 1 << 20
SUFFIXES = {".md", ".txt", ".nix", ".py"}
REQUEST_SECONDS = 10


def notify(state):
    """Sends one datagram to $NOTIFY_SOCKET; does nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError as error:
            print(f"cannot notify: {error}", file=sys.stderr)


def watchdog_seconds():
    """Half of what the manager allows between two heartbeats, at most one second."""
    allowed = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    return min(1.0, allowed / 2) if allowed else 1.0


def read_sources(directory):
    """Every line of every text file below the directory, as (file, number, text)."""
    lines = []
    files = sorted(path for path in Path(directory).rglob("*") if path.suffix in SUFFIXES)
    for path in files[:FILES_MAX]:
        try:
            if not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            print(f"skipping {path}: {error}", file=sys.stderr)
            continue
        name = str(path.relative_to(directory))
        lines.extend((name, number, line) for number, line in enumerate(text.splitlines(), 1))
    return lines


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/healthz":
            self.answer(200, {"status": "ok"})
        elif url.path == "/readyz":
            ready = self.server.lines is not None
            self.answer(200 if ready else 503, {"ready": ready})
        elif url.path == "/search":
            self.search(parse_qs(url.query).get("q", [""])[0])
        else:
            self.answer(404, {"error": "no such path"})

    def search(self, query):
        if not query.strip():
            self.answer(400, {"error": "q is missing"})
        elif self.server.lines is None:
            self.answer(503, {"error": "still reading"})
        else:
            wanted = query.casefold()
            found = []
            for name, number, line in self.server.lines:
                if wanted in line.casefold():
                    found.append({"file": name, "line": number, "text": line.strip()[:200]})
                    if len(found) == MATCHES_MAX:
                        break
            print(f"search {query!r}: {len(found)} matches")
            self.answer(200, {"query": query, "matches": found})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Probes ask every other second; a line for each would hide what matters."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    lines = None
    stopping = False

    def serve(self, poll_seconds):
        """Serves until told to stop. The heartbeat comes from this very loop, so it stops when
        the loop does."""
        self.timeout = poll_seconds
        while not self.stopping:
            self.handle_request()
            notify("WATCHDOG=1")


def main():
    port = int(os.environ.get("RESEARCHER_PORT", "18080"))
    sources = os.environ.get("RESEARCHER_SOURCES", ".")
    server = Server(("127.0.0.1", port), Handler)

    def stop(*_):
        server.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    def read():
        server.lines = read_sources(sources)
        print(f"read {len(server.lines)} lines below {sources}, serving on port {port}")
        notify(f"READY=1\nSTATUS=serving {len(server.lines)} lines")

    threading.Thread(target=read, daemon=True).start()
    server.serve(watchdog_seconds())
    notify("STOPPING=1")
    server.server_close()
    print("stopped")


if __name__ == "__main__":
    main()
