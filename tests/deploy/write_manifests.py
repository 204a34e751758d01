"""A program: ``write_manifests.py FOLDER`` writes every manifest of deploy/, the chart's rendered."""

import subprocess
import sys
from pathlib import Path

import helm_python
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "inference-service"


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    chart = helm_python.Chart.load(str(CHART))
    for values in sorted(CHART.glob("ci/*.yaml")):
        given = yaml.safe_load(values.read_text()) or {}
        files = chart.render(given, name="inference-service", namespace="ml")
        found = [text for path, text in files.items() if path.endswith(".yaml")]
        (folder / f"chart-{values.stem}.yaml").write_text("\n---\n".join(found))
    base = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes"],
        capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    (folder / "kustomize.yaml").write_bytes(base)
    for kind in ("istio", "kserve"):
        for path in (DEPLOY / kind).glob("*.yaml"):
            (folder / f"{kind}-{path.name}").write_text(path.read_text())


main()
