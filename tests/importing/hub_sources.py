"""Small models of Hugging Face's own classes, exported by its own tools, and what they should say.

Weights are random: what is looked at is whether the service and transformers, or
sentence-transformers, make the same of the same files. Heavy: needs torch, transformers, optimum.
"""

import json
import wave as wave_file
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
import transformers
from optimum.exporters.onnx import main_export
from PIL import Image
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import pipeline

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Berlin and London are large cities in Europe; Ann lives in New York.",
    "I liked this film a lot, it was good!",
    "What a terrible, boring evening we had at the theatre - really.",
    "Prices rose by 3.5 % in October, the bank said on Monday.",
    "Über den Wolken muss die Freiheit wohl grenzenlos sein.",
    "naïve café résumé coöperate",
    "日本の首都は東京です。",
    'He said: "don\'t do it" and left.',
    "A",
)
"""Of unlike length, case, script."""
LONG = " ".join(TEXTS) * 3
LIMIT = 40  # tokens
_SMALL: Mapping[str, int] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Ask:
    """A request, and the values that its answer should have, by label or in order.

    ``read`` says how they stand in the answer. ``body`` is JSON, or a file.
    """

    path: str
    body: Any
    wanted: Any
    read: str
    tolerance: float = 1e-4


def _train(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def wordpiece(lower: bool = True, **more: Any) -> Any:
    """As BERT has it."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    _train(made, trainers.WordPieceTrainer(vocab_size=260, special_tokens=special))
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    kind = more.pop("kind", transformers.BertTokenizerFast)
    return kind(tokenizer_object=made, do_lower_case=lower, **{"model_max_length": LIMIT, **more})


def bytelevel(kind: Any = transformers.RobertaTokenizerFast, **more: Any) -> Any:
    """As RoBERTa and GPT-2 have it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(
        made,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet),
    )
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return kind(tokenizer_object=made, **{"model_max_length": LIMIT, **more})


def sentencepiece(kind: Any = transformers.XLMRobertaTokenizerFast, **more: Any) -> Any:
    """As XLM-RoBERTa and DeBERTa have it."""
    special = (
        ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
        if kind is transformers.DebertaV2TokenizerFast
        else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    if kind is not transformers.DebertaV2TokenizerFast:
        split = pre_tokenizers.WhitespaceSplit()
        made.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Metaspace()])
    made.decoder = decoders.Metaspace()
    _train(
        made,
        trainers.UnigramTrainer(vocab_size=220, special_tokens=special, unk_token=special[3]),
    )
    start, end = special[1 if special[0] == "[PAD]" else 0], special[2]
    twice = f"{end} {end}" if start == "<s>" else end
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {twice} $B {end}" if start == "<s>" else f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(start, special.index(start)), (end, special.index(end))],
    )
    return kind(tokenizer_object=made, **{"model_max_length": LIMIT, **more})


def modernbert() -> Any:
    """Word pieces without segments."""
    return wordpiece(kind=transformers.PreTrainedTokenizerFast, cls_token="[CLS]",
                      sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]",
                      model_input_names=["input_ids", "attention_mask"])  # fmt: skip


def mpnet() -> Any:
    """As microsoft/mpnet-base has it: word pieces between RoBERTa's special tokens."""
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _train(made, trainers.WordPieceTrainer(vocab_size=260, special_tokens=special))
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return transformers.PreTrainedTokenizerFast(
        model_input_names=["input_ids", "attention_mask"],
        tokenizer_object=made, model_max_length=LIMIT, cls_token="<s>", bos_token="<s>",
        eos_token="</s>", sep_token="</s>", pad_token="<pad>", unk_token="[UNK]",
        mask_token="<mask>",
    )  # fmt: skip


def build(kind: Any, tokenizer: Any, folder: Path, **config: Any) -> Any:
    """A model with random weights of some size, saved with its tokenizer."""
    torch.manual_seed(3)
    given = {**_SMALL, "max_position_embeddings": 64, "vocab_size": len(tokenizer), **config}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        given.setdefault(name, getattr(tokenizer, name))
    model = kind(kind.config_class(**given)).eval()
    loud(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def loud(model: Any) -> None:
    """Weights that make unlike answers of unlike inputs."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1.5 / np.sqrt(weight[0].numel()))
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)


def labels(*names: str) -> dict[str, Any]:
    """Of a configuration."""
    return {"id2label": dict(enumerate(names)), "label2id": {b: a for a, b in enumerate(names)}}


def export(weights: Path, folder: Path, task: str, layout: str = "optimum", **more: Any) -> None:
    """As ``optimum-cli export onnx`` does it; ``layout`` transformers.js: under onnx/."""
    main_export(str(weights), folder, task=task, do_validation=False, **more)
    if layout == "transformers.js":
        (folder / "onnx").mkdir()
        for file in folder.glob("*.onnx*"):
            file.rename(folder / "onnx" / file.name)


def _scores(found: Any) -> dict[str, float]:
    listed = found[0] if isinstance(found[0], list) else found
    return {one["label"]: one["score"] for one in listed}


def classes(
    weights: Path, name: str, texts: Sequence[Any] = (*TEXTS, LONG), **more: Any
) -> list[Ask]:
    """What the pipeline of transformers says of each text, and of all together."""
    judge = pipeline("text-classification", str(weights), top_k=None, device="cpu")
    wanted = [_scores(judge(text, truncation=True, **more)) for text in texts]
    asks = [
        Ask(
            f"/models/{name}/classify",
            {"text": text, "truncate": True, "top_k": 100},
            one,
            "labels",
        )
        for text, one in zip(texts, wanted, strict=True)
    ]
    together = {"texts": list(texts), "truncate": True, "top_k": 100}
    return [*asks, Ask(f"/models/{name}/classify", together, wanted, "labels of each")]


def text_classes(
    folder: Path, *, kind: Any, tokenizer: Callable[[], Any], layout: str = "optimum",
    names: Sequence[str] = ("no", "yes", "perhaps"), **config: Any,
) -> list[Ask]:  # fmt: skip
    weights = folder.parent / f".{folder.name}"
    build(kind, tokenizer(), weights, **labels(*names), **config)
    export(weights, folder, "text-classification", layout)
    return classes(weights, folder.name)


def token_classes(
    folder: Path, *, kind: Any, tokenizer: Callable[[], Any], names: Sequence[str], **config: Any
) -> list[Ask]:
    weights = folder.parent / f".{folder.name}"
    build(kind, tokenizer(), weights, **labels(*names), **config)
    export(weights, folder, "token-classification", "transformers.js")
    asks = []
    # Of other tokenizers transformers guesses the words; here they are the tokenizer's own.
    pieces = isinstance(tokenizer(), transformers.BertTokenizerFast)
    for strategy in ("simple", "none", *(("first", "average", "max") if pieces else ())):
        finder = pipeline(
            "token-classification", str(weights), aggregation_strategy=strategy, device="cpu"
        )
        for text in TEXTS:
            body = {
                "inputs": text,
                "parameters": {"aggregation_strategy": strategy},
                "truncate": True,
            }
            wanted = [
                {
                    "label": one.get("entity_group", one.get("entity")), "score": float(one["score"]),
                    "start": one["start"], "end": one["end"],
                }
                for one in finder(text)
            ]  # fmt: skip
            asks.append(Ask(f"/hf/{folder.name}", body, wanted, "pieces"))
    return asks


def zero_shot(folder: Path, *, kind: Any, tokenizer: Callable[[], Any], **config: Any) -> list[Ask]:
    weights = folder.parent / f".{folder.name}"
    build(kind, tokenizer(), weights, **config)
    export(weights, folder, "text-classification", "transformers.js")
    judge = pipeline("zero-shot-classification", str(weights), device="cpu")
    asks = []
    options = ["sport", "politics and money", "film"]
    for several in (False, True):
        for text in (*TEXTS, LONG):
            found = judge(text, options, multi_label=several)
            wanted = dict(zip(found["labels"], found["scores"], strict=True))
            body = {"text": text, "labels": options, "several": several, "truncate": True}
            asks.append(Ask(f"/models/{folder.name}/zero-shot", body, wanted, "labels"))
    return asks


def ranks(
    folder: Path, *, kind: Any, tokenizer: Callable[[], Any], activation: str = "", **config: Any
) -> list[Ask]:
    """A CrossEncoder of sentence-transformers, exported by its own ``backend="onnx"``."""
    weights = folder.parent / f".{folder.name}"
    if activation:
        config["sentence_transformers"] = {"activation_fn": activation}
    build(kind, tokenizer(), weights, num_labels=1, **config)
    ranker = sentence_transformers.CrossEncoder(str(weights), device="cpu")
    exported = sentence_transformers.CrossEncoder(
        str(weights), backend="onnx", device="cpu", model_kwargs={"export": True}
    )
    exported.save_pretrained(str(folder))
    texts = [*TEXTS[1:], LONG]
    query = TEXTS[0]
    raw = ranker.predict([(query, text) for text in texts], activation_fn=torch.nn.Identity())
    one = 1 / (1 + np.exp(-raw.astype(np.float64)))
    asks = [
        Ask(
            "/rerank",
            {
                "model": folder.name,
                "query": query,
                "texts": texts,
                "truncate": True,
                "raw_scores": plain,
            },
            dict(enumerate(map(float, values))),
            "ranks",
        )
        for plain, values in ((True, raw), (False, one))
    ]
    asks.append(
        Ask(
            f"/models/{folder.name}/classify",
            {"texts": [[query, text] for text in texts], "truncate": True},
            list(map(float, one)),
            "only score of each",
        )
    )
    return asks


def vectors(
    folder: Path, *, kind: Any, tokenizer: Callable[[], Any], pooling: Sequence[str] = ("mean",),
    normalise: bool = True, dense: bool = False, by_optimum: bool = False,
    limit: int | None = None, prompts: Mapping[str, str] | None = None,
    default: str | None = None, **config: Any,
) -> list[Ask]:  # fmt: skip
    """A SentenceTransformer, exported by its own ``backend="onnx"`` or by optimum."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as parts

    weights = folder.parent / f".{folder.name}"
    base = folder.parent / f".{folder.name}.base"
    build(kind, tokenizer(), base, **config)
    encoder = parts.Transformer(str(base), max_seq_length=limit)
    width = encoder.get_word_embedding_dimension()
    modules: list[Any] = [
        encoder,
        parts.Pooling(
            width, pooling_mode="+".join(pooling) if len(pooling) == 1 else tuple(pooling)
        ),
    ]
    if dense:
        modules.append(parts.Dense(width, 24, activation_function=torch.nn.Tanh()))
    if normalise:
        modules.append(parts.Normalize())
    made = SentenceTransformer(
        modules=modules, device="cpu", prompts=dict(prompts or {}), default_prompt_name=default
    )
    made.save_pretrained(str(weights))
    made = SentenceTransformer(str(weights), device="cpu")
    if by_optimum:
        main_export(
            str(weights), folder, task="feature-extraction",
            library_name="sentence_transformers", do_validation=False,
        )  # fmt: skip
    else:
        SentenceTransformer(
            str(weights), backend="onnx", device="cpu", model_kwargs={"export": True}
        ).save_pretrained(str(folder))
    texts = [*TEXTS, LONG]
    wanted = [vector.tolist() for vector in made.encode(texts)]
    long = [made.encode(text).tolist() for text in texts]
    assert np.allclose(wanted, long, atol=1e-5)
    unit = [(np.array(one) / np.linalg.norm(one)).tolist() for one in wanted]
    name = folder.name
    asks = [
        Ask("/embed", {"model": name, "inputs": texts, "truncate": True}, unit, "rows"),
        Ask("/embed", {"model": name, "inputs": texts[2]}, unit[2:3], "rows"),
        Ask("/v1/embeddings", {"model": name, "input": TEXTS[6:7]}, unit[6:7], "data"),
        Ask(f"/models/{name}/embed", {"text": LONG, "truncate": True}, unit[-1], "vector"),
    ]
    if not normalise:
        body = {"model": name, "inputs": texts, "truncate": True, "normalize": False}
        asks.append(Ask("/embed", body, wanted, "rows"))
    for prompt in prompts or {}:
        wanted = made.encode(texts, prompt_name=prompt, normalize_embeddings=True).tolist()
        body = {"model": name, "inputs": texts, "truncate": True, "prompt_name": prompt}
        asks.append(Ask("/embed", body, wanted, "rows"))
    return asks


def pictures() -> list[bytes]:
    """Wide, tall, small, with odd sides, grey and as a JPEG."""
    found = []
    for index, (width, height) in enumerate([(90, 61), (47, 83), (33, 33), (401, 299), (20, 64)]):
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / 9) * np.cos(y / 7), np.sin((x + y) / 5), np.cos(x * y / 400)]
        pixels = (np.stack(waves, axis=2) * 100 + 128).astype(np.uint8)
        image = Image.fromarray(pixels)
        if index == 2:
            image = image.convert("L")
        out = BytesIO()
        image.save(out, "JPEG" if index == 3 else "PNG", quality=95)
        found.append(out.getvalue())
    return found


def image_classes(
    folder: Path, *, kind: Any, processor: Any, names: Sequence[str] = ("cat", "dog", "cow"),
    layout: str = "transformers.js", tolerance: float = 1e-4, **config: Any,
) -> list[Ask]:  # fmt: skip
    weights = folder.parent / f".{folder.name}"
    torch.manual_seed(3)
    model = kind(kind.config_class(**labels(*names), **config)).eval()
    loud(model)
    model.save_pretrained(weights)
    processor.save_pretrained(weights)
    export(weights, folder, "image-classification", layout)
    return image_asks(weights, folder.name, tolerance)


def image_asks(weights: Path, name: str, tolerance: float = 1e-4) -> list[Ask]:
    judge = pipeline("image-classification", str(weights), device="cpu", use_fast=False)
    asks = []
    for data in pictures():
        wanted = _scores(judge(Image.open(BytesIO(data)), top_k=100))
        asks.append(Ask(f"/models/{name}/classify?top_k=100", data, wanted, "labels", tolerance))
    return asks


def recordings() -> list[tuple[bytes, Any]]:
    """WAV files of unlike length and loudness, and their samples."""
    found = []
    for seconds, loudness in ((1.0, 0.5), (0.37, 0.05), (2.11, 0.9)):
        time = np.arange(int(seconds * 16_000)) / 16_000
        wave = np.sin(time * 2_000 * (1 + time)) * np.cos(time * 9) + 0.1 * np.sin(time * 31_000)
        samples = (wave / 1.2 * loudness * 32_767).astype("<i2")
        out = BytesIO()
        with wave_file.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(samples.tobytes())
        found.append((out.getvalue(), samples.astype(np.float32) / 32_768))
    return found


def sound_classes(folder: Path, *, kind: Any, normalise: bool = True, **config: Any) -> list[Ask]:
    """A classifier of recordings."""
    weights = folder.parent / f".{folder.name}"
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
    _save(kind, weights, extractor, **config)
    export(weights, folder, "audio-classification", "transformers.js")
    judge = pipeline("audio-classification", str(weights), device="cpu", top_k=100)
    path = f"/models/{folder.name}/classify?top_k=100"
    return [Ask(path, data, _scores(judge(samples)), "labels") for data, samples in recordings()]


def spelling(folder: Path, *, kind: Any, lower: bool = False, **config: Any) -> list[Ask]:
    """A recogniser of letters (CTC)."""
    weights = folder.parent / f".{folder.name}"
    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    weights.mkdir()
    (weights / "vocab.json").write_text(json.dumps({one: i for i, one in enumerate(names)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(
        str(weights / "vocab.json"), do_lower_case=lower
    )  # fmt: skip
    extractor = transformers.Wav2Vec2FeatureExtractor()
    _save(kind, weights, extractor, tokenizer, vocab_size=len(names), **config)
    export(weights, folder, "automatic-speech-recognition", "transformers.js")
    hears = pipeline(
        "automatic-speech-recognition", str(weights), device="cpu", tokenizer=tokenizer,
        feature_extractor=extractor,
    )  # fmt: skip
    path = f"/models/{folder.name}/transcribe"
    return [
        Ask(path, data, hears(samples)["text"].strip(), "text") for data, samples in recordings()
    ]


def _save(kind: Any, weights: Path, *parts: Any, **config: Any) -> None:
    torch.manual_seed(3)
    model = kind(kind.config_class(**config)).eval()
    loud(model)
    for part in (model, *parts):
        part.save_pretrained(weights)
