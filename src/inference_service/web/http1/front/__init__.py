"""A shortcut for hot requests: callbacks within the HTTP protocol class instead of ASGI.

The endpoints that FastAPI declares define what a request means. The front answers only what it can
prove to be answered equally by them, without a task, a coroutine or a future for each request, and
hands everything else to the ASGI application unchanged:

- `heads` knows which heads it understands completely, and remembers them by their exact bytes;
- `table` finds the endpoint and the codec behind a path, `request` is one request in work;
- `desk` begins requests, and writes the answers of a batch, one write for each connection;
- `connection` keeps the order of answers, and decides at every message which way it takes.

``http.front = false`` switches it off. Embedded in another application it is never used.
"""
