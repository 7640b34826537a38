"""A hook of MkDocs: links that leave docs/ stay readable in a checkout, and become plain text on the site."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]*)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Take the target from links to files outside of docs/, and complete links to folders."""
    here = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        shown, target, anchor = found[1], found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(here, target)) if target else page.file.src_uri
        if path.startswith(".."):
            return shown
        if target and not posixpath.splitext(path)[1]:
            return f"[{shown}]({target.rstrip('/')}/README.md{anchor})"
        return found[0]

    return _LINK.sub(link, markdown)
