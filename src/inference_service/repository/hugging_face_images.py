"""How a folder's preprocessor makes a tensor of a picture. Pure.

Source: transformers, models/*/image_processing_*.py, and image_transforms.py. Values are those of
the processors that use Pillow; the ones with torchvision round otherwise.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from inference_service.repository.hugging_face_says import NotSaid

_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling
_LARGE = 384  # pixels from which ConvNeXt's processor cuts nothing
_LEVIT = 256 / 224  # by how much LeViT's processor makes the shorter side longer than it says


class _Family(NamedTuple):
    """What a processor does where the file doesn't say it.

    ``shorter``: a size of one number is that of the shorter side, not of both.
    """

    resample: int
    shorter: bool = False
    crop_share: float | None = None


_FAMILIES = {
    "Beit": _Family(3),
    "Bit": _Family(3, shorter=True),
    "CLIP": _Family(3, shorter=True),
    "ConvNext": _Family(2, shorter=True, crop_share=224 / 256),
    "DeiT": _Family(3),
    "EfficientNet": _Family(0),
    "Levit": _Family(3, shorter=True),
    "MobileNetV1": _Family(2, shorter=True),
    "MobileNetV2": _Family(2, shorter=True),
    "MobileViT": _Family(2, shorter=True),
    "PoolFormer": _Family(3, shorter=True, crop_share=0.9),
    "Pvt": _Family(2),
    "Segformer": _Family(2),
    "Siglip": _Family(3),
    "ViT": _Family(2),
}
_ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")


def image_pipeline(stated: Any) -> dict[str, Any]:
    """``[pipeline]`` without labels. Raises NotSaid."""
    if not isinstance(stated, Mapping):
        raise NotSaid("there is no preprocessor_config.json that says how pictures are prepared")
    name = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or "")
    kind = name
    for ending in _ENDINGS:
        kind = kind.removesuffix(ending)
    family = _FAMILIES.get(kind)
    if kind and family is None:
        raise NotSaid(f"preprocessor_config.json names {name}, which is not known here")
    family = family or _Family(2)
    filters = stated.get("resample", family.resample)
    if filters not in _RESAMPLE:
        raise NotSaid(f"preprocessor_config.json: resample is {filters}")
    return {
        "kind": "image-classification",
        "decoding": "exact",
        "interpolation": _RESAMPLE[filters],
        **_sizes(stated, kind, family),
        **_numbers(stated, kind),
        **({"channels": "bgr"} if stated.get("do_flip_channel_order", kind == "MobileViT") else {}),
    }


def _numbers(stated: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Mean and deviation of values from 0 to 1, as the kind wants them."""
    scale = stated.get("rescale_factor", 1 / 255) if stated.get("do_rescale", True) else 1.0
    if not isinstance(scale, float | int) or scale <= 0:
        raise NotSaid(f"preprocessor_config.json: rescale_factor is {scale}")
    mean, std = [0.0] * 3, [1.0] * 3
    if stated.get("do_normalize", kind != "MobileViT"):
        mean, std = _three(stated, "image_mean"), _three(stated, "image_std")
        if kind == "EfficientNet" and stated.get("include_top", True):
            std = [one * one for one in std]  # it divides twice
    if stated.get("do_rescale", True) and stated.get("rescale_offset"):
        mean = [one + 1 for one in mean]  # values are from -1 to 1
    # The pipeline's own scale is 1/255: v * scale is v/255 * factor.
    factor = 255 * scale
    return {"mean": [one / factor for one in mean], "std": [one / factor for one in std]}


def _three(stated: Mapping[str, Any], name: str) -> list[float]:
    value = stated.get(name)
    if isinstance(value, float | int):
        value = [value] * 3
    if not isinstance(value, list) or len(value) != 3:
        raise NotSaid(f"preprocessor_config.json: {name} is {value}, expected three numbers")
    return [float(one) for one in value]


def _sizes(stated: Mapping[str, Any], kind: str, family: _Family) -> dict[str, Any]:
    """``size`` of the tensor, and ``first`` what the picture is made to before its middle is cut.

    A number is the shorter side, a pair both.
    """
    if not stated.get("do_resize", True):
        raise NotSaid("preprocessor_config.json: do_resize is off, so pictures have no one size")
    shorter, pair = _size(stated.get("size"), "size", shorter=family.shorter)
    crop = _size(stated.get("crop_size"), "crop_size")[1] if _crops(stated) else None
    share = stated.get("crop_pct", family.crop_share)
    if kind == "ConvNext" or (not kind and shorter and share):
        if shorter is None or not isinstance(share, float | int) or not 0 < share <= 1:
            raise NotSaid("preprocessor_config.json: size or crop_pct")
        if shorter >= _LARGE:
            return {"size": [shorter, shorter], "resize": "stretch"}
        return {"size": [shorter, shorter], "first": int(shorter / share)}
    if kind == "PoolFormer" and isinstance(share, float | int) and 0 < share <= 1:
        if pair is not None and pair[0] != pair[1]:
            pair = [int(one / share) for one in pair]
        else:
            shorter, pair = int((shorter or (pair or [0])[0]) / share), None
    if kind == "Levit" and shorter is not None:
        shorter = int(_LEVIT * shorter)
    if crop is not None:
        return {"size": crop, "first": pair or shorter}
    if pair is None:
        raise NotSaid("preprocessor_config.json: the shorter side is given, and nothing is cut")
    return {"size": pair, "resize": "stretch"}


def _crops(stated: Mapping[str, Any]) -> bool:
    return bool(stated.get("do_center_crop", "crop_size" in stated))


def _size(value: Any, name: str, *, shorter: bool = False) -> tuple[int | None, list[int] | None]:
    """The shorter side, or height and width."""
    if isinstance(value, Mapping) and _is_side(value.get("shortest_edge")):
        if value.get("longest_edge") is None:
            return value["shortest_edge"], None
    elif isinstance(value, Mapping):
        value = [value.get("height"), value.get("width")]
    elif _is_side(value):
        if shorter:
            return value, None
        value = [value, value]
    if isinstance(value, list) and len(value) == 2 and all(map(_is_side, value)):
        return None, value
    raise NotSaid(f"preprocessor_config.json: {name} is {value}")


def _is_side(value: Any) -> bool:
    return type(value) is int and value > 0
