"""HTML of students on the pages that teachers and they open: text, tables and pictures, and nothing that runs."""

from __future__ import annotations

import re

import bleach

TAGS = {
    *bleach.ALLOWED_TAGS, "br", "dd", "del", "details", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "img", "kbd", "mark", "p", "pre", "s", "span", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th",
    "thead", "tr", "u",
}  # fmt: skip
PICTURE = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")


def _may_stay(tag: str, name: str, value: str) -> bool:
    """Whether an attribute stays: a picture that is in the page itself, a link, a class."""
    if tag == "img" and name == "src":
        return bool(PICTURE.fullmatch(value))
    if tag == "a" and name == "href":
        return not value.strip().lower().startswith("data:")
    return name in ("class", "id", "title") or (name in ("alt", "width", "height") and tag == "img")


def clean_html(element: object) -> str:
    """HTML without scripts, styles, forms and pictures from elsewhere, in place of nbconvert's filter of that name.

    nbconvert's own removes pasted pictures and headings too.
    """
    text = element.decode() if isinstance(element, bytes) else str(element)
    return bleach.clean(text, tags=TAGS, attributes=_may_stay, protocols={"http", "https", "mailto", "data"})
