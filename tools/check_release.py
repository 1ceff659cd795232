#!/usr/bin/env python3
"""Checks that each published crate can be packaged.

For every member of the workspace that may be published: `cargo package` makes its archive, which
must be smaller than the registry's limit, and its manifest has all that the registry shows. With
`--release`, placeholders are refused; without it they are named.
"""

import json
import subprocess
import sys
from pathlib import Path

LIMIT = 10 << 20
REQUIRED = ["description", "license", "keywords", "categories", "homepage", "repository"]
PLACEHOLDER = ".invalid"


def cargo(*args):
    return subprocess.run(["cargo", *args], check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    metadata = json.loads(cargo("metadata", "--no-deps", "--format-version", "1"))
    published = [package for package in metadata["packages"] if package["publish"] != []]
    wrong, placeholders = [], []
    for package in published:
        for field in REQUIRED:
            value = package.get(field)
            if not value:
                wrong.append(f"{package['name']} has no {field}")
            elif PLACEHOLDER in str(value):
                placeholders.append(f"{package['name']}: {field} is {value}")
    selected = [argument for package in published for argument in ("-p", package["name"])]
    # Tests and lints have compiled the same files; a build of the archives would take minutes.
    cargo("package", "--no-verify", "--allow-dirty", "--quiet", *selected)
    for package in published:
        name = f"{package['name']}-{package['version']}.crate"
        size = (Path(metadata["target_directory"]) / "package" / name).stat().st_size
        print(f"{name}: {size / (1 << 20):.1f} MiB")
        if size >= LIMIT:
            wrong.append(f"{name} is larger than {LIMIT >> 20} MiB")
    for line in placeholders:
        print(f"placeholder: {line}")
    if "--release" in sys.argv[1:]:
        wrong += placeholders
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
