"""Which server and path ``bench`` and ``predict`` ask, and with what."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread, Timer
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import click

from inference_service.bench.load import Target
from inference_service.cli.options import is_url, unreached

_LISTENS = re.compile(r"listens on (http://\S+)")
_FILE_NAME = re.compile(r"\S+\.[A-Za-z0-9]{2,5}")
_START = 300.0  # seconds
_TIMEOUT = 60.0
_JSON = "application/json"


@contextmanager
def server_of(model: str, server: str) -> Iterator[tuple[str, str]]:
    """The address that answers, and the model's name there ("": its only one).

    A path is served for as long as this takes. Raises ClickException.
    """
    if is_url(model):
        yield model.rstrip("/"), ""
        return
    if not Path(model).exists():
        yield server, model
        return
    command = [sys.executable, "-m", "inference_service", "serve", model, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 # ourselves
    watch = Timer(_START, process.kill)
    watch.start()
    try:
        for line in process.stdout or ():
            if found := _LISTENS.search(line):
                watch.cancel()
                Thread(target=process.communicate, daemon=True).start()  # or it waits for a reader
                yield found[1], ""
                return
        raise click.ClickException(f"{model} can't be served")
    finally:
        watch.cancel()
        process.terminate()
        process.wait(_TIMEOUT)


def fetched(url: str, headers: Mapping[str, str]) -> Any:
    """The object at a URL. Raises ClickException."""
    request = Request(url, headers=dict(headers))  # noqa: S310 # http, or what the user says
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 # as above
            return json.load(answer)
    except HTTPError as error:
        raise click.ClickException(f"{url}: {error.code} {error.read(500).decode()}") from None
    except (URLError, OSError, ValueError) as error:
        raise unreached(url, error) from None


def target_of(
    base: str, model: str, task: str | None, given: str | None, key: Mapping[str, str]
) -> Target:
    """What to ask for a model: its task, or its tensors. Raises ClickException.

    ``key``: the headers that let a client in.
    """
    target = _target(base, model, task, given, key)
    return replace(target, headers={**target.headers, **key})


def _target(
    base: str, model: str, task: str | None, given: str | None, key: Mapping[str, str]
) -> Target:
    if not model and (task is not None or re.search(r"://[^/]+/.", base)):
        return Target(base, *_body(given or "{}"))  # the URL of a path
    models = {one["name"]: one for one in fetched(f"{base}/models", key)["models"]}
    if not model and len(models) == 1:
        (model,) = models
    if model not in models:
        said = f"there is no model '{model}'" if model else "several models are served"
        raise click.ClickException(f"{said}; name one of these: {', '.join(models) or 'none'}")
    tasks = [one["name"] for one in models[model]["tasks"]]
    if task is not None and task not in tasks:
        known = ", ".join(tasks) or "none"
        raise click.ClickException(f"{model} has no task '{task}'; it has {known}")
    if given is None:
        return _example(base, model, task or (tasks[0] if tasks else None), key)
    body, headers = _body(given)
    wanted = task or (tasks[0] if tasks else None)
    if wanted is not None:
        return Target(f"{base}/models/{quote(model)}/{wanted}", body, headers)
    url = f"{base}/v1/models/{quote(model)}:predict"
    if headers.get("Content-Type") == _JSON:
        value = json.loads(body)
        if not (isinstance(value, dict) and {"instances", "inputs"} & value.keys()):
            body = json.dumps({"instances": value if isinstance(value, list) else [value]}).encode()
    return Target(url, body, headers)


def _example(base: str, model: str, task: str | None, key: Mapping[str, str]) -> Target:
    """The example in the OpenAPI document."""
    path = f"/models/{model}/{task}" if task else f"/v1/models/{model}:predict"
    paths = fetched(f"{base}/openapi.json", key)["paths"]
    content = paths.get(path, {}).get("post", {}).get("requestBody", {}).get("content", {})
    media = content.get(_JSON, {})
    examples = [one["value"] for one in media.get("examples", {}).values() if "value" in one]
    found = media.get("example", examples[0] if examples else None)
    if found is None:
        raise click.ClickException(f"{model} has no example: say what to send")
    body = json.dumps(found).encode()
    return Target(base + quote(path, safe="/:"), body, {"Content-Type": _JSON})


def _body(given: str) -> tuple[bytes, dict[str, str]]:
    """JSON, a text, @FILE, or - for what is piped in."""
    data = given.encode()
    if given == "-":
        data = sys.stdin.buffer.read()
    elif given.startswith("@") or Path(given).is_file():
        path = Path(given.removeprefix("@"))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise click.ClickException(f"{path}: {error.strerror}") from None
    try:
        json.loads(data)
    except ValueError:
        is_text = data == given.encode()
        if is_text and _FILE_NAME.fullmatch(given):
            click.echo(f"there is no file {given}: it is sent as a text", err=True)
        return data, {"Content-Type": "text/plain" if is_text else "application/octet-stream"}
    return data, {"Content-Type": _JSON}


def answer_of(target: Target) -> tuple[int, bytes]:
    """The status and the body. Raises ClickException where there is no answer."""
    request = Request(target.url, target.body, dict(target.headers))  # noqa: S310 # as above
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()
    except (URLError, OSError) as error:
        raise unreached(target.url, error) from None
