"""Lists of pydantic models that end at their first fault.

pydantic collects all faults of a list, a few hundred bytes each: of a body of wrong elements that
is hundreds of times its size. Only the first is told.
"""

from pydantic import FailFast


class FirstFault(FailFast):
    """``Annotated[list[X], FirstFault()]``; it can be hashed, which "|" needs of annotations."""

    __hash__ = object.__hash__
