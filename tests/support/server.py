# SPDX-License-Identifier: Apache-2.0
"""A server on loopback, in a thread of its own."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

POLL_S = 0.01
"""How often it looks whether it is to end: each test waits for that."""


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """The port at which the server answers within the context."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
