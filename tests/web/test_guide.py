"""The documentation as pages: served from one folder, which no path leads out of."""

import base64
import hashlib
from pathlib import Path

import pytest

from inference_service import Service, Settings
from inference_service.sections import HttpSettings
from inference_service.settings import InvalidSettings
from tests import onnx_models
from tests.support import running

SCRIPT = "document.title = 'guide'"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    onnx_models.save(onnx_models.doubler(), tmp_path / "models" / "doubler" / "1" / "model.onnx")
    return tmp_path / "models"


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "import").mkdir(parents=True)
    (folder / "index.html").write_text(f"<html><script>{SCRIPT}</script>start</html>")
    (folder / "import" / "onnx.html").write_text("<html>" + "x" * 5000 + "</html>")
    (folder / "search.js").write_text("found();" * 500)
    (tmp_path / "secret.html").write_text("secret")
    (folder / "out.html").symlink_to(tmp_path / "secret.html")
    return folder


def settings(models: Path, guide: Path | None) -> Settings:
    return Settings(models=models, http=HttpSettings(guide=guide))


async def test_pages_and_their_files_are_served_with_a_strict_policy(
    models: Path, guide: Path
) -> None:
    async with running(Service(settings(models, guide))) as client:
        page = await client.get("/guide/")
        assert "start" in page.text
        policy = page.headers["content-security-policy"]
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
        assert f"script-src 'self' 'sha256-{digest}'" in policy
        assert page.headers["x-frame-options"] == "DENY"
        inner = await client.get("/guide/import/onnx.html")
        assert inner.headers["content-type"] == "text/html; charset=utf-8"
        assert "content-encoding" not in inner.headers
        script = await client.get("/guide/search.js", headers={"accept-encoding": "gzip"})
        assert script.headers["content-encoding"] == "gzip"
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.text.startswith("found();")
        told = {"if-none-match": script.headers["etag"]}
        assert (await client.get("/guide/search.js", headers=told)).status_code == 304


async def test_the_folder_without_its_slash_leads_to_the_first_page(
    models: Path, guide: Path
) -> None:
    async with running(Service(settings(models, guide))) as client:
        answer = await client.get("/guide")
        assert (answer.status_code, answer.headers["location"]) == (307, "guide/")


@pytest.mark.parametrize(
    "path", ["nothing.html", "../secret.html", "%2e%2e/secret.html", "..%2fsecret.html",
             "/etc/passwd", "out.html", "import", "a%00b"]
)  # fmt: skip
async def test_nothing_else_is_served(models: Path, guide: Path, path: str) -> None:
    async with running(Service(settings(models, guide))) as client:
        answer = await client.get(f"/guide/{path}")
        assert answer.status_code in {400, 404}
        assert "secret" not in answer.text.replace("secret.html", "")


async def test_the_home_page_leads_to_the_guide_where_there_is_one(
    models: Path, guide: Path
) -> None:
    for folder, hidden, status in ((guide, False, 200), (None, True, 404)):
        async with running(Service(settings(models, folder))) as client:
            (link,) = [
                line for line in (await client.get("/")).text.splitlines() if "guide/" in line
            ]
            assert ("hidden" in link) is hidden
            assert (await client.get("/guide/")).status_code == status


@pytest.mark.parametrize("missing", ["nowhere", "."])
def test_a_folder_without_a_guide_is_refused_at_the_start(
    models: Path, tmp_path: Path, missing: str
) -> None:
    with pytest.raises(InvalidSettings, match=r"setting 'http.guide': .* has no index.html"):
        Service(settings(models, tmp_path / missing))
