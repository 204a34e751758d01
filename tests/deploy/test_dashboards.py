"""Dashboards and the compose file: valid, complete, and wired to each other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import promql_parser
import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.dashboards import ANNOTATIONS, DASHBOARDS, PANELS, QUERIES, filled_in
from tests.tools import need

SCHEMAS = ROOT / "tests" / "schemas"
COMPOSE = ROOT / "deploy" / "compose"
TOPICS = (
    "requests per second", "without an answer", "latency", "heatmap", "where the time goes",
    "rows in a batch", "fill", "padding", "reason of release", "queue against its limit",
    "refusals", "busy slots", "busy cores", "event loop", "versions", "memory", "burn rate", "drift",
)  # fmt: skip


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text())


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_what_grafana_takes(name: str) -> None:
    jsonschema.validate(DASHBOARDS[name], schema("grafana-dashboard.json"))


def test_the_schema_sees_a_wrong_panel() -> None:
    wrong = json.loads(json.dumps(DASHBOARDS["inference-service.json"]))
    wrong["panels"][1]["gridPos"] = "oops"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema("grafana-dashboard.json"))


def test_the_files_are_those_that_the_script_writes() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "scripts" / "dashboards", "--check"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_are_complete_and_do_not_overlap(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["legendFormat"] for target in panel["targets"])
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) == 23


def test_every_topic_has_a_panel() -> None:
    titles = " ".join(panel["title"].lower() for panel in PANELS)
    assert [topic for topic in TOPICS if topic not in titles] == []


@pytest.mark.parametrize("query", [*QUERIES, *ANNOTATIONS])
def test_every_query_is_promql(query: str) -> None:
    promql_parser.parse(filled_in(query))


@pytest.mark.prometheus
def test_requests_that_all_fail_are_a_share_of_one(tmp_path: Path) -> None:
    """No series of those that were answered has begun then, and none of the others at first."""
    need("promtool")
    (panel,) = [one for one in PANELS if one["title"].startswith("Share of requests without")]
    query = filled_in(panel["targets"][0]["expr"])
    series = 'inference_requests_total{model="%s", version="1", outcome="%s"}'
    given = {("bad", "failed"): "0+1x9", ("good", "ok"): "0+1x9"}
    given |= {("half", "ok"): "0+1x9", ("half", "failed"): "0+1x9"}
    wanted = {"bad": 1, "good": 0, "half": 0.5}
    cases = {
        "evaluation_interval": "1s",
        "tests": [{
            "interval": "1s",
            "input_series": [
                {"series": series % key, "values": values} for key, values in given.items()
            ],
            "promql_expr_test": [{
                "expr": query, "eval_time": "9s",
                "exp_samples": [
                    {"labels": f'{{model="{model}", version="1"}}', "value": value}
                    for model, value in wanted.items()
                ],
            }],
        }],
    }  # fmt: skip
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(cases))
    run = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "cases.yml"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_uids_differ() -> None:
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids)


def test_the_compose_file_is_valid_and_mounts_what_is_there() -> None:
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    assert compose.pop("name") == "inference-service"  # the schema is older than this key
    jsonschema.Draft201909Validator(schema("compose.json")).validate(compose)
    for service in compose["services"].values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), "without a login, to this machine alone"
        for volume in service["volumes"]:
            source = volume.replace("${MODELS:-../../models}", "../../models").split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), source
            else:
                assert source in compose["volumes"]
    assert (COMPOSE / compose["services"]["inference-service"]["build"] / "Dockerfile").exists()


def test_the_parts_of_the_compose_file_find_each_other() -> None:
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    scraping = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    plain = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraping["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["inference-service:8000"]}]
    job["static_configs"] = plain["scrape_configs"][0]["static_configs"]
    assert scraping == plain
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(
        (provisioning / "dashboards" / "inference-service.yaml").read_text()
    )["providers"]
    mounted = {volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted
    home = compose["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    folder, _, name = home.rpartition("/")
    assert folder == provider["options"]["path"]
    assert name in DASHBOARDS
