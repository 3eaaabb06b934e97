"""The examples of book/extend.md run, in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from afli import cli
from afli.experiments import Table, presets, spec

PAGE = (Path(__file__).parents[1] / "book" / "extend.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    preset = Path("mine.py")
    preset.write_text(blocks.pop(), encoding="utf-8")
    names: dict[str, object] = {}
    try:
        for block in blocks:
            exec(block, names)
        for command in re.findall(r"^afli (.*)$", PAGE, re.MULTILINE):
            result = CliRunner().invoke(cli.app, command.split())
            assert result.exit_code == 0, result.output
    finally:
        presets.PRESETS.pop("my-widths", None)
        spec.OWN_ACTIVATIONS.pop("bent", None)
    tables = {path.stem: len(Table(path).done) for path in Path("mine").glob("*.parquet")}
    assert tables == {
        "depth-try-digits": 4, "depth-try-two-blobs": 4, "depth-try-blobs": 4, "bent-try-digits": 2,
        "phases-try-digits": 3, "my-widths-smoke-digits": 2,
    }  # fmt: skip
    assert [float(e.mean_field.chi1) > 1 for e in (names["ordered"], names["chaotic"])] == [False, True]
