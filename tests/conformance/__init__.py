"""The ONNX project's own test suite, served: see docs/conformance.md.

`cases` collects the models with their inputs and expected outputs, `forms` writes and reads each
protocol, `serving` runs the service, `comparison` says what equal means, `trial` puts one model to
the test, `run` does so for all of them in processes that may die, `report` writes the page.
"""
