"""Links and headings of Markdown pages: what the site rewrites, and what the tests follow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

__all__ = ["anchors", "links", "rewritten", "without_code"]

_LINK = re.compile(r"(?P<head>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()(?P<target>[^()\s]+)(?P<tail>(?:\s+\"[^\"]*\")?\))")
_FENCE = re.compile(r"^(?P<fence>```+|:::+|~~~+)")
_OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # https:, mailto:


def _prose(text: str) -> Iterator[tuple[str, bool]]:
    """Each line of a page, and whether it is text rather than fenced code."""
    fence = ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line.lstrip())
        if found and found["fence"][0] != ":" and (not fence or found["fence"].startswith(fence)):
            fence = "" if fence else found["fence"]
            yield line, False
        else:
            yield line, not fence


def without_code(text: str) -> str:
    """The page without its fenced code and its code spans."""
    return re.sub(r"`[^`\n]*`", "", "".join(line for line, is_text in _prose(text) if is_text))


def links(text: str) -> list[str]:
    """Targets of the page's links and pictures within the repository, as they are written."""
    return [found["target"] for found in _LINK.finditer(without_code(text)) if not _OUTSIDE.match(found["target"])]


def rewritten(text: str, target: Callable[[str], str]) -> str:
    """The page with the target of each link within the repository replaced by what the function makes of it.

    A link that wraps over two lines counts; code does not.
    """

    def replaced(found: re.Match) -> str:
        if _OUTSIDE.match(found["target"]) or found["target"].startswith("#"):
            return found[0]
        return found["head"] + target(unquote(found["target"])) + found["tail"]

    parts: list[str] = []
    kinds: list[bool] = []
    for line, is_text in _prose(text):
        if kinds and kinds[-1] == is_text:
            parts[-1] += line
        else:
            parts.append(line)
            kinds.append(is_text)
    return "".join(_LINK.sub(replaced, part) if is_text else part for part, is_text in zip(parts, kinds, strict=True))


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
