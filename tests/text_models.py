"""A small model of text with its tokenizer."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests import onnx_models

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "mat",
    "sat",
    "on",
    "is",
    "red",
    "blue",
    "big",
    "small",
    "and",
    "or",
    "runs",
    "sleeps",
]


def tokenizer(max_tokens: int | None = 12) -> Tokenizer:
    """Words in lower case, [CLS] in front and [SEP] behind."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    if max_tokens is not None:
        made.enable_truncation(max_tokens)
    return made


def save(folder: Path, manifest: str = "", **options: int | None) -> Path:
    """A model folder: graph, tokenizer, model.toml."""
    onnx_models.save(onnx_models.text_encoder(), folder / "1" / "model.onnx")
    tokenizer(**options).save(str(folder / "tokenizer.json"))
    (folder / "model.toml").write_text(f'[pipeline]\nkind = "text-embedding"\n{manifest}')
    return folder
