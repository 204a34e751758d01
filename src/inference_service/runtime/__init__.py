"""The only importer of onnxruntime: sessions, threads, probing, runs."""

import os

# Before the first import of onnxruntime, which reads it once. The service reports nothing home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
