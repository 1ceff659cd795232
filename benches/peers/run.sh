#!/usr/bin/env bash
# Compares affinis with its peers: makes a Python environment under target/, builds the Rust part, measures, prints tables
# and writes docs/benchmarks.md with its pictures. Needs python3 with venv, and ../shared/data (or AFFINIS_DATA).
#
#   benches/peers/run.sh [glove-100k] [glove-340k] [text-180k] [minilm-12k] [growth]
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=target/venv-peers
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r benches/peers/requirements.txt
AFFINIS_PEERS=$(cargo bench --workspace --bench peers --no-run --message-format json |
    "$venv/bin/python" -c 'import json, sys
made = [json.loads(line) for line in sys.stdin]
print(next(m["executable"] for m in made if m.get("target", {}).get("name") == "peers" and m.get("executable")))')
export AFFINIS_PEERS
exec "$venv/bin/python" benches/peers/run.py "$@"
