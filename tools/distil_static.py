#!/usr/bin/env python3
"""Distils a static embedding model from all-MiniLM-L6-v2 by regression; made models/static-minilm-256-v2.

usage: distil_static.py MINILM_DIR OUT_DIR TEXTS.tsv.gz [TEXTS.tsv.gz ...] [--dim 256] [--ridge 1.0]

MINILM_DIR has model.onnx and tokenizer.json (tools/get-minilm.sh makes it); in TEXTS a line is `name TAB text`. The
shipped model was made from WordNet 3.0's glosses and Debian's package descriptions, 181,325 texts, without labels. Needs
tools/requirements-distil.txt; takes some minutes on two cores.

Every text's MiniLM vector, centred and projected on the DIM principal axes of all of them, is the target; the model's
vector is the mean of its tokens' rows. The rows are the ridge regression of the targets on token means, drawn towards a
start: the encoder's own states of each token alone, weighted by log(1 + token id), for BERT's vocabulary is roughly
ordered by frequency. Conjugate gradients solve it, all columns at once. A row is stored as int8 with one scale.

  input_ids, attention_mask : int64 [batch, sequence]  ->  last_hidden_state : f32 [batch, sequence, DIM]

The mean over the mask, L2 normalised, is the text's embedding.
"""

import argparse
import gzip
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


def token_states(session):
    """The mean of the encoder's states of [CLS] token [SEP], [VOCABULARY, WIDTH]."""
    states = np.zeros((VOCABULARY, WIDTH), np.float32)
    for start in range(0, VOCABULARY, 512):
        ids = np.arange(start, min(VOCABULARY, start + 512))
        rows = np.stack([np.full_like(ids, CLS), ids, np.full_like(ids, SEP)], 1).astype(np.int64)
        feed = {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}
        states[ids] = session.run(None, feed)[0].mean(1)
    return states


def targets(session, texts):
    """The mean-pooled, normalised vectors of lists of tokens, [texts, WIDTH], encoded in batches of similar length."""
    vectors = np.zeros((len(texts), WIDTH), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    inputs = {i.name for i in session.get_inputs()}
    for start in range(0, len(order), 64):
        rows = order[start : start + 64]
        ids = np.zeros((len(rows), max(len(texts[i]) for i in rows)), np.int64)
        mask = np.zeros_like(ids)
        for row, i in enumerate(rows):
            ids[row, : len(texts[i])] = texts[i]
            mask[row, : len(texts[i])] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = session.run(None, {name: value for name, value in feed.items() if name in inputs})[0]
        pooled = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        vectors[rows] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    return vectors


def token_means(texts):
    """How much each token counts in each text's mean, sparse [texts, VOCABULARY]."""
    lengths = [len(text) for text in texts]
    rows = np.repeat(np.arange(len(texts)), lengths)
    weights = np.repeat([1 / max(n, 1) for n in lengths], lengths).astype(np.float32)
    columns = np.concatenate([np.array(text, np.int32) for text in texts if text])
    return scipy.sparse.csr_matrix((weights, (rows, columns)), shape=(len(texts), VOCABULARY))


def regress(means, wanted, start, ridge, steps=60):
    """argmin_E |means E - wanted|^2 + ridge |E - start|^2, by conjugate gradients."""
    change, residual = np.zeros_like(start), means.T @ (wanted - means @ start)
    direction, size = residual.copy(), (residual * residual).sum(0)
    first = size.sum()
    for _ in range(steps):
        image = means.T @ (means @ direction) + ridge * direction
        step = size / np.maximum((direction * image).sum(0), 1e-30)
        change += step * direction
        residual -= step * image
        now = (residual * residual).sum(0)
        if now.sum() < 1e-8 * first:
            break
        direction = residual + now / np.maximum(size, 1e-30) * direction
        size = now
    return start + change


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
    args = parser.parse_args()

    lines = (line for file in args.texts for line in gzip.open(file, "rt").read().splitlines())
    texts = [line.split("\t", 1)[1] for line in lines if "\t" in line]
    tokenizer = tokenizers.Tokenizer.from_file(str(args.minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    session = onnxruntime.InferenceSession(str(args.minilm / "model.onnx"))

    vectors = targets(session, [e.ids for e in tokenizer.encode_batch(texts)])
    centre = vectors.mean(0)
    axes = np.linalg.svd((vectors - centre)[::10], full_matrices=False)[2][: args.dim].T
    wanted = (vectors - centre) @ axes

    means = token_means([e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)])
    states = token_states(session)
    weights = np.log(1 + np.arange(VOCABULARY))[:, None]
    start = ((states - states.mean(0)) @ axes * weights).astype(np.float32)
    start[SPECIAL] = 0
    seen = means @ start
    start *= float((seen * wanted).sum() / (seen * seen).sum())
    rows = regress(means, wanted, start, args.ridge)
    rows[SPECIAL] = 0

    args.out.mkdir(parents=True, exist_ok=True)
    write_model((rows / np.abs(rows).max()).astype(np.float32), str(args.out / "model.onnx"))
    shutil.copy(args.minilm / "tokenizer.json", args.out / "tokenizer.json")


if __name__ == "__main__":
    main()
