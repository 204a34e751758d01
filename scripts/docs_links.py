"""A hook of mkdocs: links out of docs/ lead to the files of the repository, by their names."""

import posixpath
import re
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The site has no pages of code: what a link outside docs/ names is written out instead."""
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_path))

    def written(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[2].partition("#")[0]))
        return link[0] if path.startswith("docs/") else f"{link[1]} (`{path}`)"

    return _LINK.sub(written, markdown)
