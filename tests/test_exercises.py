"""A chapter has two or three exercises, marked by difficulty; their solutions are hidden, and the code in them runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import matplotlib
import pytest

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTER = re.compile(r"\d|[A-Z]+_")  # numbered like the paper; index, claims and the like are not chapters
DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{(exercise|solution)\}[ ]*(.*?)\n(.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
LABEL = re.compile(r"^:label: *(\S+)$", re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
    return page


PAGES = [read(path.read_text(encoding="utf-8"), path.stem) for path in sorted(NOTEBOOKS.glob("*.md"))]
SNIPPETS = [
    pytest.param(code, id=f"{label}-{number}")
    for page in PAGES
    for label, body in page.solutions.items()
    for number, code in enumerate(CODE.findall(body), start=1)
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


def test_no_code_of_a_solution_is_missed() -> None:
    fences = sum(body.count("```python") + body.count("```{code") for page in PAGES for body in page.solutions.values())
    assert fences == len(SNIPPETS)


def test_fences_of_any_length_are_read() -> None:
    exercise = "```{exercise} T\n:label: e\n\n(easy) Do.\n```\n\n"
    solution = "````{solution} e\n:class: dropdown\n\n```python\n1/0\n```\n````\n"
    page = read(exercise + solution, "p")
    assert list(page.exercises) == list(page.solutions) == ["e"]
    assert CODE.findall(page.solutions["e"]) == ["1/0\n"]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("code", SNIPPETS)
def test_the_code_of_a_solution_runs_alone(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(NOTEBOOKS)
    exec(compile(code, "solution", "exec"), {"__name__": "solution"})
