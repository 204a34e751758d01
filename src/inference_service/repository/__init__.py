"""The only reader of model folders."""
