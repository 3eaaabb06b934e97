"""Sampled networks: the weights have the distribution they claim, and the recurrences are those of the paper."""

from __future__ import annotations

import inspect

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


# --- Bad input ---


LAYERS, RNG, X = layers_of([3, 4]), np.random.default_rng(0), np.ones((2, 3))
REFUSED = [
    (
        lambda: sampling.standard_weights(3, 3, weights="haar", rng=RNG),
        "weights must be 'gaussian' or 'orthogonal', got",
    ),
    (lambda: sampling.standard_weights(3, 3, weights=["gaussian"], rng=RNG), "weights must be 'gaussian' or"),
    (lambda: sampling.standard_weights(3, 3, weights=np.array(["gaussian"]), rng=RNG), "weights must be 'gaussian' or"),
    (lambda: sampling.standard_weights(3, 0, rng=RNG), "n_in must be at least 1, got 0"),
    (lambda: sampling.standard_weights(3.0, 3, rng=RNG), "n_out must be an integer, got 3.0"),
    (lambda: sampling.standard_weights(3, 3, rng=7), "rng must be a numpy Generator"),
    (lambda: sampling.standard_weights(3, 3, rng=RNG, dtype=np.float16), "dtype must be float64 or float32, got "),
    (lambda: sampling.standard_weights(3, 3, rng=RNG, dtype="no type"), "dtype must be float64 or float32, got "),
    (
        lambda: sampling.standard_layers([], rng=RNG),
        r"sizes must hold the number of inputs and a width per layer, got \[\]",
    ),
    (lambda: sampling.standard_layers([3], rng=RNG), "sizes must hold the number of inputs and a width per layer"),
    (lambda: sampling.standard_layers("7", rng=RNG), "sizes must be a sequence of integers, got '7'"),
    (lambda: sampling.standard_layers(7, rng=RNG), "sizes must be a sequence of integers, got 7"),
    (lambda: sampling.standard_layers([3, -1], rng=RNG), r"sizes\[1\] must be at least 1, got -1"),
    (lambda: sampling.standard_layers([3, 3], rng=None), "rng must be a numpy Generator"),
    (lambda: sampling.on_sphere(act.tanh(), X), "net must be a MeanField, got "),
    (lambda: sampling.on_sphere(NET, [[1.0, 2.0], [0.0, 0.0]]), "x must have no zero row, got one at index 1"),
    (lambda: sampling.on_sphere(NET, [1.0, 2.0]), r"x must have shape \(inputs, n\), got \(2,\)"),
    (lambda: sampling.on_sphere(NET, [[1.0, np.nan]]), "x must be finite, got nan"),
    (lambda: sampling.on_sphere(NET, [["1"]]), "x must be a real number"),
    (lambda: sampling.preactivations(NET, [1.0], LAYERS), r"x must have shape \(inputs, n\), got \(1,\)"),
    (
        lambda: list(sampling.preactivations(NET, np.ones((2, 4)), LAYERS)),
        r"W and b of layer 1 must have shapes \(units, 4",
    ),
    (lambda: list(sampling.preactivations(NET, X, [LAYERS[0][0]])), "W and b of layer 1|layers must be pairs"),
    (lambda: list(sampling.preactivations(NET, X, [3])), r"layers must be pairs \(W, b\), got 3 as layer 1"),
    (lambda: list(sampling.preactivations(NET, X, [("ab", "c")])), "W and b of layer 1 must be arrays of real numbers"),
    (
        lambda: list(sampling.preactivations(NET, X, [(np.nan * LAYERS[0][0], LAYERS[0][1])])),
        "the preactivations of layer 1",
    ),
    (lambda: sampling.correlations([[1.0, 0.0], [0.0, 0.0]]), "h must have no zero row, got one at index 1"),
    (lambda: sampling.correlations([1.0, 0.0]), r"h must have shape \(inputs, units\)"),
    (lambda: sampling.correlations([[1j, 0.0]]), "h must be a real number"),
    (
        lambda: sampling.errors_backward(NET, [X], LAYERS, [[1.0]]),
        r"delta must have the shape of h\[-1\], \(2, 3\), got \(1, 1\)",
    ),
    (lambda: sampling.errors_backward(NET, [X, X], LAYERS, X), "h and layers must hold the same layers, one or more"),
    (lambda: sampling.errors_backward(NET, [], [], X), "h and layers must hold the same layers, one or more"),
    (lambda: sampling.errors_backward(NET, 3, LAYERS, X), "h must be a sequence, got 3"),
    (
        lambda: sampling.errors_backward(NET, [X, X], LAYERS + LAYERS, X),
        r"h\[1\] must have shape \(2, 4\), got \(2, 3\)",
    ),
    (lambda: sampling.jacobian(NET, X, LAYERS), r"x must have shape \(n,\), got \(2, 3\)"),
    (lambda: sampling.jacobian(NET, X[0], 3), "layers must be a sequence, got 3"),
    (lambda: sampling.singular_values(NET, width=4, depth=0, rng=RNG), "depth must be at least 1, got 0"),
    (lambda: sampling.singular_values(NET, width=True, depth=2, rng=RNG), "width must be an integer, got True"),
    (lambda: sampling.singular_values(NET, width=4, depth=2, rng=0), "rng must be a numpy Generator"),
    (lambda: sampling.singular_values("net", width=4, depth=2, rng=RNG), "net must be a MeanField, got 'net'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_arguments_are_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_activations_that_leave_the_range_of_a_float_are_reported():
    growing = mf.critical_at(act.from_callable(np.sinh, np.cosh, name="sinh"), q=1.0)
    with pytest.raises(ValueError, match="the preactivations of layer 3 are not finite"):
        list(sampling.preactivations(growing, 50 * np.ones((1, 3)), layers_of([3, 3, 3, 3])))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16])
def test_images_of_integers_are_scaled_as_numbers(dtype):
    images = np.array([[1, 2, 3], [16, 32, 200]], dtype=dtype)
    x = sampling.on_sphere(NET, images)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, sampling.on_sphere(NET, images.astype(float)))
    np.testing.assert_allclose(np.mean(x**2, axis=1), (NET.q - NET.sigma_b2) / NET.sigma_w2, rtol=1e-14)
    np.testing.assert_allclose(x[0] / x[0, 0], [1, 2, 3], rtol=1e-14)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_size_of_an_input_does_not_matter(size):
    x = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, -1.0]])
    np.testing.assert_allclose(sampling.on_sphere(NET, size * x), sampling.on_sphere(NET, x), rtol=1e-14)
    np.testing.assert_allclose(sampling.correlations(size * x), [4 / 14], rtol=1e-14)


BAD = {
    "nothing": None,
    "complex": 1j,
    "an object": object(),
    "nan": float("nan"),
    "negative": -1,
    "a half": 2.5,
    "a word": "Haar",
    "an activation": act.tanh(),
    "masked": np.ma.array(np.ones((2, 3)), mask=True),
    "complex entries": np.array([[1j, 2.0, 3.0]]),
    "objects": np.array([[None, None, None]]),
    "nan in layers": [(np.full((4, 3), np.nan), np.ones(4))],
    "halves of layers": [(np.ones((4, 3)),)],
    "masked layers": [(np.ma.array(np.ones((4, 3)), mask=True), np.ones(4))],
    "three axes": np.ones((2, 3, 1)),
    "infinite": np.full((2, 3), np.inf),
}


def drawn(n_out=3, n_in=4, weights="gaussian", rng=RNG, dtype=np.float64):
    return sampling.standard_weights(n_out, n_in, weights=weights, rng=rng, dtype=dtype)


def drawn_layers(sizes=(3, 4), weights="gaussian", rng=RNG, dtype=np.float64):
    return list(sampling.standard_layers(sizes, weights=weights, rng=rng, dtype=dtype))


def forward(net=NET, x=X, layers=LAYERS):
    return list(sampling.preactivations(net, x, layers))


TWO = layers_of([3, 4, 5])
HEIGHTS = list(sampling.preactivations(NET, X, TWO))


def backward(net=NET, h=tuple(HEIGHTS), layers=TWO, delta=HEIGHTS[-1]):
    return sampling.errors_backward(net, h, layers, delta)


def jacobian(net=NET, x=X[0], layers=LAYERS):
    return sampling.jacobian(net, x, layers)


def values(net=NET, width=4, depth=2, weights="gaussian", rng=RNG):
    return sampling.singular_values(net, width=width, depth=depth, weights=weights, rng=rng)


ARGUMENTS = [
    (function, argument)
    for function in (
        drawn,
        drawn_layers,
        forward,
        backward,
        jacobian,
        values,
        sampling.on_sphere,
        sampling.correlations,
    )
    for argument in inspect.signature(function).parameters
]


@pytest.mark.parametrize(("function", "argument"), ARGUMENTS, ids=lambda v: getattr(v, "__name__", v))
def test_what_cannot_be_meant_is_an_error_that_names_the_argument(function, argument):
    good = {"net": NET, "x": X} if function is sampling.on_sphere else {}
    for name, value in BAD.items():
        if argument == "dtype" and value is None:  # numpy's word for float64
            continue
        with pytest.raises((TypeError, ValueError), match="layer" if argument == "layers" else rf"\b{argument}\b"):
            pytest.fail(f"{name} was taken: {function(**good | {argument: value})}")


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
