#!/usr/bin/env python3
"""Keeps what the fuzzer found worth keeping: an input a line, in hexadecimal, in fuzz/corpus/TARGET.hex.

fuzz/corpus.py unpack TARGET   makes fuzz/corpus/TARGET/, where cargo-fuzz begins
fuzz/corpus.py pack TARGET     keeps some of what is there, from the smallest to the largest; minimise it first
                               (cargo +nightly fuzz cmin TARGET)
"""

import hashlib
import pathlib
import sys

CORPUS = pathlib.Path(__file__).parent / "corpus"
KEPT = 150
LONGEST = 512


def unpack(target):
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    for line in (CORPUS / f"{target}.hex").read_text().split():
        data = bytes.fromhex(line)
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(target):
    known = CORPUS / f"{target}.hex"
    found = {file.read_bytes() for file in (CORPUS / target).iterdir()}
    if known.exists():
        found |= {bytes.fromhex(line) for line in known.read_text().split()}
    inputs = sorted((data for data in found if 0 < len(data) <= LONGEST), key=lambda data: (len(data), data))
    if len(inputs) > KEPT:
        inputs = [inputs[i * len(inputs) // KEPT] for i in range(KEPT)]
    known.write_text("".join(f"{data.hex()}\n" for data in inputs))


if len(sys.argv) != 3 or sys.argv[1] not in ("pack", "unpack"):
    sys.exit(__doc__)
globals()[sys.argv[1]](sys.argv[2])
