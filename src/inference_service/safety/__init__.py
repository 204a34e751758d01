"""Batch safety: which requests may share a run of a graph, proven from the graph itself.

Pure: standard library and numpy alone, no onnx, no onnxruntime, no I/O. The reader of ONNX files
(`runtime.graph_reader`) hands in a plain `Graph`; `analyse` returns a `Verdict`.
"""

from inference_service.safety.analysis import analyse
from inference_service.safety.graph import Graph
from inference_service.safety.verdict import Status, Verdict

__all__ = ["Graph", "Status", "Verdict", "analyse"]
