"""Numbers that ask for more than a routine integral, against closed forms (tests/reference/hard.py)."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from afli import activations as act
from afli import gaussian, isometry, moments
from afli import meanfield as mf
from afli.errors import ConvergenceError

REFERENCE = Path(__file__).parent / "reference"
RECORDS = json.loads((REFERENCE / "hard.json").read_text(encoding="utf-8"))


def records(kind):
    return pytest.mark.parametrize(
        "r", [r for r in RECORDS if r["kind"] == kind], ids=lambda r: "-".join(str(v) for v in list(r.values())[1:5])
    )


def snake(z):
    return z + np.sin(z) ** 2


def snake_slope(z):
    return 1 + np.sin(2 * z)


OWN = {
    "snake": act.from_callable(snake, snake_slope),
    "sin(3 z)": act.from_callable(lambda z: np.sin(3 * z), lambda z: 3 * np.cos(3 * z)),
    "sin(4 z)": act.from_callable(lambda z: np.sin(4 * z), lambda z: 4 * np.cos(4 * z)),
}


@lru_cache
def network(name, sigma_w2, sigma_b2):
    if sigma_w2 is None:
        return mf.edge_of_chaos(OWN[name], sigma_b2=float(sigma_b2))
    return mf.MeanField(OWN[name], sigma_w2=float(sigma_w2), sigma_b2=float(sigma_b2))


# --- Waves that are short beside sqrt(q) ---


@records("map")
def test_the_correlation_map_of_a_wave(r):
    net, rho = network(r["act"], r["vw"], r["vb"]), float(r["rho"])
    assert net.q == pytest.approx(float(r["q"]), rel=1e-12)
    assert net.correlation_map(rho) == pytest.approx(float(r["R"]), abs=1e-12)
    assert net.correlation_slope(rho) == pytest.approx(float(r["dR"]), abs=1e-11)


@pytest.mark.parametrize("name", OWN)
def test_both_ends_are_those_of_one_dimension(name):
    net = network(name, None if name == "snake" else "1", "5")
    assert net.correlation_map(1.0) == pytest.approx(1.0, abs=1e-13)
    assert net.correlation_slope(1.0) == pytest.approx(net.chi1, rel=1e-12)
    mean = float(moments.mean(net.phi, np.asarray(net.q)))
    assert net.correlation_map(0.0) == pytest.approx((net.sigma_w2 * mean**2 + net.sigma_b2) / net.q, abs=1e-13)


def test_the_built_in_snake_has_the_numbers_of_ones_own():
    built_in, own = (mf.edge_of_chaos(phi, sigma_b2=3.15) for phi in (act.snake(), OWN["snake"]))
    rho = np.linspace(-1, 1, 41)
    np.testing.assert_allclose(built_in.correlation_map(rho), own.correlation_map(rho), rtol=0, atol=1e-12)


# --- Nearly ReLU ---


@records("edge")
def test_the_edge_of_chaos_of_elu_with_a_small_alpha(r):
    net = mf.edge_of_chaos(act.elu(float(r["alpha"])), sigma_b2=float(r["vb"]))
    assert net.q == pytest.approx(float(r["q"]), rel=1e-11)
    assert mf.critical_map(net.phi, net.q, sigma_b2=net.sigma_b2) == pytest.approx(net.q, rel=1e-13)


def test_mirrored_and_stretched_it_is_the_same_function():
    """-elu(-z) has its two slopes the other way round; scaled(phi, a) has q* a^2 at sigma_b2 a^2."""
    phi = act.elu(1e-4)
    mirrored = act.from_callable(lambda z: -phi.function(-z), lambda z: phi.gradient(-z), (0.0,))
    exact = float(next(r["q"] for r in RECORDS if r.get("alpha") == "1e-4" and r["vb"] == "1e-6"))
    assert mf.edge_of_chaos(mirrored, sigma_b2=1e-6).q == pytest.approx(exact, rel=1e-11)
    assert mf.edge_of_chaos(act.scaled(phi, 0.2), sigma_b2=4e-8).q == pytest.approx(0.04 * exact, rel=1e-11)


# --- Depths next to correlation 1 ---


@records("depth")
def test_the_number_of_layers_is_exact(r):
    net = mf.edge_of_chaos(act.get(r["act"]), sigma_b2=float(r["vb"]))
    assert net.layers_until(float(r["target"]), rho0=float(r["rho0"])) == r["layers"]


@pytest.mark.parametrize("target", [1 - 1e-12, 1 - 1e-14, 1.0])
@pytest.mark.parametrize("phi", [act.relu(), act.tanh(), act.shtanh(1.0)], ids=lambda phi: phi.name)
def test_a_target_beyond_a_million_layers_is_an_error_and_not_a_number(phi, target):
    net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.1)
    with pytest.raises(ConvergenceError, match="needs more than 1000000 layers"):
        net.layers_until(target)


# --- Tails ---


@pytest.mark.parametrize("n", [40, 60, 100])
def test_high_moments_are_double_factorials(n):
    exact = special.factorial2(n - 1)
    assert gaussian.expectation(lambda z: z**n, 1.0) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("q", [1.0, 36.0, 100.0, 144.0])
def test_the_mean_of_an_exponential_however_far_out_its_mass_lies(q):
    assert gaussian.expectation(np.exp, q) == pytest.approx(np.exp(q / 2), rel=1e-12)
    phi = act.Activation("custom", (("name", "exp"),), np.exp, np.exp)
    assert mf.variance_map(phi, q / 4, sigma_w2=1.0, sigma_b2=0.0) == pytest.approx(np.exp(q / 2), rel=1e-12)


@pytest.mark.parametrize("c", [0.3, 0.45])
def test_a_square_in_the_exponent_converges_below_one_half(c):
    assert gaussian.expectation(lambda z: np.exp(c * z * z), 1.0) == pytest.approx(1 / np.sqrt(1 - 2 * c), rel=1e-12)


@pytest.mark.parametrize("c", [0.5, 0.6, 1.0])
def test_and_from_there_on_there_is_no_number(c):
    with pytest.raises(ConvergenceError, match="grows too fast for the integral to converge"):
        gaussian.expectation(lambda z: np.exp(c * z * z), 1.0)


@pytest.mark.parametrize(("q", "rho"), [(1.0, 0.5), (25.0, 0.99), (25.0, -0.4)])
def test_in_the_plane_too(q, rho):
    """E exp(U1) exp(U2) = exp(q (1 + rho)), and E U1^20 U2^20 by Isserlis' theorem."""
    exact = np.exp(q * (1 + rho))
    assert gaussian.expectation2(np.exp, np.exp, rho, q1=q, q2=q) == pytest.approx(exact, rel=1e-12)
    pairs = sum(  # 2 j of the 20 on each side are paired across
        (special.comb(20, 2 * j) * special.factorial2(19 - 2 * j, exact=True)) ** 2
        * special.factorial(2 * j)
        * rho ** (2 * j)
        if j < 10
        else special.factorial(20) * rho**20
        for j in range(11)
    )
    twenty = gaussian.expectation2(lambda u: u**20, lambda u: u**20, rho, q1=1.0, q2=1.0)
    assert twenty == pytest.approx(float(pairs), rel=1e-12)


def test_a_high_moment_of_a_slope():
    """mu_k = E (3 Z^2)^(2 k) = 9^k (4 k - 1)!!"""
    cube = act.from_callable(lambda z: z**3, lambda z: 3 * z * z)
    assert isometry.derivative_moment(cube, 1.0, 20) == pytest.approx(9.0**20 * special.factorial2(79), rel=1e-13)


# --- Sessions and arrays of other kinds ---


@pytest.mark.parametrize(
    ("phi", "sigma_b2"),
    [(act.get(n), 0.1) for n in ("tanh", "gelu", "elu", "erf", "softsign")]
    + [(act.get(n, a=a), 0.1) for n in ("shtanh", "ssaw", "ssine", "sexp") for a in (1.0, 20.0)]
    + [(act.relu(), 0.0)],
    ids=lambda v: getattr(v, "name", ""),
)
@pytest.mark.filterwarnings("ignore::afli.errors.RepellingPointWarning")
def test_a_session_in_which_numpy_raises_gets_the_same_numbers(phi, sigma_b2):
    def numbers():
        net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
        diagram = mf.phase_diagram(phi, sigma_w2=[0.9, 1.9], sigma_b2=[sigma_b2])
        rho = np.array([-0.9, 0.0, 0.3, 1 - 1e-9, 1.0])
        return [net.q, *net.correlation_map(rho), *net.correlation_gap(rho), *diagram.rho.ravel()]

    with np.errstate(all="raise"):  # first, so that nothing is known yet
        found = numbers()
    np.testing.assert_array_equal(found, numbers())


# --- The reference itself ---


@pytest.mark.parametrize(
    "r", [next(r for r in RECORDS if r["kind"] == k) for k in ("map", "edge", "depth")], ids=lambda r: r["kind"]
)
def test_the_records_can_be_recomputed(r):
    pytest.importorskip("mpmath")
    spec = importlib.util.spec_from_file_location("hard", REFERENCE / "hard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for field, value in module.KINDS[r["kind"]](r).items():
        assert float(value) == pytest.approx(float(r[field]), rel=1e-15), field


@pytest.mark.parametrize("a", [1e-20, 1e-80, 1e-100])
@pytest.mark.parametrize(("family", "energy"), [("tanh", 4 / 3), ("erf", np.sqrt(8 / np.pi)), ("softsign", 2 / 3)])
def test_what_is_all_but_a_step_has_its_edge_and_is_not_taken_for_linear(family, energy, a):
    """phi' is a spike of energy a int phi'(t)^2 dt: 1 / sigma_w2 is that times the density at 0, and q* = sigma_b2."""
    net = mf.edge_of_chaos(act.scaled(act.get(family), a), sigma_b2=0.1)
    assert net.q == pytest.approx(0.1, rel=1e-15)
    assert net.sigma_w2 == pytest.approx(np.sqrt(2 * np.pi * 0.1) / (a * energy), rel=1e-12)


def test_a_tail_that_falls_slowly_costs_no_digits_far_out():
    """softsign at sigma_b2 = 10^8: r(q) to 40 digits at the point found is sigma_b2 to 7e-16."""
    assert mf.edge_of_chaos(act.softsign(), sigma_b2=1e8).q == pytest.approx(100037553.87157369, rel=1e-14)
