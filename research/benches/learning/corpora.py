#!/usr/bin/env python3
"""Makes labelled corpora of other kinds than those of the tests, for the bench `learning`.

    cargo build --release && research/benches/learning/corpora.py [NAME ...] [--from DIR]

NAME is `banking` (questions of bank customers, 77 intents; Casanueva et al. 2020, CC-BY-4.0) or `news` (AG's news of 4 topics;
for research, not for sale). The CSV files are fetched from GitHub, or taken from DIR/NAME.csv. Of each 6,000 texts are drawn by
a seed and encoded with all-MiniLM-L6-v2 (tools/get-minilm.sh) by the binary `affinis`, into target/corpora/text. Then:

    cargo bench -p affinis-research --bench learning -- --report docs --only elsewhere
"""
import argparse
import csv
import json
import pathlib
import random
import struct
import subprocess
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
TEXTS = 6000
GITHUB = "https://raw.githubusercontent.com/"
BANKING = GITHUB + "PolyAI-LDN/task-specific-datasets/master/banking_data/"
SOURCES = {
    # The columns of the label and of the text, and whether a line of headers comes first.
    "banking": ([BANKING + "train.csv", BANKING + "test.csv"], lambda row: (row[1], row[0]), True),
    "news": (
        [GITHUB + "mhjabreel/CharCnn_Keras/master/data/ag_news_csv/test.csv"],
        lambda row: (["world", "sports", "business", "science"][int(row[0]) - 1], f"{row[1]}. {row[2]}"),
        False,
    ),
}


def rows(name, local):
    urls, columns, header = SOURCES[name]
    if local:
        texts = [(local / f"{name}.csv").read_text()]
    else:
        texts = [urllib.request.urlopen(url, timeout=60).read().decode() for url in urls]
    for text in texts:
        lines = list(csv.reader(text.splitlines()))
        for row in lines[header:]:
            label, content = columns(row)
            yield label, " ".join(content.split())


def affinis(store, *arguments):
    command = [ROOT / "target/release/affinis", "--store", store, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def make(name, local, model):
    known = {content: label for label, content in rows(name, local)}
    chosen = random.Random(1).sample(sorted(known.items()), min(TEXTS, len(known)))
    out = ROOT / "target/corpora/text"
    out.mkdir(parents=True, exist_ok=True)
    tsv = out / f"{name}.tsv"
    tsv.write_text("".join(f"{label}\t{content}\n" for content, label in chosen))
    vectors = bytearray()
    with tempfile.TemporaryDirectory() as store:
        store = pathlib.Path(store) / "store"
        affinis(store, "create", name, "--encoder", model)
        affinis(store, "add", name, tsv, "--format", "tsv")
        for first in range(0, len(chosen), 1000):
            ids = [str(i) for i in range(first, min(first + 1000, len(chosen)))]
            for line in affinis(store, "get", name, *ids, "--json").splitlines():
                vector = json.loads(line)["vector"]
                vectors += struct.pack(f"<{len(vector)}e", *vector)
    d = len(vectors) // 2 // len(chosen)
    header = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({len(chosen)}, {d}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + vectors
    (out / f"{name}.minilm384.f16.npy").write_bytes(npy)
    print(f"{name}: {len(chosen)} texts, {len({label for _, label in chosen})} labels, {d} numbers each")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SOURCES), metavar="NAME")
    parser.add_argument("--from", dest="local", type=pathlib.Path)
    arguments = parser.parse_args()
    model = subprocess.run([ROOT / "tools/get-minilm.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    for name in arguments.names:
        if name not in SOURCES:
            parser.error(f"{name} is not one of {', '.join(SOURCES)}")
        make(name, arguments.local, model)


main()
