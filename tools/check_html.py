"""The built book must read without a network: no page may load anything from outside, or from a file that is not there.

    python tools/check_html.py [_build/html]

Links that a reader may follow are another matter; a weekly workflow asks whether their targets still exist.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
LOADED = {
    "audio": "src", "embed": "src", "iframe": "src", "img": "src", "image": "href", "input": "src", "link": "href",
    "object": "data", "script": "src", "source": "src", "track": "src", "video": "src",
}  # fmt: skip
LOADED_LINKS = {"dns-prefetch", "icon", "manifest", "modulepreload", "preconnect", "prefetch", "preload", "stylesheet"}
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*['"]?\s*((?:https?:)?//[^'")\s]+)""")
IN_SCRIPT = re.compile(r"""(?:import\s*\(|import\s|from\s|fetch\(|\.src\s*=)\s*['"]((?:https?:)?//[^'"]+)""")


class Page(HTMLParser):
    """Collects what a page loads, and the targets of its links to other pages."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        values = {name: value or "" for name, value in attrs}
        target = values.get(LOADED.get(tag, ""), "")
        if target and (tag != "link" or LOADED_LINKS & set(values.get("rel", "").split())):
            self.loads.append(target)
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self.loads += IN_STYLE.findall(values.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        pattern = {"style": IN_STYLE, "script": IN_SCRIPT}.get(self.inside)
        if pattern:
            self.loads += pattern.findall(data)


def pages_of(html: Path) -> list[Path]:
    """The book's pages; the theme leaves templates of its own under _static."""
    return sorted(path for path in html.rglob("*.html") if path.relative_to(html).parts[0] != "_static")


def problems(html: Path) -> list[str]:
    """What keeps the pages below a folder from being read there and offline, one line each."""
    found = []
    for path in pages_of(html):
        page = Page()
        page.feed(path.read_text(encoding="utf-8"))
        name = path.relative_to(html)
        found += [f"{name} loads {target}" for target in page.loads if urlsplit(target).netloc]
        for target in {*page.loads, *page.links}:
            parts = urlsplit(target)
            local = not parts.scheme and not parts.netloc and parts.path
            if local and not (path.parent / unquote(parts.path)).exists():
                found.append(f"{name} names {target}, which does not exist")
    for path in sorted(html.rglob("*.css")):
        found += [f"{path.relative_to(html)} loads {target}" for target in IN_STYLE.findall(path.read_text("utf-8"))]
    return found


def main() -> int:
    html = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build" / "html"
    pages = len(pages_of(html))
    if not pages:
        print(f"no pages in {html}: run `make book` first", file=sys.stderr)
        return 1
    found = problems(html)
    print("\n".join(found) or f"{pages} pages load nothing from outside, and no local link is dead")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
