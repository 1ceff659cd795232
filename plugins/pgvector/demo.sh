#!/usr/bin/env bash
# The learned metric on PostgreSQL, in one command: starts a server with pgvector, moves the store of `affinis demo`
# to a table there, searches before and after what was learned, learns again in the database, and ends the server.
#
#   plugins/pgvector/demo.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

servers=plugins/pgvector/servers/servers.py
plugins/pgvector/servers/get.sh >/dev/null
cargo build --release --quiet -p affinis-cli --features postgres
affinis=target/release/affinis

directory=$(mktemp -d)
# The server runs as another account where this runs as root.
chmod 711 "$directory"
trap 'python3 $servers stop "$directory/server" >/dev/null; rm -rf "$directory"' EXIT
url=$(python3 $servers start one "$directory/server" | python3 -c 'import json, sys; print(json.load(sys.stdin)["url"])')

say() { printf '\n== %s\n' "$1"; }

say "affinis demo: 6,000 glosses of WordNet in an embedded store, judged and learned from"
$affinis demo --keep "$directory/store" | tail -n 12
name=$($affinis --store "$directory/store" --json collections | python3 -c 'import json, sys; print(json.loads(sys.stdin.readline())["name"])')
$affinis --store "$directory/store" export "$name" "$directory/collection.jsonl"

export AFFINIS_STORE=$url
say "moved to a table of PostgreSQL, with its judgements and versions"
$affinis import "$name" "$directory/collection.jsonl"
$affinis stats "$name"

question="a small wild cat with long legs"
say "before: the table's own distance"
$affinis search "$name" "$question" -k 5 --metric euclidean
say "after: the learned metric, by the same index"
$affinis search "$name" "$question" -k 5

say "one row says which version answers every client"
$affinis metrics "$name" rollback
$affinis search "$name" "$question" -k 2
$affinis metrics "$name" promote 1
$affinis metrics "$name"
