"""What other servers' examples and codecs need of this service: models, and programs of their environments."""
