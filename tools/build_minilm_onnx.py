#!/usr/bin/env python3
"""Builds a float32 ONNX graph of a BERT encoder such as all-MiniLM-L6-v2 from its model.safetensors, without torch.

usage: build_minilm_onnx.py MODEL_DIR OUT.onnx [--pooled]

Inputs   input_ids, attention_mask, token_type_ids   int64 [batch, sequence]
Output   last_hidden_state                           float32 [batch, sequence, hidden], as optimum names it
--pooled adds sentence_embedding                     float32 [batch, hidden], mean pooled and L2 normalised

Needs numpy, onnx and safetensors (tools/requirements-minilm.txt). The graph is the one written for the affinis project's
shared tools (shared/tools/build_minilm_onnx.py), laid out here for reading; the architecture is BERT (Devlin et al.
2018), the weights are those of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
"""
import json
import math
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


class Graph:
    """Nodes and constants in the order they are made; every node is named for its output."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def constant(self, name, values, dtype):
        if name not in self.constants:
            array = np.ascontiguousarray(np.asarray(values, dtype))
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def ints(self, name, values):
        return self.constant(name, values, np.int64)

    def floats(self, name, values):
        return self.constant(name, values, np.float32)

    def weight(self, name, transposed=False):
        values = self.weights[name]
        return self.floats(name + ("_t" if transposed else ""), values.T if transposed else values)

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def linear(self, x, layer, output):
        product = self.node("MatMul", [x, self.weight(layer + ".weight", transposed=True)], output + "_mm")
        return self.node("Add", [self.weight(layer + ".bias"), product], output)

    def layer_norm(self, x, layer, output, epsilon):
        inputs = [x, self.weight(layer + ".weight"), self.weight(layer + ".bias")]
        return self.node("LayerNormalization", inputs, output, axis=-1, epsilon=epsilon)

    def gelu(self, x, prefix):
        """x / 2 * (1 + erf(x / sqrt 2))"""
        scaled = self.node("Div", [x, self.floats("sqrt2", math.sqrt(2))], prefix + "g1")
        error = self.node("Erf", [scaled], prefix + "g2")
        shifted = self.node("Add", [error, self.floats("g_one", 1.0)], prefix + "g3")
        return self.node("Mul", [self.node("Mul", [x, shifted], prefix + "g4"), self.floats("half", 0.5)], prefix + "gelu")


def embeddings(g, epsilon):
    words = g.node("Gather", [g.weight("embeddings.word_embeddings.weight"), "input_ids"], "e_word", axis=0)
    types = g.node("Gather", [g.weight("embeddings.token_type_embeddings.weight"), "token_type_ids"], "e_type", axis=0)
    sequence = g.node("Gather", [g.node("Shape", ["input_ids"], "shape"), g.ints("one1", [1])], "seq", axis=0)
    table = g.weight("embeddings.position_embeddings.weight")
    positions = g.node("Slice", [table, g.ints("z1", [0]), sequence, g.ints("ax0", [0])], "e_pos")
    total = g.node("Add", [g.node("Add", [words, types], "e_wt"), positions], "e_sum")
    return g.layer_norm(total, "embeddings.LayerNorm", "h0", epsilon)


def attention_bias(g, mask):
    """0 for tokens and -10000 for padding, [batch, 1, 1, sequence]"""
    mask4 = g.node("Unsqueeze", [mask, g.ints("ax12", [1, 2])], "mask4")
    return g.node("Mul", [g.node("Sub", [g.floats("one", 1.0), mask4], "mask_inv"), g.floats("neg", -10000.0)], "mask_bias")


def layer(g, x, bias, index, hidden, heads, epsilon, output):
    name, o, width = f"encoder.layer.{index}.", f"l{index}_", hidden // heads

    def split(part, perm):
        projected = g.linear(x, f"{name}attention.self.{part}", o + part)
        shaped = g.node("Reshape", [projected, g.ints("split", [0, 0, heads, width])], f"{o}{part}_r")
        return g.node("Transpose", [shaped], f"{o}{part}_t", perm=perm)

    query, key, value = split("query", [0, 2, 1, 3]), split("key", [0, 2, 3, 1]), split("value", [0, 2, 1, 3])
    scaled = g.node("Div", [g.node("MatMul", [query, key], o + "qk"), g.floats("scale", math.sqrt(width))], o + "qks")
    weights = g.node("Softmax", [g.node("Add", [scaled, bias], o + "scores")], o + "prob", axis=-1)
    mixed = g.node("Transpose", [g.node("MatMul", [weights, value], o + "av")], o + "avt", perm=[0, 2, 1, 3])
    context = g.node("Reshape", [mixed, g.ints("merge", [0, 0, hidden])], o + "ctx")
    attended = g.node("Add", [g.linear(context, name + "attention.output.dense", o + "ao"), x], o + "ares")
    x = g.layer_norm(attended, name + "attention.output.LayerNorm", o + "aln", epsilon)
    wide = g.gelu(g.linear(x, name + "intermediate.dense", o + "ff1"), o)
    narrow = g.node("Add", [g.linear(wide, name + "output.dense", o + "ff2"), x], o + "fres")
    return g.layer_norm(narrow, name + "output.LayerNorm", output, epsilon)


def pooled(g, x, mask):
    mask3 = g.node("Unsqueeze", [mask, g.ints("ax2", [2])], "mask3")
    total = g.node("ReduceSum", [g.node("Mul", [x, mask3], "hm"), g.ints("axs", [1])], "hsum", keepdims=0)
    count = g.node("ReduceSum", [mask3, "axs"], "msum", keepdims=0)
    mean = g.node("Div", [total, g.node("Max", [count, g.floats("eps9", 1e-9)], "mden")], "mean")
    norm = g.node("ReduceL2", [mean, g.ints("axn", [1])], "l2", keepdims=1)
    g.node("Div", [mean, g.node("Max", [norm, g.floats("eps12", 1e-12)], "l2c")], "sentence_embedding")


def main(source, target, with_pooling):
    with open(source + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    hidden, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
    layers = config["num_hidden_layers"]
    g = Graph(load_file(source + "/model.safetensors"))
    x = embeddings(g, epsilon)
    mask = g.node("Cast", ["attention_mask"], "mask_f", to=TensorProto.FLOAT)
    bias = attention_bias(g, mask)
    for index in range(layers):
        output = "last_hidden_state" if index == layers - 1 else f"l{index}_out"
        x = layer(g, x, bias, index, hidden, heads, epsilon, output)
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "sequence", hidden])]
    if with_pooling:
        pooled(g, x, mask)
        outputs.append(helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", hidden]))
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in names]
    graph = helper.make_graph(g.nodes, "bert", inputs, outputs, list(g.constants.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, producer_name="build_minilm_onnx"
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--pooled"]
    if len(arguments) != 2:
        sys.exit(__doc__)
    main(arguments[0], arguments[1], "--pooled" in sys.argv)
