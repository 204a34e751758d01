"""A pair of sockets to the process of a model, and the memory that is shared over it."""

import socket
from collections.abc import Sequence
from typing import Any

from inference_service.core.errors import ExecutionFailed, InvalidInput, OutOfMemory, RunStopped
from inference_service.core.tensors import Array, Tensors
from inference_service.processes.blocks import Block
from inference_service.processes.errors import ChildLost
from inference_service.processes.values import described, placed, restored
from inference_service.processes.wire import receive, send


class Lane:
    """One socket pair and the memory that is shared over it. One run at a time."""

    def __init__(self, pipe: socket.socket, patience: float) -> None:
        self._pipe = pipe
        self._pipe.settimeout(patience)
        self._block: Block | None = None

    def run(
        self, number: int, threads: int, inputs: Tensors, outputs: Sequence[str], most: int
    ) -> dict[str, Any]:
        """What the process says when the run has ended: for `outputs`.

        Raises OutOfMemory where there is none to share, and OSError and ChildLost where the process
        is of no use any more.
        """
        parts = {name: described(array) for name, array in inputs.items()}
        offsets, end = placed([flat.nbytes for _, flat in parts.values()])
        passed = self._with_room(end)
        block = self._block
        if block is None:
            raise ChildLost("there is no memory to share with it")
        told = []
        for offset, (name, (about, flat)) in zip(offsets, parts.items(), strict=True):
            block.memory[offset : offset + flat.nbytes] = flat.data
            told.append([name, about, offset])
        header = {
            "run": number, "threads": threads, "inputs": told, "outputs": list(outputs), "end": end
        }  # fmt: skip
        send(self._pipe, header, descriptors=passed)
        reply, _, _ = receive(self._pipe, 0)
        if "more" in reply:
            needed = int(reply["more"])
            if not 0 <= needed <= most:
                raise ChildLost(f"its answer takes {needed} bytes")
            try:
                passed = self._with_room(needed, new=True)
            except OutOfMemory:
                send(self._pipe, {})  # it waits for it
                raise
            send(self._pipe, {}, descriptors=passed)
            reply, _, _ = receive(self._pipe, 0)
        return reply

    def _with_room(self, needed: int, *, new: bool = False) -> list[int]:
        """The descriptor of a new block, where there must be one. Raises OutOfMemory."""
        if self._block is not None and not new and self._block.fits(needed):
            return []
        self.close()
        try:
            self._block = Block(needed)
        except OSError as error:
            raise OutOfMemory(f"{needed} bytes to share with its process: {error}") from error
        return [self._block.descriptor]

    def outputs(self, reply: dict[str, Any]) -> dict[str, Array]:
        """The outputs of the last run.

        Raises InvalidInput, OutOfMemory, ExecutionFailed, RunStopped and ChildLost.
        """
        kind = reply.get("error")
        if kind is not None:
            text = str(reply.get("text", ""))
            if kind == "RunStopped":
                raise RunStopped("every request of the run was cancelled")
            kinds = {"InvalidInput": InvalidInput, "OutOfMemory": OutOfMemory}
            raise kinds.get(kind, ExecutionFailed)(text)
        told = reply.get("outputs")
        if not isinstance(told, list) or self._block is None:
            raise ChildLost("it has sent something odd")
        # Copied: the memory is that of the next run, and its answers are written later.
        return {
            str(name): restored(about, self._block.memory, int(offset)).copy()
            for name, about, offset in told
        }

    def close(self) -> None:
        """Give the memory back."""
        if self._block is not None:
            self._block.close()
            self._block = None
