"""The OpenAPI document: what is committed is what is served, and what it promises holds."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from inference_service import create_app
from inference_service.settings import BatchingSettings, Settings
from tests import text_models
from tests.conftest import MODELS, ROOT, RunningServer

COMMITTED = ROOT / "docs" / "openapi.json"


def document() -> str:
    """The document of the shipped models. The batch size is set: measured ones differ."""

    async def load() -> str:
        loaded = asyncio.Event()
        settings = Settings(models=MODELS, batching=BatchingSettings(max_batch_size=64))
        app = create_app(settings, lambda _: loaded.set())
        async with app.router.lifespan_context(app):
            await loaded.wait()
            return json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    return asyncio.run(load())


def test_the_committed_document_is_the_one_that_is_served() -> None:
    """scripts/openapi writes it anew. A change here is a change of the contract: look at it."""
    assert COMMITTED.read_text() == document()


def test_no_generated_request_gets_a_5xx_or_an_undocumented_answer(
    serve: Callable[..., RunningServer], tmp_path: Path
) -> None:
    """schemathesis makes requests from the document, valid and not."""
    shutil.copytree(MODELS, tmp_path / "models")
    text_models.save(tmp_path / "models" / "words")
    server = serve(tmp_path / "models")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
            "--url", server.url, "--max-examples", "8", "--seed", "1",
            "--checks", f"{checks},response_schema_conformance",
            "--suppress-health-check", "all",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-6000:]


if __name__ == "__main__":
    COMMITTED.write_text(document())
