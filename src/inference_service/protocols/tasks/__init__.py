"""Pictures, sound and text in, what clients want to know out: POST /models/{model}/{task}."""
