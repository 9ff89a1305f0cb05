#!/usr/bin/env python3
"""An MCP server over streamable HTTP, with two tools that need nothing but the standard library.

word_count   words, lines and characters of a text
time_in      the time now at an offset from UTC

Protocol: https://modelcontextprotocol.io/specification - JSON-RPC 2.0 in POST bodies to /mcp,
one JSON answer each (no event streams, which a server may leave out; GET is answered by 405).
Environment: TOOLBOX_PORT (18081).
"""

import json
import os
import re
import secrets
import signal
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Newest first. A client that asks for another is offered the newest, and may leave.
VERSIONS = ["2025-06-18", "2025-03-26", "2024-11-05"]
BODY_MAX = 1 << 20
REQUEST_SECONDS = 10

PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602

TOOLS = [
    {
        "name": "word_count",
        "description": "Counts the words, lines and characters of a text.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    },
    {
        "name": "time_in",
        "description": "The time now at an offset from UTC, as ISO 8601.",
        "inputSchema": {
            "type": "object",
            "properties": {"offset": {"type": "string", "pattern": "^[+-][0-9]{2}:[0-9]{2}$"}},
            "required": ["offset"],
        },
    },
]


class RpcError(Exception):
    """An error answer of JSON-RPC."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class ToolError(Exception):
    """A tool that was called and failed: part of the result, so that the model sees it."""


def word_count(arguments):
    text = arguments.get("text")
    if not isinstance(text, str):
        raise ToolError("text must be a string")
    words, lines = len(text.split()), len(text.splitlines())
    return f"{words} words, {lines} lines, {len(text)} characters"


def time_in(arguments):
    match = re.fullmatch(r"([+-])(\d\d):(\d\d)", str(arguments.get("offset")))
    if not match or int(match[2]) > 14 or int(match[3]) > 59:
        raise ToolError("offset must be like +02:00, from -14:59 to +14:59")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    if match[1] == "-":
        offset = -offset
    return datetime.now(timezone(offset)).isoformat(timespec="seconds")


RUN = {"word_count": word_count, "time_in": time_in}


def initialize(params):
    asked = params.get("protocolVersion")
    if not isinstance(asked, str):
        raise RpcError(INVALID_PARAMS, "protocolVersion is missing")
    return {
        "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "toolbox", "version": "1.0.0"},
    }


def call_tool(params):
    name, arguments = params.get("name"), params.get("arguments", {})
    if name not in RUN:
        raise RpcError(INVALID_PARAMS, f"no such tool: {name}")
    if not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "arguments must be an object")
    try:
        text, failed = RUN[name](arguments), False
    except ToolError as error:
        text, failed = str(error), True
    print(f"call {name}: {'failed' if failed else 'done'}")
    return {"content": [{"type": "text", "text": text}], "isError": failed}


METHODS = {
    "initialize": initialize,
    "ping": lambda _: {},
    "tools/list": lambda _: {"tools": TOOLS},
    "tools/call": call_tool,
}


def respond(message):
    """The answer to one message; None for a notification or a response."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return failure(None, INVALID_REQUEST, "not a JSON-RPC 2.0 message")
    if "method" not in message or "id" not in message:
        return None
    params = message.get("params", {})
    try:
        if message["method"] not in METHODS:
            raise RpcError(NO_SUCH_METHOD, f"no such method: {message['method']}")
        if not isinstance(params, dict):
            raise RpcError(INVALID_PARAMS, "params must be an object")
        result = METHODS[message["method"]](params)
    except RpcError as error:
        return failure(message["id"], error.code, str(error))
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def failure(identity, code, text):
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": text}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_MAX:
            self.close_connection = True
            return self.answer(413 if length.isdigit() else 411, None)
        body = self.rfile.read(int(length))
        if self.path != "/mcp":
            return self.answer(404, None)
        # A page in a browser must not talk to a server on this machine (DNS rebinding).
        origin = self.headers.get("Origin")
        if origin and not re.match(r"https?://(localhost|127\.0\.0\.1)(:\d+)?$", origin):
            return self.answer(403, None)
        version = self.headers.get("MCP-Protocol-Version")
        if version and version not in VERSIONS:
            return self.answer(400, failure(None, INVALID_REQUEST, f"unknown version {version}"))
        try:
            message = json.loads(body)
        except ValueError:
            return self.answer(400, failure(None, PARSE_ERROR, "not JSON"))
        reply = respond(message)
        if reply is None:
            return self.answer(202, None)
        started = isinstance(message, dict) and message.get("method") == "initialize"
        extra = {"Mcp-Session-Id": secrets.token_hex(16)} if started and "result" in reply else {}
        return self.answer(200, reply, extra)

    def do_GET(self):
        self.answer(405 if self.path == "/mcp" else 404, None, {"Allow": "POST"})

    def do_DELETE(self):
        # A client says that its session is over. Nothing is kept of one.
        self.answer(204 if self.path == "/mcp" else 404, None)

    def answer(self, status, value, headers=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if value is not None:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Probes ask every other second; a line for each would hide what matters."""


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main():
    port = int(os.environ.get("TOOLBOX_PORT", "18081"))
    server = Server(("127.0.0.1", port), Handler)

    def stop(*_):
        # shutdown() waits for the loop that this handler interrupts, so not from here.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"{len(TOOLS)} tools at http://127.0.0.1:{port}/mcp")
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    print("stopped")


if __name__ == "__main__":
    main()
