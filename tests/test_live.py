"""Figures that move: readable without JavaScript, offline, and what the scripts compute is what afli computes."""

from __future__ import annotations

import base64
import io
import json
import re

import browser
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from scipy.optimize import brentq

pytest.importorskip("IPython")
pytest.importorskip("matplotlib")

from afli import activations as act
from afli import live
from afli import meanfield as mf
from afli.errors import NoFixedPointError

X = np.linspace(0, 1, 5)
BLANK = live.Frame("")
PHIS = {"hard tanh": act.shtanh(a=1.0), "Shtanh, a = 3": act.shtanh(a=3.0), "tanh": act.tanh(), "ReLU": act.relu()}
START = (1.5, 0.1)


@pytest.fixture(scope="module")
def plane() -> str:
    return live.phase_plane(PHIS, key="plane-test", alt="A plane.", start=START).data


@pytest.fixture(scope="module")
def data(plane):
    return json.loads(re.search(r'\("plane-test", (\{.*\})\);</script>', plane)[1])


# --- frames and a slider ---


def test_the_slider_shows_its_first_frame_without_javascript():
    frames = {f"{a}": a * X for a in (1, 2)}
    html = live.curve(
        X, frames, key="live-test", name="a", xlabel="x", ylabel="y", alt="A line.", ylim=(0, 2), start=1
    ).data
    hidden, seen = re.findall(r'<g class="frame"[^>]*>', html)
    assert 'display="none"' in hidden
    assert "display" not in seen
    path = re.findall(r'class="curve"[^>]* d="([^"]+)"', html)[1]
    first, last = re.findall(r"[\d.]+ [\d.]+", path)[:: len(X) - 1]
    assert first == "66.0 330.0"  # the corner (0, 0)
    assert last == "580.0 20.0"  # the corner (1, 2)
    assert "<output>2</output>" in html
    assert 'aria-valuetext="2"' in html  # a reader hears the value, not the index of the frame
    assert 'aria-label="A line."' in html
    assert "disabled" in html  # what only the script can move
    assert "http" not in html  # offline


def test_a_path_marks_its_points_and_stays_inside_its_frame():
    frames = {"1": [[0.0, 0.0], [1.0, 1.0]], "2": [[0.0, 0.0], [9.0, 9.0]]}
    html = live.path(
        frames, key="path-test", name="m", xlabel="x", ylabel="y", alt="A path.", xlim=(0, 1), ylim=(0, 1), start=1,
        marks={"goal": (0.5, 0.5)}, shade=[(0.0, 0.0, 1.0, 0.5)],
    ).data  # fmt: skip
    assert 'd="M66.0 330.0L580.0 20.0"' in html
    assert 'cx="323.0" cy="175.0"' in html
    assert '<rect x="66.0" y="175.0" width="514.0" height="155.0"' in html


def test_maps_print_percentages_and_frame_the_best_cell_of_each_row():
    means = {"20": {"map": [[0.5, 0.9], [0.8, 0.6]]}, "50": {"map": [[0.1, 0.2], [0.4, 0.3]]}}
    html = live.cell_maps(
        means, (1.0, 2.0), (1.0, 0.1), key="maps", name="depth", xlabel="a", ylabel="b", alt="Maps.", low=0, high=1,
        readout="Best: ", readouts=["2", "2 too"],
    ).data  # fmt: skip
    frames = re.findall(r'<g class="frame".*?</g>', html)
    assert [re.findall(r">([\d.]+)</text>", frame) for frame in frames] == [
        ["50.0", "90.0", "80.0", "60.0"], ["10.0", "20.0", "40.0", "30.0"],
    ]  # fmt: skip
    assert ["stroke" in rect for rect in re.findall(r"<rect[^>]*>", frames[0])] == [False, True, True, False]
    assert 'data-readout="2 too"' in html


def test_pairs_hold_their_patterns_and_correlations():
    from PIL import Image

    pattern = np.linspace(-2.5, 2.5, 6).reshape(2, 3)
    html = live.pairs(
        [pattern] * 2, {"ReLU": [[pattern, -pattern]], "Shtanh, $a = 3$": [[pattern] * 2]},
        {"ReLU": [-0.5, 0.25], "Shtanh, $a = 3$": [0.0, 0.1]}, [2], key="pairs", sides=("three", "eight"), alt="Two.",
    ).data  # fmt: skip
    pictures = re.findall(r"data:image/png;base64,([\w+/=]+)", html)
    assert len(pictures) == 8
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[3]))))
    assert shown.tolist() == [[255, 204, 153], [102, 51, 0]]
    assert re.findall(r'data-value="2" data-readout="([^"]*)"', html) == ["0.25", "0.10"]
    assert "Shtanh, a = 3" in html


@pytest.mark.parametrize(
    ("change", "message"),
    [({"frames": {}}, "frames must hold"), ({"frames": {"a": {"1": BLANK}, "b": {"2": BLANK}}}, "frames must hold"),
     ({"start": 1}, r"start must be in \[0, 0\], got 1"), ({"key": "no spaces"}, "key must be made of")],
)  # fmt: skip
def test_what_makes_no_figure_is_refused(change, message):
    arguments = {"frames": {"": {"1": BLANK}}, "key": "k", "name": "n", "alt": "a", "height": 100} | change
    with pytest.raises(ValueError, match=message):
        live.stack(arguments.pop("frames"), **arguments)


# --- the phase plane: the script's own arithmetic on the data of the page, against afli ---


def shown(data, name, w, b):
    """q*, chi_1 and the correlation map, as live_plane.js has them; None where it finds no fixed point."""
    phi = next(phi for phi in data["activations"] if phi["name"] == name)
    low, high = np.log(data["variances"])

    def excess(x):
        return w * chebyshev.chebval(x, phi["square"]) + b / np.exp((low + high + (high - low) * x) / 2) - 1

    if excess(1.0) > 0:
        return None
    x = brentq(excess, -1, 1, xtol=1e-15) if excess(-1.0) > 0 else -1.0
    q = np.exp((low + high + (high - low) * x) / 2)
    rising = np.array([chebyshev.chebval(x, series) for series in phi["map"]])
    return q, w * chebyshev.chebval(x, phi["slope2"]), w * rising + b / q


@pytest.mark.parametrize("name", PHIS)
@given(w=st.integers(50, 300), b=st.integers(1, 60))
def test_the_numbers_of_the_plane_are_those_of_afli_to_their_last_digit(data, name, w, b):
    found = shown(data, name, w / 100, b / 200)
    try:
        net = mf.MeanField(PHIS[name], sigma_w2=w / 100, sigma_b2=b / 200)
    except NoFixedPointError:
        assert found is None
        return
    q, slope, rising = found
    assert q == pytest.approx(net.q, rel=1e-8)  # four decimals are shown, of numbers up to 60
    assert slope == pytest.approx(net.chi1, abs=1e-8)
    assert np.abs(rising - net.correlation_map(np.array(data["rho"]))).max() < 1e-3  # a tenth of a unit of the drawing


def test_the_plane_shows_its_first_point_without_javascript(plane):
    net = mf.MeanField(PHIS["hard tanh"], sigma_w2=START[0], sigma_b2=START[1])
    assert f"hard tanh: q* = {net.q:.4f}, χ₁ = {net.chi1:.4f}, chaos: a correlation of 1 repels</p>" in plane
    assert ">1.50</output>" in plane
    assert "http" not in plane


def test_an_activation_whose_variance_map_may_have_several_fixed_points_has_no_plane():
    with pytest.raises(ValueError, match="does not grow with q, got gelu"):
        live.phase_plane({"gelu": act.gelu()}, key="k", alt="", start=START)


def test_a_plane_needs_an_activation_and_a_first_point_that_has_a_variance():
    with pytest.raises(ValueError, match="activations must hold one or more"):
        live.phase_plane({}, key="k", alt="", start=START)
    with pytest.raises(NoFixedPointError):
        live.phase_plane({"ReLU": act.relu()}, key="k", alt="", start=(2.5, 0.1))


# --- in a browser ---


@pytest.fixture(scope="module")
def page():
    if browser.program() is None:
        pytest.skip("there is no Chromium")
    with browser.browser() as opened:
        opened.width(800)
        yield opened


def opened(page, tmp_path, html):
    path = tmp_path / "page.html"
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><body>{html}</body></html>', encoding="utf-8"
    )
    page.open(path)
    assert page.errors == []
    return page


def moved(page, values, choice=0):
    """Set the controls of a figure as a reader does; returns the sentence below."""
    return page.evaluate(f"""(() => {{
      const sliders = [...document.querySelectorAll("input[type=range]")], values = {json.dumps(values)};
      sliders.forEach((slider, n) => {{ slider.value = values[n]; }});
      const choice = document.querySelectorAll("input[type=radio]")[{choice}];
      if (choice) choice.checked = true;
      sliders[0].dispatchEvent(new Event("input"));
      return document.querySelector(".caption").textContent;
    }})()""")


@pytest.mark.slow
@pytest.mark.parametrize("choice", range(len(PHIS)))
def test_the_browser_writes_what_afli_computes(page, tmp_path, plane, choice):
    opened(page, tmp_path, plane)
    (name, phi), said = list(PHIS.items())[choice], []
    for w, b in ((0.5, 0.005), (1.27, 0.1), (1.99, 0.25), (3.0, 0.05)):
        said.append(moved(page, (w, b), choice))
        try:
            net = mf.MeanField(phi, sigma_w2=w, sigma_b2=b)
        except NoFixedPointError:
            assert said[-1] == f"{name}: no fixed point: the variance grows from layer to layer"
            continue
        assert said[-1].startswith(f"{name}: q* = {net.q:.4f}, χ₁ = {net.chi1:.4f}, ")
        assert ("chaos: " in said[-1]) == (net.chi1 > 1)
    assert len(set(said)) == 4


@pytest.mark.slow
def test_the_point_is_dragged_and_the_arrow_keys_move_it(page, tmp_path, plane):
    opened(page, tmp_path, plane)
    left, top, width = page.evaluate(
        "(r => [r.left, r.top, r.width])(document.querySelector('svg').getBoundingClientRect())"
    )
    for kind, across, up in (("mousePressed", 0.3, 0.3), ("mouseMoved", 0.5, 0.6), ("mouseReleased", 0.5, 0.6)):
        x, y = (66 + across * 242) / 320, (232 - up * 218) / 320
        page.ask(
            "Input.dispatchMouseEvent",
            type=kind,
            x=left + x * width,
            y=top + y * width,
            button="left",
            buttons=1,
            clickCount=1,
        )
    shown = "[...document.querySelectorAll('output')].map(o => o.textContent)"
    assert page.evaluate(shown) == ["1.75", "0.180"]
    page.evaluate("document.querySelector('input[type=range]').focus()")
    for kind in ("keyDown", "keyUp"):
        page.ask("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert page.evaluate(shown) == ["1.76", "0.180"]


@pytest.mark.slow
def test_one_frame_is_seen_that_of_the_slider_and_the_choice(page, tmp_path):
    frames = {
        which: {str(n): live.Frame(f"<text>{which}{n}</text>", f"{which}{n}") for n in range(3)} for which in "ab"
    }
    html = live.stack(frames, key="k", name="n", alt="A", height=100, start=1, legend="which", readout="Here: ").data
    opened(page, tmp_path, html)
    seen = (
        "[...document.querySelectorAll('.frame text')].filter(t => t.getClientRects().length).map(t => t.textContent)"
    )
    assert page.evaluate(seen) == ["a1"]
    assert moved(page, [2], choice=1) == "Here: b2"
    assert page.evaluate(seen) == ["b2"]
    assert page.evaluate("document.querySelector('output').textContent") == "2"
