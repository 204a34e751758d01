"""A folder as the Hugging Face hub has it, with a tiny encoder."""

import json
from pathlib import Path

from tests import onnx_models, text_models


def embedding_folder(folder: Path) -> Path:
    onnx_models.save(onnx_models.text_encoder(), folder / "onnx" / "model.onnx")
    text_models.tokenizer(None).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 32}))
    config = {"architectures": ["BertModel"], "max_position_embeddings": 512}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
