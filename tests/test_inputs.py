"""What goes in and what comes out: bad input argument by argument, and numbers of every kind."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest

from afli import activations as act
from afli import bounds, gaussian, isometry, spectrum
from afli import meanfield as mf

PHI, NET = act.shtanh(1.0), mf.edge_of_chaos(act.shtanh(1.0), sigma_b2=0.1)
SMOOTH = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1)
NAN, INF = float("nan"), float("inf")


class Call(NamedTuple):
    """A public function, good arguments for it, and the range of each of its numbers."""

    function: Callable[..., Any]
    good: dict[str, Any]
    ranges: dict[str, str]


# What lies outside each range, and how the message words the range.
OUTSIDE: dict[str, tuple[list[Any], str]] = {
    "real": ([], "finite"),
    ">= 0": ([-1, -1e-300], "finite and >= 0"),
    "> 0": ([0, -0.0, -2.5], "finite and > 0"),
    "length": ([0, -1.0, 1e-101, 1e101], "in [1e-100, 1e+100]"),
    "steepness": ([0, -1.0, 1e-71, 1e71], "in [1e-70, 1e+70]"),
    "slope": ([1e71, -1e71], "in [-1e+70, 1e+70]"),
    "correlation": ([1.0000000000000002, -1.5], "in [-1, 1]"),
    "gain": ([0.0, 1.1, -0.1], "in (0, 1]"),
    "ratio": ([0.0, -1.0, 1e-301, 1e151], "in [1e-300, 1e+150]"),
}
EXPECTATION = {"f": np.tanh, "q": 1.0, "kinks": (0.5,), "scale": 1.0}
PLANE = {"f": np.tanh, "g": np.sin, "rho": 0.5, "q1": 1.0, "q2": 2.0, "kinks_f": (), "kinks_g": (0.1,), "scale": 1.0}
PLANE_RANGES = {"rho": "correlation", "q1": "> 0", "q2": "> 0", "kinks_f": "real", "kinks_g": "real", "scale": "length"}
VARIANCES = {"sigma_w2": ">= 0", "sigma_b2": ">= 0"}
BY_RHO = {"rho": "correlation"}
CALLS = {
    **{
        f"act.{n}": Call(act.FAMILIES[n], {"a": 2.0, "k": 1.0}, {"a": "length", "k": "steepness"})
        for n in ("shtanh", "ssaw")
    },
    **{
        f"act.{n}": Call(act.FAMILIES[n], {"a": 2.0, "k": 1.0}, {"a": "length", "k": "steepness"})
        for n in ("ssine", "sexp")
    },
    "act.elu": Call(act.elu, {"alpha": 1.0}, {"alpha": "steepness"}),
    "act.leaky_relu": Call(act.leaky_relu, {"slope": 0.1}, {"slope": "slope"}),
    "act.scaled": Call(act.scaled, {"phi": PHI, "a": 2.0}, {"a": "length"}),
    "act.from_callable": Call(
        act.from_callable, {"f": np.tanh, "kinks": (1.0,), "scale": 1.0}, {"kinks": "real", "scale": "length"}
    ),
    "phi": Call(lambda z: PHI(z), {"z": 0.3}, {"z": "real"}),
    "phi.derivative": Call(lambda z: PHI.derivative(z), {"z": 0.3}, {"z": "real"}),
    "gaussian.expectation": Call(gaussian.expectation, EXPECTATION, {"q": ">= 0", "kinks": "real", "scale": "length"}),
    "gaussian.expectation2": Call(gaussian.expectation2, PLANE, PLANE_RANGES),
    "mf.variance_map": Call(
        mf.variance_map, {"phi": PHI, "q": 1.0, "sigma_w2": 1.0, "sigma_b2": 0.1}, {"q": ">= 0", **VARIANCES}
    ),
    "mf.chi1": Call(mf.chi1, {"phi": PHI, "q": 1.0, "sigma_w2": 1.0}, {"q": ">= 0", "sigma_w2": ">= 0"}),
    "mf.critical_map": Call(mf.critical_map, {"phi": PHI, "q": 1.0, "sigma_b2": 0.1}, {"q": "> 0", "sigma_b2": ">= 0"}),
    "mf.covariance_map": Call(
        mf.covariance_map,
        {"phi": PHI, "rho": 0.5, "q1": 1.0, "q2": 2.0, "sigma_w2": 1.0, "sigma_b2": 0.1},
        {"rho": "correlation", "q1": "> 0", "q2": "> 0", **VARIANCES},
    ),
    "mf.MeanField": Call(
        mf.MeanField,
        {"phi": PHI, "sigma_w2": 1.5, "sigma_b2": 0.1, "start": 1.0},
        {"sigma_w2": "> 0", "sigma_b2": ">= 0", "start": "> 0"},
    ),
    "mf.edge_of_chaos": Call(mf.edge_of_chaos, {"phi": PHI, "sigma_b2": 0.1}, {"sigma_b2": ">= 0"}),
    "mf.critical_at": Call(mf.critical_at, {"phi": PHI, "q": 1.0}, {"q": "> 0"}),
    "mf.phase_diagram": Call(
        mf.phase_diagram, {"phi": PHI, "sigma_w2": [1.5], "sigma_b2": [0.1]}, {"sigma_w2": "> 0", "sigma_b2": ">= 0"}
    ),
    "net.correlation_map": Call(NET.correlation_map, {"rho": 0.5}, BY_RHO),
    "net.correlation_slope": Call(NET.correlation_slope, {"rho": 0.5}, BY_RHO),
    "net.correlation_gap": Call(NET.correlation_gap, {"rho": 0.5}, BY_RHO),
    "net.correlation_trajectory": Call(NET.correlation_trajectory, {"rho0": 0.5, "depth": 3}, {"rho0": "correlation"}),
    "net.layers_until": Call(
        NET.layers_until, {"target": 0.5, "rho0": 0.2}, {"target": "correlation", "rho0": "correlation"}
    ),
    "isometry.derivative_moment": Call(isometry.derivative_moment, {"phi": PHI, "q": 1.0, "k": 2}, {"q": "> 0"}),
    "isometry.moment_ratio": Call(isometry.moment_ratio, {"phi": PHI, "q": 1.0}, {"q": "> 0"}),
    **{
        f"bounds.{f.__name__}": Call(f, {"y": 0.1}, {"y": "ratio"})
        for f in (bounds.tangent_point, bounds.linear_ratio, bounds.linear_ratio_sharp, bounds.linear_ratio_closed)
    },
    **{
        f"bounds.{f.__name__}": Call(f, {"y": 0.1}, {"y": "ratio"})
        for f in (
            bounds.correlation_gap,
            bounds.correlation_gap_sharp,
            bounds.moment_ratio_gap,
            bounds.moment_ratio_gap_sharp,
        )
    },
    "bounds.linear_radius": Call(
        bounds.linear_radius,
        {"depth": 10, "sigma_b2": 0.1, "correlation_gain": 0.1, "jacobian_variance": 1.0},
        {"sigma_b2": "> 0", "correlation_gain": "gain", "jacobian_variance": "> 0"},
    ),
}
NUMBERS = [(name, argument) for name, call in CALLS.items() for argument in call.ranges]
NOT_NUMBERS = [
    True,
    np.True_,
    1j,
    "1",
    object(),
    Fraction(1, 2),
    [True],
    np.array([1 + 2j]),
    ["1"],
    [[1.0], [1.0, 2.0]],
]
WORDS = {"bool": True, "text": "tanh", "number": 1.0, "nothing": None, "function": np.tanh}


def call(name: str, **changes: Any) -> Any:
    return CALLS[name].function(**CALLS[name].good | changes)


@pytest.mark.parametrize("name", CALLS)
def test_good_arguments_are_good(name):
    call(name)


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=lambda v: type(v).__name__ + str(v)[:9])
def test_what_is_not_a_real_number_is_a_type_error_that_names_the_argument(name, argument, value):
    with pytest.raises(TypeError, match=rf"^{argument} must be "):
        call(name, **{argument: value})


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_what_is_out_of_range_is_a_value_error_with_argument_range_and_value(name, argument):
    outside, words = OUTSIDE[CALLS[name].ranges[argument]]
    for value in [*outside, NAN, INF, -INF, np.float32("nan")]:
        with pytest.raises(ValueError, match=rf"^{argument} must be ") as caught:
            call(name, **{argument: value})
        assert f"{argument} must be {words}, got {float(value)!r}" in str(caught.value)


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_arrays_say_where_they_are_out_of_range_or_that_they_are_not_wanted(name, argument):
    good = np.ravel(CALLS[name].good[argument])[0] if np.size(CALLS[name].good[argument]) else 0.5
    with pytest.raises((TypeError, ValueError), match=rf"^{argument} must be ") as caught:
        call(name, **{argument: [good, NAN]})
    expected = {"at index (1,)", "must be a single number, got an array of shape (2,)"}
    assert any(text in str(caught.value) for text in expected)


@pytest.mark.parametrize("name", [name for name, c in CALLS.items() if "phi" in c.good])
@pytest.mark.parametrize("value", WORDS.values(), ids=WORDS)
def test_phi_must_be_an_activation(name, value):
    with pytest.raises(TypeError, match=r"^phi must be an Activation \(your own: activations.from_callable\), got "):
        call(name, phi=value)


@pytest.mark.parametrize("function", [act.symmetrised, act.check_scaled_bounded])
def test_phi_must_be_an_activation_here_too(function):
    with pytest.raises(TypeError, match=r"^phi must be an Activation"):
        function("tanh")


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n, c in CALLS.items() for a in ("f", "g") if a in c.good])
@pytest.mark.parametrize("value", [True, "tanh", 1.0, None], ids=str)
def test_functions_must_be_callable(name, argument, value):
    with pytest.raises(TypeError, match=rf"^{argument} must be callable, got "):
        call(name, **{argument: value})


INTEGERS = {
    "derivative_moment": (lambda n: isometry.derivative_moment(PHI, 1.0, n), "k", 1),
    "jacobian_moments": (lambda n: isometry.jacobian_moments(NET, n, weights="orthogonal"), "depth", 1),
    "jacobian_variance": (lambda n: isometry.jacobian_variance(NET, n, weights="gaussian"), "depth", 1),
    "backward_variance": (lambda n: isometry.backward_variance(NET, n), "depth", 0),
    "correlation_trajectory": (lambda n: NET.correlation_trajectory(0.1, n), "depth", 0),
    "linear_radius": (lambda n: bounds.linear_radius(n, sigma_b2=0.1, correlation_gain=0.1), "depth", 1),
    "spectrum.atoms": (lambda n: spectrum.atoms(NET, n), "depth", 1),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_depths_and_orders_are_integers_from_a_least_one(name):
    function, argument, least = INTEGERS[name]
    function(least)
    function(np.int64(least + 1))
    for value in (True, 2.0, "2", NAN, None, [2], 1j):
        with pytest.raises(TypeError, match=rf"^{argument} must be an integer, got "):
            function(value)
    for value in (least - 1, -7):
        with pytest.raises(ValueError, match=rf"^{argument} must be at least {least}, got {value}"):
            function(value)


@pytest.mark.parametrize("moments", [isometry.jacobian_moments, isometry.jacobian_variance])
def test_weights_are_gaussian_or_orthogonal(moments):
    for weights in ("Gaussian", "haar", "", None, 3, True, ["gaussian"]):
        with pytest.raises(ValueError, match=r"^weights must be 'gaussian' or 'orthogonal', got "):
            moments(NET, 3, weights=weights)
    with pytest.raises(TypeError, match="weights"):  # no default: the two would have to share one
        moments(NET, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda net, depth: isometry.jacobian_moments(net, depth, weights="orthogonal"),
        lambda net, depth: isometry.jacobian_variance(net, depth, weights="orthogonal"),
        isometry.backward_variance,
        spectrum.atoms,
        spectrum.edge,
        lambda net, depth: spectrum.density(net, depth, 1.0),
    ],
)
@pytest.mark.parametrize("value", [PHI, 3, None, "net"], ids=str)
def test_net_must_be_a_mean_field(function, value):
    with pytest.raises(TypeError, match=r"^net must be a MeanField, got "):
        function(value, 3)


def test_the_axes_of_a_diagram_are_one_dimensional():
    with pytest.raises(ValueError, match=r"must be one-dimensional, got shapes \(1, 1\) and \(1,\)"):
        mf.phase_diagram(PHI, sigma_w2=[[1.0]], sigma_b2=0.1)


def test_arrays_that_do_not_fit_together_are_refused():
    shapes = r"must broadcast together, got shapes \(2,\)"
    with pytest.raises(ValueError, match=rf"^q, sigma_w2, sigma_b2 {shapes}, \(\), \(3,\)$"):
        mf.variance_map(PHI, np.ones(2), sigma_w2=1.0, sigma_b2=np.ones(3))
    with pytest.raises(ValueError, match=rf"^q, sigma_w2 {shapes}, \(3,\)$"):
        mf.chi1(PHI, np.ones(2), sigma_w2=np.ones(3))
    with pytest.raises(ValueError, match=rf"^q, sigma_b2 {shapes}, \(3,\)$"):
        mf.critical_map(PHI, np.ones(2), sigma_b2=np.ones(3))


# --- Numbers of every kind ---


ELEMENTWISE: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "phi": (PHI, 0.5, 1.0),
    "phi.derivative": (PHI.derivative, 0.5, 1.0),
    "smooth phi": (SMOOTH.phi, 0.5, 1.0),
    "scaled": (act.scaled(act.elu(), 3.0), 0.5, 1.0),
    "symmetrised": (act.symmetrised(act.selu()).derivative, 0.5, 0.0),
    "own": (act.from_callable(np.arctan).derivative, 0.5, 1.0),
    "expectation": (lambda x: gaussian.expectation(np.cos, x), 0.5, 1.0),
    "expectation2": (lambda x: gaussian.expectation2(np.cos, np.cos, x, q1=1.0, q2=2.0), 0.5, 1.0),
    "variance_map": (lambda x: mf.variance_map(PHI, x, sigma_w2=1.5, sigma_b2=0.1), 0.5, 1.0),
    "variance_map by bias": (lambda x: mf.variance_map(PHI, 1.0, sigma_w2=1.5, sigma_b2=x), 0.5, 1.0),
    "chi1": (lambda x: mf.chi1(SMOOTH.phi, x, sigma_w2=1.5), 0.5, 1.0),
    "critical_map": (lambda x: mf.critical_map(SMOOTH.phi, x, sigma_b2=0.1), 0.5, 1.0),
    "covariance_map": (lambda x: mf.covariance_map(PHI, x, q1=1.0, q2=2.0, sigma_w2=1.5, sigma_b2=0.1), 0.5, 1.0),
    **{
        f"{kind} {method}": (getattr(net, f"correlation_{method}"), 0.5, 1.0)
        for kind, net in (("piecewise linear", NET), ("smooth", SMOOTH))
        for method in ("map", "slope", "gap")
    },
    "derivative_moment": (lambda x: isometry.derivative_moment(PHI, x, 2), 0.5, 1.0),
    "moment_ratio": (lambda x: isometry.moment_ratio(SMOOTH.phi, x), 0.5, 1.0),
    "linear_ratio": (lambda x: bounds.linear_ratio(x)[0], 0.5, 1.0),
    "linear_ratio_sharp": (lambda x: bounds.linear_ratio_sharp(x)[1], 0.5, 1.0),
    "linear_ratio_closed": (bounds.linear_ratio_closed, 0.5, 1.0),
    "tangent_point": (lambda x: bounds.tangent_point(x)[1], 0.5, 1.0),
    "correlation_gap": (bounds.correlation_gap, 0.5, 1.0),
    "correlation_gap_sharp": (bounds.correlation_gap_sharp, 0.5, 1.0),
    "moment_ratio_gap": (bounds.moment_ratio_gap, 0.5, 1.0),
    "moment_ratio_gap_sharp": (bounds.moment_ratio_gap_sharp, 0.5, 1.0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_number_gives_a_float_and_an_array_gives_the_same_numbers_in_its_shape(name):
    f, x, y = ELEMENTWISE[name]
    one, other = f(x), f(y)
    assert type(one) is type(other) is float
    assert np.isfinite([one, other]).all()
    for array in ([x, y], (x, y), np.array([x, y])):
        together = f(array)
        assert isinstance(together, np.ndarray)
        np.testing.assert_allclose(together, [one, other], rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(f(np.array([[x], [y], [x]])), [[one], [other], [one]], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_every_kind_of_real_number_is_taken_and_float64_comes_back(name):
    f, x, y = ELEMENTWISE[name]
    for number in (np.float64(x), np.float32(x), np.float16(x), np.array(x), np.longdouble(x)):
        assert type(f(number)) is float
        assert f(number) == f(x)
    for whole in (int(y), np.int8(y), np.uint64(y), np.array(int(y))):
        assert type(f(whole)) is float
        assert f(whole) == f(y)
    for dtype in ("float16", "float32", "float64", "longdouble"):
        result = f(np.array([x], dtype=dtype))
        assert result.dtype == np.float64
        assert result.shape == (1,)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_masked_entry_is_no_number(name):
    f, x, y = ELEMENTWISE[name]
    for value in (np.ma.masked, np.ma.array([x, y], mask=[False, True]), np.ma.masked_all(3)):
        with pytest.raises(ValueError, match=r" must not have masked entries, got "):
            f(value)
    result = f(np.ma.array([x, y]))  # of which nothing is masked
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, f([x, y]))


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
def test_a_masked_argument_is_refused_by_name(name, argument):
    with pytest.raises(ValueError, match=rf"^{argument} must not have masked entries"):
        call(name, **{argument: np.ma.array([0.5, 0.2], mask=[True, False])})


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_empty_arrays_come_back_empty_in_their_shape(name):
    f, *_ = ELEMENTWISE[name]
    for shape in ((0,), (0, 3), (2, 0)):
        result = f(np.empty(shape))
        assert result.shape == shape
        assert result.dtype == np.float64
    assert f([]).shape == (0,)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_argument_is_left_as_it_was(name):
    f, x, y = ELEMENTWISE[name]
    array = np.array([x, y])
    array.flags.writeable = False
    f(array)
    np.testing.assert_array_equal(array, [x, y])


def test_scalars_of_every_kind_build_the_same_network():
    for one in (1, np.int32(1), np.float32(1), np.array(1.0)):
        assert mf.edge_of_chaos(PHI, sigma_b2=one).q == mf.edge_of_chaos(PHI, sigma_b2=1.0).q
        assert act.shtanh(one) == PHI


def test_arguments_broadcast():
    q, sigma_w2 = np.array([0.5, 1.0, 2.0]), np.array([[1.0], [2.0]])
    table = mf.variance_map(PHI, q, sigma_w2=sigma_w2, sigma_b2=0.1)
    assert table.shape == (2, 3)
    assert table[1, 2] == mf.variance_map(PHI, 2.0, sigma_w2=2.0, sigma_b2=0.1)
    assert mf.chi1(PHI, q, sigma_w2=sigma_w2).shape == mf.critical_map(PHI, q, sigma_b2=sigma_w2).shape == (2, 3)
    path = NET.correlation_trajectory(np.zeros((2, 3)), 4)
    assert path.shape == (5, 2, 3)
