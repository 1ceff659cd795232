#!/usr/bin/env bash
# The learned metric on PostgreSQL, in one command: starts a server with pgvector, moves the store of `affinis demo`
# to a table there, searches before and after what was learned, learns again in the database, and ends the server.
#
#   plugins/pgvector/demo.sh [DIR]      DIR (default: a temporary one) holds the server and its data
set -euo pipefail
cd "$(dirname "$0")/../.."

directory=${1:-$(mktemp -d)}
servers=plugins/pgvector/servers/servers.py
plugins/pgvector/servers/get.sh >/dev/null
python3 $servers start one "$directory/server" >"$directory/server.json"
trap 'python3 $servers stop "$directory/server" >/dev/null' EXIT
AFFINIS_STORE=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["url"])' "$directory/server.json")

cargo build --release --quiet -p affinis-cli --features postgres
affinis=target/release/affinis

say() { printf '\n== %s\n' "$1"; }

say "the demo, in an embedded store: 6,000 glosses of WordNet, judged and learned from"
$affinis --store "$directory/demo.store" demo --keep "$directory/demo.store" >"$directory/demo.txt"
$affinis --store "$directory/demo.store" export wordnet "$directory/wordnet.jsonl"

export AFFINIS_STORE
say "moved to a table of PostgreSQL, with judgements and versions"
$affinis import wordnet "$directory/wordnet.jsonl"
$affinis stats wordnet

question="a small wild cat with long legs"
say "before: the table's own distance"
$affinis search wordnet "$question" -k 5 --metric euclidean
say "after: the learned metric, by the same index"
$affinis search wordnet "$question" -k 5

say "the same judgements, learned from in the database: the same metric, so that nothing changes"
$affinis refit wordnet
say "every client answers under the version that one row names"
$affinis metrics wordnet rollback 0
$affinis search wordnet "$question" -k 2
$affinis metrics wordnet
