"""The path parameters of the Open Inference Protocol."""

from typing import Annotated

from fastapi import Path

ModelName = Annotated[str, Path(description="name of a model")]
Version = Annotated[str, Path(description="version, a whole number")]
