"""A program: ``check_custom_resources.py CATALOG FOLDER`` checks manifests against CRDs' schemas.

The catalog is github.com/datreeio/CRDs-catalog: a JSON schema for each kind, made from its CRD, that
allows no field that the CRD doesn't have.
"""

import json
import sys
from pathlib import Path

import jsonschema
import yaml


def main() -> int:
    catalog, folder = map(Path, sys.argv[1:])
    faults = checked = 0
    for path in sorted(folder.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text()):
            group, _, version = found["apiVersion"].rpartition("/") if found else ("", "", "")
            schema = catalog / group / f"{found['kind'].lower()}_{version}.json" if group else None
            if schema is None or not schema.exists():
                continue
            checked += 1
            validator = jsonschema.Draft7Validator(json.loads(schema.read_text()))
            for error in validator.iter_errors(found):
                faults += 1
                print(f"{path.name}: {found['kind']} {error.json_path}: {error.message[:300]}")
    print(f"{checked} custom resources checked, {faults} faults")
    return 1 if faults or not checked else 0


sys.exit(main())
