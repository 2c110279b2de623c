# SPDX-License-Identifier: Apache-2.0
"""HTML as text, escaped in one place: whatever is not `Markup` is text, and only `tag` makes `Markup`.

Entries of the log hold texts of providers and staff. Here none of them becomes markup, a script, a link to elsewhere or
characters that turn the reading direction: those are shown by their code points.
"""

import html
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_VOID: Final = frozenset({"input", "meta", "link", "rect", "line", "circle", "path"})
_LINKS: Final = frozenset({"href", "action", "src"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | int | Sequence[Child] | None"
Attribute: TypeAlias = str | int | bool | None


def escape(text: str) -> Markup:
    """The text as HTML, in content and in quoted attributes alike."""
    return Markup(html.escape("".join(map(_visible, text)), quote=True))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """One element; underscores in names of attributes are dashes, one at the end is dropped (`class_`, `for_`).

    True is an attribute without value; False and None are none.

    Raises:
        ValueError: a name no element or attribute has, a handler, or a link that leads to another site.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"element is {name!r}, want a name")
    start = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}"
    return Markup(f"{start}/>") if name in _VOID else Markup(f"{start}>{_content(children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup(_content(children))


def _content(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, (str, int)):
        return escape(str(child))
    return "".join(map(_content, child))


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if _NAME.fullmatch(name.lower()) is None or name.startswith("on") or name == "style":
        raise ValueError(f"attribute is {name!r}, want one that runs and styles nothing")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = str(value)
    if name in _LINKS and (not text.startswith(("/", "#", "?")) or text.startswith("//")):
        raise ValueError(f"{name} leads to another site, want one of this site")
    return f' {name}="{escape(text)}"'


def _visible(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return f"\\u{ord(character):04x}"
