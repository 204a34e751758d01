"""deploy/terraform with the real Terraform: format, `validate` and each module's own tests.

The providers are stand-ins that hold the schemas of the real ones (tests/deploy/terraform): names,
types and what is required are checked, values that only a cloud would refuse are not.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TERRAFORM = ROOT / "deploy" / "terraform"
MODULES = sorted(folder.parent.name for folder in TERRAFORM.glob("*/main.tf"))
TOOLS = Path(__file__).parent / "terraform"
SOURCES = {
    "alicloud": "aliyun/alicloud",
    "aws": "hashicorp/aws",
    "azurerm": "hashicorp/azurerm",
    "google": "hashicorp/google",
    "helm": "hashicorp/helm",
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where Terraform finds the stand-ins, and nothing of the user's configuration."""
    folder = tmp_path_factory.mktemp("terraform")
    overrides = ""
    for name, source in SOURCES.items():
        program = folder / name / f"terraform-provider-{name}"
        program.parent.mkdir()
        schema = TOOLS / "schemas" / f"{name}.json"
        program.write_text(f"#!/bin/sh\nexec {sys.executable} {TOOLS / 'provider.py'} {schema}\n")
        program.chmod(0o755)
        overrides += f'    "{source}" = "{program.parent}"\n'
    config = folder / "terraformrc"
    config.write_text(f"provider_installation {{\n  dev_overrides {{\n{overrides}  }}\n}}\n")
    return {
        **os.environ,
        "TF_CLI_CONFIG_FILE": str(config),
        "CHECKPOINT_DISABLE": "1",
        "TF_DATA_DIR": str(folder / "data"),
    }


def terraform(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("not run: terraform and tofu missing; no package registry has them")
    return subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_there_is_one_module_for_each_way() -> None:
    assert MODULES == [
        "alibaba-pai-eas", "aws-ecs", "azure-container-apps", "google-cloud-run", "kubernetes",
    ]  # fmt: skip


def test_the_format_is_terraforms(environment: dict[str, str]) -> None:
    found = terraform(environment, "fmt", "-check", "-recursive", "-diff", str(TERRAFORM))
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_valid_by_the_providers_schema(
    module: str, environment: dict[str, str]
) -> None:
    found = terraform(environment, f"-chdir={TERRAFORM / module}", "validate", "-json")
    told = json.loads(found.stdout)
    faults = [d for d in told["diagnostics"] if "overrides are in effect" not in d["summary"]]
    assert told["valid"], faults
    assert faults == []


@pytest.mark.parametrize("module", MODULES)
def test_a_modules_own_tests_pass(module: str, environment: dict[str, str]) -> None:
    found = terraform(environment, f"-chdir={TERRAFORM / module}", "test", "-no-color")
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", found.stdout)


def test_a_misspelt_argument_is_found(environment: dict[str, str], tmp_path: Path) -> None:
    """So the stand-ins do check."""
    text = (TERRAFORM / "google-cloud-run" / "main.tf").read_text()
    (tmp_path / "main.tf").write_text(text.replace("service_account  ", "serviceaccount   "))
    for name in ("variables.tf", "outputs.tf"):
        (tmp_path / name).write_text((TERRAFORM / "google-cloud-run" / name).read_text())
    found = terraform(environment, f"-chdir={tmp_path}", "validate", "-json")
    told = json.loads(found.stdout)
    assert any('named "serviceaccount" is not expected' in d["detail"] for d in told["diagnostics"])


@pytest.mark.parametrize("module", MODULES)
def test_every_variable_and_output_is_described(module: str) -> None:
    for name in ("variables.tf", "outputs.tf"):
        text = (TERRAFORM / module / name).read_text()
        for block in re.split(r"^(?=variable|output)", text, flags=re.MULTILINE)[1:]:
            assert "description" in block, block


def test_the_kubernetes_modules_values_are_the_charts() -> None:
    """Each key that the module writes is one of values.yaml."""
    text = (TERRAFORM / "kubernetes" / "main.tf").read_text()
    values = (ROOT / "deploy/helm/inference-service/values.yaml").read_text()
    for key in ("repository", "digest", "minReplicas", "maxReplicas", "metric", "targetRate",
                "keysSecret", "anonymous", "annotations", "podLabels"):  # fmt: skip
        assert key in text
        assert re.search(rf"^ *{key}:", values, re.MULTILINE), key
