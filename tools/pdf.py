"""The whole book as one PDF, printed by a headless Chromium from the pages that were typeset for the screen.

    python tools/pdf.py [_build/html]        writes afli-companion.pdf beside the pages

All pages are put into one, in the order of the table of contents; links between them become links inside. Where there
is no Chromium no PDF is made, and a line says so.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path, PurePosixPath
from posixpath import normpath

from browser import BrowserError, browser, program
from bs4 import BeautifulSoup, Tag
from labels import parsed

ROOT = Path(__file__).resolve().parents[1]
NAME = "afli-companion.pdf"
LEFT_OUT = {"book/api", "notebooks/benchmarks"}  # for looking things up, on the screen
PAPER = {"paperWidth": 8.27, "paperHeight": 11.69, "marginTop": 0.75, "marginBottom": 0.75, "marginLeft": 0.8,
         "marginRight": 0.8}  # A4, in inches  # fmt: skip
FOOTER = '<p style="width: 100%; margin: 0; text-align: center; font-size: 8pt"><span class="pageNumber"></span></p>'
STYLE = """
body { font: 10pt/1.45 Georgia, 'DejaVu Serif', serif; color: #000; background: #fff; }
h1, h2, h3, h4 { font-family: 'Helvetica Neue', 'DejaVu Sans', sans-serif; break-after: avoid; line-height: 1.2; }
h1 { break-before: page; font-size: 19pt; } h2 { font-size: 14pt; } h3 { font-size: 11.5pt; } h4 { font-size: 10pt; }
.title h1 { margin-top: 30vh; font-size: 30pt; } .contents li { list-style: none; }
a { color: #0d54ac; text-decoration: none; } a.headerlink, .toggle-button, summary { display: none; }
pre { padding: 0.5em; border-left: 2pt solid #ccc; background: #f7f7f7; font-size: 8pt; line-height: 1.35;
      white-space: pre-wrap; overflow-wrap: anywhere; }
code { font-size: 0.88em; overflow-wrap: anywhere; }
img, svg { max-width: 100%; height: auto; } figure { margin: 1em 0; break-inside: avoid; }
figcaption { font-size: 8.5pt; color: #333; }
table { border-collapse: collapse; font-size: 8.5pt; } th, td { padding: 0.2em 0.5em; border-bottom: 0.5pt solid #bbb;
      text-align: start; vertical-align: top; } table p { margin: 0; }
.admonition { margin: 1em 0; padding: 0.2em 0.8em; border-left: 2.5pt solid #0d54ac; background: #f4f7fb; }
.admonition-title { font-weight: bold; font-family: 'DejaVu Sans', sans-serif; break-after: avoid; }
.highlight .k, .highlight .kn, .highlight .ow { color: #7a1fa2; } .highlight .s1, .highlight .s2 { color: #20662b; }
.highlight .c1 { color: #666; } .highlight .mi, .highlight .mf { color: #9a3b00; }
.eqno { float: right; } mjx-container { font-size: 100% !important; } .sd-card { margin: 0.5em 0; }
.page-facts, .source { color: #555; } .status { font-weight: bold; }
input, form, .filters, .search, .live fieldset, .in-dark { display: none; } .live svg { width: 75%; }
.live .panels svg { width: 48%; }
details > *:not(summary) { display: block; } .sr-only, .visually-hidden { display: none; }
"""

TITLE = """<div class="title"><h1>AFLI Companion</h1><p>The whole book, printed from its pages. Code that the pages fold
away, the API and the benchmarks are left out.</p></div>"""


def reading_order(index: BeautifulSoup, page: str) -> list[str]:
    """The pages that the side bar of the home page lists, it first."""
    found = [page]
    for link in index.select("nav.bd-links a.internal[href]"):
        target = normpath(f"{PurePosixPath(page).parent}/{link['href']}").removesuffix(".html")
        if target not in found and not target.endswith("#"):
            found.append(target)
    return found


def anchor(page: str, identifier: str = "") -> str:
    """The id in the one document of what has an id on a page."""
    return f"{page}--{identifier}".replace("/", "-")


def chapter(html: Path, page: str, pages: set[str]) -> Tag:
    """The article of one page, its ids made unique, its links led to the other articles or, left out, to nothing."""
    article = parsed(html / f"{page}.html").select_one("article.bd-article")
    if article is None:
        raise BrowserError(f"{page}.html has no article")
    for hidden in article.select("script, .headerlink, .tag_remove-input, details.hide.above-input"):
        hidden.decompose()  # what the screen folds away
    for element in article.select("[id]"):
        element["id"] = anchor(page, str(element["id"]))
    article["id"] = anchor(page)
    folder = PurePosixPath(page).parent
    for name in ("src", "href"):
        for element in article.select(f"[{name}]"):
            path, _, identifier = str(element[name]).partition("#")
            if ":" in path:
                continue
            target = normpath(f"{folder}/{path}") if path else f"{page}.html"
            if target.removesuffix(".html") in pages:
                element[name] = f"#{anchor(target.removesuffix('.html'), identifier)}"
            elif target.endswith(".html"):
                del element[name]
            else:
                element[name] = target
    for details in article.find_all("details"):
        details["open"] = ""
    return article


def whole(html: Path) -> str:
    """One document that holds the book."""
    home = re.search(r"url=([\w/]+)\.html", (html / "index.html").read_text(encoding="utf-8"))
    root = home[1] if home else "index"
    index = parsed(html / f"{root}.html")
    order = [page for page in reading_order(index, root) if (html / f"{page}.html").exists() and page not in LEFT_OUT]
    chapters = [chapter(html, page, set(order)) for page in order]
    entries = []
    for page, article in zip(order, chapters, strict=True):
        heading = article.find("h1")
        entries.append(f'<li><a href="#{anchor(page)}">{heading.get_text() if heading else page}</a></li>')
    scripts = [str(script) for script in index.select("script")]
    formulas = "".join(script for script in scripts if "MathJax" in script or "mathjax/" in script)
    formulas = formulas.replace("../_static", "_static")
    contents = f'<h1>Contents</h1><ul class="contents">{"".join(entries)}</ul>'
    body = "\n".join(str(article) for article in chapters)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>AFLI Companion</title><style>{STYLE}</style>{formulas}</head>
<body>{TITLE}{contents}{body}</body>
</html>"""


def write_pdf(html: Path) -> Path:
    """Print the book below a folder. Raises BrowserError where Chromium does not do it."""
    page_file, pdf = html / "_whole.html", html / NAME
    page_file.write_text(whole(html), encoding="utf-8")
    try:
        with browser() as page:
            page.open(page_file)
            printed = page.pdf(
                **PAPER, printBackground=True, displayHeaderFooter=True, headerTemplate="<span></span>",
                footerTemplate=FOOTER, generateDocumentOutline=True, generateTaggedPDF=True,
            )  # fmt: skip
    finally:
        page_file.unlink()
    pdf.write_bytes(printed)
    return pdf


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print the built book into one PDF.")
    parser.add_argument("html", nargs="?", type=Path, default=ROOT / "_build" / "html")
    options = parser.parse_args(argv)
    if not program():
        print("No Chromium here: no PDF of the book was made.")
        return 0
    pdf = write_pdf(options.html)
    print(f"{pdf}: {pdf.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
