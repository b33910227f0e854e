"""The report in a browser while its run goes on: served to this machine alone, and read only."""

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from trainable.common.errors import UserError

LOOPBACK = "127.0.0.1"
SECONDS = 5.0  # between looks at the record
BUSY_SHARE = 20  # a page is made at most a twentieth of the time: trials need the cores
RELOAD = """<script>
const shown = fetch("", {method: "HEAD"}).then(answer => answer.headers.get("ETag"));
setInterval(async () => {
  const answer = await fetch("", {method: "HEAD"}).catch(() => null);
  if (answer && answer.headers.get("ETag") !== await shown) location.reload();
}, 2000);
</script></body>"""  # keeps the place in the page; the written report has no script


class PageServer(ThreadingHTTPServer):
    """Serves one page at an address that cannot be guessed."""

    daemon_threads = True

    page = ""

    def __init__(self, port: int) -> None:
        """Of `port`, or of any free one if it is 0; UserError if it is taken."""
        self.path = f"/{secrets.token_urlsafe(16)}/"
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; give another, or 0") from None

    @property
    def address(self) -> str:
        """What a browser on this machine opens."""
        return f"http://{LOOPBACK}:{self.server_port}{self.path}"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_HEAD(self) -> None:
        """Says which page there is, so that the one that is shown can tell whether it is old."""
        self._answer(b"")

    def do_GET(self) -> None:
        """The page."""
        self._answer(self.server.page.replace("</body>", RELOAD).encode())

    def _answer(self, content: bytes) -> None:
        if self.path != self.server.path:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("ETag", f'"{hash(self.server.page)}"')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a line for each request tells nobody anything."""


def watch(make_page: Callable[[], str], state: Callable[[], object], port: int) -> None:
    """Serves the page until Ctrl-C, and makes it anew when `state` has changed."""
    with PageServer(port) as server, suppress(KeyboardInterrupt):
        seen, server.page = state(), make_page()
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"Report: {server.address} (on this machine; Ctrl-C ends)", flush=True)
        wait = SECONDS
        while True:
            time.sleep(wait)
            with suppress(UserError, OSError):  # such as of a storage that does not answer
                if (now := state()) != seen:
                    began = time.monotonic()
                    server.page, seen = make_page(), now
                    wait = max(SECONDS, BUSY_SHARE * (time.monotonic() - began))
