"""Sampled networks: the weights have the distribution they claim, and the recurrences are those of the paper."""

from __future__ import annotations

import numpy as np
import pytest

from afli import activations as act
from afli import meanfield as mf
from afli import sampling

NET = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1)


def layers_of(sizes, seed=0, weights="gaussian"):
    return list(sampling.standard_layers(sizes, weights=weights, rng=np.random.default_rng(seed)))


# --- Weights ---


@pytest.mark.parametrize("shape", [(40, 40), (60, 25), (25, 60)])
def test_orthogonal_weights_have_orthonormal_rows_or_scaled_orthonormal_columns(shape):
    n_out, n_in = shape
    w = sampling.standard_weights(n_out, n_in, weights="orthogonal", rng=np.random.default_rng(1))
    assert w.shape == shape
    gram, size = (w @ w.T, 1.0) if n_out <= n_in else (w.T @ w, n_out / n_in)
    np.testing.assert_allclose(gram, size * np.eye(min(shape)), atol=1e-12)


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
@pytest.mark.parametrize("shape", [(30, 30), (50, 20), (20, 50)])
def test_weights_keep_the_variance_per_unit(weights, shape):
    n_out, n_in = shape
    rng = np.random.default_rng(2)
    z = rng.standard_normal(n_in)
    kept = [np.sum((sampling.standard_weights(*shape, weights=weights, rng=rng) @ z) ** 2) / n_out for _ in range(800)]
    error = np.std(kept, ddof=1) / np.sqrt(800)
    assert abs(np.mean(kept) - z @ z / n_in) < 4 * error + 1e-12


def test_orthogonal_weights_are_haar_distributed():
    # For a Haar matrix E tr W = 0 and E (tr W)^2 = 1 in every dimension; QR without the sign fix has a biased trace.
    rng = np.random.default_rng(3)
    traces = np.array([np.trace(sampling.standard_weights(5, 5, weights="orthogonal", rng=rng)) for _ in range(4000)])
    assert abs(traces.mean()) < 4 * traces.std() / np.sqrt(4000)
    assert abs(np.mean(traces**2) - 1) < 4 * np.std(traces**2) / np.sqrt(4000)


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
def test_single_precision_stays_single(weights):
    rng = np.random.default_rng(4)
    pairs = list(sampling.standard_layers([8, 12, 12, 6], weights=weights, rng=rng, dtype=np.float32))
    assert [w.shape for w, _ in pairs] == [(12, 8), (12, 12), (6, 12)]
    assert all(w.dtype == b.dtype == np.float32 for w, b in pairs)
    x = sampling.on_sphere(NET, np.ones((2, 8), dtype=np.float32))
    assert all(h.dtype == np.float32 for h in sampling.preactivations(NET, x, pairs))


def test_bad_arguments_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="weights must be one of 'gaussian', 'orthogonal', got 'haar'"):
        sampling.standard_weights(3, 3, weights="haar", rng=rng)
    with pytest.raises(ValueError, match="n_in"):
        sampling.standard_weights(3, 0, rng=rng)
    with pytest.raises(TypeError, match="rng must be a numpy Generator"):
        sampling.standard_weights(3, 3, rng=7)
    with pytest.raises(ValueError, match="depth"):
        sampling.singular_values(NET, width=4, depth=0, rng=rng)
    with pytest.raises(ValueError, match="input 1 of x is zero"):
        sampling.on_sphere(NET, np.array([[1.0, 2.0], [0.0, 0.0]]))


# --- The recurrences ---


def test_inputs_on_the_sphere_give_variance_q_in_the_first_layer():
    n = 400
    x = sampling.on_sphere(NET, np.random.default_rng(5).standard_normal((1, n)))
    assert NET.sigma_w2 * float(np.mean(x**2)) + NET.sigma_b2 == pytest.approx(NET.q, rel=1e-14)


def test_forward_pass_is_equation_1_unit_by_unit():
    layers = layers_of([3, 5, 4])
    x = np.random.default_rng(6).standard_normal((2, 3))
    measured = list(sampling.preactivations(NET, x, layers))
    for p in range(2):
        z = x[p]
        for level, (w, b) in enumerate(layers):
            h = [
                sum(np.sqrt(NET.sigma_w2) * w[i, j] * z[j] for j in range(len(z))) + np.sqrt(NET.sigma_b2) * b[i]
                for i in range(len(b))
            ]
            np.testing.assert_allclose(measured[level][p], h, rtol=1e-12)
            z = np.tanh(h)


@pytest.mark.parametrize("weights", sampling.WEIGHTS)
def test_jacobian_is_the_derivative_of_the_output(weights):
    layers = layers_of([6, 9, 7], weights=weights)
    x, step = np.random.default_rng(7).standard_normal(6), 1e-5

    def output(v):
        *_, last = sampling.preactivations(NET, v[None], layers)
        return np.tanh(last[0])

    columns = [(output(x + step * e) - output(x - step * e)) / (2 * step) for e in np.eye(6)]
    np.testing.assert_allclose(sampling.jacobian(NET, x, layers), np.array(columns).T, atol=1e-8)


def test_errors_going_back_are_the_transposed_jacobian_of_the_layers_between():
    layers = layers_of([6, 8, 8, 8])
    x = np.random.default_rng(8).standard_normal((1, 6))
    h = list(sampling.preactivations(NET, x, layers))
    delta = np.random.default_rng(9).standard_normal((1, 8))
    first, second, third = sampling.errors_backward(NET, h, layers, delta)
    np.testing.assert_array_equal(third, delta)
    slopes = [1 - np.tanh(one[0]) ** 2 for one in h]
    root = np.sqrt(NET.sigma_w2)
    np.testing.assert_allclose(second[0], slopes[1] * (root * layers[2][0].T @ third[0]), rtol=1e-12)
    np.testing.assert_allclose(first[0], slopes[0] * (root * layers[1][0].T @ second[0]), rtol=1e-12)


def test_correlations_are_cosines_of_every_pair():
    h = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [-2.0, 0.0, 0.0]])
    np.testing.assert_allclose(sampling.correlations(h), [np.sqrt(0.5), -1.0, -np.sqrt(0.5)], rtol=1e-14)


def test_a_linear_orthogonal_network_is_an_isometry():
    linear = mf.critical_at(act.linear(), q=1.0)
    values = sampling.singular_values(linear, width=30, depth=20, rng=np.random.default_rng(10))
    np.testing.assert_allclose(values, 1.0, atol=1e-12)


def test_the_same_seed_gives_the_same_network():
    for weights in sampling.WEIGHTS:
        for (w, b), (w2, b2) in zip(layers_of([4, 5, 6], 3, weights), layers_of([4, 5, 6], 3, weights), strict=True):
            np.testing.assert_array_equal(w, w2)
            np.testing.assert_array_equal(b, b2)
