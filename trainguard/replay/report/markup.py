"""HTML and SVG put together from escaped parts."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is HTML already; every other text is escaped where it enters."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element. In names of attributes a trailing underscore is dropped, others become hyphens; ``None`` is left out.

    >>> tag("p", "a < b", tag("b", "c"), class_="note", title=None)
    '<p class="note">a &lt; b<b>c</b></p>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: object) -> Markup:
    """Children one after the other, escaped where they are no `Markup`; ``None`` is left out."""
    return Markup("".join(_text(child) for child in children if child is not None))


def _text(child: object) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, (list, tuple)):
        return joined(*child)
    return escape(str(child))
