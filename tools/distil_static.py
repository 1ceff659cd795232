#!/usr/bin/env python3
"""Distils a static embedding model from all-MiniLM-L6-v2 by regression; made models/static-minilm-256-v2.

usage: distil_static.py MINILM_DIR OUT_DIR TEXTS.tsv.gz [TEXTS.tsv.gz ...] [options]

MINILM_DIR has model.onnx and tokenizer.json (tools/get-minilm.sh makes it); in TEXTS a line is `name TAB text`. The
shipped model was made with the default options from WordNet 3.0's glosses and Debian's package descriptions, 181,325
texts, without labels. Needs tools/requirements-distil.txt; takes some minutes on two cores.
Other texts and the other options were tried and gave no better model; the model's card has the figures.

Every text's MiniLM vector, centred and projected on the DIM principal axes of all of them, is the target; the model's
vector is the mean of its tokens' rows. The rows are the ridge regression of the targets on token means, drawn towards a
start: the encoder's own states of each token alone, weighted (--start)

  rank  by log(1 + token id), for BERT's vocabulary is roughly ordered by frequency;
  sif   by A / (A + p), where p is the token's share of all tokens of the texts (--sif A).

Conjugate gradients solve it, all columns at once. Answers depend on the direction of a vector only. Therefore --rounds
solves again as often, with both sides of a text's equation divided by the length that the last rows gave its vector and
the targets of length 1, which comes near to least 1 - cosine. A row is stored as int8 with one scale.

  --vectors FILE     keeps MiniLM's vectors of the texts (float16) in FILE, and goes on there after an interruption;
                     only for the same texts
  --leave-out FILE   drops texts that stand in FILE too (`name TAB text`, may be .gz), that share eight words in a row
                     with one of its texts, or that hold one of four to seven words; may be given several times
  --validate         makes no model: leaves out each file of TEXTS in turn and says, for several starts, penalties and
                     rounds, the share of the teacher's ten nearest among the model's own (1,500 of the file's texts)

  input_ids, attention_mask : int64 [batch, sequence]  ->  last_hidden_state : f32 [batch, sequence, DIM]

The mean over the mask, L2 normalised, is the text's embedding.
"""

import argparse
import gzip
import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import scipy.sparse
import tokenizers
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, CLS, SEP = 30522, 101, 102
SPECIAL = [0, 100, CLS, SEP, 103]
WIDTH = 384
LONGEST = 256
SHINGLE = 8
NEIGHBOURS = 10


def read_texts(path):
    """The texts of a file of `name TAB text`."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [line.rstrip("\n").split("\t", 1)[1] for line in lines if "\t" in line]


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


class LeftOut:
    """Tells texts that stand in others, whole or in part; `name: text` counts as `text` too."""

    def __init__(self, texts):
        self.whole, self.parts = set(), set()
        for text in texts:
            for variant in (text, text.partition(": ")[2]):
                self.whole.add(" ".join(words(variant)))
                for part in (variant, *variant.split(";")):
                    has = words(part)
                    if len(has) >= SHINGLE // 2:
                        self.parts.update(self.runs(has, min(len(has), SHINGLE)))

    @staticmethod
    def runs(has, length):
        return (" ".join(has[i : i + length]) for i in range(len(has) - length + 1))

    def __contains__(self, text):
        has = words(text)
        lengths = range(SHINGLE // 2, SHINGLE + 1)
        return " ".join(has) in self.whole or any(run in self.parts for n in lengths for run in self.runs(has, n))


def token_states(session):
    """The mean of the encoder's states of [CLS] token [SEP], [VOCABULARY, WIDTH]."""
    states = np.zeros((VOCABULARY, WIDTH), np.float32)
    for start in range(0, VOCABULARY, 512):
        ids = np.arange(start, min(VOCABULARY, start + 512))
        rows = np.stack([np.full_like(ids, CLS), ids, np.full_like(ids, SEP)], 1).astype(np.int64)
        feed = {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}
        states[ids] = session.run(None, feed)[0].mean(1)
    return states


def targets(session, texts, vectors):
    """Fills the empty rows of vectors [texts, WIDTH] with the mean-pooled, normalised vectors of lists of tokens.

    Texts of similar length are encoded together, out of one stretch of the texts at a time.
    """
    inputs = {i.name for i in session.get_inputs()}
    empty = np.flatnonzero(~np.any(vectors, axis=1))
    for start in range(0, len(empty), 8192):
        order = sorted(empty[start : start + 8192], key=lambda i: len(texts[i]))
        for batch in range(0, len(order), 64):
            rows = order[batch : batch + 64]
            ids = np.zeros((len(rows), max(len(texts[i]) for i in rows)), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(rows):
                ids[row, : len(texts[i])] = texts[i]
                mask[row, : len(texts[i])] = 1
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = session.run(None, {name: value for name, value in feed.items() if name in inputs})[0]
            pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
            vectors[rows] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def stored_vectors(path, count):
    """The array of `count` vectors kept in a file, made empty if there is none."""
    if path.exists():
        vectors = np.lib.format.open_memmap(path, mode="r+")
        if vectors.shape != (count, WIDTH):
            raise SystemExit(f"{path} has {vectors.shape[0]} vectors, of other texts than these {count}")
        return vectors
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, WIDTH))


def token_means(texts):
    """How much each token counts in each text's mean, sparse [texts, VOCABULARY]."""
    lengths = [len(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), lengths)
    weights = np.repeat([1 / max(n, 1) for n in lengths], lengths).astype(np.float32)
    columns = np.concatenate([np.array(text, np.int32) for text in texts if text])
    return scipy.sparse.csr_matrix((weights, (rows, columns)), shape=(len(texts), VOCABULARY))


def regress(means, wanted, start, ridge, steps=60):
    """argmin_E |means E - wanted|^2 + ridge |E - start|^2, by conjugate gradients scaled by the diagonal."""
    transposed = means.T.tocsr()
    scale = 1 / (np.asarray(means.multiply(means).sum(0)).ravel() + ridge).astype(np.float32)[:, None]
    change, residual = np.zeros_like(start), transposed @ (wanted - means @ start)
    direction = scale * residual
    size = (residual * direction).sum(0)
    first = size.sum()
    for _ in range(steps):
        image = transposed @ (means @ direction) + ridge * direction
        step = size / np.maximum((direction * image).sum(0), 1e-30)
        change += step * direction
        residual -= step * image
        scaled = scale * residual
        now = (residual * scaled).sum(0)
        if now.sum() < 1e-8 * first:
            break
        direction = scaled + now / np.maximum(size, 1e-30) * direction
        size = now
    return start + change


def fitted(means, wanted, start):
    """The start times the number that brings the texts' vectors nearest to the wanted ones."""
    seen = means @ start
    return start * np.float32((seen * wanted).sum() / (seen * seen).sum())


def token_weights(kind, sif, means):
    if kind == "rank":
        return np.log(1 + np.arange(VOCABULARY))
    counts = np.asarray((means > 0).sum(0)).ravel() + 0.5
    return sif / (sif + counts / counts.sum())


def distilled(vectors, means, states, dim, kind, sif, ridge, rounds):
    """The rows of a model [VOCABULARY, dim] for texts with these vectors and token means."""
    centre = vectors.mean(0)
    axes = np.linalg.svd((vectors - centre)[::10], full_matrices=False)[2][:dim].T
    wanted = (vectors - centre) @ axes
    start = ((states - states.mean(0)) @ axes * token_weights(kind, sif, means)[:, None]).astype(np.float32)
    start[SPECIAL] = 0
    rows = regress(means, wanted, fitted(means, wanted, start), ridge)
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    for _ in range(rounds):
        lengths = np.linalg.norm(means @ rows, axis=1)
        middle = np.median(lengths)
        scaled = scipy.sparse.diags((middle / np.maximum(lengths, middle / 20)).astype(np.float32)) @ means
        rows = regress(scaled.tocsr(), wanted, fitted(scaled, wanted, start), ridge)
    rows[SPECIAL] = 0
    return rows


def nearest(vectors):
    """The NEIGHBOURS nearest others of each vector by cosine, as sets."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    return [set(row) for row in np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]]


def validate(vectors, means, states, sources, args):
    """Prints how well models that were made without a file answer among its texts."""
    names = [path.name for path in args.texts]
    print("start\tridge\trounds\tmean\t" + "\t".join(names))
    for kind, ridge, rounds in itertools.product(("rank", "sif"), (0.3, 1.0, 3.0), (0, 2)):
        shares = []
        for source in range(len(names)):
            kept, asked = sources != source, np.flatnonzero(sources == source)[:1500]
            rows = distilled(vectors[kept], means[kept], states, args.dim, kind, args.sif, ridge, rounds)
            pairs = zip(nearest(vectors[asked]), nearest(means[asked] @ rows), strict=True)
            shares.append(np.mean([len(a & b) for a, b in pairs]) / NEIGHBOURS)
        print(f"{kind}\t{ridge}\t{rounds}\t{np.mean(shares):.3f}\t" + "\t".join(f"{x:.3f}" for x in shares), flush=True)


def write_model(rows, path):
    """Writes rows [VOCABULARY, DIM] as an ONNX graph of the signature above, int8 with one scale a row."""
    scale = np.abs(rows).max(1, keepdims=True) / 127
    scale[scale == 0] = 1
    constants = [
        numpy_helper.from_array(np.round(rows / scale).astype(np.int8), "table"),
        numpy_helper.from_array(scale.astype(np.float32), "scale"),
        numpy_helper.from_array(np.array([2], np.int64), "last_axis"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["codes"], axis=0),
        helper.make_node("Cast", ["codes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["scale", "input_ids"], ["scales"], axis=0),
        helper.make_node("Mul", ["floats", "scales"], ["embedding"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask_column"]),
        helper.make_node("Mul", ["embedding", "mask_column"], ["last_hidden_state"]),
    ]
    shape = ["batch", "sequence"]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, rows.shape[1]])
    graph = helper.make_graph(nodes, f"static-minilm-{rows.shape[1]}", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--ridge", type=float, default=1.0)
    parser.add_argument("--start", choices=("rank", "sif"), default="rank")
    parser.add_argument("--sif", type=float, default=1e-3, metavar="A")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--leave-out", type=Path, action="append", default=[])
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--threads", type=int, default=0, help="of the teacher; 0: all cores")
    args = parser.parse_args()

    left_out = LeftOut(text for file in args.leave_out for text in read_texts(file))
    pairs = [(text, source) for source, file in enumerate(args.texts) for text in read_texts(file)]
    kept = [pair for pair in pairs if pair[0] not in left_out] if args.leave_out else pairs
    texts, sources = [text for text, _ in kept], np.array([source for _, source in kept])
    print(f"{len(texts)} texts, {len(pairs) - len(texts)} left out", flush=True)

    tokenizer = tokenizers.Tokenizer.from_file(str(args.minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(args.minilm / "model.onnx"), options)

    shape = (len(texts), WIDTH)
    vectors = stored_vectors(args.vectors, len(texts)) if args.vectors else np.zeros(shape, np.float32)
    targets(session, [e.ids for e in tokenizer.encode_batch(texts)], vectors)
    vectors = np.asarray(vectors, np.float32)
    means = token_means([e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)])
    states = token_states(session)
    if args.validate:
        validate(vectors, means, states, sources, args)
        return
    rows = distilled(vectors, means, states, args.dim, args.start, args.sif, args.ridge, args.rounds)

    args.out.mkdir(parents=True, exist_ok=True)
    write_model((rows / np.abs(rows).max()).astype(np.float32), str(args.out / "model.onnx"))
    shutil.copy(args.minilm / "tokenizer.json", args.out / "tokenizer.json")


if __name__ == "__main__":
    main()
