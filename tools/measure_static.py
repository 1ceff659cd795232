#!/usr/bin/env python3
"""Measures static embedding models that tools/distil_static.py made, as their cards say.

usage: measure_static.py TEXTS.tsv MODEL_DIR [MODEL_DIR ...] [--teacher MINILM_DIR]

A line of TEXTS is `label TAB text`. Prints for each model:

  P@10     the share of the ten nearest by cosine with the question's label: 1,000 texts are asked (a permutation with
           seed 0 chooses them), the others answer
  one, two, three words
           with --teacher (tools/get-minilm.sh makes it): questions of so many words in a row of a text, 300 of each;
           the share of the teacher's ten nearest texts among the model's. The line `teacher` has its own P@10.

Needs tools/requirements-distil.txt.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tokenizers
from distil_static import LONGEST, WIDTH, targets, token_means
from onnx import numpy_helper

ASKED, NEIGHBOURS, QUESTIONS = 1000, 10, 300


def unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def static_encoder(directory):
    """A function from texts to unit vectors, read out of the model's constants."""
    graph = onnx.load(str(directory / "model.onnx")).graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    rows = constants["table"] * constants["scale"]
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))

    def encode(texts):
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        return unit(token_means([e.ids[:LONGEST] for e in encodings]) @ rows)

    return encode


def teacher_encoder(directory):
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"))
    tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)

    def encode(texts):
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        targets(session, [e.ids for e in tokenizer.encode_batch(texts)], vectors)
        return vectors

    return encode


def nearest(questions, items):
    return np.argpartition(-(questions @ items.T), NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def precision(vectors, labels):
    order = np.random.default_rng(0).permutation(len(labels))
    asked, stored = order[:ASKED], order[ASKED:]
    answers = nearest(vectors[asked], vectors[stored])
    return np.mean(labels[stored][answers] == labels[asked][:, None])


def questions(texts, count):
    """QUESTIONS runs of `count` words of as many texts."""
    random = np.random.default_rng(count)
    found = []
    for i in random.permutation(len(texts)):
        words = texts[i].split()
        if len(words) >= count and len(found) < QUESTIONS:
            start = random.integers(len(words) - count + 1)
            found.append(" ".join(words[start : start + count]).strip(".,:;()"))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--teacher", type=Path)
    args = parser.parse_args()

    pairs = [line.split("\t", 1) for line in args.texts.read_text().splitlines()]
    labels, texts = np.array([label for label, _ in pairs]), [text for _, text in pairs]
    asked = [questions(texts, count) for count in (1, 2, 3)]
    print("model\tP@10" + "\tone word\ttwo words\tthree words" * bool(args.teacher))
    wanted = []
    if args.teacher:
        encode = teacher_encoder(args.teacher)
        vectors = encode(texts)
        wanted = [nearest(encode(some), vectors) for some in asked]
        print(f"teacher\t{precision(vectors, labels):.4f}", flush=True)
    for directory in args.models:
        encode = static_encoder(directory)
        vectors = encode(texts)
        shares = []
        for some, answers in zip(asked, wanted, strict=False):
            found = nearest(encode(some), vectors)
            shares.append(np.mean([len(set(a) & set(b)) for a, b in zip(answers, found, strict=True)]) / NEIGHBOURS)
        columns = [directory.name, f"{precision(vectors, labels):.4f}", *(f"{share:.3f}" for share in shares)]
        print("\t".join(columns), flush=True)


if __name__ == "__main__":
    main()
