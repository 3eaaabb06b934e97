"""What a teacher and a learner find around the chapters: objectives, key points, self-checks, marked conclusions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
TOC = yaml.safe_load((REPOSITORY / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = {
    part["caption"]: [chapter["file"] for chapter in part["chapters"]]
    for part in TOC["parts"]
    if part["caption"] not in ("Teaching", "Reference")
}
ANSWER = re.compile(r"^:::\{dropdown\} .+\n(?P<verdict>\*\*(?:Right|No)\.\*\*) (?P<reason>.+)\n:::$", re.MULTILINE)


def text_of(file: str) -> str:
    return (REPOSITORY / f"{file}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("caption", CHAPTERS)
def test_a_chapter_begins_with_its_objectives_and_ends_with_key_points_and_questions(caption: str) -> None:
    first, *_, last = CHAPTERS[caption]
    objectives = re.search(r"^\*\*After .+\*\* you can .+$", text_of(first), re.MULTILINE)
    assert objectives
    assert f"](../{last}.md)" in objectives[0]
    points, questions = text_of(last).split("## Key points\n")[1].split("## Five questions\n")
    assert len(re.findall(r"^- ", points, re.MULTILINE)) >= 4
    _, *asked = re.split(r"^\*\*(\d)\.\*\* ", questions, flags=re.MULTILINE)
    assert asked[::2] == ["1", "2", "3", "4", "5"]
    places = []
    for question in asked[1::2]:
        answers = list(ANSWER.finditer(question))
        assert len(answers) >= 3
        assert question.count("{dropdown}") == len(answers)
        verdicts = [answer["verdict"] for answer in answers]
        assert verdicts.count("**Right.**") == 1
        places.append(verdicts.index("**Right.**"))
        assert all(len(answer["reason"].split()) >= 4 for answer in answers)
        source = re.findall(r"\]\(\.\./(notebooks/\w+)\)", answers[places[-1]]["reason"])
        assert source
        assert set(source) <= set(CHAPTERS[caption])
    assert set(places) == {0, 1, 2}  # where the right answer stands tells nothing


def table(text: str) -> list[list[str]]:
    """The rows of the only table in a text, without its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_the_marked_conclusions_are_marked_by_the_rubric() -> None:
    notes = text_of("book/notes")
    marking = notes.split("## Marking the page of conclusions")[1]
    rubric, *samples_marked = re.split(r"^### ", marking, flags=re.MULTILINE)
    worth = {line: int(points) for points, line in (row[0].split(", ") for row in table(rubric))}
    assert sum(worth.values()) == 8
    assert len(samples_marked) == 3
    sums = []
    for sample in samples_marked:
        rows = table(sample)
        assert [row[0] for row in rows] == list(worth)
        for line, level, points, reason in rows:
            assert float(points) == worth[line] * {"full": 1, "half": 0.5, "none": 0}[level]
            assert len(reason.split()) >= 2
        sums.append(sum(float(row[2]) for row in rows))
        assert f": {sums[-1]:g} of 8\n" in sample
    assert sums == sorted(sums, reverse=True)


def test_the_numbers_of_the_marked_conclusions_are_those_of_the_model() -> None:
    notes = text_of("book/notes")
    model = text_of("classroom/source/ps3/ps3").split("## E. Conclusions")[1]
    strong = notes.split("### A strong page")[1].split("### ")[0]
    assert set(re.findall(r"0\.\d\d", strong)) <= set(re.findall(r"0\.\d\d", model))
    middling = notes.split("### A middling page")[1].split("### ")[0]
    means = re.findall(r"^\| \w+ \| (0\.\d\d) ", model, re.MULTILINE)
    assert [f"{float(number):.2f}" for number in re.findall(r"0\.\d{4}", middling)] == means
