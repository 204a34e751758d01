"""The shipped dashboards and their queries."""

import json

from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    panel
    for dashboard in DASHBOARDS.values()
    for panel in dashboard["panels"]
    if panel["type"] != "row"
]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
ANNOTATIONS = sorted(
    {one["expr"] for dashboard in DASHBOARDS.values() for one in dashboard["annotations"]["list"]}
)


def filled_in(query: str) -> str:
    """What Grafana would send for all models and versions."""
    for name in ("$model", "$version"):
        query = query.replace(name, ".*")
    return query.replace("$__rate_interval", "30s")
