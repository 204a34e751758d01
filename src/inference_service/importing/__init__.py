"""Import a trained model: convert, name, free the batch axis, compare, write a version."""
