#!/usr/bin/env bash
# Runs the benchmarks and prints a table: search, add, refit, encode. Quote ratios from one run, not absolute times.
set -euo pipefail
cd "$(dirname "$0")/.."
printf 'machine: %s, %s cores; %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(rustc --version)"
printf 'commit:  %s\n\n' "$(git rev-parse --short HEAD)"
# With ONNX Runtime beside RTen: AFFINIS_FEATURES=affinis/onnxruntime, and ORT_DYLIB_PATH (tools/get-onnxruntime.sh).
cargo bench --quiet --workspace --features "${AFFINIS_FEATURES:-}" --bench store -- "$@"
