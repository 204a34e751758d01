"""The models that scripts/hub-tests tries. ``python hub_cases.py FOLDER`` makes them.

FOLDER/models/NAME is a folder as its exporter writes it, FOLDER/asks/NAME.json what to ask of it.
"""

import base64
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import optimum.version
import sentence_transformers
import torch
import transformers as t
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16

sys.path.insert(0, str(Path(__file__).parent))

import hub_sources as hub  # type: ignore[import-not-found,unused-ignore]

OPTIMUM = f"optimum {optimum.version.__version__}"
JS = f"{OPTIMUM}, onnx/ as transformers.js has it"
SENTENCES = f"sentence-transformers {sentence_transformers.__version__}"
_SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip


class Case(NamedTuple):
    """A model: ``make`` writes the folder and returns what to ask; ``told`` is what is said of a
    model that is not ours.
    """

    architecture: str
    exporter: str
    make: Callable[[Path], Sequence[Any]]
    told: str = ""


def _of(kind: Any, make: Any, exporter: str, **more: Any) -> Case:
    return Case(kind.__name__, exporter, partial(make, kind=kind, **more))


def _js(kind: Any, make: Any, **more: Any) -> Case:
    return _of(kind, make, JS, layout="transformers.js", **more)


_XLM: dict[str, Any] = {"tokenizer": hub.sentencepiece, "max_position_embeddings": 66}
_ROBERTA: dict[str, Any] = {"tokenizer": hub.bytelevel, "max_position_embeddings": 66}
_MODERN: dict[str, Any] = {"tokenizer": hub.modernbert, "cls_token_id": 2, "sep_token_id": 3}
_MPNET: dict[str, Any] = {"tokenizer": hub.mpnet, "max_position_embeddings": 66}
_GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_DEBERTA: dict[str, Any] = {
    "tokenizer": partial(hub.sentencepiece, t.DebertaV2TokenizerFast), "type_vocab_size": 0,
    "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
}  # fmt: skip
_PADDED_GPT = partial(hub.bytelevel, t.GPT2TokenizerFast, pad_token="<pad>")
_ONE: dict[str, Any] = {"names": ["LABEL_0"]}


def _classifiers() -> dict[str, Case]:
    plain = partial(_of, make=hub.text_classes, exporter=OPTIMUM)
    js = partial(_js, make=hub.text_classes)
    bert = partial(plain, t.BertForSequenceClassification, tokenizer=hub.wordpiece)
    left = partial(hub.wordpiece, truncation_side="left")
    cased = partial(hub.wordpiece, lower=False)
    distil = partial(hub.wordpiece, kind=t.DistilBertTokenizerFast)
    return {
        "three classes": bert(),
        "twelve classes": bert(names=[f"class {i}" for i in range(12)]),
        "one class": bert(**_ONE),
        "regression": bert(**_ONE, problem_type="regression"),
        "two regressions": bert(names=["a", "b"], problem_type="regression"),
        "cut on the left": plain(t.BertForSequenceClassification, tokenizer=left),
        "several labels, with case": js(
            t.BertForSequenceClassification, tokenizer=cased,
            problem_type="multi_label_classification",
        ),
        "classes, DistilBERT": js(
            t.DistilBertForSequenceClassification, tokenizer=distil, dim=32, n_heads=4, n_layers=2,
            hidden_dim=64,
        ),
        "classes, RoBERTa": js(
            t.RobertaForSequenceClassification, tokenizer=hub.bytelevel,
            max_position_embeddings=hub.LIMIT + 2,
        ),
        "classes, CamemBERT": plain(t.CamembertForSequenceClassification, **_XLM),
        "classes, ALBERT": plain(
            t.AlbertForSequenceClassification, tokenizer=hub.wordpiece, embedding_size=16
        ),
        "classes, ELECTRA": plain(
            t.ElectraForSequenceClassification, tokenizer=hub.wordpiece, embedding_size=16
        ),
        "classes, DeBERTa": js(t.DebertaV2ForSequenceClassification, **_DEBERTA),
        "classes, ModernBERT": plain(t.ModernBertForSequenceClassification, **_MODERN),
        "classes, MPNet": plain(t.MPNetForSequenceClassification, **_MPNET),
        "classes, GPT-2": plain(t.GPT2ForSequenceClassification, tokenizer=_PADDED_GPT, **_GPT2),
    }  # fmt: skip


def _pairs_and_tokens() -> dict[str, Case]:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    found = partial(_of, make=hub.token_classes, exporter=JS, names=names)
    entails = partial(_of, make=hub.zero_shot, exporter=JS)
    ranks = partial(_of, make=hub.ranks, exporter=SENTENCES)
    cased = partial(hub.wordpiece, lower=False)
    identity = "torch.nn.modules.linear.Identity"
    return {
        "names": found(t.BertForTokenClassification, tokenizer=hub.wordpiece),
        "names, XLM-RoBERTa": found(t.XLMRobertaForTokenClassification, **_XLM),
        "names, RoBERTa": found(t.RobertaForTokenClassification, **_ROBERTA),
        "tags without B and I": found(
            t.BertForTokenClassification, tokenizer=cased, names=["NOUN", "VERB", "X-Y", "O"]
        ),
        "zero-shot": entails(
            t.BertForSequenceClassification, tokenizer=hub.wordpiece,
            **hub.labels("entailment", "neutral", "contradiction"),
        ),
        "zero-shot, RoBERTa": entails(
            t.RobertaForSequenceClassification, **_ROBERTA,
            **hub.labels("CONTRADICTION", "NEUTRAL", "ENTAILMENT"),
        ),
        "zero-shot, DeBERTa": entails(
            t.DebertaV2ForSequenceClassification, **_DEBERTA,
            **hub.labels("entailment", "not_entailment"),
        ),
        "ranks": ranks(t.BertForSequenceClassification, tokenizer=hub.wordpiece),
        "ranks, raw": ranks(
            t.BertForSequenceClassification, tokenizer=hub.wordpiece, activation=identity
        ),
        "ranks, XLM-RoBERTa": ranks(t.XLMRobertaForSequenceClassification, **_XLM),
    }  # fmt: skip


def _vectors() -> dict[str, Case]:
    made = partial(_of, make=hub.vectors, exporter=SENTENCES)
    bert = partial(made, t.BertModel, tokenizer=hub.wordpiece)
    graph = partial(
        _of, t.BertModel, hub.vectors, OPTIMUM, tokenizer=hub.wordpiece, by_optimum=True
    )
    left = partial(_PADDED_GPT, padding_side="left")
    prompts: dict[str, Any] = {"query": "query: ", "passage": "passage: "}
    decoder: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8}
    t5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return {
        "vectors, mean (MiniLM)": bert(limit=24),
        "vectors, CLS (BGE)": bert(pooling=["cls"]),
        "vectors, max": bert(pooling=["max"]),
        "vectors, weighted mean": bert(pooling=["weightedmean"]),
        "vectors, CLS and Dense (LaBSE)": bert(pooling=["cls"], dense=True),
        "vectors, MPNet": made(t.MPNetModel, normalise=False, **_MPNET),
        "vectors, prompts (E5)": made(
            t.XLMRobertaModel, prompts=prompts, default="passage", **_XLM
        ),
        "vectors, RoBERTa": made(t.RobertaModel, **_ROBERTA),
        "vectors, ModernBERT (GTE)": made(t.ModernBertModel, pooling=["cls"], **_MODERN),
        "vectors, last token (Qwen3)": made(
            t.Qwen3Model, tokenizer=left, pooling=["lasttoken"], **decoder
        ),
        "vectors in the graph, mean": graph(pooling=["mean"]),
        "vectors in the graph, CLS": graph(pooling=["cls"]),
        "vectors in the graph, Dense": graph(dense=True),
        "vectors, two poolings": bert(pooling=["cls", "mean"])._replace(
            told="the pooling is ['cls', 'mean']"
        ),
        "vectors, T5": made(t.T5EncoderModel, tokenizer=hub.sentencepiece, **t5)._replace(
            told="this model has 'attention_mask', 'decoder_input_ids', 'input_ids'"
        ),
    }


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def _pictures() -> dict[str, Case]:
    js = partial(_of, make=hub.image_classes, exporter=JS)
    vit = partial(js, t.ViTForImageClassification, image_size=32, patch_size=8, **_SMALL)
    stages: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 16, 32, 32]}
    short: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
    cut: dict[str, Any] = {"size": {"shortest_edge": 72}, "crop_size": _square(64)}
    share = t.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875, resample=3)
    residual: dict[str, Any] = {"embedding_size": 16, "layer_type": "basic", **stages}
    seven: dict[str, Any] = {
        "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32],
        "hidden_sizes": [16, 16, 16],
    }
    levit: dict[str, Any] = {
        "hidden_sizes": [16, 24, 32],
        "num_attention_heads": [2] * 3,
        "key_dim": [8] * 3,
    }
    scaled: dict[str, Any] = {
        "width_coefficient": 0.25,
        "depth_coefficient": 0.25,
        "hidden_dim": 320,
    }
    windows: dict[str, Any] = {
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
    }
    raw: dict[str, Any] = {"do_rescale": False, "image_mean": [120.0] * 3, "image_std": [60.0] * 3}
    edge: dict[str, Any] = {"size": {"shortest_edge": 64}, "crop_size": _square(64)}
    return {
        "ViT": vit(processor=t.ViTImageProcessor(size=_square(32))),
        "ViT, nearest, not rescaled": vit(
            processor=t.ViTImageProcessor(size=_square(32), resample=0, **raw)
        ),
        "ViT, Lanczos": vit(
            processor=t.ViTImageProcessor(
                size=_square(32), resample=1, image_mean=[0.4, 0.5, 0.6]
            )
        ),
        "ViT, several labels": vit(
            processor=t.ViTImageProcessor(size=_square(32)),
            problem_type="multi_label_classification",
        ),
        "DeiT": js(
            t.DeiTForImageClassification, image_size=32, patch_size=8, **_SMALL,
            processor=t.DeiTImageProcessor(size=_square(36), crop_size=_square(32)),
        ),
        "BEiT": js(
            t.BeitForImageClassification, image_size=32, patch_size=8, **_SMALL,
            processor=t.BeitImageProcessor(size=_square(32), do_center_crop=False),
        ),
        "DINOv2": js(
            t.Dinov2ForImageClassification, image_size=32, patch_size=8, **_SMALL,
            processor=t.BitImageProcessor(size={"shortest_edge": 37}, crop_size=_square(32)),
        ),
        "Swin": js(
            t.SwinForImageClassification, image_size=32, patch_size=2, **windows,
            processor=t.ViTImageProcessor(size=_square(32), resample=3),
        ),
        "ResNet": js(t.ResNetForImageClassification, processor=share, **residual),
        "RegNet": js(
            t.RegNetForImageClassification, processor=share, embedding_size=8, groups_width=4,
            **short,
        ),
        "ConvNeXt": js(
            t.ConvNextForImageClassification, **stages,
            processor=t.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
        ),
        "ConvNeXt, 384": js(
            t.ConvNextForImageClassification, **stages,
            processor=t.ConvNextImageProcessor(size={"shortest_edge": 384}),
        ),
        "MobileNetV1": js(
            t.MobileNetV1ForImageClassification, image_size=64, depth_multiplier=0.25,
            processor=t.MobileNetV1ImageProcessor(**cut),
        ),
        "MobileNetV2": js(
            t.MobileNetV2ForImageClassification, image_size=64, depth_multiplier=0.25,
            processor=t.MobileNetV2ImageProcessor(**cut),
        ),
        "MobileViT": js(
            t.MobileViTForImageClassification, image_size=64, **seven,
            processor=t.MobileViTImageProcessor(**cut),
        ),
        "EfficientNet": js(
            t.EfficientNetForImageClassification, image_size=64, **scaled,
            processor=t.EfficientNetImageProcessor(size=_square(64)),
        ),
        "LeViT": js(
            t.LevitForImageClassification, image_size=64, depths=[1, 1, 1], **levit,
            processor=t.LevitImageProcessor(**edge),
        ),
        "PoolFormer": js(
            t.PoolFormerForImageClassification, processor=t.PoolFormerImageProcessor(**edge),
            **short,
        ),
        "SegFormer": js(
            t.SegformerForImageClassification, num_attention_heads=[1, 1, 2, 2], **short,
            processor=t.SegformerImageProcessor(size=_square(64)),
        ),
    }  # fmt: skip


def _laid_out(
    folder: Path, lay: Callable[[Path, Path], None], tolerance: float = 1e-4
) -> list[Any]:
    """A classifier whose graph is laid elsewhere, or made another."""
    kind = t.BertForSequenceClassification
    asks = hub.text_classes(folder, kind=kind, tokenizer=hub.wordpiece)
    (folder / "onnx").mkdir()
    lay(folder / "model.onnx", folder / "onnx")
    return [hub.Ask(one.path, one.body, one.wanted, one.read, tolerance) for one in asks]


def _quantized(graph: Path, to: Path, *, alone: bool) -> None:
    quantize_dynamic(graph, to / "model_quantized.onnx")
    if alone:
        graph.unlink()
    else:
        graph.rename(to / "model.onnx")


def _half(graph: Path, to: Path) -> None:
    onnx.save(convert_float_to_float16(onnx.load(graph)), to / "model_fp16.onnx")
    graph.unlink()


def _external(graph: Path, to: Path) -> None:
    onnx.save(
        onnx.load(graph), to / "model.onnx", save_as_external_data=True,
        location="model.onnx_data", size_threshold=64,
    )  # fmt: skip
    graph.unlink()


def _optimised(folder: Path) -> list[Any]:
    weights = folder.parent / f".{folder.name}"
    kind = t.BertForSequenceClassification
    hub.build(kind, hub.wordpiece(), weights, **hub.labels("no", "yes"))
    hub.export(weights, folder, "text-classification", optimize="O2")
    return list(hub.classes(weights, folder.name))


def _fastembed(folder: Path) -> list[Any]:
    """As its downloads lie: the graph beside the tokenizer, and no word of the pooling."""
    asks = hub.vectors(folder, kind=t.BertModel, tokenizer=hub.wordpiece, by_optimum=True)
    (folder / "model.onnx").rename(folder / "model_optimized.onnx")
    kept = {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    for file in folder.rglob("*.json"):
        if file.parent != folder or file.name not in kept:
            file.unlink()
    return list(asks)


def _layouts() -> dict[str, Case]:
    name = "BertForSequenceClassification"
    quantize = "onnxruntime.quantization"
    both = partial(_laid_out, lay=partial(_quantized, alone=False))
    # 8 bits: other numbers, but not other ones than the same graph would give.
    alone = partial(_laid_out, lay=partial(_quantized, alone=True), tolerance=0.2)
    return {
        "onnx/model.onnx beside model_quantized.onnx": Case(name, quantize, both),
        "onnx/model_quantized.onnx alone": Case(name, quantize, alone),
        "onnx/model_fp16.onnx alone": Case(
            name, "onnxruntime.transformers", partial(_laid_out, lay=_half, tolerance=1e-2)
        ),
        "onnx/model.onnx_data": Case(name, "onnx", partial(_laid_out, lay=_external)),
        "optimised": Case(name, f"{OPTIMUM} -O2", _optimised),
        "model_optimized.onnx, vectors in the graph": Case("BertModel", OPTIMUM, _fastembed),
    }


def _tensors(folder: Path, config: Any, kind: Any, task: str, *parts: Any) -> list[Any]:
    weights = folder.parent / f".{folder.name}"
    torch.manual_seed(3)
    model = kind(config).eval()
    hub.loud(model)
    for part in (model, *parts):
        part.save_pretrained(weights)
    hub.export(weights, folder, task, "transformers.js")
    return []


def _clip(folder: Path) -> list[Any]:
    """Texts and pictures in one request, of which there may be more of one kind."""
    config = t.CLIPConfig(
        text_config={**_SMALL, "vocab_size": 400, "max_position_embeddings": 77,
                     "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1},
        vision_config={**_SMALL, "image_size": 32, "patch_size": 8}, projection_dim=16,
    )  # fmt: skip
    processor = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=_square(32))
    tokenizer = hub.bytelevel(t.GPT2TokenizerFast, model_max_length=77)
    task = "zero-shot-image-classification"
    _tensors(folder, config, t.CLIPModel, task, tokenizer, processor)
    model = t.CLIPModel.from_pretrained(folder.parent / f".{folder.name}")
    ids, pixels = torch.randint(3, 400, (3, 77)), torch.randn(2, 3, 32, 32)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, pixel_values=pixels)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}
    body: dict[str, Any] = {
        "inputs": [
            {"name": name, "shape": list(one.shape), "data": one.flatten().tolist(),
             "datatype": "FP32" if one.is_floating_point() else "INT64"}
            for name, one in inputs.items()
        ]
    }  # fmt: skip
    names = ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds")
    wanted: dict[str, Any] = {name: getattr(found, name).flatten().tolist() for name in names}
    return [hub.Ask(f"/v2/models/{folder.name}/infer", body, wanted, "outputs", 1e-3)]


def _others() -> dict[str, Case]:
    ids: dict[str, Any] = {
        "vocab_size": 400,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    t5: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    heads: dict[str, Any] = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    sizes: dict[str, Any] = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "d_model": 32}
    whisper: dict[str, Any] = {
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        **heads,
        **sizes,
        **ids,
    }
    gpt = hub.bytelevel(t.GPT2TokenizerFast)

    def case(kind: Any, task: str, config: Any, *parts: Any, told: str) -> Case:
        def make(folder: Path) -> list[Any]:
            return _tensors(folder, config, kind, task, *parts)

        return Case(kind.__name__, JS, make, told)

    by_token = "writes its answer token by token"
    return {
        "CLIP": Case("CLIPModel", JS, _clip),
        "GPT-2": case(
            t.GPT2LMHeadModel, "text-generation-with-past", t.GPT2Config(**_GPT2, **ids), gpt,
            told=by_token,
        ),
        "T5": case(
            t.T5ForConditionalGeneration, "text2text-generation-with-past",
            t.T5Config(**t5, vocab_size=220, decoder_start_token_id=0), hub.sentencepiece(),
            told=by_token,
        ),
        "Whisper": case(
            t.WhisperForConditionalGeneration, "automatic-speech-recognition-with-past",
            t.WhisperConfig(encoder_layers=2, decoder_layers=2, decoder_start_token_id=0, **whisper),
            gpt, t.WhisperFeatureExtractor(), told=by_token,
        ),
    }  # fmt: skip


def _sounds() -> dict[str, Case]:
    waves: dict[str, Any] = {
        "conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 4),
        "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16,
    }  # fmt: skip
    small: dict[str, Any] = {**_SMALL, **waves}
    heard: dict[str, Any] = {**small, **hub.labels("yes", "no")}
    return {
        "sounds, wav2vec 2.0": _of(
            t.Wav2Vec2ForSequenceClassification, hub.sound_classes, JS, **heard
        ),
        "sounds, HuBERT, as loud as they are": _of(
            t.HubertForSequenceClassification, hub.sound_classes, JS, normalise=False, **heard
        ),
        "speech, wav2vec 2.0": _of(t.Wav2Vec2ForCTC, hub.spelling, JS, **small),
        "speech, HuBERT, in lower case": _of(t.HubertForCTC, hub.spelling, JS, lower=True, **small),
    }


def _more_texts() -> dict[str, Case]:
    plain = partial(_of, make=hub.text_classes, exporter=OPTIMUM)
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    found = partial(_of, make=hub.token_classes, exporter=JS, names=names)
    left = partial(_PADDED_GPT, padding_side="left")
    few: dict[str, Any] = {"num_key_value_heads": 2}
    heads: dict[str, Any] = {**few, "head_dim": 8}
    coders: dict[str, Any] = {
        f"{one}_{what}": count
        for one in ("encoder", "decoder")
        for what, count in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))
    }
    words: dict[str, Any] = {"tokenizer": hub.wordpiece}
    wide: dict[str, Any] = {**words, "embedding_size": 32}
    gpt: dict[str, Any] = {"tokenizer": _PADDED_GPT}
    return {
        "classes, ConvBERT": plain(t.ConvBertForSequenceClassification, **wide),
        "classes, SqueezeBERT": plain(t.SqueezeBertForSequenceClassification, **wide),
        "classes, BigBird": plain(
            t.BigBirdForSequenceClassification, attention_type="original_full", **words
        ),
        "classes, Nystromformer": plain(t.NystromformerForSequenceClassification, **words),
        "classes, DeBERTa v1": plain(
            t.DebertaForSequenceClassification, relative_attention=True,
            pos_att_type=["p2c", "c2p"], **words,
        ),
        "classes, I-BERT": plain(t.IBertForSequenceClassification, **_ROBERTA),
        "classes, BART": plain(
            t.BartForSequenceClassification, tokenizer=hub.bytelevel, d_model=32, **coders
        ),
        "classes, Llama, padded on the left": plain(
            t.LlamaForSequenceClassification, tokenizer=left, **few
        ),
        "classes, Qwen2": plain(t.Qwen2ForSequenceClassification, tokenizer=left, **few),
        "classes, Qwen3": plain(t.Qwen3ForSequenceClassification, tokenizer=left, **heads),
        "classes, Mistral": plain(t.MistralForSequenceClassification, **gpt, **few),
        "classes, Gemma": plain(t.GemmaForSequenceClassification, **gpt, **heads),
        "classes, OPT": plain(
            t.OPTForSequenceClassification, ffn_dim=64, word_embed_proj_dim=32, **gpt
        ),
        "classes, BLOOM": plain(t.BloomForSequenceClassification, n_layer=2, n_head=4, **gpt),
        "names, DeBERTa": found(t.DebertaV2ForTokenClassification, **_DEBERTA),
        "names, ModernBERT": found(t.ModernBertForTokenClassification, **_MODERN),
        "names, CamemBERT": found(t.CamembertForTokenClassification, **_XLM),
        "classes, without segments": plain(
            t.BertForSequenceClassification,
            tokenizer=partial(hub.wordpiece, model_input_names=["input_ids", "attention_mask"]),
        ),
    }  # fmt: skip


def _more_pictures() -> dict[str, Case]:
    js = partial(_of, make=hub.image_classes, exporter=JS)
    patches: dict[str, Any] = {"image_size": 32, "patch_size": 8, **_SMALL}
    square = t.ViTImageProcessor(size=_square(32))
    stages: dict[str, Any] = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16]}
    cut = t.CLIPImageProcessor(size={"shortest_edge": 37}, crop_size=_square(32))
    return {
        "CLIP, classes": js(
            t.CLIPForImageClassification, processor=cut, text_config=_SMALL,
            vision_config=patches, projection_dim=16,
        ),
        "ConvNeXt V2": js(
            t.ConvNextV2ForImageClassification, **stages,
            processor=t.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875),
        ),
        "data2vec": js(
            t.Data2VecVisionForImageClassification, **patches,
            processor=t.BeitImageProcessor(size=_square(32), do_center_crop=False),
        ),
        "Hiera": js(
            t.HieraForImageClassification, image_size=[64, 64], embed_dim=8, depths=[1, 1],
            num_heads=[1, 2], num_query_pool=1,
            processor=t.BitImageProcessor(size={"shortest_edge": 72}, crop_size=_square(64)),
        ),
        "PVT": js(
            t.PvtForImageClassification, image_size=64, num_attention_heads=[1] * 4, **stages,
            processor=t.PvtImageProcessor(size=_square(64)),
        ),
        "Swin V2": js(
            t.Swinv2ForImageClassification, image_size=32, patch_size=2, embed_dim=8,
            depths=[1, 1], num_heads=[2, 2], window_size=4, processor=square,
        ),
        "ViT MSN": js(t.ViTMSNForImageClassification, processor=square, **patches),
    }  # fmt: skip


def _told() -> dict[str, Case]:
    """Of which no task is made: they take tensors, and why is told."""

    def case(kind: Any, task: str, config: Any, *parts: Any, told: str) -> Case:
        def make(folder: Path) -> list[Any]:
            return _tensors(folder, config, kind, task, *parts)

        return Case(kind.__name__, JS, make, told)

    bert = t.BertConfig(**_SMALL, vocab_size=260)
    sides = t.YolosConfig(**_SMALL, image_size=[64, 64], patch_size=16, num_detection_tokens=5)
    patches = t.ViTConfig(**_SMALL, image_size=32, patch_size=8)
    sounds = t.ASTConfig(**_SMALL, max_length=64, num_mel_bins=32)
    none = "no task here does what"
    return {
        "masked words": case(t.BertForMaskedLM, "fill-mask", bert, hub.wordpiece(), told=none),
        "answers in a text": case(
            t.BertForQuestionAnswering, "question-answering", bert, hub.wordpiece(), told=none
        ),
        "vectors of pictures": case(
            t.ViTModel, "feature-extraction", patches, t.ViTImageProcessor(size=_square(32)),
            told=none,
        ),
        "things in pictures": case(
            t.YolosForObjectDetection, "object-detection", sides, t.YolosImageProcessor(),
            told=none,
        ),
        "sounds, AST": case(
            t.ASTForAudioClassification, "audio-classification", sounds,
            t.ASTFeatureExtractor(max_length=64, num_mel_bins=32),
            told="ASTFeatureExtractor, which is not known here",
        ),
    }  # fmt: skip


def cases() -> dict[str, Case]:
    """All that is tried, by what stands in the table."""
    return {
        **_classifiers(), **_pairs_and_tokens(), **_vectors(), **_pictures(), **_layouts(),
        **_others(), **_sounds(), **_more_texts(), **_more_pictures(), **_told(),
    }  # fmt: skip


def _json(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def make_all(folder: Path, only: Sequence[str] = ()) -> None:
    """Each one's folder and questions; what fails to be exported is told and left out."""
    for part in ("asks", "models"):
        (folder / part).mkdir(exist_ok=True)
    for place, (title, case) in enumerate(cases().items()):
        if only and title not in only:
            continue
        name = f"m{place:03}"
        try:
            asks = case.make(folder / "models" / name)
        except Exception:
            traceback.print_exc()
            shutil.rmtree(folder / "models" / name, ignore_errors=True)
            asks, failed = [], True
        else:
            failed = False
        about = {
            "title": title, "architecture": case.architecture, "exporter": case.exporter,
            "told": case.told, "failed": failed,
            "asks": [asdict(one) | {"body": _json(one.body)} for one in asks],
        }  # fmt: skip
        (folder / "asks" / f"{name}.json").write_text(json.dumps(about, default=float))
        sys.stdout.write(f"{name} {title}{' FAILED' if failed else ''}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    t.logging.set_verbosity_error()
    make_all(Path(sys.argv[1]), sys.argv[2:])
