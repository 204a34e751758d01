"""The helper process: the only place that imports a framework.

`python -m inference_service.importing.frameworks FD` reads one command as JSON from each line of
its standard input and writes one reply to the file descriptor FD; what frameworks print goes to its
standard output and error, a log. It ends with its input. It needs numpy and the framework, none of
the service's own dependencies, so it may run in another environment (`--python`).

Commands: ``{"do": "convert", "framework", "format", "source", "work", "options"}``, answered by the
fields of `Converted`; ``{"do": "run", "inputs", "outputs"}``, paths of npz files whose arrays are
``0``, ``1``, … in the order of the graph's inputs and outputs. A failure is
``{"error": text, "missing": package or ""}``.
"""
