#!/usr/bin/env bash
# Gets the ONNX Runtime library from the Python package onnxruntime and prints its path, for ORT_DYLIB_PATH.
#
#   export ORT_DYLIB_PATH=$(tools/get-onnxruntime.sh [DIRECTORY])      default: target/onnxruntime
#
# The version is pinned in tools/requirements-onnxruntime.txt; it must be one that the `ort` crate of Cargo.toml takes.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-$root/target/onnxruntime}

library() {
    find "$target" -path '*/onnxruntime/capi/*' \
        \( -name 'libonnxruntime.so.*' -o -name 'libonnxruntime.*.dylib' -o -name 'onnxruntime.dll' \) 2>/dev/null | head -n 1
}

if [ -z "$(library)" ]; then
    mkdir -p "$target"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$target" \
        -r "$root/tools/requirements-onnxruntime.txt" >&2
fi
found=$(library)
if [ -z "$found" ]; then
    echo "the package onnxruntime for this platform brings no library; look in $target" >&2
    exit 1
fi
echo "$(cd "$(dirname "$found")" && pwd)/$(basename "$found")"
