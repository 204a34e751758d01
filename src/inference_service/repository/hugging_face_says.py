"""What readers of a Hugging Face folder share. Pure."""

from collections.abc import Callable
from typing import Any, TypeAlias

from inference_service.core.errors import InvalidModel

Files: TypeAlias = Callable[[str], Any]
"""What a file of JSON of the folder holds; None where there is no such file."""


class NotSaid(InvalidModel):
    """The files don't say how the model is to be asked, or something that is not done here."""
