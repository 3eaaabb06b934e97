"""A chapter has two or three exercises, marked by difficulty; their solutions are hidden, and say an answer in words.

The code of a solution is a cell of the page: the build runs it and shows what it prints.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import matplotlib
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTER = re.compile(r"\d|[A-Z]+_")  # numbered like the paper; index, claims and the like are not chapters
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{(exercise|solution)\}[ ]*(.*?)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
# A solution with code stands between two directives, since a cell cannot be inside one.
GATED = re.compile(
    r"^```\{solution-start\}[ ]*(\S+)\n(.*?)^```\n(.*?)^```\{solution-end\}\n```$", re.MULTILINE | re.DOTALL
)
LABEL = re.compile(r"^:label: *(\S+)$", re.MULTILINE)
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?:---\n.*?^---\n|(?::[^\n]*\n)*)(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 120


class Page(NamedTuple):
    """The exercises of a page by label, and its solutions by the label of their exercise."""

    name: str
    exercises: dict[str, str]
    solutions: dict[str, str]


def read(text: str, name: str) -> Page:
    page = Page(name, {}, {})
    for _, kind, argument, body in DIRECTIVE.findall(text):
        if kind == "exercise":
            page.exercises[LABEL.search(body).group(1)] = body  # type: ignore[union-attr]
        else:
            page.solutions[argument.strip()] = body
    for label, options, body in GATED.findall(text):
        page.solutions[label] = options + body
    return page


PAGES = [read(path.read_text(encoding="utf-8"), path.stem) for path in sorted(NOTEBOOKS.glob("*.md"))]
SNIPPETS = [
    pytest.param(code, id=f"{label}-{number}")
    for page in PAGES
    for label, body in page.solutions.items()
    for number, code in enumerate(CELL.findall(body), start=1)
]


@pytest.mark.parametrize("page", [p for p in PAGES if CHAPTER.match(p.name)], ids=lambda page: page.name)
def test_a_chapter_has_two_or_three_exercises_an_easy_one_among_them(page: Page) -> None:
    assert 2 <= len(page.exercises) <= 3
    assert any("(easy)" in body for body in page.exercises.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_exercise_has_a_mark_and_a_hidden_solution(page: Page) -> None:
    assert set(page.exercises) == set(page.solutions)
    for label, body in page.exercises.items():
        assert re.search(r"^\((easy|harder|open)\) ", body, re.MULTILINE), f"{label} is not marked by difficulty"
    for label, body in page.solutions.items():
        assert re.search(r"^:class: dropdown$", body, re.MULTILINE), f"the solution of {label} is not hidden"
        assert len(re.sub(r"^:.*$", "", body, flags=re.MULTILINE).strip()) > 40, f"the solution of {label} is empty"


def test_the_code_of_a_solution_is_a_cell_that_the_build_runs_with_words_beside_it() -> None:
    for page in PAGES:
        for label, body in page.solutions.items():
            assert "```python" not in body, f"the code of {label} would not run"
            words = re.sub(r"^:.*$", "", CELL.sub("", body), flags=re.MULTILINE).split()
            assert len(words) >= 3, f"the solution of {label} says nothing"


def test_solutions_of_both_kinds_are_read() -> None:
    exercise = "```{exercise} T\n:label: e\n\n(easy) Do.\n```\n\n"
    assert list(read(exercise, "p").exercises) == ["e"]
    page = read("````{solution} e\n:class: dropdown\n\nSay ```it```.\n````\n", "p")
    assert list(page.solutions) == ["e"]
    cells = ["1/0\n", "x = 1\n", "y\n"]
    options = ["", ":tags: [hide-input]\n\n", "---\nmystnb:\n  image:\n    alt: A line.\n---\n"]
    body = "\n".join(f"```{{code-cell}} ipython3\n{o}{c}```\n" for o, c in zip(options, cells, strict=True))
    text = f"```{{solution-start}} e\n:class: dropdown\n```\n\nSo:\n\n{body}\n```{{solution-end}}\n```\n"
    assert [code.strip() for code in CELL.findall(read(text, "p").solutions["e"])] == [c.strip() for c in cells]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("code", SNIPPETS)
def test_the_code_of_a_solution_runs_alone(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(NOTEBOOKS)
    exec(compile(code, "solution", "exec"), {"__name__": "solution"})
