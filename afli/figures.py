"""One style for every figure of the book, the shared plots, and what must not happen in a figure.

Colours are those of Okabe and Ito and two more, ordered so that neighbours differ in lightness; every curve also has
its own dash, so that a figure can be read in grey. A column is 6 inches wide, with 11-point type. The functions return
a `matplotlib.figure.Figure` that was never shown, so a notebook displays it once, as SVG.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, SupportsFloat

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from afli import tables
from afli.claims.evidence import MARKS

COLOURS = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#CC79A7", "#009E73", "#7A3B00", "#8DA0CB")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    "-",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.9,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "afli",
    "mathtext.fontset": "cm",
}
RHO = r"correlation $\rho$"
RHO_NEXT = r"correlation one layer up, $R(\rho)$"


def use_style() -> None:
    """Set the style, SVG as the format of inline figures, and the look of tables; call it once at the top of a page."""
    mpl.rcParams.update(STYLE)
    tables.use_for_pandas()
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # outside a notebook the style is all there is to set
        return
    shell = get_ipython()
    if shell is not None:
        set_matplotlib_formats("svg")
        if "AFLI_EVIDENCE" in os.environ:  # while the book is built
            _draw_for_the_book(shell)


def _draw_for_the_book(shell: Any) -> None:
    """Show a figure with its other drawings beside it; write overlaps to stderr, where they fail the build.

    The others: for a phone, and where colours are of a map and may not be inverted, one for the dark of each.
    """
    formatter = shell.display_formatter.formatters["image/svg+xml"]
    draw = formatter.lookup_by_type(Figure)

    def all_drawings(fig: Figure) -> tuple[str, dict[str, str]]:
        for line in overlaps(fig):
            print(f"a figure cannot be read: {line}", file=sys.stderr)
        wide, others = draw(fig), {}
        if has_map(fig):
            with in_the_dark(fig):
                others["dark"] = draw(fig)
        if for_a_phone(fig):
            others["phone"] = draw(fig)
            if has_map(fig):
                with in_the_dark(fig):
                    others["dark phone"] = draw(fig)
        return wide, others

    formatter.for_type(Figure, all_drawings)


def numbers(**values: SupportsFloat) -> None:
    """Keep numbers of a page under names, for its text, where the role glue:text shows one. Needs myst-nb.

    Raises
    ------
    TypeError, ValueError
        For what is no number.
    """
    from myst_nb import glue

    for name, value in values.items():
        number = int(value) if isinstance(value, Integral) else float(value)
        glue(name, number, display=False)


def figure(columns: int = 1, rows: int = 1, *, height: float = 3.6, **axes_options: Any) -> tuple[Figure, Any]:
    """A figure in the style and its axes (an array if there are several), 6 inches wide a column, 9 at most.

    Parameters
    ----------
    columns, rows
        How many axes there are beside and below each other.
    height
        Inches for each row.
    axes_options
        As for `Figure.subplots`.
    """
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(min(6.0 * columns, 9.0), height * rows))
        return fig, fig.subplots(rows, columns, **axes_options)


# Each activation has one colour, dash and marker in the whole book. Shtanh is blue, and darker with its radius.
ACTIVATIONS: dict[str, tuple[str, Any, str]] = {
    "relu": ("#D55E00", "-", "s"),
    "leaky": ("#E69F00", (0, (5, 1.5)), "P"),
    "abs": ("#7A3B00", (0, (3, 1, 1, 1, 1, 1)), "X"),
    "tanh": ("#000000", (0, (1.2, 1.2)), "^"),
    "erf": ("#666666", (0, (5, 1.5)), "v"),
    "sigmoid": ("#8A8A8A", (0, (8, 2)), "<"),
    "elu": ("#009E73", (0, (5, 1.5, 1.2, 1.5)), "D"),
    "selu": ("#66A61E", (0, (8, 2)), "v"),
    "gelu": ("#CC79A7", (0, (5, 1.5)), "P"),
    "silu": ("#8E3A80", (0, (1.2, 1.2)), "X"),
    "softplus": ("#B39B00", (0, (3, 1, 1, 1, 1, 1)), "<"),
    "ssine": ("#0B8A8A", (0, (5, 1.5)), "p"),
    "sexp": ("#5E4FA2", (0, (5, 1.5, 1.2, 1.5)), "h"),
    "ssaw": ("#A6761D", (0, (8, 2)), "d"),
    "shtanh": ("#0072B2", "-", "o"),
}
_SHTANH: dict[float, tuple[str, Any]] = {
    1: ("#6FB8E8", (0, (1.2, 1.2))), 2: ("#3F9BDB", (0, (3, 1, 1, 1, 1, 1))), 3: ("#1F86CC", (0, (5, 1.5))),
    5: ("#0072B2", "-"), 8: ("#005C92", (0, (8, 2))), 10: ("#004A77", (0, (5, 1.5, 1.2, 1.5))),
    12: ("#00395C", "-"), 30: ("#002A45", (0, (8, 2))),
}  # fmt: skip
_OTHER_NAMES = {"modulus": "abs", "hard tanh": "shtanh", "swish": "silu", "prelu": "leaky", "rrelu": "leaky"}


def of_activation(name: str) -> dict[str, Any] | None:
    """Colour, dash and marker of an activation; None if the name is that of none.

    Parameters
    ----------
    name
        As a legend or the library gives it: "ReLU", "shtanh(a=5)", "Shtanh, $a = 3$", "leaky, 0.01".
    """
    plain = name.lower().replace("$", "").replace("_relu", "").strip()
    plain = next(
        (known + plain[len(other) :] for other, known in _OTHER_NAMES.items() if plain.startswith(other)), plain
    )
    family = plain.split("(")[0].split(",")[0].split(" ")[0]
    if family not in ACTIVATIONS:
        return None
    colour, dash, marker = ACTIVATIONS[family]
    if family == "shtanh":
        radius = re.search(r"a ?= ?([\d.]+)", plain)
        chosen = float(radius[1]) if radius else 1.0 if name.startswith("hard") else 5.0
        colour, dash = _SHTANH.get(chosen, (colour, dash))
    return {"color": colour, "linestyle": dash, "marker": marker}


def label(name: str) -> str:
    """How a legend spells an activation: "shtanh(a=5)" is "Shtanh, $a = 5$"; any other name stays as it is."""
    for pattern, words in (
        (r"\bs(htanh|sine|exp|saw)\(a=([\d.]+)\)", r"S\1, $a = \2$"),
        (r"\bleaky_relu\(slope=([\d.]+)\)", r"leaky ReLU, \1"),
        (r"\bs(htanh|sine|exp|saw)\b(?!\()", r"S\1"),
        (r"\brelu\b", "ReLU"),
        (r"\b(elu|gelu)\(alpha=1(?:\.0)?\)", r"\1"),
    ):
        name = re.sub(pattern, words, name)
    return name


def look(i: int, name: str = "", *, marker: bool = False) -> dict[str, Any]:
    """Colour, dash and, if asked, marker of a curve.

    Parameters
    ----------
    i
        Its place in the figure; from the tenth on, colours meet new dashes.
    name
        If it is that of an activation, the look is the one that the activation has in the whole book.
    marker
        Whether its points are marked.
    """
    kind = of_activation(name)
    if kind is None:
        other = i + i // len(COLOURS)
        kind = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[other % len(DASHES)],
            "marker": MARKERS[other % len(MARKERS)],
        }
    if not marker:
        del kind["marker"]
    return kind | ({"markersize": 5} if marker else {})


def looks(names: Sequence[str], *, marker: bool = False) -> list[dict[str, Any]]:
    """Looks of the curves of one figure, of which no two have one colour.

    An activation that comes again keeps its hue, lighter or darker, with another dash. What is no activation has the
    colours that are left.

    Parameters
    ----------
    names, marker
        As for `look`.
    """
    shown = {kind["color"] for name in names if (kind := of_activation(name))}
    left = [colour for colour in COLOURS if colour not in shown]
    kinds: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        kind = look(i, name, marker=marker)
        if of_activation(name) is None:
            kind["color"] = left.pop(0) if left else kind["color"]
        elif again := sum((of_activation(before) or {}).get("color") == kind["color"] for before in names[:i]):
            kind["color"] = _shade(kind["color"], 0.4 * again)
            kind["linestyle"] = [dash for dash in DASHES if dash != kind["linestyle"]][again]
        kinds.append(kind)
    return kinds


def _shade(colour: str, share: float) -> str:
    """A colour nearer to black by a share, or to white if it is dark already."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    end = 0.0 if rgb @ (0.2126, 0.7152, 0.0722) > 0.25 else 1.0
    red, green, blue = rgb + min(share, 0.75) * (end - rgb)
    return mpl.colors.to_hex((float(red), float(green), float(blue)))


def identity(ax: Axes, low: float, high: float) -> None:
    """The diagonal, for maps whose fixed points are where a curve meets it."""
    ax.plot([low, high], [low, high], color="#888888", linewidth=1.0, zorder=0)
    ax.annotate(
        "identity",
        (low + 0.86 * (high - low), low + 0.86 * (high - low)),
        (4, -12),
        textcoords="offset points",
        color="#666666",
        fontsize=9,
    )


def legend(ax: Axes, *, columns: int = 3) -> None:
    """A legend above the axes, where no curve can lie under it; with a title, between title and axes.

    Parameters
    ----------
    ax
        Axes whose curves have labels.
    columns
        At most so many; fewer where the labels are long, since a legend wider than its place squeezes the axes.
    """
    entries = len(ax.get_legend_handles_labels()[1])
    cells = ax.get_subplotspec()
    room = ax.figure.bbox.width / (cells.get_gridspec().ncols if cells else 1)
    for wide in range(max(1, min(columns, entries)), 0, -1):
        box = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=wide, borderaxespad=0.2)
        if box.get_window_extent().width < room:
            break
    rows = -(-entries // wide)
    if ax.get_title():
        ax.set_title(ax.get_title(), pad=8 + 18 * rows)


def curves(
    x: ArrayLike,
    ys: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    diagonal: bool = False,
    log: str = "",
    dots: Mapping[str, tuple[float, float]] | None = None,
    key: bool = True,
    ax: Axes | None = None,
) -> Figure:
    """Named curves over one x.

    Parameters
    ----------
    x
        Shape (n,).
    ys
        Name -> values, shape (n,).
    xlabel, ylabel, title
        Texts, with TeX between dollars.
    diagonal
        Draw the identity.
    log
        "x", "y" or "xy": which axes are logarithmic.
    dots
        Name -> a point to mark in the colour of that curve.
    key
        Whether there is a legend; panels of one figure may share one.
    ax
        Draw into these axes in place of a new figure.
    """
    fig, axes = figure() if ax is None else (ax.figure, ax)
    x = np.asarray(x, dtype=float)
    if diagonal:
        identity(axes, float(x[0]), float(x[-1]))
    for (name, y), kind in zip(ys.items(), looks(list(ys)), strict=True):
        axes.plot(x, np.asarray(y, dtype=float), label=label(name), **kind)
        if dots and name in dots:
            axes.plot(*dots[name], "o", color=kind["color"], markersize=7, markeredgecolor="white", zorder=5)
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if key:
        legend(axes)
    return fig  # type: ignore[return-value]


def bands(
    x: ArrayLike,
    samples: Mapping[str, ArrayLike],
    theory: Mapping[str, ArrayLike],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Figure:
    """Measured curves with their spread, beside theory.

    Parameters
    ----------
    x
        Shape (n,).
    samples
        Name -> values, shape (trials, n): the mean is drawn with markers, the middle 90 per cent shaded.
    theory
        Name -> values, shape (n,), a line of the same colour.
    xlabel, ylabel, ax
        As for `curves`.
    """
    fig, axes = figure() if ax is None else (ax.figure, ax)
    x = np.asarray(x, dtype=float)
    for (name, values), kind in zip(samples.items(), looks(list(samples), marker=True), strict=True):
        values = np.asarray(values, dtype=float)
        low, high = np.percentile(values, [5, 95], axis=0)
        axes.fill_between(x, low, high, color=kind["color"], alpha=0.2, linewidth=0)
        every = max(1, len(x) // 12)
        axes.plot(x[::every], values.mean(axis=0)[::every], **(kind | {"linestyle": ""}))
        axes.plot(x, np.asarray(theory[name], dtype=float), label=label(name), **(kind | {"marker": ""}))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    legend(axes)
    return fig  # type: ignore[return-value]


def phase_map(
    sigma_w2: ArrayLike,
    sigma_b2: ArrayLike,
    values: ArrayLike,
    *,
    label: str,
    edge: tuple[ArrayLike, ArrayLike] | None = None,
    levels: int | Sequence[float] = 11,
) -> Figure:
    """Filled contours over the plane of the two variances.

    Parameters
    ----------
    sigma_w2, sigma_b2
        Shapes (n,) and (m,).
    values
        Shape (n, m).
    label
        What they are, beside the colours.
    edge
        The critical curve, its weight variances and its bias variances.
    levels
        How many contours, or which.
    """
    fig, ax = figure(height=4.2)
    filled = ax.contourf(
        np.asarray(sigma_w2), np.asarray(sigma_b2), np.asarray(values).T, levels=levels, cmap="cividis"
    )
    fig.colorbar(filled, ax=ax, label=label)
    if edge is not None:
        ax.plot(*edge, color="white", linewidth=4)
        ax.plot(*edge, color="black", linewidth=2, label="edge of chaos")
        legend(ax)
    ax.set(xlabel=r"weight variance $\sigma_w^2$", ylabel=r"bias variance $\sigma_b^2$")
    ax.set_xlim(np.min(np.asarray(sigma_w2)), np.max(np.asarray(sigma_w2)))
    ax.set_ylim(np.min(np.asarray(sigma_b2)), np.max(np.asarray(sigma_b2)))
    return fig


def cell_maps(
    panels: Mapping[str, tuple[ArrayLike, ArrayLike]],
    columns: Sequence[float],
    rows: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    collapsed: Mapping[str, ArrayLike] | None = None,
    low: float = 0.5,
    high: float = 1.0,
) -> Figure:
    """Percentages over a grid of cells, one panel above the other, with a frame round the best cell of every row.

    Parameters
    ----------
    panels
        Name -> (means, half-widths), each of shape (rows, columns), in [0, 1]; both are printed in the cell.
    columns, rows
        What the cells differ in.
    xlabel, ylabel
        Texts, with TeX between dollars.
    collapsed
        Name -> shape (rows, columns), true where a run ended no better than guessing: hatched.
    low, high
        The range of the colours, in [0, 1].
    """
    fig, axes = figure(1, len(panels), height=3.0, squeeze=False)
    for ax, (name, (means, halves)) in zip(axes[:, 0], panels.items(), strict=True):
        mean, half = 100 * np.asarray(means, dtype=float), 100 * np.asarray(halves, dtype=float)
        image = ax.imshow(
            np.clip(mean, 100 * low, 100 * high), cmap="cividis", vmin=100 * low, vmax=100 * high, aspect="auto"
        )
        for i, j in np.ndindex(mean.shape):
            colour = "white" if mean[i, j] < 50 * (low + high) else "black"
            ax.text(j, i - 0.15, f"{mean[i, j]:.1f}", ha="center", va="center", fontsize=10.5, color=colour)
            ax.text(j, i + 0.25, f"±{half[i, j]:.1f}", ha="center", va="center", fontsize=8.5, color=colour)
            if collapsed is not None and np.asarray(collapsed[name])[i, j]:
                ax.add_patch(
                    mpl.patches.Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="///", edgecolor="#999999")
                )
        for i, j in enumerate(mean.argmax(axis=1)):
            ax.add_patch(
                mpl.patches.Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, fill=False, edgecolor="#D55E00", lw=2.5)
            )
        ax.set(title=name, ylabel=ylabel, yticks=range(len(rows)), xticks=range(len(columns)))
        ax.set_xticklabels([f"{c:g}" for c in columns])
        ax.set_yticklabels([f"{r:g}" for r in rows])
        ax.grid(visible=False)
        fig.colorbar(image, ax=ax, label="test accuracy (%)")
    axes[-1, 0].set_xlabel(xlabel)
    return fig


def small_maps(
    maps: Mapping[str, Mapping[str, ArrayLike]],
    columns: Sequence[float],
    rows: Sequence[float],
    *,
    xlabel: str,
    ylabel: str,
    low: float = 0.0,
    high: float = 1.0,
) -> Figure:
    """Many maps on one scale, without numbers; a dot marks the best cell of every row.

    Parameters
    ----------
    maps
        Title of a row of maps -> title of a column -> means, shape (rows, columns), in [0, 1].
    columns, rows, xlabel, ylabel, low, high
        As for `cell_maps`.
    """
    titles = list(next(iter(maps.values())))
    fig, axes = figure(len(titles), len(maps), height=1.7, squeeze=False, sharex=True, sharey=True)
    fig.set_size_inches(6.0, 1.5 * len(maps) + 0.9)  # one column wide, however many maps: it must fit a phone
    for line, (name, stages) in zip(axes, maps.items(), strict=True):
        for ax, title in zip(line, titles, strict=True):
            mean = 100 * np.asarray(stages[title], dtype=float)
            image = ax.imshow(mean, cmap="cividis", vmin=100 * low, vmax=100 * high, aspect="auto")
            ax.scatter(mean.argmax(axis=1), range(len(mean)), s=26, color="#D55E00", edgecolors="white", linewidths=0.8)
            ax.grid(visible=False)
            ax.set_xticks(range(0, len(columns), 3), [f"{c:g}" for c in columns[::3]], fontsize=9)
            ax.set_yticks(range(0, len(rows), 2), [f"{r:g}" for r in rows[::2]], fontsize=9)
        line[0].set_ylabel(name, fontsize=10)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel, fontsize=10)
    fig.supylabel(ylabel, fontsize=10)
    fig.colorbar(image, ax=axes, label="test accuracy (%)", location="bottom", shrink=0.7, aspect=40)
    return fig


def pairs(
    patterns: Mapping[str, Sequence[ArrayLike]],
    correlations: Mapping[str, Sequence[float]],
    columns: Sequence[str],
    *,
    sides: tuple[str, str],
) -> Figure:
    """Two inputs side by side at several layers, with their correlation above each pair.

    Parameters
    ----------
    patterns
        Name of a network -> for each column an array of shape (2, height, width), in standard deviations.
    correlations
        The same names -> a number for each column, NaN for none.
    columns
        Their titles.
    sides
        What the two inputs are.
    """
    side, gap, margin = 0.49, 0.04, 0.42  # inches: of a pattern, between the two of a pair, for the names
    step = (6.0 - margin) / len(columns)
    height = 0.26 + 0.82 * len(patterns) + 0.2
    fig, _ = figure(height=height)
    fig.clear()
    fig.set_layout_engine("none")
    for row, (name, shown) in enumerate(patterns.items()):
        bottom = height - 0.26 - 0.82 * (row + 1)
        beside, shown_name = (0.2 / 6, (bottom + side / 2) / height), name.replace(", ", "\n")
        fig.text(*beside, shown_name, rotation=90, ha="center", va="center", ma="center", fontsize=10)
        for column, pattern in enumerate(shown):
            left = margin + column * step
            for n in range(2):
                at = ((left + n * (side + gap)) / 6, bottom / height, side / 6, side / height)
                ax = fig.add_axes(at, xticks=[], yticks=[])
                ax.imshow(np.asarray(pattern)[n], cmap="gray", vmin=-2.5, vmax=2.5)
                ax.grid(visible=False)
                ax.spines[:].set_visible(False)
                if row == len(patterns) - 1 and column == 0:
                    ax.set_xlabel(sides[n], fontsize=11)
            middle = (left + side + gap / 2) / 6
            number = f"{correlations[name][column]:.2f}".replace("-", "−")
            if number == "nan":  # nothing stands above the inputs themselves
                number = ""
            fig.text(middle, (bottom + side + 0.05) / height, number, ha="center", fontsize=12)
            if row == 0:
                fig.text(middle, 1 - 0.2 / height, columns[column], ha="center", fontsize=12)
    return fig


STATUS_COLOURS = {
    "holds": "#2f8f5b", "holds, and sharpened": "#2a6f9e", "corrected": "#d98032", "holds under a condition": "#d9bf4a",
    "not reproduced": "#b3263c", "not tested here": "#dddddd",
}  # fmt: skip


_TILES = 10  # in a line of the map


def status_map(rows: Mapping[str, Sequence[str]]) -> Figure:
    """Statements as tiles, a row for each part, coloured by status; a mark in each tile says the same in grey.

    Parameters
    ----------
    rows
        Name of a part -> the statuses of its statements, in their order.
    """
    lines = [
        (name if start == 0 else "", statuses[start : start + _TILES])
        for name, statuses in rows.items()
        for start in range(0, len(statuses), _TILES)
    ]
    fig, ax = figure(height=0.31 * (len(lines) + 6.4))
    fig.set_figwidth(4.6)  # it fits a phone
    for y, (name, statuses) in enumerate(lines):
        ax.text(-0.75, y, name, ha="right", va="center", fontsize=10.5)
        for x, status in enumerate(statuses):
            _tile(ax, x, y, status)
    for n, status in enumerate(STATUS_COLOURS):
        _tile(ax, 0, len(lines) + 0.7 + n, status)
        ax.text(0.7, len(lines) + 0.7 + n, status, va="center", fontsize=10)
    ax.set(xlim=(-6.6, _TILES - 0.4), ylim=(len(lines) + 6.2, -0.6), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)
    return fig


def _tile(ax: Axes, x: float, y: float, status: str) -> None:
    dark = status in ("holds", "holds, and sharpened", "not reproduced")
    ax.add_patch(mpl.patches.Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, color=STATUS_COLOURS[status]))
    ax.text(x, y, MARKS[status], ha="center", va="center", fontsize=9, color="white" if dark else "black")


# --- Figures on a phone, and in the dark ---

_PHONE = 4.0  # inches: 11-point type is 13 pixels high where a page has 342 of them to offer, 8-point type nine
_SMALLEST = 8.0


def for_a_phone(fig: Figure) -> bool:
    """Draw a figure anew, 4 inches wide, its panels one below the other, two beside each other from seven on.

    Images and maps stay side by side and become narrower, without a bar of colours where their cells have numbers; what
    was laid out by hand is scaled. The answer is whether this went well: False where texts would meet. Then the page
    shows the wide figure in a scrolling box.
    """
    if _by_hand(fig) or has_map(fig):
        _shrink(fig)
        return not overlaps(fig)
    before = fig.axes[0].get_gridspec()
    if before is None or any(ax.get_subplotspec() is None for ax in fig.axes):
        return False
    columns = 1 if len(fig.axes) <= 6 else 2
    rows = -(-len(fig.axes) // columns)
    height = fig.get_figheight() / before.nrows
    if columns < before.ncols:  # each panel becomes wider, and taller in proportion
        height = float(np.clip(height * _PHONE / columns / (fig.get_figwidth() / before.ncols), 1.6, 3.2))
    fig.set_size_inches(_PHONE, rows * height)
    grid = fig.add_gridspec(rows, columns)
    for n, ax in enumerate(fig.axes):
        ax.set_subplotspec(grid[n // columns, n % columns])
        if columns != before.ncols:
            ax.tick_params(labelleft=True)
        _legend_anew(ax)
    return not overlaps(fig)


def _shrink(fig: Figure) -> None:
    """Make a figure 4 inches wide without moving its panels. By hand laid out, it keeps its proportions."""
    share = min(1.0, _PHONE / fig.get_figwidth())
    fig.set_size_inches(fig.get_figwidth() * share, fig.get_figheight() * (share if _by_hand(fig) else 1.0))
    named: set[tuple[int, int, str]] = set()
    for ax in fig.axes:
        _legend_anew(ax)
        place = ax.get_subplotspec()
        if place is not None:  # of equal names side by side every second stays
            name = (place.rowspan.start, place.colspan.start, ax.get_xlabel())
            if (name[0], name[1] - 1, name[2]) in named:
                ax.set_xlabel("")
            else:
                named.add(name)
        for shown in (*ax.images, *ax.collections):
            if shown.colorbar is not None and ax.texts:
                shown.colorbar.remove()
    texts = [*fig.texts, *(text for ax in fig.axes for text in (ax.title, ax.xaxis.label, ax.yaxis.label))]
    for text in texts if _by_hand(fig) else ():
        text.set_fontsize(max(_SMALLEST, share * float(text.get_fontsize())))


def _by_hand(fig: Figure) -> bool:
    return not isinstance(fig.get_layout_engine(), mpl.layout_engine.ConstrainedLayoutEngine)


def _legend_anew(ax: Axes) -> None:
    if ax.get_legend() and ax.get_legend_handles_labels()[1]:
        legend(ax)


def has_map(fig: Figure) -> bool:
    """Whether a figure has colours that mean numbers, or pictures."""
    return any(ax.images or any(isinstance(c, mpl.contour.ContourSet) for c in ax.collections) for ax in fig.axes)


@contextmanager
def in_the_dark(fig: Figure) -> Iterator[None]:
    """Within the block what stands around the maps of a figure is light, on no ground."""
    _paint(fig, ink="#ced6dd", ground="none")
    try:
        yield
    finally:
        _paint(fig, ink="black", ground="white")


def _paint(fig: Figure, *, ink: str, ground: str) -> None:
    fig.set_facecolor(ground)
    for text in fig.texts:
        text.set_color(ink)
    for ax in fig.axes:
        ax.set_facecolor(ground)
        ax.tick_params(which="both", colors=ink)
        ax.spines[:].set_edgecolor(ink)
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            text.set_color(ink)
        if shown := ax.get_legend():
            for part in (*shown.get_texts(), *shown.get_lines()):
                mpl.artist.setp(part, color=ink)


# --- What must not happen in a figure ---


def overlaps(fig: Figure) -> list[str]:
    """What of a figure cannot be read, in words, one each.

    Texts that lie on each other, legends that lie on curves, points or bars, and series of one colour. The figure is
    drawn for it. Texts of ticks beyond the limits are left out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    renderer = canvas.get_renderer()
    outside = set()  # labels of ticks beyond the limits, which are not drawn
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        reach = 1e-9 * (high - low)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - reach <= tick.get_loc() <= high + reach:
                outside |= {tick.label1, tick.label2}
    texts = [text for text in fig.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    texts = [text for text in texts if text not in outside]
    boxes = [(text.get_text(), box) for text in texts if (box := text.get_window_extent(renderer)).width and box.height]
    found = []
    for i, (first, one) in enumerate(boxes):
        for second, two in boxes[i + 1 :]:
            if _covers(one, two):
                found.append(f"{first!r} lies on {second!r}")
    for ax in fig.axes:
        found += _of_one_colour(ax)
        legend = ax.get_legend()
        if legend is None:
            continue
        frame = legend.get_window_extent(renderer)
        for line in ax.lines:
            points = _along(line.get_transform().transform(line.get_xydata()), joined=line.get_linestyle() != "None")
            # What lies beyond the axes is not drawn.
            if np.any(_inside(points, frame) & _inside(points, ax.bbox)):
                found.append(f"the legend lies on {line.get_label()!r}")
        for patch in ax.patches:
            if _covers(frame, patch.get_window_extent(renderer)):
                found.append("the legend lies on a bar")
    return found


def _of_one_colour(ax: Axes) -> list[str]:
    """Series in the legend of one axes that have one colour, in words."""
    handles, names = ax.get_legend_handles_labels()
    lines = [handle[0] if isinstance(handle, tuple) else handle for handle in handles]
    colours: dict[str, str] = {}
    found = []
    for line, name in zip(lines, names, strict=True):
        if isinstance(line, mpl.lines.Line2D):
            colour = mpl.colors.to_hex(line.get_color())
            if colour in colours:
                found.append(f"{name!r} has the colour of {colours[colour]!r}")
            colours[colour] = name
    return found


def _inside(points: Any, box: Any) -> Any:
    """Which points lie in a box."""
    across, up = points[:, 0], points[:, 1]
    return (box.x0 < across) & (across < box.x1) & (box.y0 < up) & (up < box.y1)


def _covers(one: Any, two: Any) -> bool:
    """Whether two boxes share more than a hair, one pixel."""
    width = min(one.x1, two.x1) - max(one.x0, two.x0)
    height = min(one.y1, two.y1) - max(one.y0, two.y0)
    return bool(width > 1 and height > 1)


def _along(points: Any, *, joined: bool) -> Any:
    """Points on a drawn line, close enough that none of its parts slips through a legend; finite ones only."""
    points = points[np.isfinite(points).all(axis=1)]
    if not joined or len(points) < 2:
        return points
    steps = np.linspace(0, 1, 16)[:, None]
    return np.concatenate([start + steps * (end - start) for start, end in itertools.pairwise(points)])
