"""What each framework needs installed. The same lists are the extras of pyproject.toml."""

import re

from inference_service._version import __version__

PACKAGES = {
    "keras": ("keras>=3.8", "tensorflow-cpu>=2.18", "tf2onnx>=1.17"),
    "torch": ("onnxscript>=0.5", "torch>=2.9"),
    "sklearn": ("pandas>=2.2", "scikit-learn>=1.5", "skl2onnx>=1.19", "skops>=0.11"),
    "boosting": (
        "lightgbm>=4.5", "onnxmltools>=1.13", "pandas>=2.2", "scikit-learn>=1.5", "xgboost>=2.1",
    ),
    "huggingface": ("onnxscript>=0.5", "safetensors>=0.5", "torch>=2.9", "transformers>=4.50"),
}  # fmt: skip
"""By framework. `tests/importing/test_extras.py` compares them with pyproject.toml."""


def how_to_install(framework: str, missing: str) -> str:
    """The message for a framework that is not there: what to install, by path or wheel."""
    extra = f"import-{framework}"
    wheel = f"onnx_inference_service-{__version__}-py3-none-any.whl"
    return (
        f"importing this needs the package {missing}; in a clone of the repository run: "
        f"pip install '.[{extra}]' (or install it with the wheel: pip install "
        f"'./{wheel}[{extra}]'); --python PATH takes the interpreter of another environment that "
        f"has {', '.join(re.split('[<>=]', one)[0] for one in PACKAGES[framework])}"
    )
