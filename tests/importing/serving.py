"""The service in this process, for the clients of tutorials."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import uvicorn

from inference_service import Settings, create_app


@contextmanager
def served(models: Path, name: str) -> Iterator[str]:
    """The service of this process on a port of its own, as the tutorials' clients ask it."""
    settings = Settings(models=models, default_model=name)
    ready = threading.Event()
    app = create_app(settings, on_loaded=lambda _: ready.set())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(60)
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def predicted(models: Path, name: str, input_data: Any) -> Any:
    """What the tutorials' client does."""
    with served(models, name) as url:
        return requests.post(url + "/predict", json=input_data, timeout=30).json()
