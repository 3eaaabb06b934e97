"""Figures that move, for pages and notebooks: plain SVG, the browser's own controls, two short scripts, no library.

Each figure is drawn here in its first state, which is what print and a browser without JavaScript show; its script
switches the controls on. The functions return an object that a notebook displays.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from afli import correlation, moments
from afli import meanfield as mf
from afli._activation import Activation
from afli.errors import NoFixedPointError

__all__ = ["Frame", "cell_maps", "curve", "pairs", "path", "phase_plane", "stack"]

Array = NDArray[np.float64]

WIDTH = 600  # of a drawing, in its own units: type of 16 is nine pixels high where a phone has 342 of them to offer
SMALL = 320  # of one of two drawings side by side, which a phone shows below each other
MARK = "#D55E00"


# --- Axes ---


@dataclass(frozen=True)
class _Axes:
    """Axes in a drawing: the corners left, top, right, bottom in its units, and the limits of what is shown."""

    box: tuple[float, float, float, float]
    xlim: tuple[float, float]
    ylim: tuple[float, float]

    def at(self, points: ArrayLike) -> Array:
        """Where points, shape (n, 2), lie in the drawing; those beyond the limits lie on the border."""
        left, top, right, bottom = self.box
        low, high = np.array([self.xlim, self.ylim], dtype=float).T
        share = (np.clip(np.asarray(points, dtype=float), low, high) - low) / (high - low)
        return np.array([left, bottom]) + share * np.array([right - left, top - bottom])

    def path(self, points: ArrayLike) -> str:
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in self.at(points))

    def curve(self, points: ArrayLike, style: str = 'class="curve" stroke="currentColor" stroke-width="3"') -> str:
        return f'<path fill="none" {style} d="{self.path(points)}"/>'

    def dot(self, point: ArrayLike, radius: float = 7) -> str:
        ((x, y),) = self.at(np.asarray(point)[None])
        return f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{MARK}"/>'

    def frame(self, xlabel: str, ylabel: str) -> str:
        """The two lines, their ends and middles in numbers, and their names."""
        left, top, right, bottom = self.box
        middle, half = (left + right) / 2, (top + bottom) / 2
        lines = (
            f'<path class="axes" stroke="currentColor" fill="none" d="M{left} {top}L{left} {bottom}L{right} {bottom}"/>'
        )
        numbers = [
            (t, _number(low + t * (high - low), "g")) for low, high in (self.xlim, self.ylim) for t in (0, 0.5, 1)
        ]
        across = "".join(_text(left + t * (right - left), bottom + 20, number) for t, number in numbers[:3])
        up = "".join(_text(left - 8, bottom + 5 - t * (bottom - top), number, "end") for t, number in numbers[3:])
        return lines + across + up + _text(middle, bottom + 44, xlabel) + _upright(left - 50, half, ylabel)


_BOX = (66, 20, 580, 330)


def _text(x: float, y: float, text: str, anchor: str = "middle", style: str = "") -> str:
    return f'<text x="{x:.5g}" y="{y:.5g}" text-anchor="{anchor}" {style}>{html.escape(text)}</text>'


def _number(value: float, form: str) -> str:
    return format(value, form).replace("-", "−")


def _upright(x: float, y: float, text: str) -> str:
    return _text(x, y, text, style=f'transform="rotate(-90 {x:g} {y:g})"')


def _svg(width: float, height: float, alt: str, inside: str) -> str:
    label = html.escape(alt, quote=True)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" fill="currentColor" font-size="16">'
        f"{inside}</svg>"
    )


# --- Controls ---


def _slider(name: str, *, low: float, high: float, step: float, value: float, shown: str) -> str:
    name, shown = html.escape(name), html.escape(shown)
    return (
        f"<label>{name} = <output>{shown}</output>\n"
        f'<input type="range" min="{low:g}" max="{high:g}" step="{step:g}" value="{value:g}" aria-label="{name}" '
        f'aria-valuetext="{shown}" disabled></label>'
    )


def _choice(key: str, legend: str, names: Sequence[str]) -> str:
    """Buttons of which one is chosen, the first at the start; nothing where there is no choice."""
    if len(names) < 2:
        return ""
    buttons = "".join(
        f'<label><input type="radio" name="{key}"{" checked" if n == 0 else ""} disabled> {html.escape(name)}</label>'
        for n, name in enumerate(names)
    )
    return f"<fieldset><legend>{html.escape(legend)}</legend>{buttons}</fieldset>"


def _figure(key: str, body: str, script: str, *arguments: Any) -> Any:
    """The page element. script: a file of this package with a function, which is called with key and arguments."""
    from IPython.display import HTML

    if not key or not key.replace("-", "").isalnum():
        raise ValueError(f"key must be made of letters, digits and hyphens, got {key!r}")
    source = (resources.files("afli") / script).read_text(encoding="utf-8")
    called = ", ".join(json.dumps(argument).replace("</", "<\\/") for argument in (key, *arguments))
    return HTML(f'<figure class="live" id="{key}">\n{body}\n</figure>\n<script>({source})({called});</script>')


# --- A stack of frames with a slider ---


@dataclass(frozen=True)
class Frame:
    """One state of a figure: what it adds to the drawing, as SVG, and what the sentence below then ends with."""

    svg: str
    readout: str = ""


def stack(
    frames: Mapping[str, Mapping[str, Frame]],
    *,
    key: str,
    name: str,
    alt: str,
    height: float,
    fixed: str = "",
    behind: Mapping[str, str] | None = None,
    start: int = 0,
    legend: str = "",
    readout: str = "",
) -> Any:
    """A drawing of which a slider shows one frame; with several stacks of frames one of them is chosen.

    Parameters
    ----------
    frames
        Name of a stack -> value of the slider, as text -> frame. All stacks have the same values.
    key
        A unique HTML id.
    name
        What the slider changes.
    alt
        What the figure shows, for a screen reader.
    height
        Of the drawing, which is 600 units wide.
    fixed
        SVG that is always shown.
    behind
        Name of a stack -> SVG that is shown with each of its frames.
    start
        Index of the frame seen first, and without JavaScript; of the first stack.
    legend
        What the choice is of.
    readout
        A sentence that the frames end.

    Raises
    ------
    ValueError
        If there is no frame, the values of two stacks differ, or `start` is no index of one.
    """
    values = list(next(iter(frames.values()), {}))
    if not values or any(list(shown) != values for shown in frames.values()):
        raise ValueError("frames must hold one stack or more, each with the same values of the slider, one or more")
    if not 0 <= start < len(values):
        raise ValueError(f"start must be in [0, {len(values) - 1}], got {start}")
    drawn = fixed
    for number, (which, shown) in enumerate(frames.items()):
        inside = "" if behind is None else behind[which]
        for place, (value, frame) in enumerate(shown.items()):
            hidden = "" if place == start else ' display="none"'
            said = f'data-value="{html.escape(value)}" data-readout="{html.escape(frame.readout)}"'
            inside += f'<g class="frame" {said}{hidden}>{frame.svg}</g>'
        hidden = "" if number == 0 else ' display="none"'
        drawn += f'<g class="stack"{hidden}>{inside}</g>'
    first = next(iter(frames.values()))[values[start]].readout
    controls = _choice(f"{key}-choice", legend, list(frames)) + _slider(
        name, low=0, high=len(values) - 1, step=1, value=start, shown=values[start]
    )
    ending = f'<span class="readout" aria-live="polite">{html.escape(first)}</span>'
    said = f'\n<p class="caption">{html.escape(readout)}{ending}</p>' if readout else ""
    return _figure(key, f"{_svg(WIDTH, height, alt, drawn)}\n{controls}{said}", "live_stack.js")


def _read(values: Sequence[str], frames: Sequence[str], readouts: Sequence[str] | None) -> dict[str, Frame]:
    ends = [""] * len(values) if readouts is None else list(readouts)
    return {value: Frame(svg, end) for value, svg, end in zip(values, frames, ends, strict=True)}


def curve(
    x: ArrayLike,
    frames: Mapping[str, ArrayLike],
    *,
    key: str,
    name: str,
    xlabel: str,
    ylabel: str,
    alt: str,
    ylim: tuple[float, float],
    start: int = 0,
    diagonal: bool = False,
    readout: str = "",
    readouts: Sequence[str] | None = None,
) -> Any:
    """A curve that a slider moves.

    Parameters
    ----------
    x
        Shape (n,).
    frames
        Value of the parameter, as text -> values, shape (n,).
    xlabel, ylabel
        Plain texts.
    ylim
        Limits of the values.
    diagonal
        Draw the identity.
    readout, readouts
        A sentence, and how it ends for each frame.
    key, name, alt, start
        As for `stack`.
    """
    x = np.asarray(x, dtype=float)
    axes = _Axes(_BOX, (float(x[0]), float(x[-1])), ylim)
    fixed = axes.frame(xlabel, ylabel) + (_identity(axes) if diagonal else "")
    curves = [axes.curve(np.column_stack([x, np.asarray(y, dtype=float)])) for y in frames.values()]
    shown = {"": _read(list(frames), curves, readouts)}
    return stack(shown, key=key, name=name, alt=alt, height=384, fixed=fixed, start=start, readout=readout)


def _identity(axes: _Axes) -> str:
    ends = np.column_stack([axes.xlim, axes.xlim])
    return axes.curve(ends, 'stroke="#888888" stroke-dasharray="5 4"')


def path(
    frames: Mapping[str, ArrayLike],
    *,
    key: str,
    name: str,
    xlabel: str,
    ylabel: str,
    alt: str,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    marks: Mapping[str, tuple[float, float]],
    shade: Sequence[tuple[float, float, float, float]] = (),
    start: int = 0,
    readout: str = "",
    readouts: Sequence[str] | None = None,
) -> Any:
    """A path in the plane that a slider moves. Points outside the limits are drawn on the border.

    Parameters
    ----------
    frames
        Value of the parameter, as text -> points, shape (n, 2).
    xlim, ylim
        Limits of the plane.
    marks
        Label -> a point.
    shade
        Rectangles (left, bottom, right, top) drawn in grey.
    key, name, xlabel, ylabel, alt, start, readout, readouts
        As for `curve`.
    """
    axes = _Axes(_BOX, xlim, ylim)
    fixed = ""
    for left, bottom, right, top in shade:
        (a, b), (c, d) = axes.at([[left, top], [right, bottom]])
        fixed += f'<rect x="{a:.1f}" y="{b:.1f}" width="{c - a:.1f}" height="{d - b:.1f}" fill="#888" opacity="0.18"/>'
    for label, mark in marks.items():
        ((x, y),) = axes.at([mark])
        fixed += axes.dot(mark)
        aside, anchor = (-12, "end") if x < WIDTH / 2 else (12, "start")  # away from the middle, where the path runs
        fixed += _text(x + aside, y + (-10 if y < 175 else 22), label, anchor)
    paths = [axes.curve(points) for points in frames.values()]
    return stack(
        {"": _read(list(frames), paths, readouts)}, key=key, name=name, alt=alt, height=384,
        fixed=fixed + axes.frame(xlabel, ylabel), start=start, readout=readout,
    )  # fmt: skip


def cell_maps(
    maps: Mapping[str, Mapping[str, ArrayLike]],
    columns: Sequence[float],
    rows: Sequence[float],
    *,
    key: str,
    name: str,
    xlabel: str,
    ylabel: str,
    alt: str,
    low: float,
    high: float,
    start: int = 0,
    readout: str = "",
    readouts: Sequence[str] | None = None,
) -> Any:
    """Percentages over a grid of cells, with a frame round the best cell of every row; a slider moves them.

    Parameters
    ----------
    maps
        Value of the parameter, as text -> title of a panel -> shares, shape (rows, columns), in [0, 1].
    columns, rows
        What the cells differ in.
    low, high
        The range of the colours, in [0, 1].
    key, name, xlabel, ylabel, alt, start, readout, readouts
        As for `curve`.
    """
    import matplotlib as mpl

    left, top, high_cell, gap = 84, 30, 36, 62
    wide_cell = (WIDTH - left - 6) / len(columns)
    panel = high_cell * len(rows) + gap
    colours, scale = mpl.colormaps["cividis"], mpl.colors.Normalize(low, high, clip=True)

    def cells(values: Array, top: float) -> str:
        drawn = ""
        for i, j in np.ndindex(values.shape):
            x, y = left + j * wide_cell, top + i * high_cell
            ring = f' stroke="{MARK}" stroke-width="3"' if j == values[i].argmax() else ""
            drawn += (
                f'<rect x="{x + 1.5:.1f}" y="{y + 1.5:.1f}" width="{wide_cell - 3:.1f}" height="{high_cell - 3}" '
                f'fill="{mpl.colors.to_hex(colours(scale(values[i, j])))}"{ring}/>'
            )
            colour = 'fill="#fff"' if values[i, j] < (low + high) / 2 else 'fill="#000"'
            drawn += _text(x + wide_cell / 2, y + high_cell / 2 + 6, f"{100 * values[i, j]:.1f}", style=colour)
        return drawn

    titles = list(next(iter(maps.values())))
    fixed = _text(left + wide_cell * len(columns) / 2, top + panel * len(titles) - 18, xlabel)
    for n, title in enumerate(titles):
        above = top + n * panel
        fixed += _text(left + wide_cell * len(columns) / 2, above - 10, title)
        fixed += _upright(16, above + high_cell * len(rows) / 2, ylabel)
        for i, row in enumerate(rows):
            fixed += _text(left - 8, above + (i + 0.5) * high_cell + 6, f"{row:g}", "end")
        for j, column in enumerate(columns):
            fixed += _text(left + (j + 0.5) * wide_cell, above + len(rows) * high_cell + 18, f"{column:g}")
    frames = [
        "".join(cells(np.asarray(shown[title], dtype=float), top + n * panel) for n, title in enumerate(titles))
        for shown in maps.values()
    ]
    return stack(
        {"": _read(list(maps), frames, readouts)}, key=key, name=name, alt=alt, height=top + panel * len(titles) - 8,
        fixed=fixed, start=start, readout=readout,
    )  # fmt: skip


def pairs(
    images: ArrayLike,
    patterns: Mapping[str, ArrayLike],
    correlations: Mapping[str, ArrayLike],
    layers: Sequence[int],
    *,
    key: str,
    sides: tuple[str, str],
    alt: str,
    start: int = 0,
) -> Any:
    """Two inputs on their way through a network that the reader chooses, and the curve of their correlation.

    Parameters
    ----------
    images
        The two inputs, shape (2, height, width), from -2.5 (black) to 2.5 (white).
    patterns
        Name of a network -> what some of its layers hold of them, shape (layers, 2, height, width), in standard
        deviations.
    correlations
        The same names -> the correlation at every layer, from 1 on, shape (depth,).
    layers
        Which layers the patterns are of.
    sides
        What the two inputs are.
    key, alt, start
        As for `stack`; the images themselves have index 0.
    """
    side, lefts, top = 210, (66, 296), 30
    courses = {name: np.asarray(values, dtype=float) for name, values in correlations.items()}
    depth = len(next(iter(courses.values())))
    axes = _Axes((66, 288, 580, 448), (0, depth), (-1, 1))
    every = np.arange(1, depth + 1)

    def pair(two: ArrayLike) -> str:
        return "".join(
            f'<image x="{left}" y="{top}" width="{side}" height="{side}" style="image-rendering: pixelated" '
            f'href="{_png(pattern)}"/>'
            for left, pattern in zip(lefts, np.asarray(two), strict=True)
        )

    def at_layer(layer: int, two: ArrayLike, correlation: float) -> Frame:
        number = _number(correlation, ".2f")
        shown = _text(548, 146, number, style='font-size="30"')
        return Frame(pair(two) + shown + axes.dot((layer, correlation)), number)

    def line(course: Array, style: str) -> str:
        return axes.curve(np.column_stack([every, course]), style)

    frames = {}
    for name, shown in patterns.items():
        frames[_plain(name)] = {"the images": Frame(pair(images), "–, these are the images")} | {
            str(layer): at_layer(layer, two, courses[name][layer - 1])
            for layer, two in zip(layers, np.asarray(shown), strict=True)
        }
    faint = "".join(line(course, 'stroke="currentColor" opacity="0.35"') for course in courses.values())
    strong = {_plain(name): line(course, 'stroke="currentColor" stroke-width="3"') for name, course in courses.items()}
    titles = "".join(_text(left + side / 2, top - 10, title) for left, title in zip(lefts, sides, strict=True))
    return stack(
        frames, key=key, name="layer", alt=alt, height=500, start=start, legend="activation", behind=strong,
        fixed=titles + axes.frame("layer", "correlation") + faint, readout="Correlation of the two: ",
    )  # fmt: skip


def _plain(name: str) -> str:
    return name.replace("$", "")


def _png(pattern: ArrayLike) -> str:
    """A grey picture, a pixel for each number, as a link that holds it; -2.5 is black and 2.5 white."""
    from PIL import Image

    grey = np.clip(np.round((np.asarray(pattern, dtype=float) + 2.5) * 51), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


# --- The phase plane ---

_WEIGHTS, _BIASES = (0.5, 3.0, 0.01), (0.005, 0.3, 0.005)  # lowest, highest, step of the two variances
_VARIANCES = (0.005, 80.0)  # q* is no smaller than sigma_b2; of ReLU at the last step before 2 it is up to 60
_DEGREE, _MAP_DEGREE = 80, 32  # errors below 1e-11, for four decimals of q*, and 1e-4, for a drawing of 218 units
_PLACE = _Axes((66, 14, 308, 232), _WEIGHTS[:2], (0.0, _BIASES[1]))
_MAP = _Axes((66, 14, 308, 232), (-1.0, 1.0), (-1.0, 1.0))


def phase_plane(activations: Mapping[str, Activation], *, key: str, alt: str, start: tuple[float, float]) -> Any:
    """The plane of weight and bias variance with a point to move: q*, chi_1, the phase and the correlation map there.

    Everything follows from moments of phi at one variance q, so the script has these as Chebyshev series in log q, and
    solves for q* itself.

    Parameters
    ----------
    activations
        Name -> phi, to choose from. E phi(sqrt(q) Z)^2 / q must not grow with q, so that q* is unique if it exists.
    start
        The two variances seen first, and without JavaScript.
    key, alt
        As for `stack`.

    Raises
    ------
    ValueError
        For an activation whose moments grow or bend too fast, for none at all, and for variances off the plane.
    NoFixedPointError
        If the first activation has no q* at `start`.
    """
    if not activations:
        raise ValueError("activations must hold one or more")
    for name, value, (low, high, _) in zip(("sigma_w2", "sigma_b2"), start, (_WEIGHTS, _BIASES), strict=True):
        if not low <= value <= high:
            raise ValueError(f"start must have {name} in [{low:g}, {high:g}], got {value:g}")
    rho = -np.cos(np.pi * np.linspace(0, 1, 41))  # denser at the ends, where maps bend
    data = {
        "weights": _WEIGHTS, "biases": _BIASES, "box": _PLACE.box, "variances": _VARIANCES,
        "rho": rho.round(5).tolist(), "activations": [_tables(name, phi, rho) for name, phi in activations.items()],
    }  # fmt: skip
    (name, phi), first = next(iter(activations.items())), data["activations"][0]
    net = mf.MeanField(phi, sigma_w2=start[0], sigma_b2=start[1])
    place = (
        _PLACE.frame("weight variance", "bias variance")
        + f'<path class="edge" fill="none" stroke="currentColor" stroke-width="3" d="{first["edge"]}"/>'
        + _text(76, 40, "order", "start")
        + _text(302, 220, first["right"], "end", 'class="right"')
        + _PLACE.dot(start, 9)
    )
    shown = np.column_stack([rho, net.correlation_map(rho)])
    drawn = _MAP.frame("correlation ρ", "one layer up, R(ρ)") + _identity(_MAP) + _MAP.curve(shown)
    drawings = _svg(SMALL, 284, alt, place) + _svg(SMALL, 284, "The correlation map at the point.", drawn)
    controls = _choice(f"{key}-choice", "activation", list(activations))
    for title, value, (low, high, step), decimals in zip(
        ("weight variance", "bias variance"), start, (_WEIGHTS, _BIASES), (2, 3), strict=True
    ):
        controls += _slider(title, low=low, high=high, step=step, value=value, shown=f"{value:.{decimals}f}")
    said = f"{name}: q* = {net.q:.4f}, χ₁ = {net.chi1:.4f}, {_phase(net.chi1)}"
    body = f'<div class="panels">{drawings}</div>\n{controls}\n<p class="caption" aria-live="polite">{said}</p>'
    return _figure(key, body, "live_plane.js", data)


def _phase(chi1: float) -> str:
    if f"{chi1:.4f}" == "1.0000":
        return "the edge of chaos"
    return "chaos: a correlation of 1 repels" if chi1 > 1 else "order: all correlations end at 1"


def _tables(name: str, phi: Activation, rho: Array) -> dict[str, Any]:
    """What the script knows of one activation: three series in log q, the edge of chaos, and what lies right of it."""
    square = _series(lambda q: moments.square(phi, q) / q, _DEGREE)
    slope2 = _series(lambda q: moments.slope_power(phi, q, 2), _DEGREE)
    if np.abs([square[-5:], slope2[-5:]]).max() > 1e-11:
        raise ValueError(f"activations must have moments that vary slowly with q, got {name}")
    if np.diff(chebyshev.chebval(np.linspace(-1, 1, 200), square)).max() > 1e-12:
        raise ValueError(f"activations must have E phi^2 / q that does not grow with q, got {name}")
    shape = _series(lambda q: np.array([correlation.curve(phi, float(v)).value(rho) for v in q]), _MAP_DEGREE)
    biases = np.geomspace(*_BIASES[:2], 40)
    try:
        edge = [mf.edge_of_chaos(phi, sigma_b2=float(v)).sigma_w2 for v in biases]
        right = "chaos"
    except NoFixedPointError:  # then the variance grows for ever as soon as it does at large q
        edge, right = [1 / float(chebyshev.chebval(1.0, square))] * len(biases), "no q*"
    return {
        "name": name, "square": _rounded(square, 13), "slope2": _rounded(slope2, 13),
        "map": [_rounded(column, 6) for column in shape.T],
        "edge": _PLACE.path(np.column_stack([edge, biases])), "right": right,
    }  # fmt: skip


def _series(values: Callable[[Array], Array], degree: int) -> Array:
    """Chebyshev coefficients of functions of q, in log q brought to [-1, 1]; shape (degree + 1, ...)."""
    low, high = np.log(_VARIANCES)
    x = chebyshev.chebpts1(degree + 1)
    samples = values(np.exp(0.5 * (low + high) + 0.5 * (high - low) * x))
    return np.asarray(np.linalg.solve(chebyshev.chebvander(x, degree), samples))


def _rounded(series: Array, decimals: int) -> list[float]:
    """Coefficients to that many decimals, without the zeros at their end."""
    kept = np.flatnonzero(np.abs(series) > 0.5 * 10.0**-decimals)
    return [round(float(c), decimals) for c in series[: kept[-1] + 1 if len(kept) else 1]]
