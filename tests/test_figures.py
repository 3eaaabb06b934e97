"""The figure style: every curve distinguishable in grey, every axis named."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

mpl = pytest.importorskip("matplotlib")

from afli import figures  # noqa: E402  (needs matplotlib)

X = np.linspace(0, 1, 5)


def test_curves_differ_in_dash_as_well_as_colour() -> None:
    looks = [figures.look(i) for i in range(6)]
    assert len({str(kind["linestyle"]) for kind in looks}) == 6
    assert len({kind["color"] for kind in looks}) == 6
    assert len({str(figures.look(i, marker=True)) for i in range(20)}) == 20


def test_neighbouring_colours_differ_in_lightness() -> None:
    from matplotlib.colors import to_rgb

    lightness = [np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)) for colour in figures.COLOURS]
    assert np.abs(np.diff(lightness)).min() > 0.03


def test_a_plot_labels_its_axes_and_curves() -> None:
    fig = figures.curves(X, {"one": X, "two": X**2}, xlabel="x", ylabel="y", diagonal=True, dots={"two": (0.5, 0.25)})
    (axes,) = fig.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]


def test_a_phase_map_is_indexed_weight_variance_first() -> None:
    values = np.outer([0.0, 1.0, 2.0], [1.0, 1.0])  # grows along sigma_w2 only
    fig = figures.phase_map([1.0, 2.0, 3.0], [0.1, 0.2], values, label="value")
    assert fig.axes[0].get_xlabel().startswith("weight variance")


def test_a_cell_map_frames_the_best_cell_of_each_row_and_hatches_the_collapsed() -> None:
    means = np.array([[0.5, 0.9, 0.7], [0.8, 0.6, 0.1]])
    collapsed = means < 0.2
    fig = figures.cell_maps(
        {"map": (means, means / 100)}, (1.0, 2.0, 3.0), (1.0, 0.1), xlabel="a", ylabel="b", collapsed={"map": collapsed}
    )
    patches = fig.axes[0].patches
    hatched = [(round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in patches if p.get_hatch()]
    framed = [(round(p.get_x() + 0.46), round(p.get_y() + 0.46)) for p in patches if not p.get_hatch()]
    assert (hatched, framed) == ([(2, 1)], [(1, 0), (0, 1)])
    assert {"90.0", "±0.9"} <= {text.get_text() for text in fig.axes[0].texts}


def test_small_maps_share_a_scale_and_mark_the_best_cell_of_every_row() -> None:
    first, second = np.array([[0.2, 0.9, 0.3], [0.5, 0.4, 0.1]]), np.array([[0.1, 0.2, 0.7], [0.1, 0.8, 0.6]])
    fig = figures.small_maps(
        {"depth 20": {"epoch 1": first, "epoch 2": second}}, (1.0, 2.0, 3.0), (1.0, 0.1), xlabel="a", ylabel="b"
    )
    maps = [ax for ax in fig.axes if ax.images]
    assert {ax.images[0].get_clim() for ax in maps} == {(0.0, 100.0)}
    assert [ax.collections[0].get_offsets().tolist() for ax in maps] == [[[1, 0], [0, 1]], [[2, 0], [1, 1]]]
    assert [ax.get_title() for ax in maps] == ["epoch 1", "epoch 2"]


def test_a_legend_of_long_names_has_the_columns_that_fit() -> None:
    names = [f"{word}, {factor} times the critical variance" for word, factor in (("chaos", 2), ("order", 0.5))]
    fig = figures.curves(X, {"edge of chaos": X, names[0]: X**2, names[1]: X**3}, xlabel="x", ylabel="y")
    figures.overlaps(fig)  # draws it, as the build does
    assert fig.axes[0].get_legend()._ncols < 3
    assert fig.axes[0].get_position().width > 0.5
    short = figures.curves(X, {"one": X, "two": X**2, "three": X**3}, xlabel="x", ylabel="y")
    assert short.axes[0].get_legend()._ncols == 3


def test_bands_draw_the_spread_around_the_theory() -> None:
    samples = {"a": np.stack([X, X + 0.1, X - 0.1])}
    fig = figures.bands(X, samples, {"a": X}, xlabel="layer", ylabel="value")
    assert len(fig.axes[0].collections) == 1


def test_numbers_are_kept_as_numbers_and_nothing_else_is(monkeypatch):
    kept = {}
    glue = SimpleNamespace(glue=lambda name, value, *, display: kept.update({name: (value, display)}))
    monkeypatch.setitem(sys.modules, "myst_nb", glue)
    figures.numbers(share=np.float64(0.5), runs=np.int64(3), mean=np.array(2.0))
    assert kept == {"share": (0.5, False), "runs": (3, False), "mean": (2.0, False)}
    assert {type(value) for value, _ in kept.values()} == {int, float}
    with pytest.raises((TypeError, ValueError)):
        figures.numbers(name="three")
