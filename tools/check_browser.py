"""Open every page of the built book in Chromium: can everybody read it, on a phone too, and is the console clean?

    python tools/check_browser.py [_build/html] [PAGE ...]

Each page is loaded once. axe-core (axe/, Mozilla Public License 2.0) looks for barriers, in light and in dark; at 390
pixels nothing may make the page scroll sideways, and the title must be the largest heading. Where there is no Chromium
nothing is checked, and a line says so.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from browser import Page, browser, program
from check_html import pages_of as all_pages

ROOT = Path(__file__).resolve().parents[1]
AXE = ROOT / "tools" / "axe" / "axe.min.js"
DESKTOP, PHONE = 1280, 390
SERIOUS = ("serious", "critical")
# Not ours: the theme's navigation. Everything else on a page counts.
RUN_AXE = """
axe.run(document, {resultTypes: ['violations'], rules: {region: {enabled: false}}}).then(found =>
  found.violations.map(v => ({rule: v.id, impact: v.impact, places: v.nodes.map(n => n.target.join(' ')),
    why: v.nodes[0].any[0]?.message ?? v.help})))
"""
DARK = "document.documentElement.dataset.theme = 'dark'; document.documentElement.dataset.mode = 'dark'"
TO_THE_END = "window.scrollTo(0, document.body.scrollHeight), new Promise(done => setTimeout(done, 100))"
ON_A_PHONE = """(() => {
  const size = name => {
    const found = document.querySelector(`.bd-article ${name}`);
    return found ? parseFloat(getComputedStyle(found).fontSize) : 0;
  };
  const wide = [...document.querySelectorAll('.bd-article *')].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !scrolls(element);
  });
  function scrolls(element) {
    for (let at = element; at && at !== document.body; at = at.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  }
  return {width: document.scrollingElement.scrollWidth, h1: size('h1'), h2: size('h2'),
          wide: wide.slice(0, 3).map(e => e.tagName.toLowerCase() + '.' + e.className)};
})()"""


def barriers(page: Page, mode: str) -> list[dict[str, Any]]:
    """What axe finds on the page as it stands."""
    return [found | {"mode": mode} for found in page.evaluate(RUN_AXE)]


def look(page: Page, path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Problems of one page in words, and all that axe found, mild things too."""
    page.width(DESKTOP)
    page.open(path)
    page.evaluate(TO_THE_END)
    page.evaluate(AXE.read_text(encoding="utf-8") + "; true")
    found = barriers(page, "light")
    page.evaluate(DARK)
    found += barriers(page, "dark")
    page.width(PHONE)
    phone = page.evaluate(ON_A_PHONE)
    problems = [f"console: {error}" for error in page.errors]
    for barrier in found:
        if barrier["impact"] in SERIOUS:
            where = f"at {len(barrier['places'])} places, as {barrier['places'][0]}: {barrier['why']}"
            problems.append(f"{barrier['rule']} ({barrier['impact']}, {barrier['mode']}) {where}")
    if phone["width"] > PHONE:
        problems.append(f"scrolls sideways on a phone: {phone['width']} px, {', '.join(phone['wide'])}")
    if 0 < phone["h1"] <= phone["h2"]:
        problems.append(f"on a phone the title ({phone['h1']} px) is no larger than a heading ({phone['h2']} px)")
    return problems, found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Open every page of the built book in Chromium.")
    parser.add_argument("html", nargs="?", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("pages", nargs="*", help="names of pages, all without")
    parser.add_argument("--report", type=Path, help="write all that axe found into a JSON file")
    options = parser.parse_args(argv)
    # The listings of source code are Sphinx's own, all of one kind.
    paths = [path for path in all_pages(options.html) if "_modules" not in path.parts]
    paths = [path for path in paths if not options.pages or path.stem in options.pages]
    paths = [path for path in paths if 'class="bd-article"' in path.read_text(encoding="utf-8")]  # no mere redirect
    if not paths:
        print(f"no pages in {options.html}: run `make book` first", file=sys.stderr)
        return 1
    if not program():
        print("No Chromium here: the pages were not looked at.")
        return 0
    bad, all_found = 0, {}
    with browser() as page:
        for path in paths:
            name = path.relative_to(options.html).as_posix()
            problems, all_found[name] = look(page, path)
            bad += bool(problems)
            for problem in problems:
                print(f"{name}: {problem}", flush=True)
    mild = Counter(barrier["rule"] for found in all_found.values() for barrier in found)
    print(f"{len(paths)} pages, {bad} with problems. Of axe's rules broken at all: {dict(mild) or 'none'}.")
    if options.report:
        options.report.write_text(json.dumps(all_found, indent=1), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
