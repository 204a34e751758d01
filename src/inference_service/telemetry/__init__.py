"""Subscribers to the Observer: Prometheus."""
