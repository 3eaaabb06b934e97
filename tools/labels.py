"""What the labels of the finished book are called, and where they stand: "Lemma 3.3", "(22)", "Fig. 2"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from pybtex.database import Entry, parse_file

EQUATION = "equation-"  # what Sphinx puts before the label of an equation


@dataclass(frozen=True)
class Label:
    """One thing that text refers to: its name there, the page (without suffix) and the id of its element."""

    name: str
    page: str
    id: str


def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def pages_of(html: Path) -> Iterator[tuple[str, Path]]:
    """The pages of the book, "notebooks/3_3_uniform_gap", and their files."""
    for folder in ("notebooks", "book"):
        for path in sorted((html / folder).glob("*.html")):
            yield f"{folder}/{path.stem}", path


def name_of(element: Tag) -> str | None:
    """What a reference to an element says, or None if nothing refers to it by a name of its own."""
    kinds = set(element.get_attribute_list("class"))
    if "math" in kinds and (number := element.select_one(".eqno")):
        return number.get_text().rstrip("#").strip()
    if element.name == "figure" and (number := element.select_one(".caption-number")):
        return number.get_text().strip()
    if {"proof", "exercise"} & kinds and (title := element.select_one(".admonition-title")):
        words = " ".join(title.get_text().split())
        return re.match(r"\w+ [\w.]+|\w+", words)[0]  # type: ignore[index]
    if element.name == "section" and (heading := element.find(re.compile(r"h\d"))):
        return heading.get_text().rstrip("#").strip()
    return None


def labels(html: Path) -> dict[str, Label]:
    """Every label below a folder of finished HTML; a page's own name ("notebooks/3_3_uniform_gap") is one, too."""
    found: dict[str, Label] = {}
    for page, path in pages_of(html):
        body = parsed(path)
        for element in body.select("div.math[id], figure[id], div.proof[id], div.exercise[id], section[id]"):
            if name := name_of(element):
                label = str(element["id"]).removeprefix(EQUATION)
                found.setdefault(label, Label(name, page, str(element["id"])))
                if element.name == "section":  # a label of our own stands as an empty element before the heading
                    for alias in element.find_all("span", id=True, recursive=False):
                        found.setdefault(str(alias["id"]), Label(name, page, str(alias["id"])))
        if heading := body.find("h1"):
            found[page] = Label(heading.get_text().rstrip("#").strip(), page, "")
    return found


def citations(bibliography: Path) -> dict[str, tuple[str, str]]:
    """Authors and year of every entry of a .bib file, as the text names them."""
    return {key: (authors(entry), year(entry)) for key, entry in parse_file(bibliography).entries.items()}


def authors(entry: Entry) -> str:
    names = [" ".join([*person.prelast_names, *person.last_names]) for person in entry.persons.get("author", [])]
    names = [re.sub(r"[{}]", "", name) for name in names]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names)


def year(entry: Entry) -> str:
    return entry.fields.get("year", "n.d.")
