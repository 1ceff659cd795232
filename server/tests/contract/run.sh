#!/usr/bin/env bash
# Holds a running service against its own description, with schemathesis.
#
# usage: run.sh BINARY SECONDS [SEED]     (the program `affinis`, built with the feature `serve`)
#
# Installs schemathesis from PyPI under target/schemathesis. What it found of the last run stays there.
set -euo pipefail
binary=$(realpath "$1")
seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."

home=target/schemathesis
wanted=$(sha256sum tools/requirements-schemathesis.txt)
if [ "$(cat "$home/installed" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$home/venv"
    python3 -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check -r tools/requirements-schemathesis.txt
    echo "$wanted" >"$home/installed"
fi
exec "$home/venv/bin/python" "$here/drive.py" "$binary" "$seconds" ${3:+"$3"} --schemathesis "$home/venv/bin/schemathesis" \
    --reports "$home/reports"
