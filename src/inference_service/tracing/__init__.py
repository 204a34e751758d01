"""Distributed tracing: where a request comes from, and spans of its parts. Off by default."""
