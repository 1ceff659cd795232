#!/usr/bin/env bash
# Walks through the page in a real browser, as a first-time visitor.
#
# usage: run.sh BINARY      (the program `affinis`, built with the feature `serve`)
#
# Over 100,000 texts of ../shared/data, and over 600 of this repository where that is not there.
# Installs Debian's Chromium where there is none, and two packages of npm under target/browser. Leaves pictures of each
# view in target/browser/shots.
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/../../.."

if ! command -v chromium >/dev/null; then
    (apt-get update -qq && apt-get install -y -qq chromium) >/dev/null
fi
npm install --silent --no-audit --no-fund --prefix target/browser playwright-core@1.65.1 axe-core@4.14.1

work=$(mktemp -d)
"$binary" --store "$work/store" serve --listen 127.0.0.1:0 2>"$work/log" &
service=$!
trap 'kill $service; wait $service || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    url=$(sed -n 's/^listening on //p' "$work/log")
    [ -n "$url" ] && break
    sleep 0.2
done
texts=../shared/data/text/wordnet-lemmas-glosses.tsv.gz
count=100000
if [ ! -e "$texts" ]; then
    texts=cli/data/wordnet-6000.tsv
    count=600
    echo "There is no ../shared/data: the walk is over $count texts."
fi
node server/page/tests/browser.mjs --url "$url" --modules target/browser --texts "$texts" --count "$count" \
    --shots target/browser/shots
