"""A program for Helm's own environment: ``render_chart.py CHART`` and value sets as JSON on stdin.

Prints, as JSON, what the real Helm engine says of each: {"objects": [...]} or {"error": "..."}.
"""

import json
import sys
from typing import Any

import helm_python
import yaml


def rendered(chart: Any, values: dict[str, Any]) -> dict[str, Any]:
    try:
        chart.validate_schema(values)
        files = chart.render(values, name="inference-service", namespace="ml")
    except helm_python.HelmError as error:
        return {"error": str(error)}
    objects = [
        found
        for path, text in files.items()
        if path.endswith(".yaml")
        for found in yaml.safe_load_all(text)
        if found is not None
    ]
    return {"objects": objects}


def main() -> None:
    path = sys.argv[1]
    chart = helm_python.Chart.load(path)
    sets = json.load(sys.stdin)
    answer = {"lint": helm_python.lint(path)["errors"]}
    json.dump(answer | {name: rendered(chart, values) for name, values in sets.items()}, sys.stdout)


main()
