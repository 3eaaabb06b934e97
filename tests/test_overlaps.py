"""Figures can be read: each activation has one look in the book, and no text or legend lies on what it names."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib")

from afli import activations as act  # noqa: E402  (needs matplotlib)
from afli import figures  # noqa: E402

X = np.linspace(0, 1, 40)
NAMES = ["ReLU", "tanh", "Shtanh, $a = 1$", "Shtanh, $a = 3$", "Shtanh, $a = 10$", "leaky ReLU, 0.01"]
CURVES = {name: 1 - np.exp(-(n + 1) * X) for n, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    ("one", "other"),
    [("ReLU", "relu"), ("Shtanh, $a = 3$", "shtanh(a=3)"), ("hard tanh", "Shtanh, $a = 1$"), ("modulus", "abs"),
     ("leaky, 0.01", "leaky_relu(slope=0.01)"), ("elu", "elu(alpha=1)")],
)  # fmt: skip
def test_an_activation_looks_the_same_by_each_of_its_names_and_in_each_place(one, other):
    assert figures.look(0, one, marker=True) == figures.look(4, other, marker=True)


def test_every_family_of_the_package_has_a_look_of_its_own():
    assert set(act.SCALED_BOUNDED_FAMILIES) <= set(figures.ACTIVATIONS)
    looks = [(colour, str(dash)) for colour, dash, _ in figures.ACTIVATIONS.values()]
    assert len(set(looks)) == len(looks)


def test_what_names_no_activation_takes_its_place_in_the_figure():
    assert figures.look(2, "layer 10") == figures.look(2)
    assert figures.of_activation("width 64") is None


def test_overlapping_texts_and_a_legend_on_a_curve_are_found():
    fig, ax = figures.figure()
    ax.plot(X, X, label="a curve")
    ax.text(0.5, 0.2, "one label")
    ax.text(0.52, 0.2, "another")
    ax.legend(loc="upper right", frameon=True)
    found = figures.overlaps(fig)
    assert any("lies on 'another'" in line for line in found)
    assert any("legend lies on 'a curve'" in line for line in found)


def test_the_build_is_told_of_a_figure_that_cannot_be_read(capsys):
    from IPython.core.formatters import DisplayFormatter
    from IPython.core.pylabtools import select_figure_formats

    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    select_figure_formats(shell, {"svg"})
    figures._draw_for_the_book(shell)
    fig, ax = figures.figure()
    for x, text in ((0.5, "one"), (0.51, "other")):
        ax.text(x, 0.2, text)
    shell.display_formatter.formatters["image/svg+xml"](fig)
    assert capsys.readouterr().err == "a figure cannot be read: 'one' lies on 'other'\n"


def test_two_series_of_one_colour_are_found():
    fig, ax = figures.figure()
    for name, colour in (("one", "#0072B2"), ("two", "#0072b2"), ("three", "black")):
        ax.plot(X, X, label=name, color=colour)
    assert figures.overlaps(fig) == ["'two' has the colour of 'one'"]


def test_no_two_curves_of_a_figure_have_one_colour():
    names = ["hard tanh, edge", "ReLU", "hard tanh, order", "a bound", "hard tanh, chaos", "sigmoid", "sigmoid, edge"]
    kinds = figures.looks(names, marker=True)
    assert len({kind["color"] for kind in kinds}) == len(names)
    assert kinds[0] == figures.look(0, "hard tanh", marker=True)
    assert len({str(kinds[n]["linestyle"]) for n in (0, 2, 4)}) == 3


def test_a_phone_sees_the_panels_one_below_the_other():
    fig, axes = figures.figure(2, 2, sharex=True, sharey=True)
    for n, ax in enumerate(axes.flat):
        figures.curves(X, {"ReLU": X, "tanh": X**2}, xlabel="layer", ylabel="value", title=f"panel {n}", ax=ax)
    assert figures.for_a_phone(fig)
    lefts, tops = zip(*((ax.get_position().x0, ax.get_position().y1) for ax in axes.flat), strict=True)
    assert np.ptp(lefts) < 0.01
    assert list(tops) == sorted(tops, reverse=True)
    assert fig.get_figwidth() == 4


def test_a_map_becomes_narrower_for_a_phone_and_needs_no_bar_beside_its_numbers():
    maps = {"depth 20": (np.full((5, 8), 0.5), np.full((5, 8), 0.1))}
    fig = figures.cell_maps(maps, (1, 2, 3, 5, 8, 12, 20, 30), (1, 0.1, 0.01, 1e-3, 1e-4), xlabel="a", ylabel="b")
    assert len(fig.axes) == 2
    assert figures.for_a_phone(fig)
    assert len(fig.axes) == 1
    assert fig.get_figwidth() == 4
    few = {"depth 20": (np.full((1, 20), 0.5), np.full((1, 20), 0.1))}
    assert not figures.for_a_phone(figures.cell_maps(few, range(20), (1,), xlabel="a", ylabel="b"))


def test_only_what_stands_around_a_map_changes_its_colour_in_the_dark():
    fig = figures.cell_maps({"map": ([[0.2, 0.9]], [[0.1, 0.1]])}, (1, 2), (1,), xlabel="a", ylabel="b", low=0)
    colours = [text.get_color() for text in fig.axes[0].texts]
    with figures.in_the_dark(fig):
        assert [text.get_color() for text in fig.axes[0].texts] == colours == ["white"] * 2 + ["black"] * 2
        assert fig.axes[0].xaxis.label.get_color() == fig.axes[0].get_xticklabels()[0].get_color() == "#ced6dd"
        assert fig.get_facecolor()[3] == 0
    assert fig.axes[0].xaxis.label.get_color() == "black"
    assert fig.get_facecolor() == (1, 1, 1, 1)


def drawn():
    """Each kind of figure that the functions of the package draw, with long names and many curves."""
    samples = {name: np.stack([y, y + 0.05, y - 0.05]) for name, y in CURVES.items()}
    maps = {"depth 20, orthogonal": (np.linspace(0.1, 0.9, 40).reshape(5, 8), np.full((5, 8), 0.02))}
    stages = {"depth 20": {f"epoch {n}": np.linspace(0, 1, 40).reshape(5, 8) for n in (1, 2, 5, 10)}}
    columns, rows = (1, 2, 3, 5, 8, 12, 20, 30), (1, 0.1, 0.01, 1e-3, 1e-4)
    yield "curves", figures.curves(X, CURVES, xlabel="layer", ylabel=figures.RHO, title="Six activations")
    yield "maps", figures.curves(X, {"tanh": X**0.5}, xlabel="x", ylabel="y", diagonal=True)
    yield "bands", figures.bands(X, samples, CURVES, xlabel="layer", ylabel=figures.RHO)
    yield "phase map", figures.phase_map(X + 1, X, np.outer(X, X), label="value", edge=(X + 1, X))
    yield "cells", figures.cell_maps(maps, columns, rows, xlabel="a", ylabel="bias variance")
    yield "small maps", figures.small_maps(stages, columns, rows, xlabel="a", ylabel="bias variance")
    yield "statuses", figures.status_map({"2.1 correlations": list(figures.STATUS_COLOURS), "4.2": ["holds"] * 13})
    pair = [np.zeros((2, 8, 8))] * 5
    titles = ["images", *(f"layer {n}" for n in (1, 10, 30, 100))]
    names = ("ReLU", "Shtanh, $a = 10$")
    numbers = {name: [np.nan, -0.3, 0.85, 0.97, 1.0] for name in names}
    yield "pairs", figures.pairs(dict.fromkeys(names, pair), numbers, titles, sides=("three", "eight"))


@pytest.mark.parametrize(("kind", "figure"), [pytest.param(kind, fig, id=kind) for kind, fig in drawn()])
def test_nothing_lies_on_anything_in_the_figures_of_the_package(kind, figure):
    assert figures.overlaps(figure) == []


def test_a_status_is_told_without_its_colour():
    (axes,) = figures.status_map({"part": list(figures.STATUS_COLOURS)}).axes
    marks = [text.get_text() for text in axes.texts[: len(figures.STATUS_COLOURS)]]
    assert len(set(marks)) == len(figures.STATUS_COLOURS)


def test_legends_spell_an_activation_in_one_way():
    assert figures.label("shtanh(a=12), 0.1") == "Shtanh, $a = 12$, 0.1"
    assert figures.label("ssaw") == "Ssaw"
    assert [figures.label(n) for n in ("relu", "elu(alpha=1)", "leaky_relu(slope=0.2)", "layer 3")] == [
        "ReLU", "elu", "leaky ReLU, 0.2", "layer 3",
    ]  # fmt: skip


def test_a_legend_takes_no_more_columns_than_there_is_room_for():
    wide = {f"chaos, {n} times the critical variance": X * n for n in (1, 2, 3)}
    for names, columns in ((wide, 1), ({"one": X, "two": X, "three": X}, 3)):
        fig = figures.curves(X, names, xlabel="x", ylabel="y")
        assert figures.overlaps(fig) == []
        (ax,) = fig.axes
        assert ax.get_legend()._ncols == columns
        assert ax.get_position().width > 0.7
