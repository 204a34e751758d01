"""The Open Inference Protocol v2: health and metadata."""
