"""What can go wrong with a child process."""


class ChildLost(Exception):  # noqa: N818
    """The child has ended, or what it says can't be understood: it is of no use any more."""
