"""What the typeset HTML still needs: names that screen readers trust, descriptions, and previews of what links lead to.

Sphinx and its theme write the pages; this mends what they leave, on the text of each page. Previews are files of script
that the page loads when a link is hovered, since a page that was opened from a disk may load nothing else.
"""

from __future__ import annotations

import html as entities
import json
import os
import re
from collections import defaultdict
from hashlib import sha256
from pathlib import Path, PurePosixPath
from posixpath import normpath

from bs4 import BeautifulSoup, Tag
from labels import pages_of

DESCRIPTION_LENGTH = 160  # what search engines show
PREVIEWED = "div.math, figure, div.proof, div.exercise, div.citation, section"
MENDED = (
    # The theme warns in the console about the empty mode that it has written itself.
    ('localStorage.getItem("mode") || ""', 'localStorage.getItem("mode") || "auto"'),
    # A name must hold the words that are seen: let these words be the name.
    (' title="Search" aria-label="Search" data-bs-placement', " data-bs-placement"),
    ('role="doc-biblioentry"', 'role="listitem"'),  # the former is no item of the list around it
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
)
CONTENT_ROOT = re.compile(r'data-content_root="([^"]*)"')
ICON_TITLE = re.compile(r'(<i class="theme-switch[^>]*?) +title="[^"]*"')
EMPTY_HEAD = re.compile(r"<th([^>]*)>\s*(?:<p>\s*</p>\s*)?</th>")
# A proof that folds has no title to click on, and the script that folds it would stop there, before the solutions.
FOLDED_PROOF = re.compile(r'(<div class="proof dropdown admonition")[^>]*>\s*<p>Proof\. ?')
IDS_OF_PARTS = re.compile(r' id="(?:proof|exercise|solution)-content"')  # on every statement: no id of anything
ID_TWICE = re.compile(r'(id="([^"]+)">\s*<p class="admonition-title") id="\2"')
TITLE_TWICE = re.compile(r"<title>(.+?) &#8212; \1</title>")
TEX = re.compile(r"\\[()\[\]]")
GLUED = re.compile(r'(?<=<span class="pasted-text">)[^<]+(?=</span>)')
EXPONENT = re.compile(r"(?<=\d)e([+-])0*(\d+)")
THOUSANDS = re.compile(r"(?<![\w.,])[1-9]\d{3,}(?![\w.])")
MINUS = re.compile(r"(?<![\w.-])-(?=[\d.])")


# --- the text of a page ----------------------------------------------------------------------------------------------


def mended(page: str) -> str:
    """The text of a finished page, with names, roles and ids as they should be."""
    for old, new in MENDED:
        page = page.replace(old, new)
    root = CONTENT_ROOT.search(page)
    page = page.replace('href="{root}', f'href="{root[1] if root else ""}')  # links of the footer in _config.yml
    page = ICON_TITLE.sub(r"\1", page)
    page = FOLDED_PROOF.sub(r'\1><p class="admonition-title">Proof</p><p>', page)
    page = EMPTY_HEAD.sub(r"<td\1></td>", page)
    page = ID_TWICE.sub(r"\1", IDS_OF_PARTS.sub("", page))
    page = TITLE_TWICE.sub(r"<title>\1</title>", page)
    page = GLUED.sub(typeset, page)
    if "bd-sidebar-secondary" not in page:
        # A script of the theme looks for this where something is as wide as the page.
        page = page.replace("</body>", '<div class="bd-sidebar-secondary" hidden></div></body>')
    if '<meta name="description"' not in page and (words := description(page)):
        page = page.replace("</head>", f'<meta name="description" content="{entities.escape(words)}" />\n</head>', 1)
    return page


def typeset(number: re.Match[str]) -> str:
    """A number in the text, which Python has written ("-2e-05"), with minus, powers of ten and thousands."""
    text = EXPONENT.sub(lambda found: f" × 10<sup>{found[1].replace('+', '')}{found[2]}</sup>", number[0])
    text = THOUSANDS.sub(lambda found: f"{int(found[0]):,}", text)
    return MINUS.sub("−", text.replace("<sup>-", "<sup>−"))


def description(page: str) -> str:
    """The first sentences of a page, as a search engine may show them."""
    _, _, article = page.partition('<article class="bd-article"')
    for paragraph in re.findall(r"<p>(.*?)</p>", article, re.DOTALL):
        words = " ".join(TEX.sub("", entities.unescape(re.sub(r"<[^>]+>", "", paragraph))).split())
        if len(words) > 40:
            return (
                words if len(words) <= DESCRIPTION_LENGTH else words[: DESCRIPTION_LENGTH - 1].rsplit(" ", 1)[0] + "…"
            )
    return ""


# --- notation --------------------------------------------------------------------------------------------------------

FORMULA = re.compile(r'(<span class="math notranslate nohighlight")>(\\\((?:[^<]*)\\\))</span>')
ONE_LETTER = re.compile(r"\\\(\s*\w\s*\\\)")  # a, k, L: pages give such letters meanings of their own


def symbols(notation: BeautifulSoup) -> dict[str, str]:
    """What the Notation page says of each symbol that stands for one thing in the whole book, as plain text."""
    found: dict[str, str] = {}
    for row in notation.select("article tr"):
        cells = row.find_all("td")
        formulas = [formula.get_text() for formula in cells[0].select("span.math")] if cells else []
        words = " ".join(TEX.sub("", cells[1].get_text()).split()) if cells else ""
        parts = words.split("; ")
        if len(parts) == len(formulas) and "its " not in words:  # "its" needs the words before
            found.update(zip(formulas, parts, strict=True))
        else:
            found.update(dict.fromkeys(formulas, words))
    return {formula: words for formula, words in found.items() if not ONE_LETTER.fullmatch(formula)}


def explained(page: str, meaning: dict[str, str]) -> str:
    """The text of a page in which a symbol says on hover what it is."""

    def title(found: re.Match[str]) -> str:
        words = meaning.get(entities.unescape(found[2]))
        return f'{found[1]} title="{entities.escape(words)}">{found[2]}</span>' if words else found[0]

    return FORMULA.sub(title, page)


# --- figures on a phone, and in the dark -----------------------------------------------------------------------------

IMAGE = re.compile(r'<img [^>]*src="([^"]*/)([0-9a-f]{64})\.svg"[^>]*>')
SOURCE = '<source media="(max-width: 480px)" srcset="{}"/>'


def add_drawings(path: Path, figures: dict[str, dict[str, str]]) -> None:
    """Let a phone and the dark show other drawings of the figures of a page; frame.css says which is seen.

    figures: SVG -> kind -> SVG. MyST-NB names the file of an image after the hash of its content.
    """
    folder = path.parents[1] / "_images"
    folder.mkdir(exist_ok=True)
    names = {_hash(first): {kind: _hash(other) for kind, other in others.items()} for first, others in figures.items()}
    for other in (other for others in figures.values() for other in others.values()):
        (folder / f"{_hash(other)}.svg").write_text(other, encoding="utf-8")

    def pictures(image: re.Match[str]) -> str:
        def file(kind: str) -> str:
            return f"{image[1]}{others[kind]}.svg"

        others = names.get(image[2], {})
        phone = SOURCE.format(file("phone")) if "phone" in others else ""
        if "dark" not in others:
            return f"<picture>{phone}{image[0]}</picture>" if phone else image[0]
        dark_phone = SOURCE.format(file("dark phone")) if phone else ""
        dark = image[0].replace(f"{image[1]}{image[2]}.svg", file("dark"))
        return (
            f'<picture class="in-light">{phone}{image[0]}</picture>'
            f'<picture class="in-dark">{dark_phone}{dark}</picture>'
        )

    path.write_text(IMAGE.sub(pictures, path.read_text(encoding="utf-8")), encoding="utf-8")


def _hash(svg: str) -> str:
    return sha256(os.linesep.join(svg.splitlines()).encode()).hexdigest()


# --- icons -----------------------------------------------------------------------------------------------------------

ICON = re.compile(r'"?([a-z0-9-]+)"?:\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?')
ICON_CLASS = re.compile(r"\bfa-([a-z0-9-]+)")


def without_unused_icons(script: str, used: set[str]) -> str:
    """The script of FontAwesome with the icons that the book shows; the others are nineteen twentieths of it."""

    def keep(icon: re.Match[str]) -> str:
        return icon[0] if used & {icon[1], *re.findall(r'"([^"]+)"', icon[2])} else ""

    return re.sub(r",(?=\})", "", ICON.sub(keep, script))


def cut_icons(html: Path) -> None:
    scripts = [path for path in (html / "_static").rglob("*.js") if path.name != "fontawesome.js"]
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in [*scripts, *html.rglob("*.html")]]
    used = {name for text in texts for name in ICON_CLASS.findall(text)}
    for path in (html / "_static").rglob("fontawesome.js"):
        path.write_text(without_unused_icons(path.read_text(encoding="utf-8"), used), encoding="utf-8")


# --- previews --------------------------------------------------------------------------------------------------------


def targets(pages: dict[str, BeautifulSoup]) -> dict[str, set[str]]:
    """The ids that links of the text lead to, by the page that they are on."""
    found: dict[str, set[str]] = defaultdict(set)
    for page, body in pages.items():
        for link in body.select("article a.reference.internal[href*='#'], article a.internal[href*='#']"):
            path, _, identifier = str(link["href"]).partition("#")
            target = normpath(f"{PurePosixPath(page).parent}/{path}").removesuffix(".html") if path else page
            found[target].add(identifier)
    return found


def preview(element: Tag) -> str | None:
    """What is shown of a target: all of a statement, an equation, a figure or a reference; a section's first lines."""
    copy = BeautifulSoup(str(element), "html.parser")
    for mark in copy.select("a.headerlink, script"):
        mark.decompose()
    for inside in copy.find_all(id=True):
        del inside["id"]
    if element.name == "section":
        heading, first = copy.find(re.compile(r"^h\d$")), copy.find("p")
        return f"<strong>{heading.get_text()}</strong>{first or ''}" if heading else None
    return str(copy)


def previews(html: Path) -> dict[str, dict[str, str]]:
    """Page by page, what links to it show when they are hovered."""
    pages = {name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for name, path in pages_of(html)}
    shown: dict[str, dict[str, str]] = {}
    for page, wanted in targets(pages).items():
        for identifier in sorted(wanted) if page in pages else ():
            element = pages[page].find(id=identifier)
            if element is not None and element.name == "span":  # an anchor before what it names
                element = element.parent
            if element is not None and element in pages[page].select(PREVIEWED) and (text := preview(element)):
                shown.setdefault(page, {})[identifier] = text
    return shown


def write_previews(html: Path) -> None:
    for page, shown in previews(html).items():
        path = html / "_static" / "previews" / f"{page}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"afliPreviews[{json.dumps(page)}] = {json.dumps(shown)};\n", encoding="utf-8")


def finish(html: Path) -> None:
    """Mend every page below a folder, write the previews, and leave out the icons that nobody sees."""
    notation = html / "book" / "notation.html"
    meaning = symbols(BeautifulSoup(notation.read_text("utf-8"), "html.parser")) if notation.exists() else {}
    for path in html.rglob("*.html"):
        if "_static" not in path.parts:
            page = path.read_text(encoding="utf-8")
            path.write_text(explained(mended(page), meaning if path != notation else {}), encoding="utf-8")
    write_previews(html)
    cut_icons(html)
