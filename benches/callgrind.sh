#!/usr/bin/env bash
# Instructions that the kernels' inner loops take, a call on 384 numbers, counted by valgrind (which knows no AVX-512, so that the
# AVX2 kernels are counted). Counts do not depend on what else the machine does: compare them from commit to commit.
set -euo pipefail
cd "$(dirname "$0")/.."
CALLS=1000
binary=$(cargo test --release --workspace --lib --no-run --message-format json 2>/dev/null |
    python3 -c 'import json, sys
made = [json.loads(line) for line in sys.stdin]
print(next(m["executable"] for m in made if m.get("target", {}).get("name") == "affinis" and m.get("executable")))')
out=$(mktemp)
trap 'rm -f "$out"' EXIT
AFFINIS_CALLS=$CALLS valgrind --quiet --tool=callgrind --callgrind-out-file="$out" "$binary" \
    --exact index::kernels::tests::loops --ignored --test-threads 1 >/dev/null
printf '| kernel | instructions a call |\n|---|---|\n'
callgrind_annotate --threshold=100 "$out" |
    sed -n 's/^ *\([0-9,]*\) .*kernels::x86::\([a-z0-9_]*\).*$/\2 \1/p' | tr -d , |
    grep -v '^avx' | awk -v calls="$CALLS" '{ sum[$1] += $2 } END { for (name in sum) printf "| `%s` | %d |\n", name, sum[name] / calls }' | sort
