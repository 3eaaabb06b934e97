"""Tables of numbers: headings in formulas, decimals under each other, no nan; and pages that show no other kind."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from afli import tables

pd = pytest.importorskip("pandas")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from outputs import complaints, without_ledger_calls  # noqa: E402


@pytest.fixture
def frame():
    rows = {
        "depth": [20, 20, 50], "phi": ["relu", "shtanh(a=5)", "tanh"], "q": [1.0, 4.985, np.nan],
        "layers": [12.0, 1720.0, 3.0], "accuracy": ["81.8 ± 4.7", "9.1 ± 0.2", "-"], "attracts": [True, False, True],
        "error": [1e-12, 0.3, 0.0],
    }  # fmt: skip
    return pd.DataFrame(rows).set_index(["depth", "phi"])


def test_headings_have_words_and_formulas_and_are_scoped(frame):
    shown = tables.table(frame, "Three $\\phi$.")._repr_html_()
    assert r'<th scope="col" class="number">variance \(q^*\)</th>' in shown
    assert '<th rowspan="2" scope="rowgroup">20</th><th scope="row">ReLU</th>' in shown
    assert r"<caption>Three \(\phi\).</caption>" in shown
    assert "<th></th>" not in shown  # a heading without words cannot be read out


def test_numbers_of_a_column_have_equally_many_decimals_and_nan_is_a_dash(frame):
    shown = tables.table(frame, "x")._repr_html_()
    for cell in ("1.00", "4.99", "12", "1,720", "81.8 ± 4.7", "10<sup>−12</sup>", "–"):
        assert f'<td class="number">{cell}</td>' in shown
    assert "<td>yes</td>" in shown
    for raw in ("nan", "12.0", "True", "sigma", "1e-12"):
        assert raw not in shown


def test_a_blank_cell_leaves_its_column_one_of_numbers():
    shown = tables.table(pd.DataFrame({"lead": ["−0.5 ± 0.4", ""], "note": ["cut", ""]}), "x")._repr_html_()
    assert '<td class="number">−0.5 ± 0.4</td>' in shown
    assert '<td class="number"></td><td></td>' in shown


def test_columns_with_a_name_are_headed_by_it():
    wide = pd.DataFrame([[0.5, -0.25]], columns=pd.Index([5, 10], name="sigma_b2"))
    shown = tables.Table(wide)._repr_html_()
    assert r'<th colspan="2" scope="colgroup">bias variance \(\sigma_b^2\)</th>' in shown
    assert "−0.250" in shown
    assert '<th scope="row">' not in shown  # the rows are only counted


def test_decimals_can_be_asked_for(frame):
    assert ">4.985<" in tables.table(frame, "x", decimals={"q": 3})._repr_html_()
    with pytest.raises(ValueError, match="decimals must name columns"):
        tables.table(frame, "x", decimals={"nothing": 3})
    with pytest.raises(ValueError, match="caption must say"):
        tables.table(frame, " ")


def test_a_cell_may_be_a_link():
    link = '<a href="x.html">12 things</a>'
    shown = tables.Table(pd.DataFrame({"more": [tables.Html(link)]}))._repr_html_()
    assert f"<td>{link}</td>" in shown


def page(*outputs, tags=()):
    return new_notebook(cells=[new_code_cell("x", outputs=list(outputs), metadata={"tags": list(tags)})])


def result(**data):
    return new_output("execute_result", data={key.replace("_", "/"): value for key, value in data.items()})


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (result(text_html='<table border="1" class="dataframe">'), "as pandas shows it"),
        (result(text_html='<th id="T_1" class="col_heading level0 col0">'), "as pandas shows it"),
        (result(text_html='<table class="data"><tr>'), "without a caption"),
        (result(text_plain="MeanField(tanh, sigma_w2=1.9, q=0.8)"), "as Python writes it"),
        (result(text_plain="np.float64(8.1)"), "as Python writes it"),
        (result(text_plain="{'holds': 78}"), "as Python writes it"),
        (new_output("stream", name="stdout", text="tensor(0.125)"), "as Python writes it"),
    ],
)
def test_what_a_page_may_not_show_is_found(output, complaint):
    (found,) = complaints(page(output))
    assert complaint in found
    assert not list(complaints(page(output, tags=["remove-cell"])))


def test_what_a_page_may_show_passes(frame):
    own = tables.table(frame, "x")
    outputs = [
        result(text_html=own._repr_html_(), text_plain=repr(own)),
        result(text_plain="0.75"),
        new_output("stream", name="stdout", text="q* = 0.81 (at sigma_b2 = 0.1)\n"),
        new_output("display_data", data={"image/svg+xml": "<svg/>", "text/plain": "Figure(a=1)"}),
    ]
    assert not list(complaints(page(*outputs)))


def test_what_a_cell_prints_stands_in_one_box():
    """Warnings between two lines of print would tear them apart."""
    settings = (Path(__file__).resolve().parents[1] / "_config.yml").read_text(encoding="utf-8")
    assert "nb_merge_streams: true" in settings


@pytest.mark.parametrize(
    ("source", "hidden"),
    [
        ('claims.verify("lemma-3.3")', True),
        ('extra = claims.verify(\n    "a", "b"\n)\nextra', True),
        ('claims.refute("a", mutant="b")', True),
        ('net = mf.edge_of_chaos(phi)\nclaims.verify("a")', False),
        ("figures.use_style()", False),
        ("%pip install afli", False),
    ],
)
def test_a_call_that_only_asks_the_ledger_is_not_shown(source, hidden):
    (cell,) = without_ledger_calls(new_notebook(cells=[new_code_cell(source)])).cells
    assert ("remove-input" in cell.metadata.get("tags", [])) == hidden
