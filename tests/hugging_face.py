"""Tiny folders as they lie on Hugging Face's hub: graph, configuration, tokenizer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests import onnx_models

WORDS = ["the", "cat", "dog", "sat", "good", "bad", "fine", "ann", "berlin", "london", "big", "new"]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_VOCABULARY = [*_SPECIAL, *WORDS]
_FLOAT, _INT64 = TensorProto.FLOAT, TensorProto.INT64
_TOKENS = [(name, _INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")]
_PAIRS = [*_TOKENS, ("token_type_ids", _INT64, ["batch", "sequence"])]


def tokenizer() -> Tokenizer:
    """Words in lower case; pairs are told apart by their segment. It states no limit."""
    made = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(_VOCABULARY)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def _table(rows: dict[str, list[float]], width: int) -> Any:
    """A row for each word; others are 0."""
    table = np.zeros((len(_VOCABULARY), width), np.float32)
    for word, row in rows.items():
        table[_VOCABULARY.index(word)] = row
    return table


def _float(name: str, to: str) -> list[onnx.NodeProto]:
    """[batch, tokens] of integers as [batch, tokens, 1] of floats."""
    return [
        helper.make_node("Cast", [name], [f"{to}_flat"], f"cast_{to}", to=_FLOAT),
        helper.make_node("Unsqueeze", [f"{to}_flat", "last"], [to], f"unsqueeze_{to}"),
    ]


def word_classes(rows: dict[str, list[float]], width: int) -> onnx.ModelProto:
    """Logits for each token: a row of a table."""
    return onnx_models.build(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"], "look_up"),
            *_float("attention_mask", "mask"),
            helper.make_node("Mul", ["found", "mask"], ["logits"], "masked"),
        ],
        _TOKENS,
        [("logits", _FLOAT, ["batch", "sequence", width])],
        table=_table(rows, width),
        last=np.array([2]),
    )


def text_classes(rows: dict[str, list[float]], width: int) -> onnx.ModelProto:
    """Logits for a text: the sum of its words' rows."""
    return onnx_models.build(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"], "look_up"),
            *_float("attention_mask", "mask"),
            helper.make_node("Mul", ["found", "mask"], ["masked"], "mask"),
            helper.make_node("ReduceSum", ["masked", "tokens"], ["logits"], "sum", keepdims=0),
        ],
        _TOKENS,
        [("logits", _FLOAT, ["batch", width])],
        table=_table(rows, width),
        last=np.array([2]),
        tokens=np.array([1]),
    )


def common_words(weights: list[float], bias: list[float]) -> onnx.ModelProto:
    """Logits for a pair of texts: weights times the number of words that both have, and a bias."""
    table = np.eye(len(_VOCABULARY), dtype=np.float32)
    table[: len(_SPECIAL)] = 0
    return onnx_models.build(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"], "look_up"),
            *_float("attention_mask", "mask"),
            *_float("token_type_ids", "second"),
            helper.make_node("Sub", ["one", "second"], ["first"], "first"),
            helper.make_node("Mul", ["found", "mask"], ["words"], "mask"),
            helper.make_node("Mul", ["words", "first"], ["a"], "a"),
            helper.make_node("Mul", ["words", "second"], ["b"], "b"),
            helper.make_node("ReduceSum", ["a", "axis"], ["a_sum"], "a_sum", keepdims=0),
            helper.make_node("ReduceSum", ["b", "axis"], ["b_sum"], "b_sum", keepdims=0),
            helper.make_node("Mul", ["a_sum", "b_sum"], ["both"], "both"),
            helper.make_node("ReduceSum", ["both", "axis"], ["count"], "count", keepdims=1),
            helper.make_node("Mul", ["count", "weights"], ["weighed"], "weigh"),
            helper.make_node("Add", ["weighed", "bias"], ["logits"], "logits_of"),
        ],
        _PAIRS,
        [("logits", _FLOAT, ["batch", len(weights)])],
        table=table,
        weights=np.array([weights], np.float32),
        bias=np.array([bias], np.float32),
        one=np.float32(1),
        last=np.array([2]),
        axis=np.array([1]),
    )


def pooling_itself() -> onnx.ModelProto:
    """The encoder with the mean of its tokens' vectors as a second output."""
    graph = onnx_models.text_encoder()
    states = graph.graph.output[0]
    graph.graph.node.append(
        onnx.helper.make_node(
            "ReduceMean", [states.name], ["sentence_embedding"], axes=[1], keepdims=0
        )
    )
    shape = states.type.tensor_type.shape.dim
    graph.graph.output.append(
        onnx.helper.make_tensor_value_info(
            "sentence_embedding", onnx.TensorProto.FLOAT, ["batch", shape[2].dim_value]
        )
    )
    return graph


def save(folder: Path, graph: onnx.ModelProto, architecture: str, **config: Any) -> Path:
    """A folder whose tokenizer's limit stands in tokenizer_config.json, as it mostly does."""
    onnx_models.save(graph, folder / "onnx" / "model.onnx")
    labels = config.pop("labels", None)
    if labels:
        config["id2label"] = {str(place): label for place, label in enumerate(labels)}
    write(folder, "config.json", {"architectures": [architecture], "pad_token_id": 0, **config})
    tokenizer().save(str(folder / "tokenizer.json"))
    write(folder, "tokenizer_config.json", {"model_max_length": 32})
    return folder


def write(folder: Path, name: str, content: Any) -> None:
    """A file of JSON."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _levels(pool: list[onnx.NodeProto], to: str) -> list[onnx.NodeProto]:
    """Scores of how loud a recording is: ``pool`` makes [batch, 1, frames] of ``waves``."""
    return [
        helper.make_node("Unsqueeze", ["input_values", "one"], ["waves"], "waves"),
        *pool,
        helper.make_node("Transpose", ["loud"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["turned", "weights"], ["weighed"], "weigh"),
        helper.make_node("Add", ["weighed", "bias"], [to], "add"),
    ]  # fmt: skip


def save_sounds(folder: Path) -> Path:
    """``letters`` writes an A for each loud part of a recording, ``noise`` tells loud from quiet."""
    said = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000,
            "do_normalize": False}  # fmt: skip
    samples = [("input_values", _FLOAT, ["batch", "samples"])]
    size: dict[str, Any] = {"kernel_shape": [1600], "strides": [1600]}
    frames = [helper.make_node("MaxPool", ["waves"], ["loud"], "pool", **size)]
    whole = [helper.make_node("GlobalMaxPool", ["waves"], ["loud"], "pool")]
    letters = onnx_models.build(
        _levels(frames, "logits"), samples,
        [("logits", _FLOAT, ["batch", "frames", 3])],
        one=np.array([1]), weights=np.array([[0.0, 0, 4]], np.float32),
        bias=np.array([1.0, 0, 0], np.float32),
    )  # fmt: skip
    noise = onnx_models.build(
        [*_levels(whole, "each"),
         helper.make_node("Squeeze", ["each", "one"], ["logits"], "squeeze")],
        samples, [("logits", _FLOAT, ["batch", 2])],
        one=np.array([1]), weights=np.array([[4.0, 0]], np.float32),
        bias=np.array([0.0, 1], np.float32),
    )  # fmt: skip
    for name, graph, config in (
        ("letters", letters, {"architectures": ["Wav2Vec2ForCTC"]}),
        ("noise", noise, {"architectures": ["HubertForSequenceClassification"],
                          "id2label": {"0": "loud", "1": "quiet"}}),
    ):  # fmt: skip
        onnx_models.save(graph, folder / name / "onnx" / "model.onnx")
        write(folder / name, "config.json", config)
        write(folder / name, "preprocessor_config.json", said)
    write(folder / "letters", "vocab.json", {"<pad>": 0, "|": 1, "A": 2})
    return folder


def save_all(folder: Path) -> Path:
    """A model of each kind."""
    moods = {"good": [0.0, 3], "fine": [0.0, 1], "bad": [3.0, 0]}
    save(
        folder / "mood", text_classes(moods, 2), "DistilBertForSequenceClassification",
        labels=["NEGATIVE", "POSITIVE"], max_position_embeddings=512,
    )  # fmt: skip
    kinds = {word: [4.0, 0, 0, 0] for word in WORDS}
    kinds |= {
        "ann": [0, 4, 0, 0],
        "new": [0, 0, 4, 0],
        "london": [0, 0, 0, 4],
        "berlin": [0, 0, 4, 0],
    }
    save(
        folder / "names", word_classes(kinds, 4), "BertForTokenClassification",
        labels=["O", "B-PER", "B-LOC", "I-LOC"],
    )  # fmt: skip
    save(
        folder / "nli", common_words([-2, 0, 2], [1, 0, -1]), "BartForSequenceClassification",
        labels=["contradiction", "neutral", "entailment"],
    )  # fmt: skip
    save(
        folder / "ranker", common_words([2], [-1]), "BertForSequenceClassification",
        labels=["LABEL_0"],
    )  # fmt: skip
    vectors = save(folder / "vectors", onnx_models.text_encoder(), "BertModel")
    write(vectors, "1_Pooling/config.json", {"pooling_mode_cls_token": True})
    write(vectors, "sentence_bert_config.json", {"max_seq_length": 8})
    # As optimum and fastembed have it: the graph makes the vector, and has a name of its own.
    pooled = save(folder / "pooled", pooling_itself(), "BertModel")
    (pooled / "onnx" / "model.onnx").rename(pooled / "model_optimized.onnx")
    colours = folder / "colours"
    onnx_models.save(onnx_models.brightest_channel(), colours / "model.onnx")
    write(
        colours, "config.json",
        {"architectures": ["ViTForImageClassification"],
         "id2label": {"0": "red", "1": "green", "2": "blue"}},
    )  # fmt: skip
    write(
        colours, "preprocessor_config.json",
        {"do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2, "do_rescale": True,
         "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.5, 0.5],
         "image_std": [0.5, 0.5, 0.5]},
    )  # fmt: skip
    # Its files don't fit its graph: it is served as tensors.
    save(folder / "odd", onnx_models.doubler(), "BertForSequenceClassification", labels=["a", "b"])
    return folder
