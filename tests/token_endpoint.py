"""Who gives out tokens: a little HTTP server on this machine that answers as it is told and keeps what it is asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class TokenServer:
    """answer: status, headers and content of the next answers; asked: (headers, form) of each request."""

    url: str = ""
    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
    asked: list[tuple[dict[str, str], str]] = field(default_factory=list)

    def gives(self, token: str, expires_in: Any = 3_600, **more: Any) -> None:
        self.says(200, access_token=token, token_type="Bearer", expires_in=expires_in, **more)

    def says(self, status: int, /, **content: Any) -> None:
        self.answer = (status, {"Content-Type": "application/json"}, json.dumps(content).encode())


@contextmanager
def token_server(certificate: Path | None = None) -> Iterator[TokenServer]:
    """certificate: with its key, for TLS."""
    told = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.asked.append((dict(self.headers), form))
            status, headers, content = told.answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            """Whoever follows a redirect."""
            told.asked.append((dict(self.headers), ""))
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        told.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
