"""The least that an HTTP server in Python does: a plain ASGI callable with a constant answer."""

import uvicorn
from common import PORT

ANSWER = b'{"predictions":[[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1.0]]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]


async def app(scope, receive, send):
    """Reads the body and answers."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


if __name__ == "__main__":
    uvicorn.run(
        app, port=PORT, interface="asgi3", lifespan="off", access_log=False,
        log_level="warning", server_header=False, proxy_headers=False,
    )  # fmt: skip
