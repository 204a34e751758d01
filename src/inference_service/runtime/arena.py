"""One arena for the tensors of all runs, with a bound that a run can't pass.

Each session has an arena of its own otherwise, without a bound: an input's value (the shape of an
Expand, the repeats of a Tile, the end of a Range) can ask for any memory. The shared arena grows by
what is asked for, not by doubling. Weights are not in it.
"""

import logging
import re
import resource
import threading

import onnxruntime as ort

log = logging.getLogger(__name__)

_FIRST_BYTES = 2**20
_AS_REQUESTED = 1  # kSameAsRequested of onnxruntime's ArenaExtendStrategy
_ASKED = re.compile(
    r"(?:is smaller than requested bytes of|allocate memory for requested buffer of size) (\d+)"
)
_lock = threading.Lock()
_bound = 0


def bound_runs(most: int) -> None:
    """All runs of this process together take at most these bytes, in sessions made from now on.

    The first call counts: onnxruntime's environment has one arena, for as long as it lives.
    """
    global _bound  # noqa: PLW0603 - so has this module
    with _lock:
        if _bound:
            return
        arena = {
            "max_mem": most,
            "arena_extend_strategy": _AS_REQUESTED,
            "initial_chunk_size_bytes": _FIRST_BYTES,
            "max_dead_bytes_per_chunk": -1,
        }
        kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        place = ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT)
        try:
            ort.create_and_register_allocator(place, ort.OrtArenaCfg(arena))
        except Exception as error:  # they have no common base
            log.warning("the memory of runs has no bound by their values: %s", error)
            return
        _bound = most


def bind(settings: ort.SessionOptions) -> None:
    """Let a session use the shared arena, where there is one."""
    if _bound:
        settings.add_session_config_entry("session.use_env_allocators", "1")
        settings.add_session_config_entry("session.use_device_allocator_for_initializers", "1")


def beyond(message: str) -> int | None:
    """The bytes that a run has asked for at once and can never get, by the text of its error."""
    found = _ASKED.search(message)
    if not found:
        return None
    asked, (most, _) = int(found[1]), resource.getrlimit(resource.RLIMIT_DATA)
    never = (_bound and asked > _bound // 2) or (most != resource.RLIM_INFINITY and asked > most)
    return asked if never else None
