"""Kernels of infinitely wide networks: references, closed forms, sampled networks, limits, and the regression."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo import CRITICAL, bias_variances, correlations, family_members, label

from afli import activations as act
from afli import kernels
from afli import meanfield as mf
from afli.errors import ConvergenceError

RECORDS = json.loads((Path(__file__).parent / "reference" / "kernels.json").read_text(encoding="utf-8"))
SIZE = {"width": 300, "in_features": 3072}


def network(record: dict[str, Any]) -> mf.MeanField:
    family = {"abs": "abs_"}.get(record["act"], record["act"].lower())
    phi = act.get(family) if record["a"] is None else act.get(family, a=float(record["a"]))
    if record["vw"] is None:
        return mf.edge_of_chaos(phi, sigma_b2=float(record["vb"]))
    return mf.MeanField(phi, sigma_w2=float(record["vw"]), sigma_b2=float(record["vb"]))


# --- Values ---


NETWORKS = sorted({(r["act"], r["a"], r["vb"], r["vw"]) for r in RECORDS}, key=str)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_every_reference_value_is_met_to_nine_digits(case: tuple[Any, ...]) -> None:
    net = network(dict(zip(("act", "a", "vb", "vw"), case, strict=True)))
    records = [r for r in RECORDS if (r["act"], r["a"], r["vb"], r["vw"]) == case]
    for depth in {r["depth"] for r in records}:
        here = [r for r in records if r["depth"] == depth]
        rho = np.array([float(r["rho"]) for r in here])
        nngp = np.array([float(r["nngp"]) for r in here])
        np.testing.assert_allclose(kernels.nngp(net, rho, depth), nngp, rtol=1e-9, atol=1e-9 * net.q)
        for name in kernels.PARAMETRISATIONS:
            expected = np.array([float(r[name]) for r in here])
            # Where the kernel may change sign it is measured by its diagonal.
            slack = np.where(rho < 0, kernels.ntk(net, 1.0, depth, **SIZE, parametrisation=name), 0.0)
            found = kernels.ntk(net, rho, depth, **SIZE, parametrisation=name)
            assert (np.abs(found - expected) <= 1e-9 * np.maximum(np.abs(expected), slack)).all()


def test_relu_is_the_arc_cosine_kernel() -> None:
    """Cho and Saul's recursion, and its tangent kernel, written out."""
    net, rho = mf.edge_of_chaos(act.relu(), sigma_b2=0.0), np.linspace(-0.99, 0.99, 41)
    c, theta, close = rho, rho, {"rtol": 1e-12, "atol": 1e-14}
    for depth in range(1, 8):
        angle = np.arccos(c)
        slope = 1 - angle / np.pi
        c = (np.sin(angle) + (np.pi - angle) * c) / np.pi
        theta = slope * theta + c
        np.testing.assert_allclose(kernels.nngp(net, rho, depth), c, **close)
        np.testing.assert_allclose(kernels.ntk(net, rho, depth, **SIZE, parametrisation="ntk"), theta, **close)


def test_erf_is_the_arc_sine_kernel() -> None:
    net, rho = mf.edge_of_chaos(act.erf(), sigma_b2=0.2), np.linspace(-1, 1, 41)
    q, w, b = net.q, net.sigma_w2, net.sigma_b2
    share = 2 * q / (1 + 2 * q)
    c = ((q - b) * rho + b) / q
    theta = q * c
    for depth in range(1, 8):
        slope = w * 4 / np.pi / (1 + 2 * q) / np.sqrt(1 - (share * c) ** 2)
        c = (w * 2 / np.pi * np.arcsin(share * c) + b) / q
        theta = slope * theta + q * c
        np.testing.assert_allclose(kernels.nngp(net, rho, depth), q * c, rtol=1e-10)
        np.testing.assert_allclose(kernels.ntk(net, rho, depth, **SIZE, parametrisation="ntk"), theta, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("phi", CRITICAL, ids=label)
def test_the_diagonal_is_the_sum_of_what_each_layer_adds(phi: act.Activation) -> None:
    """On the edge of chaos R'(1) = 1: depth times the mean square of the activations."""
    net, depth = mf.edge_of_chaos(phi, sigma_b2=0.1), 1000
    square = (net.q - net.sigma_b2) / net.sigma_w2
    expected = (SIZE["in_features"] + depth * SIZE["width"]) * square + depth + 1
    assert kernels.ntk(net, 1.0, depth, **SIZE) == pytest.approx(expected, rel=1e-11)
    assert kernels.ntk(net, 1.0, depth, **SIZE, parametrisation="ntk") == pytest.approx((depth + 1) * net.q, rel=1e-11)
    assert kernels.nngp(net, 1.0, depth) == net.q


def test_a_linear_network_has_a_linear_kernel() -> None:
    net, rho, depth = mf.edge_of_chaos(act.linear(), sigma_b2=0.0), np.linspace(-1, 1, 9), 30
    np.testing.assert_allclose(kernels.nngp(net, rho, depth), rho, atol=1e-13)
    expected = (SIZE["in_features"] + depth * SIZE["width"]) * rho + depth + 1
    np.testing.assert_allclose(kernels.ntk(net, rho, depth, **SIZE), expected, rtol=1e-11)


def test_a_large_linear_radius_gives_an_affine_kernel() -> None:
    """As a grows the curvature of the kernel over its slope goes to 0 (rho from -0.5 to 0.5)."""
    bends = []
    for a in (5.0, 20.0, 100.0, 1000.0):
        net = mf.edge_of_chaos(act.shtanh(a=a), sigma_b2=0.1)
        low, mid, high = kernels.ntk(net, [-0.5, 0.0, 0.5], 20, **SIZE)
        bends.append(abs(low - 2 * mid + high) / (high - low))
    assert all(later < 0.6 * earlier for earlier, later in pairwise(bends))
    assert bends[-1] < 0.01


@pytest.mark.slow
@given(phi=family_members(), sigma_b2=bias_variances, rho=correlations)
def test_nngp_is_the_correlation_trajectory(phi: act.Activation, sigma_b2: float, rho: float) -> None:
    net = mf.edge_of_chaos(phi, sigma_b2=sigma_b2)
    first = ((net.q - sigma_b2) * rho + sigma_b2) / net.q
    expected = net.q * net.correlation_trajectory(np.clip(first, -1, 1), 6)[-1]
    assert kernels.nngp(net, rho, 6) == pytest.approx(expected, abs=1e-10 * net.q)


@pytest.mark.parametrize("phi", [act.relu(), act.tanh(), act.abs_(), act.elu(), act.shtanh(1.0)], ids=label)
def test_the_variance_of_a_homogeneous_network_and_the_shape_of_rho_do_not_matter(phi: act.Activation) -> None:
    net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.1)
    rho = np.array([[-1.0, 0.2], [0.7, 1.0]])
    table = kernels.ntk(net, rho, 12, **SIZE)
    assert table.shape == rho.shape
    for r, value in zip(rho.flat, table.flat, strict=True):
        assert kernels.ntk(net, float(r), 12, **SIZE) == pytest.approx(value, rel=1e-13)
    assert isinstance(kernels.nngp(net, 0.5, 3), float)


# --- Sampled networks ---


def sampled_kernels(net: mf.MeanField, x: Any, depth: int, width: int, weights: str, trials: int) -> tuple[Any, Any]:
    """Outputs' second moments and empirical tangent kernels of random networks with one logit: (trials, n, n) each.

    The tangent kernel is summed layer by layer from backpropagated derivatives, in float64.
    """
    rng, phi, found = np.random.default_rng(3), net.phi, []
    sizes = [x.shape[1], *[width] * depth, 1]
    for _ in range(trials):
        z, inputs, slopes, matrices = x.T, [], [], []
        for fan_in, fan_out in pairwise(sizes):
            if weights == "gaussian" or fan_out == 1:
                w = rng.normal(0, (net.sigma_w2 / fan_in) ** 0.5, (fan_out, fan_in))
            else:
                unitary, triangle = np.linalg.qr(rng.normal(size=(max(fan_out, fan_in), min(fan_out, fan_in))))
                unitary = unitary * np.sign(np.diag(triangle))
                w = (unitary if fan_out >= fan_in else unitary.T) * (net.sigma_w2 * max(1.0, fan_out / fan_in)) ** 0.5
            h = w @ z + rng.normal(0, net.sigma_b2**0.5, (fan_out, 1))
            inputs.append(z)
            matrices.append(w)
            slopes.append(phi.derivative(h))
            z = phi(h)
        tangent, delta = np.zeros((x.shape[0],) * 2), np.ones((1, x.shape[0]))
        for layer in reversed(range(depth + 1)):
            tangent += (delta.T @ delta) * (inputs[layer].T @ inputs[layer] + 1)
            if layer:
                delta = (matrices[layer].T @ delta) * slopes[layer - 1]
        # Given all layers but the head the logit is Gaussian: its covariance is known without sampling the head.
        found.append((net.sigma_w2 * inputs[-1].T @ inputs[-1] / width + net.sigma_b2, tangent))
    nngp, tangent = (np.array(values) for values in zip(*found, strict=True))
    return nngp, tangent


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["orthogonal", "gaussian"])
@pytest.mark.parametrize("phi", [act.shtanh(a=2.0), act.tanh(), act.relu()], ids=label)
def test_wide_random_networks_have_these_kernels(phi: act.Activation, weights: str) -> None:
    """Width 500, depth 4, 12 networks: within four standard errors, and 2% for the finite width."""
    net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.1)
    depth, width, trials, features = 4, 500, 12, 40
    rng = np.random.default_rng(1)
    base = rng.normal(size=features)
    x = np.array([base, base + 0.3 * rng.normal(size=features), rng.normal(size=features)])
    x *= (features * (net.q - net.sigma_b2) / net.sigma_w2) ** 0.5 / np.linalg.norm(x, axis=1, keepdims=True)
    rho = kernels.cosines(x)
    nngp, tangent = sampled_kernels(net, x, depth, width, weights, trials)
    expected = kernels.nngp(net, rho, depth), kernels.ntk(net, rho, depth, width=width, in_features=features)
    for sample, value in zip((nngp, tangent), expected, strict=True):
        allowed = 4 * sample.std(axis=0, ddof=1) / trials**0.5 + 0.02 * value[0, 0]
        assert (np.abs(sample.mean(axis=0) - value) <= allowed).all()


# --- Composed functions and Gram matrices ---


@pytest.mark.parametrize("phi", [act.relu(), act.tanh(), act.shtanh(1.0), act.ssine(1.0), act.elu()], ids=label)
@pytest.mark.parametrize("depth", [1, 20, 200])
def test_a_composed_function_is_the_kernel(phi: act.Activation, depth: int) -> None:
    net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.1)
    rho = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 200), 1 - np.geomspace(1e-14, 1e-2, 50), [1.0, -1.0]])
    for function, exact in (
        (kernels.nngp_function(net, depth), kernels.nngp(net, rho, depth)),
        (kernels.ntk_function(net, depth, **SIZE), kernels.ntk(net, rho, depth, **SIZE)),
    ):
        scale = np.maximum(np.abs(exact), np.median(np.abs(exact)))
        assert np.max(np.abs(function(rho) - exact) / scale) <= 1e-9
        assert function.error <= 1e-10
        assert function(np.ones(1))[0] == function.at_one == exact[-2]


def test_gram_matrices_are_positive_definite_and_permute_with_the_inputs() -> None:
    x = np.random.default_rng(0).normal(size=(120, 10))
    order = np.random.default_rng(1).permutation(120)
    for phi in (act.shtanh(1.0), act.relu(), act.tanh()):
        net = mf.edge_of_chaos(phi, sigma_b2=0.0 if phi.is_homogeneous else 0.1)
        for function in (kernels.nngp_function(net, 20), kernels.ntk_function(net, 20, **SIZE)):
            gram = function(kernels.cosines(x))
            assert np.linalg.eigvalsh(gram)[0] > 1e-6 * gram[0, 0]
            np.testing.assert_allclose(function(kernels.cosines(x[order])), gram[np.ix_(order, order)], rtol=1e-8)
            np.testing.assert_allclose(function(kernels.cosines(3 * x, x)), gram, rtol=1e-6)


def test_values_may_replace_the_cosines_they_come_from() -> None:
    function = kernels.nngp_function(mf.edge_of_chaos(act.tanh(), sigma_b2=0.1), 10)
    rho = kernels.cosines(np.random.default_rng(0).normal(size=(300, 5)))
    expected = function(rho)
    assert function(rho, out=rho) is rho
    np.testing.assert_array_equal(rho, expected)
    assert function(np.float32([0.5, 1.0])).dtype == np.float64
    long = np.zeros(100_000)
    long[-1] = 1.5
    with pytest.raises(ValueError, match="rho"):
        function(long, out=long)
    assert not long[:-1].any()  # nothing was written before all was read


def test_a_bias_that_hardly_counts_is_not_lost_at_opposite_inputs() -> None:
    """Of an odd activation K(-1) / q* + 1 is 2 sigma_b2 / q* after the first layer; chaos then multiplies it."""
    found = []
    for sigma_b2 in (2e-12, 5e-13):
        net = mf.MeanField(act.shtanh(a=1.0), sigma_w2=3.0, sigma_b2=sigma_b2)
        found.append([(kernels.nngp(net, -1.0, depth) / net.q + 1) / sigma_b2 for depth in (1, 3)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-2)  # 2^-52 / 5e-13 is 4e-4, and there are several layers


def test_deep_chaos_is_refused_by_the_table_and_then_by_the_floats() -> None:
    net = mf.MeanField(act.shtanh(a=1.0), sigma_w2=40.0, sigma_b2=0.0)
    with pytest.raises(ConvergenceError, match="turns too quickly"):
        kernels.ntk_function(net, 30, **SIZE)
    with pytest.raises(ConvergenceError, match="range of a float"):
        kernels.ntk(net, 1.0, 1000, **SIZE)


# --- Regression ---


@pytest.fixture(scope="module")
def problem() -> tuple[Any, Any, Any]:
    """A Gram matrix, the kernel to ten other inputs, and targets of two outputs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(60, 2))
    function = kernels.ntk_function(mf.edge_of_chaos(act.tanh(), sigma_b2=0.1), 10, width=20, in_features=8)
    return function(kernels.cosines(x)), function(kernels.cosines(rng.normal(size=(10, 8)), x)), y


def test_leaving_one_out_is_what_its_name_says(problem: tuple[Any, Any, Any]) -> None:
    gram, _, y = problem
    ridges = [1e-2 * gram[0, 0], gram[0, 0]]
    spectral = kernels.KernelRegression(gram)
    predictions = spectral.leave_one_out(y, ridges)
    for ridge, found in zip(ridges, predictions, strict=True):
        weights, by_cholesky = kernels.leave_one_out(gram, y, ridge)
        np.testing.assert_allclose(by_cholesky, found, atol=1e-10)
        np.testing.assert_allclose(spectral.weights(y, ridge), weights, rtol=1e-8)
        np.testing.assert_allclose(gram @ weights + ridge * weights, y, atol=1e-10)
        for i in (0, 17):
            rest = np.arange(60) != i
            others = np.linalg.solve(gram[np.ix_(rest, rest)] + ridge * np.eye(59), y[rest])
            np.testing.assert_allclose(found[i], gram[i, rest] @ others, atol=1e-9)


def test_gradient_descent_takes_these_steps(problem: tuple[Any, Any, Any]) -> None:
    gram, cross, y = problem
    stable = kernels.stable_rate(gram)
    assert stable == pytest.approx(120 / np.linalg.eigvalsh(gram)[-1], rel=1e-10)
    for rate in (1e-6 * stable, 0.3 * stable, 0.9 * stable, 1.01 * stable):
        outputs, elsewhere, path = np.zeros_like(y), np.zeros((10, 2)), []
        for _ in range(41):
            path.append(elsewhere)
            push = rate / 60 * (y - outputs)
            outputs, elsewhere = outputs + gram @ push, elsewhere + cross @ push
        found = kernels.after_steps(gram, cross, y, rate=rate, steps=[0, 1, 40])
        np.testing.assert_allclose(found, [path[0], path[1], path[40]], rtol=1e-8, atol=1e-12)


def test_training_is_stable_below_the_rate_and_grows_above(problem: tuple[Any, Any, Any]) -> None:
    gram, _, y = problem
    stable = kernels.stable_rate(gram)
    end = {f: kernels.after_steps(gram, gram, y, rate=f * stable, steps=5000) for f in (0.99, 1.01)}
    assert np.abs(end[0.99] - y).max() < np.abs(y).max()
    assert np.abs(end[1.01] - y).max() > 1e6


def test_training_to_the_end_is_regression_without_ridge(problem: tuple[Any, Any, Any]) -> None:
    gram, cross, y = problem
    end = kernels.after_steps(gram, cross, y, rate=0.9 * kernels.stable_rate(gram), steps=10**9)
    np.testing.assert_allclose(end, cross @ np.linalg.solve(gram, y), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_a_singular_matrix_is_what_its_ridge_makes_of_it(scale: float) -> None:
    """(J + r I)^-1 e_1 = (e_1 - 1 / (3 + r)) / r for the matrix J of ones, N = 3; left out, the mean of the others."""
    ones, y = scale * np.ones((3, 3)), np.eye(3)[:, :1]
    for ridge in (1e-18, 1e-3, 10.0):
        exact = (y - 1 / (3 + ridge)) / ridge
        weights, left_out = kernels.leave_one_out(ones, y, scale * ridge)
        np.testing.assert_allclose(scale * weights, exact, rtol=1e-11)
        np.testing.assert_allclose(scale * kernels.KernelRegression(ones).weights(y, scale * ridge), exact, rtol=1e-11)
        np.testing.assert_allclose(left_out, np.array([[0], [1], [1]]) / (2 + ridge), atol=1e-11)
        others = kernels.KernelRegression(ones).leave_one_out(y, [scale * ridge])[0]
        np.testing.assert_allclose(others, left_out, atol=1e-11)


def test_a_ridge_within_rounding_is_the_same_by_both_ways() -> None:
    x = np.random.default_rng(0).normal(size=(20, 5))
    gram, y = x @ x.T, np.eye(20)[:, :2]
    for ridge in (1e-15, 1e-14):
        weights, left_out = kernels.leave_one_out(gram, y, ridge)
        spectral = kernels.KernelRegression(gram)
        np.testing.assert_array_equal(weights, spectral.weights(y, ridge))
        np.testing.assert_array_equal(left_out, spectral.leave_one_out(y, ridge)[0])


def test_no_steps_at_all_give_no_predictions() -> None:
    assert kernels.after_steps(np.eye(3), np.ones((2, 3)), np.ones((3, 1)), rate=1.0, steps=[]).shape == (0, 2, 1)


def test_what_leaves_the_range_of_a_float_is_refused_and_what_underflows_is_nothing() -> None:
    theta, y = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[1.0], [0.0]])
    with np.errstate(all="raise"):
        end = kernels.after_steps(theta, theta, y, rate=0.5, steps=[10**6, 2**60])
        np.testing.assert_allclose(end, [y, y], atol=1e-14)
        with pytest.raises(ConvergenceError, match=r"predictions at rate=10, stable below 1\.33333"):
            kernels.after_steps(theta, theta, y, rate=10.0, steps=[10**4])
        with pytest.raises(ConvergenceError, match="weights"):
            kernels.KernelRegression(np.ones((2, 2))).weights(y, 1e-310)


@pytest.mark.parametrize("n", [1, 2, 4, 150])
def test_the_stable_rate_of_simple_matrices(n: int) -> None:
    assert kernels.stable_rate(np.eye(n)) == pytest.approx(2 * n, rel=1e-12)
    assert kernels.stable_rate(np.ones((n, n))) == pytest.approx(2.0, rel=1e-12)
    for wrong in (np.zeros((n, n)), -np.eye(n)):
        with pytest.raises(ValueError, match=r"^theta must"):
            kernels.stable_rate(wrong)


def test_cosines_do_not_see_the_lengths_of_the_rows() -> None:
    with np.errstate(all="raise"):
        for scale in (1e-162, 1e155, 1e308):
            rows = [[0.3 * scale, 0.4 * scale], [0.0, 1.0]]
            np.testing.assert_allclose(kernels.cosines(rows), [[1.0, 0.8], [0.8, 1.0]], rtol=1e-15)


def test_a_depth_that_takes_long_is_refused_with_the_one_that_does_not() -> None:
    for call in (
        lambda: kernels.nngp(NET, 0.5, 10**9),
        lambda: kernels.ntk(NET, 0.5, 2**53, **SIZE),
        lambda: kernels.nngp_function(NET, 10**9),
        lambda: kernels.ntk_function(NET, 10**9, **SIZE),
        lambda: NET.correlation_trajectory(0.5, 10**7),
    ):
        with pytest.raises(ValueError, match=r"depth must be at most [0-9]{4,5}"):
            call()


# --- Bad input ---


NET = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1)
BUFFER = np.zeros(5)
SKEW = np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, -0.5, 1, 0], [0, 0, 0, 1]])  # symmetric in its first and last row


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: kernels.nngp("net", 0.5, 3), TypeError, "net"),
        (lambda: kernels.nngp(NET, 1.5, 3), ValueError, "rho"),
        (lambda: kernels.nngp(NET, np.nan, 3), ValueError, "rho"),
        (lambda: kernels.nngp(NET, "a", 3), TypeError, "rho"),
        (lambda: kernels.nngp(NET, 0.5, 0), ValueError, "depth"),
        (lambda: kernels.nngp(NET, 0.5, 2.0), TypeError, "depth"),
        (lambda: kernels.ntk(NET, 0.5, 3, width=0, in_features=5), ValueError, "width"),
        (lambda: kernels.ntk(NET, 0.5, 3, width=5, in_features=True), TypeError, "in_features"),
        (lambda: kernels.ntk(NET, 0.5, 3, **SIZE, parametrisation="mu"), ValueError, "parametrisation"),
        (lambda: kernels.nngp_function(NET, -1), ValueError, "depth"),
        (lambda: kernels.nngp_function(NET, 3)([0.0, 1.1]), ValueError, "rho"),
        (lambda: kernels.nngp_function(NET, 3)([0.0, np.nan]), ValueError, "rho"),
        (lambda: kernels.nngp_function(NET, 3)(["a"]), TypeError, "rho"),
        (lambda: kernels.nngp_function(NET, 3)(np.zeros(3), out=np.zeros(4)), ValueError, "out"),
        (lambda: kernels.nngp_function(NET, 3)(np.zeros(3), out=np.zeros(3, int)), TypeError, "out"),
        (lambda: kernels.nngp_function(NET, 3)(np.zeros(3), out=np.zeros(3, np.float32)), TypeError, "out"),
        (lambda: kernels.nngp_function(NET, 3)(np.zeros(3), out=[0.0, 0.0, 0.0]), TypeError, "out"),
        (lambda: kernels.nngp_function(NET, 3)(BUFFER[1:], out=BUFFER[:-1]), ValueError, "out"),
        (lambda: kernels.nngp_function(NET, 3)(BUFFER.view(np.float32)[:5], out=BUFFER), ValueError, "out"),
        (lambda: kernels.nngp_function(NET, 3)(np.ma.masked_array([0.0, 0.1], [0, 1])), ValueError, "rho"),
        (lambda: kernels.cosines(np.zeros((2, 3))), ValueError, "x"),
        (lambda: kernels.cosines(np.zeros((2, 0))), ValueError, "x"),
        (lambda: kernels.cosines(np.ones(3)), ValueError, "x"),
        (lambda: kernels.cosines(np.ones((2, 3)), np.ones((2, 4))), ValueError, "x and y"),
        (lambda: kernels.stable_rate(np.ones((2, 3))), ValueError, "theta"),
        (lambda: kernels.stable_rate(np.triu(np.ones((4, 4)))), ValueError, "theta"),
        (lambda: kernels.KernelRegression(SKEW), ValueError, "gram"),
        (lambda: kernels.KernelRegression(1e-12 * SKEW), ValueError, "gram"),
        (lambda: kernels.stable_rate(SKEW), ValueError, "theta"),
        (lambda: kernels.stable_rate(np.array([[0, 1], [1, 0]])), ValueError, "theta"),
        (lambda: kernels.leave_one_out(-np.eye(3), np.ones((3, 1)), 1e-3), ValueError, "gram"),
        (lambda: kernels.leave_one_out(-np.eye(3), np.ones((3, 1)), 10.0), ValueError, "gram"),
        (lambda: kernels.leave_one_out([[0, 1], [1, 0]], np.ones((2, 1)), 2.0), ValueError, "gram"),
        (lambda: kernels.leave_one_out(np.eye(3), np.ones(3), 1.0), ValueError, "targets"),
        (lambda: kernels.leave_one_out(np.eye(3), np.ones((3, 1)), 0.0), ValueError, "ridge"),
        (lambda: kernels.KernelRegression(-np.eye(3)), ValueError, "gram"),
        (lambda: kernels.KernelRegression(np.eye(3)).leave_one_out(np.ones((3, 1)), [0.0]), ValueError, "ridges"),
        (lambda: kernels.KernelRegression(np.eye(3)).leave_one_out(np.ones((3, 1)), [[1.0]]), ValueError, "ridges"),
        (lambda: kernels.after_steps(np.eye(3), np.eye(2), np.ones((3, 1)), rate=1.0, steps=1), ValueError, "cross"),
        (lambda: kernels.after_steps(np.eye(3), np.eye(3), np.ones((3, 1)), rate=0.0, steps=1), ValueError, "rate"),
        (lambda: kernels.after_steps(np.eye(3), np.eye(3), np.ones((3, 1)), rate=1.0, steps=-1), ValueError, "steps"),
        (lambda: kernels.after_steps(np.eye(3), np.eye(3), np.ones((3, 1)), rate=1.0, steps=1.5), ValueError, "steps"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call: Any, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=rf"^{named}\b"):
        call()


@pytest.mark.parametrize("value", [st.floats(1.0001, 1e6)])
@given(data=st.data())
def test_no_cosine_above_one_gives_a_number(value: Any, data: Any) -> None:
    with pytest.raises(ValueError, match="rho"):
        kernels.ntk(NET, data.draw(value), 2, **SIZE)
