"""Builds ``1/model.onnx``: Moonshine (tiny, English) as one graph from samples to tokens.

    npm pack @moonshine-ai/moonshine-js@0.1.29 && tar xzf moonshine-ai-moonshine-js-0.1.29.tgz
    pip install onnx==1.23.2 numpy
    python models/transcription/build.py package/dist/model/tiny/quantized

The published model is an encoder and a decoder that is asked for one token after the other, with
all that it remembers going in and out each time. Here all of that is in the graph:

- a ``Loop`` that takes the likeliest token until every row has ended. A row that has ended is given
  the token of the end from then on, and the answer is as long as the sound allows, filled up with
  the same token: so it doesn't depend on when the other rows end. (Always going as many steps as
  the sound allows would need no such argument, and takes half as long again.)
- weights stay the 8 bits that they are, but what they are multiplied with is scaled by blocks of
  a row of its own (``MatMulNBits``). The published graph takes one scale for the whole batch:
  there, a loud recording changes another one's words. And a batch is multiplied as one matrix, so
  that its rows get the very numbers that they get alone.

Paper: Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands",
https://arxiv.org/abs/2410.15608
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
PUBLISHED = {
    "encoder_model.onnx": "c6fc4b7bc5af75c0591fd157a1f3829b533d18e9769a888fd95a62e470dd4f4a",
    "decoder_model_merged.onnx": "eed87831c3a6103534aae7d47a5d485025c659a1323901513961c39fe8a1a367",
}
START, END = 1, 2
LAYERS, HEADS, WIDTH = 6, 8, 36
RATE = 16_000
Array = np.ndarray[Any, Any]
TOKENS_PER_SECOND = 6.5  # nobody speaks faster: by the authors, more is the model's repetition
FEWEST_TOKENS = 8
BLOCK = 32  # numbers that share a scale
AS_8_BITS = 4  # MatMulNBits: rows are taken as 8 bits, too


def read(folder: Path, name: str) -> ModelProto:
    """The published graph, if it is the one that this was written for."""
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != PUBLISHED[name]:
        raise SystemExit(f"{folder / name} is not the file that was published")
    return onnx.load_from_string(data)


class Weights:
    """The constants of the new graph."""

    def __init__(self, **small: Array) -> None:
        self.tensors = [numpy_helper.from_array(value, name) for name, value in small.items()]
        self._narrow: dict[str, list[str]] = {}

    def shape(self, *lengths: int) -> str:
        """A constant shape, made once."""
        name = "shape/" + "/".join(map(str, lengths))
        if all(tensor.name != name for tensor in self.tensors):
            self.tensors.append(numpy_helper.from_array(np.array(lengths), name))
        return name

    def narrow(self, name: str, weight: Array, scale: Array, zero: Array) -> list[str]:
        """The inputs that MatMulNBits has for a weight [inputs, outputs] of 8 bits, made once."""
        if name not in self._narrow:
            names = [f"{name}/blocks", f"{name}/scales", f"{name}/zeros"]
            blocks = weight.T.reshape(weight.shape[1], -1, BLOCK)
            values = (
                np.ascontiguousarray(blocks),
                np.full(blocks.shape[:2], scale, np.float32).ravel(),
                np.full(blocks.shape[:2], zero, np.uint8).ravel(),
            )
            pairs = zip(values, names, strict=True)
            self.tensors += [numpy_helper.from_array(value, one) for value, one in pairs]
            self._narrow[name] = names
        return self._narrow[name]


def by_rows(
    nodes: list[NodeProto], given: Mapping[str, Array], weights: Weights
) -> list[NodeProto]:
    """The same nodes, with a scale for each row's block where there was one for the batch.

    A quantised product is five nodes: DynamicQuantizeLinear, MatMulInteger, Cast, and the scales'
    product, which is multiplied with what comes of it.
    """
    makers = {name: node for node in nodes for name in node.output}
    users = {name: node for node in nodes for name in node.input}
    found, gone = [], set()
    for node in nodes:
        if node.op_type == "MatMulInteger":
            quantise, cast = makers[node.input[0]], users[node.output[0]]
            product = users[cast.output[0]]
            scales = makers[product.input[1]]
            name = node.input[1]
            weight = weights.narrow(name, given[name], given[scales.input[1]], given[node.input[3]])
            value = quantise.input[0]
            gone |= {id(quantise), id(node), id(cast), id(scales)}
            found.append(
                (product, narrow_product(value, weight, given[name].shape, product.output[0]))
            )
    made = {id(product): node for product, node in found}
    return [made.get(id(node), node) for node in nodes if id(node) not in gone]


def narrow_product(value: str, weight: list[str], shape: tuple[int, ...], output: str) -> NodeProto:
    """``value`` times a weight [inputs, outputs]; rows are taken as 8 bits, block by block."""
    return helper.make_node(
        "MatMulNBits", [value, *weight], [output], domain="com.microsoft", bits=8,
        block_size=BLOCK, K=shape[0], N=shape[1], accuracy_level=AS_8_BITS,
    )  # fmt: skip


def flattened(nodes: list[NodeProto], weights: Weights, one_step: bool) -> list[NodeProto]:
    """The same nodes, with products of [rows, steps, inputs] made as of [rows * steps, inputs].

    onnxruntime multiplies a matrix in 8 bits, but a batch of more than one in floats: a recording
    alone would be heard otherwise, by a rounding, than one beside others. ``one_step``: there is
    one step, but in what is made of ``heard``.
    """
    found = []
    for node in nodes:
        if node.op_type != "MatMulNBits":
            found.append(node)
            continue
        inputs, outputs = (a.i for name in "KN" for a in node.attribute if a.name == name)
        value, product = node.input[0], node.output[0]
        back = weights.shape(-1, 1, outputs)
        if not one_step or value == "heard":
            back = f"{product}/shape"
            parts = ["batch", weights.shape(-1), weights.shape(outputs)]
            found.append(helper.make_node("Concat", parts, [back], axis=0))
        flat = NodeProto()
        flat.CopyFrom(node)
        flat.input[0], flat.output[0] = f"{product}/given", f"{product}/flat"
        found += [
            helper.make_node("Reshape", [value, weights.shape(-1, inputs)], [flat.input[0]]),
            flat,
            helper.make_node("Reshape", [flat.output[0], back], [product]),
        ]
    return found


def with_words(
    nodes: list[NodeProto], given: Mapping[str, Array], weights: Weights
) -> list[NodeProto]:
    """The words' weights are there once: for a word's row, and for the last product."""
    (name,) = [one for one in given if one.endswith("embed_tokens.weight_merged_0_quantized")]
    stem = name.removesuffix("_quantized")
    words = given[name].T
    blocks = weights.narrow(name, words, given[f"{stem}_scale"], given[f"{stem}_zero_point"])
    makers = {out: node for node in nodes for out in node.output}
    found = []
    for node in nodes:
        if node.op_type == "Gather" and node.input[0] == name:
            taken = f"{node.output[0]}/blocks"
            found += [
                helper.make_node("Gather", [blocks[0], node.input[1]], [taken]),
                helper.make_node("Reshape", [taken, "flat"], [node.output[0]]),
            ]
        elif (node.op_type == "Transpose" and node.input[0] == name) or (
            node.op_type == "DequantizeLinear" and makers[node.input[0]].op_type == "Transpose"
        ):
            continue
        elif node.op_type == "MatMul" and node.input[1].endswith("weight_transposed"):
            found.append(narrow_product(node.input[0], blocks, words.shape, node.output[0]))
        else:
            found.append(node)
    return found


def inlined(
    graph: GraphProto, prefix: str, outer: dict[str, str]
) -> tuple[list[NodeProto], dict[str, str]]:
    """The nodes of a graph with names of their own, and those of its outputs.

    ``outer`` are names that mean something outside, and what they are called there.
    """
    made = {name for node in graph.node for name in node.output}

    def rename(name: str) -> str:
        if name in made:
            return prefix + name
        return outer.get(name, name)

    nodes = []
    for node in graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = prefix + node.name
        del copy.input[:], copy.output[:]
        copy.input.extend(rename(name) for name in node.input)
        copy.output.extend(rename(name) for name in node.output)
        nodes.append(copy)
    return nodes, {value.name: rename(value.name) for value in graph.output}


def likeliest(logits: str, token: str) -> NodeProto:
    """[batch, 1, words] to the best word of each, [batch, 1]."""
    return helper.make_node("ArgMax", [logits], [token], axis=2, keepdims=0)


def remembered(names: Mapping[str, str], side: str) -> list[str]:
    """What a decoder's outputs of that side are called now, by layer: key, value."""
    places = list(names)  # logits, then key and value of the decoder and of the encoder, by layer
    offsets = {"decoder": (1, 2), "encoder": (3, 4)}[side]
    return [names[places[4 * layer + offset]] for layer in range(LAYERS) for offset in offsets]


def past(template: str) -> list[str]:
    """A name for each thing that is remembered."""
    return [template.format(layer, part) for layer in range(LAYERS) for part in ("key", "value")]


def loop_body(branch: GraphProto, given: Mapping[str, Array], weights: Weights) -> GraphProto:
    """A step: a token and what is remembered in, the next ones out."""
    before = past("step/past.{}.{}")
    outer = {"input_ids": "step/token", "encoder_hidden_states": "heard"}
    outer |= dict(zip(past("past_key_values.{}.decoder.{}"), before, strict=True))
    outer |= dict(zip(past("past_key_values.{}.encoder.{}"), past("heard.{}.{}"), strict=True))
    nodes, outputs = inlined(branch, "step/", outer)
    nodes = with_words(by_rows(nodes, given, weights), given, weights)
    nodes = flattened(nodes, weights, one_step=True)
    logits, after = next(iter(outputs.values())), remembered(outputs, "decoder")
    number = TensorProto.INT32
    nodes += [
        likeliest(logits, "step/best"),
        helper.make_node("Where", ["step/ended", "end", "step/best"], ["step/next"]),
        helper.make_node("Equal", ["step/next", "end"], ["step/ends"]),
        helper.make_node("Cast", ["step/ends"], ["step/ends/number"], to=number),
        helper.make_node("ReduceMin", ["step/ends/number"], ["step/all/number"], keepdims=0),
        helper.make_node("Cast", ["step/all/number"], ["step/all"], to=TensorProto.BOOL),
        helper.make_node("Not", ["step/all"], ["step/more"]),
        helper.make_node("Identity", ["step/next"], ["step/said"]),
    ]
    nodes = needed(nodes, ["step/more", "step/next", "step/ends", *after, "step/said"])
    value, token = helper.make_tensor_value_info, ("batch", 1)
    shape = ("batch", HEADS, None, WIDTH)
    return helper.make_graph(
        nodes,
        "step",
        [
            value("step/count", TensorProto.INT64, []),
            value("step/on", TensorProto.BOOL, []),
            value("step/token", TensorProto.INT64, token),
            value("step/ended", TensorProto.BOOL, token),
            *(value(name, TensorProto.FLOAT, shape) for name in before),
        ],
        [
            value("step/more", TensorProto.BOOL, []),
            value("step/next", TensorProto.INT64, token),
            value("step/ends", TensorProto.BOOL, token),
            *(value(name, TensorProto.FLOAT, shape) for name in after),
            value("step/said", TensorProto.INT64, token),
        ],
    )


def encoded(encoder: ModelProto, weights: Weights) -> list[NodeProto]:
    """From ``audio`` to ``heard``. Both graphs have constants of the same names."""
    given = constants(encoder)
    own = {name: f"hear/{name}" for name in given}
    nodes, outputs = inlined(encoder.graph, "hear/", {"input_values": "audio", **own})
    moved = {own[name]: value for name, value in given.items()}
    weights.tensors += [numpy_helper.from_array(value, name) for name, value in moved.items()]
    (hidden,) = outputs.values()
    nodes = flattened(by_rows(nodes, moved, weights), weights, one_step=False)
    return [*nodes, helper.make_node("Identity", [hidden], ["heard"])]


def decoded(decoder: ModelProto, weights: Weights) -> list[NodeProto]:
    """From ``heard`` and ``allowed``, the most tokens, to ``all``: as many as the longest row's."""
    given = constants(decoder)
    weights.tensors += decoder.graph.initializer
    (choice,) = decoder.graph.node
    branches = {attribute.name: attribute.g for attribute in choice.attribute}
    outer = {"input_ids": "first/token", "encoder_hidden_states": "heard"}
    nodes, outputs = inlined(branches["else_branch"], "first/", outer)
    nodes = with_words(by_rows(nodes, given, weights), given, weights)
    nodes = flattened(nodes, weights, one_step=True)
    heard = zip(remembered(outputs, "encoder"), past("heard.{}.{}"), strict=True)
    steps = ["steps", "yes", "first/best", "first/ended", *remembered(outputs, "decoder")]
    return [
        helper.make_node("Concat", ["batch", "one"], ["first/shape"], axis=0),
        helper.make_node("Expand", ["start", "first/shape"], ["first/token"]),
        *nodes,
        likeliest(next(iter(outputs.values())), "first/best"),
        helper.make_node("Equal", ["first/best", "end"], ["first/ended"]),
        *(helper.make_node("Identity", [name], [known]) for name, known in heard),
        helper.make_node("Sub", ["allowed", "unit"], ["steps"]),
        helper.make_node(
            "Loop",
            steps,
            ["last", "last/ended", *past("last.{}.{}"), "said"],
            body=loop_body(branches["then_branch"], given, weights),
        ),
        helper.make_node("Squeeze", ["said", "two"], ["said/flat"]),  # [steps, batch]
        helper.make_node("Transpose", ["said/flat"], ["said/rows"], perm=[1, 0]),
        helper.make_node("Concat", ["first/best", "said/rows"], ["all"], axis=1),
    ]


def build(encoder: ModelProto, decoder: ModelProto) -> ModelProto:
    """Samples [batch, samples] to tokens [batch, tokens]."""
    weights = Weights(
        end=np.array(END),
        start=np.array(START),
        yes=np.array(True),
        per_sample=np.array(TOKENS_PER_SECOND / RATE, np.float32),
        fewest=np.array(FEWEST_TOKENS),
        nought=np.array([0]),
        one=np.array([1]),
        two=np.array([2]),
        unit=np.array(1),
        flat=np.array([0, 0, -1]),
        before=np.array([0, 0, 0]),
    )
    nodes = [
        helper.make_node("Shape", ["audio"], ["size"]),
        helper.make_node("Gather", ["size", "nought"], ["batch"]),
        *encoded(encoder, weights),
        helper.make_node("Shape", ["audio"], ["audio/size"]),
        helper.make_node("Gather", ["audio/size", "unit"], ["samples"]),
        helper.make_node("Cast", ["samples"], ["samples/float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["samples/float", "per_sample"], ["allowed/float"]),
        helper.make_node("Cast", ["allowed/float"], ["allowed/int"], to=TensorProto.INT64),
        helper.make_node("Max", ["allowed/int", "fewest"], ["allowed"]),
        *decoded(decoder, weights),
        helper.make_node("Shape", ["all"], ["all/size"]),
        helper.make_node("Gather", ["all/size", "one"], ["all/length"]),
        helper.make_node("Sub", ["allowed", "all/length"], ["rest"]),
        helper.make_node("Concat", ["before", "rest"], ["pads"], axis=0),
        helper.make_node("Pad", ["all", "pads", "end"], ["tokens"]),
    ]
    nodes = needed(nodes, ["tokens"])
    used = {name for node in every(nodes) for name in node.input}
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "moonshine-tiny",
        [value("audio", TensorProto.FLOAT, ["batch", "samples"])],
        [value("tokens", TensorProto.INT64, ["batch", "tokens"])],
        [tensor for tensor in weights.tensors if tensor.name in used],
    )
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.checker.check_model(model)
    return model


def needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes without those that nobody asks for."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(name for inner in every([node]) for name in inner.input)
            found.append(node)
    return found[::-1]


def constants(model: ModelProto) -> dict[str, Array]:
    """The weights of a graph, by name."""
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def every(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes, and those within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from every(attribute.g.node)


def main() -> None:
    """See the module."""
    folder = Path(sys.argv[1])
    model = build(read(folder, "encoder_model.onnx"), read(folder, "decoder_model_merged.onnx"))
    path = HERE / "1" / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)
    print(f"{path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
