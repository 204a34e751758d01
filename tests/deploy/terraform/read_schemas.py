"""Reads the schemas of resources from providers' packages for the Terraform CDK (npm).

The packages are generated from the schemas that the providers give to Terraform, and hold all of
it: names, types, and what is required, optional or computed. Usage, by scripts/terraform-tests:
    read_schemas.py OUTPUT FOLDER_OF_PACKAGES
Schemas of alicloud, for which there is no such package, are written by hand from its documentation.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

WANTED = {
    "aws": [
        "appautoscaling_policy", "appautoscaling_target", "cloudwatch_log_group", "ecs_cluster",
        "ecs_service", "ecs_task_definition", "iam_role", "iam_role_policy",
        "iam_role_policy_attachment", "lb", "lb_listener", "lb_target_group", "security_group",
        "vpc_security_group_egress_rule", "vpc_security_group_ingress_rule",
    ],
    "azurerm": [
        "container_app", "container_app_environment",
        "role_assignment", "user_assigned_identity",
    ],
    "google": [
        "cloud_run_v2_service", "cloud_run_v2_service_iam_member",
        "secret_manager_secret_iam_member", "service_account", "storage_bucket_iam_member",
    ],
    "helm": ["release"],
}  # fmt: skip
DATA = {"aws": ["region"]}
SIMPLE = {
    "string": "string", "number": "number", "boolean": "bool",
    "stringList": ["list", "string"], "stringMap": ["map", "string"],
    "numberList": ["list", "number"], "booleanMap": ["map", "bool"], "numberMap": ["map", "number"],
    "booleanList": ["list", "bool"],
}  # fmt: skip
GETTERS = {
    "getStringAttribute": "string", "getNumberAttribute": "number", "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
}  # fmt: skip


class Package:
    """One resource's JavaScript."""

    def __init__(self, text: str) -> None:
        pieces = re.split(r"^class (\w+) extends cdktf\.\w+ \{$", text, flags=re.MULTILINE)
        self.classes = dict(zip(pieces[1::2], pieces[2::2], strict=True))
        self.written = {
            name.lower(): body
            for name, body in re.findall(
                r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}",
                text,
                re.MULTILINE | re.DOTALL,
            )
        }

    def block(self, name: str, written: str) -> dict[str, Any]:
        """Attributes and blocks of a class; ``written`` is the code that writes them as HCL."""
        found: dict[str, Any] = {"attributes": {}, "blocks": {}}
        body = self.classes.get(name, "")  # a provider's blocks have none
        for attribute, is_block, collection, storage in re.findall(
            r'^ +"?(\w+)"?: \{\n +value: [^\n]*\n +isBlock: (\w+),\n +type: "(\w+)",\n +storageClassType: "(\w+)"',
            written, re.MULTILINE,
        ):  # fmt: skip
            pascal = "".join(part[:1].upper() + part[1:] for part in attribute.split("_"))
            required = bool(body) and f"reset{pascal}()" not in body
            if is_block == "true":
                found["blocks"][attribute] = self._nested(
                    attribute, collection, storage, required, body
                )
            else:
                kind = SIMPLE.get(storage, "dynamic")
                if collection == "set" and isinstance(kind, list):
                    kind = ["set", kind[1]]
                found["attributes"][attribute] = [kind, "required" if required else "optional"]
        for getter, attribute in re.findall(r"(get\w+Attribute)\('(\w+)'\)", body):
            if attribute not in found["attributes"] | found["blocks"]:
                found["attributes"][attribute] = [GETTERS.get(getter, "dynamic"), "computed"]
        for attribute in re.findall(r'= new \w+\(this, "(\w+)"', body):
            if attribute not in found["attributes"] | found["blocks"]:
                found["attributes"][attribute] = ["dynamic", "computed"]
        return found

    def _nested(
        self, attribute: str, collection: str, storage: str, required: bool, body: str
    ) -> dict[str, Any]:
        base = re.sub("(List|Map)$", "", storage)
        single = re.search(rf'= new \w+OutputReference\(this, "{attribute}"', body)
        return {
            "nesting": "single" if collection == "struct" else collection,
            "min": int(required and collection != "struct"),
            "max": int(bool(single) and collection != "struct"),
            "block": self.block(f"{base}OutputReference", self.written[base.lower()]),
        }


def resource(folder: Path, name: str) -> dict[str, Any]:
    text = (folder / "lib" / name.replace("_", "-") / "index.js").read_text()
    package = Package(text)
    top = next(
        n
        for n in package.classes
        if f"{n}Config" in text and "terraformResourceType" in package.classes[n]
    )
    written = package.classes[top].split("synthesizeHclAttributes() {")[1]
    schema = package.block(top, written)
    schema["attributes"].setdefault("id", ["string", "computed"])
    return schema


def version(folder: Path) -> str:
    text = next((folder / "lib" / "provider").glob("index.js")).read_text()
    return re.search(r"providerVersion: '([\d.]+)'", text)[1]


def main(output: Path, packages: Path) -> None:
    for provider, names in WANTED.items():
        folder = packages / provider / "package"
        text = (folder / "lib" / "provider" / "index.js").read_text()
        package = Package(text)
        (top,) = [n for n in package.classes if "terraformResourceType" in package.classes[n]]
        content = {
            "version": version(folder),
            "provider": package.block(
                top, package.classes[top].split("synthesizeHclAttributes() {")[1]
            ),
            "resources": {f"{provider}_{n}": resource(folder, n) for n in names},
            "data": {
                f"{provider}_{n}": resource(folder, f"data_{provider}_{n}")
                for n in DATA.get(provider, [])
            },
        }
        (output / f"{provider}.json").write_text(
            json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
