#!/usr/bin/env python3
"""Measures how many texts a second ONNX Runtime encodes from Python, beside `affinis model bench`.

usage: rate_onnxruntime.py MODEL_DIR TEXTS [--batch N]

MODEL_DIR has model.onnx and tokenizer.json; TEXTS has a text a line. Texts of similar length make a batch, as in
affinis. Uses one thread; prints texts a second and a CPU second of three rounds. Needs numpy, onnxruntime and tokenizers
(tools/requirements-distil.txt).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers

ROUNDS, LONGEST = 3, 256


def encode(session, tokenizer, texts, batch):
    rows = sorted((e.ids for e in tokenizer.encode_batch(texts)), key=len, reverse=True)
    inputs = {value.name for value in session.get_inputs()}
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        ids = np.zeros((len(part), len(part[0])), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(part):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        session.run(None, {name: value for name, value in feed.items() if name in inputs})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    args = parser.parse_args()
    tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(args.model / "model.onnx"), options)
    texts = args.texts.read_text().splitlines()
    encode(session, tokenizer, texts[:100], args.batch)
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        encode(session, tokenizer, texts, args.batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{len(texts) / wall:.0f} texts/s, {len(texts) / cpu:.0f} a CPU second")


if __name__ == "__main__":
    main()
