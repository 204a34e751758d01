"""``scripts/hostile``: every attack at large sizes, as a table for docs/reliability.md."""

import sys
import tempfile
import time
from pathlib import Path

from tests import onnx_models, text_models
from tests.conftest import MODELS, RunningServer, serving
from tests.hostile.attacks import ATTACKS, Attack, Target
from tests.hostile.measuring import measured, slope


def nothing(_: Target, size: int) -> str:
    time.sleep(size)
    return "-"


NOTHING = Attack("(nothing)", "seconds", nothing, (1,), (3,), 0)
"""What the machine itself does to the probe."""
NOISE = 0.05
"""CPU seconds: the probe of health takes them, too."""
COLOURS = '[pipeline]\nkind = "image-classification"\nlabels = "labels.txt"\n'


SERVED = {
    "INFERENCE_SERVICE_RUNTIME__DECODER_PROCESSES": "true",
    "INFERENCE_SERVICE_GRPC__PORT": "0",
    "INFERENCE_SERVICE_REPOSITORY__FOLLOW_LINKS": "true",
}


def models(folder: Path) -> Path:
    """What the attacks are sent to."""
    onnx_models.save(onnx_models.any_length(), folder / "any-length" / "1" / "model.onnx")
    onnx_models.save(onnx_models.widening(), folder / "widening" / "1" / "model.onnx")
    onnx_models.save(onnx_models.repeating(), folder / "repeating" / "1" / "model.onnx")
    onnx_models.save(onnx_models.brightest_channel(), folder / "colours" / "1" / "model.onnx")
    onnx_models.save(onnx_models.brightest_channel(1024), folder / "posters" / "1" / "model.onnx")
    for pictures in ("colours", "posters"):
        (folder / pictures / "labels.txt").write_text("red\ngreen\nblue\n")
        (folder / pictures / "model.toml").write_text(COLOURS)
    (folder / "digits" / "1").mkdir(parents=True)
    digits = (MODELS / "digits/1/model.onnx").read_bytes()
    (folder / "digits/1/model.onnx").write_bytes(digits)
    text_models.save(folder / "texts", max_tokens=12)
    (folder / "speech").symlink_to(MODELS / "speech")
    return folder


def target_of(server: RunningServer) -> Target:
    """Where it listens."""
    return Target(server.url, server.grpc_address)


def row(attack: Attack, to: Target, pid: int) -> str:
    costs = [
        measured(to.url, pid, lambda s=size: attack.send(to, s))  # type: ignore[misc]
        for size in attack.large
    ]
    grows = "-"
    if len(attack.large) > 1:
        grows = f"{slope(attack.large, [one.cpu for one in costs], NOISE):.1f}"
    worst = costs[-1]
    return (
        f"| {attack.name} | {attack.large[-1]:,} {attack.unit} | {worst.outcome} "
        f"| {worst.cpu:.2f} | {grows} | {max(one.memory for one in costs) >> 20} "
        f"| {max(one.stall for one in costs) * 1000:.0f} |"
    )


def main() -> None:
    wanted = sys.argv[1:]
    write = sys.stdout.write
    write("| attack | largest size | answer | CPU s | growth | memory, MiB | longest stall, ms |\n")
    write("|---|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder, serving(models(Path(folder)), **SERVED) as one:
        for attack in (NOTHING, *ATTACKS):
            if not wanted or any(part in attack.name for part in wanted):
                write(row(attack, target_of(one), one.process.pid) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
