"""A load generator for a running server: `inference-service bench`."""
