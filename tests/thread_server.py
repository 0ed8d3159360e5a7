"""A threaded HTTP server that many clients may call at the same moment."""

from __future__ import annotations

from http.server import ThreadingHTTPServer


class ThreadServer(ThreadingHTTPServer):
    """One thread for each connection. With a queue of five, the default, one of a hundred connections made at
    once may seem open to its client and be lost to the server."""

    request_queue_size = 512
