"""Links and headings of Markdown pages: what the site rewrites, and what the tests follow."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

__all__ = ["anchors", "in_prose", "links", "rewritten"]

_LINK = re.compile(  # or a code span, in which there is none
    r"`[^`\n]*`|(?P<head>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()(?P<target>[^()\s]+)(?P<tail>(?:\s+\"[^\"]*\")?\))"
)
_FENCE = re.compile(r"^(?P<fence>```+|:::+|~~~+)")
_OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # https:, mailto:


def _prose(text: str) -> Iterator[tuple[str, bool]]:
    """Each line of a page, and whether it is text: not fenced code."""
    fence = ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line.lstrip())
        if found and found["fence"][0] != ":" and (not fence or found["fence"].startswith(fence)):
            fence = "" if fence else found["fence"]
            yield line, False
        else:
            yield line, not fence


def links(text: str) -> list[str]:
    """Targets of the page's links and pictures within the repository, as they are written; code has none."""
    prose = "".join(line for line, is_text in _prose(text) if is_text)
    targets = [found["target"] for found in _LINK.finditer(prose)]
    return [target for target in targets if target and not _OUTSIDE.match(target)]


def in_prose(text: str, change: Callable[[str], str]) -> str:
    """The page with its text changed by a function, and its fenced code as it is."""
    parts = itertools.groupby(_prose(text), key=lambda each: each[1])
    return "".join(
        change(part) if is_text else part
        for is_text, part in ((kind, "".join(line for line, _ in lines)) for kind, lines in parts)
    )


def rewritten(text: str, target: Callable[[str], str]) -> str:
    """The page with the target of each link within the repository replaced by what the function makes of it."""

    def replaced(found: re.Match) -> str:
        if not found["target"] or _OUTSIDE.match(found["target"]) or found["target"].startswith("#"):
            return found[0]
        return found["head"] + target(unquote(found["target"])) + found["tail"]

    return in_prose(text, lambda part: _LINK.sub(replaced, part))


def anchors(text: str) -> set[str]:
    """The anchors that a forge and the site give to the page's headings."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(
        r"^#{1,6} +(.+?)\s*#*$", "".join(line for line, is_text in _prose(text) if is_text), re.M
    ):
        slug = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        result.add(slug if slug not in found else f"{slug}-{found[slug]}")
        found[slug] = found.get(slug, 0) + 1
    return result
