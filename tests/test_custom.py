"""Activations of one's own: what is said of a function is tested, what is not said is found, against closed forms."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from scipy import integrate, special

from afli import activations as act
from afli import kinks as kink_search
from afli import meanfield as mf


def relu6(z):
    return np.clip(z, 0, 6)


def tanh_of_0_4_z(z):
    return np.tanh(0.4 * z)


SELU = act.selu()
KINKS = {
    "relu": (lambda z: np.maximum(z, 0), (0.0,)),
    "relu6": (relu6, (0.0, 6.0)),
    "hard tanh": (lambda z: np.clip(z, -1, 1), (-1.0, 1.0)),
    "hard tanh, short": (lambda z: np.clip(z, -1e-3, 1e-3), (-1e-3, 1e-3)),
    "hard sigmoid": (lambda z: np.clip(z / 6 + 0.5, 0, 1), (-3.0, 3.0)),
    "hardswish": (lambda z: z * np.clip(z + 3, 0, 6) / 6, (-3.0, 3.0)),
    "softshrink": (lambda z: np.sign(z) * np.maximum(np.abs(z) - 0.5, 0), (-0.5, 0.5)),
    "elu, whose second derivative jumps": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), (0.0,)),
    "celu": (lambda z: np.where(z > 0, z, 2 * np.expm1(np.minimum(z, 0) / 2)), (0.0,)),
    "softsign": (lambda z: z / (1 + np.abs(z)), (0.0,)),
    "selu": (SELU.function, (0.0,)),
    "third derivative": (lambda z: np.tanh(z) + np.maximum(z - 0.7, 0) ** 3, (0.7,)),
    "at the root of 2": (lambda z: np.tanh(z) + np.maximum(z - np.sqrt(2), 0), (np.sqrt(2),)),
    "a thousandth apart": (lambda z: np.abs(z) + 0.1 * np.abs(z - 1e-3), (0.0, 1e-3)),
    "seven": (
        lambda z: np.interp(z, [-3, -2, -1, 0, 1.3, 2.1, 3.7], [0, 1, -1, 0, 1, 0.5, 2]),
        (-3, -2, -1, 0, 1.3, 2.1, 3.7),
    ),
    "far out": (lambda z: np.tanh(z) + np.maximum(z - 43.0, 0), (43.0,)),
}
SMOOTH = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(np.clip(z, -300, 300)) ** 2),
    "tanh(50 z)": (lambda z: np.tanh(50 * z), lambda z: 50 / np.cosh(np.clip(50 * z, -300, 300)) ** 2),
    "tanh(100 z)": (lambda z: np.tanh(100 * z), lambda z: 100 / np.cosh(np.clip(100 * z, -300, 300)) ** 2),
    "sin(100 z)": (lambda z: np.sin(100 * z), lambda z: 100 * np.cos(100 * z)),
    "z sigmoid(50 z)": (
        lambda z: z * special.expit(50 * z),
        lambda z: special.expit(50 * z) * (1 + 50 * z * special.expit(-50 * z)),
    ),
    "mish": (
        lambda z: z * np.tanh(np.logaddexp(0, z)),
        lambda z: (
            np.tanh(np.logaddexp(0, z)) + z * special.expit(z) / np.cosh(np.minimum(np.logaddexp(0, z), 300)) ** 2
        ),
    ),
    "snake": (lambda z: z + np.sin(z) ** 2, lambda z: 1 + np.sin(2 * z)),
    "gauss": (lambda z: np.exp(-z * z), lambda z: -2 * z * np.exp(-z * z)),
    "arctan": (np.arctan, lambda z: 1 / (1 + z * z)),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_are_found_to_twelve_digits(name):
    f, kinks = KINKS[name]
    found = kink_search.survey(f)
    assert found.jumps == found.rough == ()
    assert found.kinks == pytest.approx(kinks, rel=1e-12, abs=1e-9 if name == "third derivative" else 1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_none_however_short_they_bend(name):
    found = kink_search.survey(SMOOTH[name][0])
    assert found.kinks == found.jumps == found.rough == ()


@pytest.mark.parametrize("at", [0.0, 0.3, -7.5])
def test_jumps_are_found(at):
    found = kink_search.survey(lambda z: np.tanh(z) + 0.1 * np.sign(z - at))
    assert found.jumps == pytest.approx((at,), abs=1e-8)
    assert found.kinks == ()


def test_a_tail_that_is_cut_below_eight_digits_is_a_kink():
    def f(z):
        return np.where(z > 20 / 3, z, np.log1p(np.exp(3 * np.minimum(z, 9))) / 3)

    phi = act.from_callable(f, lambda z: np.where(z > 20 / 3, 1.0, special.expit(3 * z)))
    assert phi.kinks == pytest.approx((20 / 3,), rel=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_derivative_found_is_the_derivative(name):
    f, df = SMOOTH[name]
    phi = act.from_callable(f)
    z = np.concatenate([np.linspace(-5, 5, 401), phi.scale * np.linspace(-3, 3, 101)])
    size = np.maximum(np.abs(df(z)), np.abs(df(z)).max() * 1e-2)
    assert np.max(np.abs(phi.derivative(z) - df(z)) / size) < 1e-9
    assert act.from_callable(f, df).piece_slopes is None


@pytest.mark.parametrize(("steep", "accuracy"), [(5, 1e-11), (20, 1e-11), (50, 1e-11), (100, 1e-11), (1000, 1e-10)])
def test_chi1_of_steep_tanh_without_a_derivative(steep, accuracy):
    """E phi'^2 by scipy's quad, split where tanh(c z) bends."""
    phi = act.from_callable(lambda z: np.tanh(steep * z))

    def integrand(z):
        return steep**2 / math.cosh(steep * z) ** 4 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    expected = 2 * integrate.quad(integrand, 0, 15 / steep, epsabs=0, epsrel=1e-13, limit=200)[0]
    assert mf.chi1(phi, 1.0, sigma_w2=1.0) == pytest.approx(expected, rel=accuracy)


def test_a_scale_that_is_too_long_is_shortened():
    q = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1).q
    for scale in (1.0, 10.0, 30.0, 1000.0):
        assert mf.edge_of_chaos(act.from_callable(np.tanh, scale=scale), sigma_b2=0.1).q == pytest.approx(q, rel=1e-11)


# --- Straight pieces ---


def test_hard_tanh_and_relu6_take_the_closed_route_with_the_slopes_and_the_bound():
    phi = act.from_callable(relu6)
    assert (phi.piece_slopes, phi.kinks, phi.bound) == ((0.0, 1.0, 0.0), (0.0, 6.0), 6.0)
    own = act.from_callable(lambda z: np.clip(z, -2, 2), name="mine")
    assert (own.piece_slopes, own.linear_radius, own.bound, own.is_odd) == ((0.0, 1.0, 0.0), 2.0, 2.0, True)
    net, built_in = (mf.edge_of_chaos(each, sigma_b2=0.1) for each in (own, act.shtanh(2.0)))
    assert net.q == pytest.approx(built_in.q, rel=1e-14)
    rho = np.linspace(-1, 1, 21)
    np.testing.assert_allclose(net.correlation_map(rho), built_in.correlation_map(rho), rtol=0, atol=1e-14)


def test_what_is_said_to_be_piecewise_linear_must_be():
    assert act.from_callable(np.abs, piecewise_linear=True).piece_slopes == (-1.0, 1.0)
    with pytest.raises(ValueError, match="f must be straight between its kinks"):
        act.from_callable(np.tanh, piecewise_linear=True)
    bent_far_out = act.from_callable(lambda z: np.where(np.abs(z) < 5000, z, 5000 * np.sign(z)))
    assert bent_far_out.piece_slopes is None


# --- What is refused, by name and with the remedy, or made right ---


def complex_tanh(z):
    return np.tanh(z) + 0.3j


REFUSED = [
    (
        (np.tanh, lambda z: 2 / np.cosh(z) ** 2),
        "df must be the derivative of f: at z = 0 it is 2, differences of f give 1 for custom",
    ),
    ((np.tanh, lambda z: 1.02 / np.cosh(z) ** 2), "df must be the derivative of f"),
    ((np.tanh, lambda z: (1 + 1e-6) / np.cosh(z) ** 2), "df must be the derivative of f"),
    ((np.tanh, np.tanh), "df must be the derivative of f"),
    ((np.tanh, lambda z: 1 / np.cosh(z) ** 2 + 1j), "df must return real numbers in float64, got complex128"),
    ((lambda z: np.tanh(z) + 0.5 * np.sign(z), None, (0.0,)), "f must be continuous, but custom jumps at z = 0"),
    ((lambda z: np.tanh(z) + 0.5 * np.sign(z),), "f must be continuous, but custom jumps at z = 0"),
    ((lambda z: z + 0.5 * np.sign(z), np.ones_like, (0.0,)), "f must be continuous, but custom jumps at z = 0"),
    ((lambda z: z > 0,), "f must be continuous, but custom jumps at z = 0"),
    ((np.floor,), "f must be continuous, but custom jumps at z = .* and [0-9]+ more"),
    ((lambda z: np.clip(z, -1, 1), None, ()), "kinks must hold every point .* z = -1, 1 is missing"),
    ((lambda z: np.clip(z, -1, 1), None, (-1.0,)), "kinks must hold every point .* z = 1 is missing"),
    ((lambda z: np.sqrt(np.abs(z)),), "custom is not smooth on a side of z = .*: declare them as kinks, and give df"),
    ((complex_tanh,), "f must return real numbers in float64, got complex128"),
    (
        (math.tanh,),
        r"f must take a float64 array .* it raised TypeError: .*write it with numpy \(np.tanh for math.tanh\)",
    ),
    ((lambda z: z if z > 0 else 0.0,), "f must take a float64 array .* it raised ValueError: .*np.vectorize"),
    ((float,), "f must take a float64 array and return one of its shape, but it raised TypeError"),
    ((lambda z: np.tanh(z.astype(np.float32)),), "f must return real numbers in float64, got float32"),
    ((lambda z: np.tanh(z.astype(np.float32)).astype(float),), "f must be computed in float64, but its values scatter"),
    ((lambda z: z + 1e-7 * np.random.default_rng(0).standard_normal(z.shape),), "f must act on each number by itself"),
    ((lambda z: z - z.mean(),), "f must act on each number by itself"),
    ((np.cumsum,), "f must act on each number by itself"),
    ((lambda z: np.array([str(x) for x in z]),), "f must return real numbers in float64, got <U"),
    ((lambda z: 1.0,), "f must return an array of its argument's shape"),
    ((lambda z: np.outer(z, z),), "f must return an array of its argument's shape"),
    ((np.tanh, None, (1e300,)), r"kinks must be in \[-1e\+100, 1e\+100\], got 1e\+300"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_would_give_a_wrong_number_is_refused_by_name(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        act.from_callable(*arguments)


def test_a_vertical_tangent_of_the_second_derivative_needs_df_and_a_kink():
    """E phi^2 = E |z|^3 and E phi'^2 = 9/4 E |z| for phi = |z|^1.5."""
    f, df = lambda z: np.abs(z) ** 1.5, lambda z: 1.5 * np.sign(z) * np.sqrt(np.abs(z))
    with pytest.raises(ValueError, match="custom is not smooth on a side of z = 0: declare them as kinks, and give df"):
        act.from_callable(f, kinks=(0.0,))
    with pytest.raises(ValueError, match="custom is not smooth on a side of z"):
        act.from_callable(f)
    phi = act.from_callable(f, df, (0.0,))
    assert mf.chi1(phi, 1.0, sigma_w2=1.0) == pytest.approx(9 / 4 * np.sqrt(2 / np.pi), rel=1e-12)


def test_names_are_words():
    for name in (["x"], None, 3):
        with pytest.raises(TypeError, match="name must be a str"):
            act.from_callable(np.tanh, name=name)


def test_functions_of_torch_are_told_how():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"f must take a float64 array .*torch.from_numpy"):
        act.from_callable(torch.tanh)
    phi = act.from_callable(lambda z: torch.tanh(torch.from_numpy(z)).numpy())
    assert mf.edge_of_chaos(phi, sigma_b2=0.1).q == pytest.approx(
        mf.edge_of_chaos(act.tanh(), sigma_b2=0.1).q, rel=1e-11
    )


def test_functions_that_write_into_their_argument_or_return_other_kinds_of_numbers_are_made_right():
    q = mf.edge_of_chaos(act.tanh(), sigma_b2=0.1).q
    assert mf.edge_of_chaos(act.from_callable(lambda z: np.tanh(z, out=z)), sigma_b2=0.1).q == pytest.approx(
        q, rel=1e-11
    )
    one_by_one = act.from_callable(np.frompyfunc(math.tanh, 1, 1))
    assert one_by_one(0.5) == math.tanh(0.5)
    step = act.from_callable(lambda z: np.maximum(z, 0), lambda z: z > 0)
    assert mf.edge_of_chaos(step, sigma_b2=0.0).sigma_w2 == pytest.approx(2.0, rel=1e-13)
    flat_only = act.from_callable(lambda z: np.array([math.erf(x) for x in z]))
    np.testing.assert_allclose(flat_only([[0.1, 0.2]]), special.erf([[0.1, 0.2]]), rtol=1e-15)


# --- A function that changes, and pickling ---


def test_a_function_that_has_changed_gives_no_number():
    width = [1.0]
    phi = act.from_callable(lambda z: np.clip(z, -width[0], width[0]), name="mine")
    smooth = act.from_callable(lambda z: width[0] * np.tanh(z / width[0]), name="mine")
    nets = [mf.edge_of_chaos(each, sigma_b2=0.1) for each in (phi, smooth)]
    width[0] = 3.0
    for each, net in zip((phi, smooth), nets, strict=True):
        for call in (
            lambda each=each: mf.edge_of_chaos(each, sigma_b2=0.1),
            lambda each=each: mf.chi1(each, 1.0, sigma_w2=1.0),
            lambda each=each: each(0.5),
            lambda each=each: act.scaled(each, 2.0),
            lambda net=net: mf.MeanField(net.phi, sigma_w2=1.5, sigma_b2=0.1),
        ):
            with pytest.raises(ValueError, match="f of mine gives other values than when the activation was made"):
                call()
    width[0] = 1.0
    assert mf.edge_of_chaos(phi, sigma_b2=0.1).q == nets[0].q


def test_what_pickle_can_find_is_pickled_and_the_rest_is_named():
    for phi in (
        act.from_callable(np.tanh),
        act.from_callable(relu6, name="relu6"),
        act.from_callable(tanh_of_0_4_z, scale=2.0),
        act.scaled(act.from_callable(relu6), 2.0),
    ):
        again = pickle.loads(pickle.dumps(phi))
        assert again == phi
        assert (again.kinks, again.scale, again.piece_slopes) == (phi.kinks, phi.scale, phi.piece_slopes)


def slope_of_tanh(z):
    return 1 / np.cosh(np.clip(z, -300, 300)) ** 2


@pytest.mark.parametrize("family", sorted(act.FAMILIES))
def test_every_family_comes_back_from_pickle_with_its_numbers(family):
    parameters = {"a": 2.5} if family in act.SCALED_BOUNDED_FAMILIES else {}
    phi = act.get(family, **parameters)
    again = pickle.loads(pickle.dumps(phi))
    assert again == phi
    z = np.linspace(-4, 4, 33)
    np.testing.assert_array_equal(again(z), phi(z))


def test_an_activation_built_by_hand_is_pickled_by_its_fields():
    phi = act.Activation("mine", (), np.tanh, slope_of_tanh, is_odd=True, bound=1.0)
    again = pickle.loads(pickle.dumps(phi))
    assert again == phi
    assert mf.edge_of_chaos(again, sigma_b2=0.1).q == mf.edge_of_chaos(act.tanh(), sigma_b2=0.1).q


def test_chi1_of_a_short_exponential_without_a_derivative():
    """celu(0.1): E phi'^2 = 1/2 + E[exp(20 U); U < 0]. The step of the differences must be shorter than for tanh."""
    phi = act.from_callable(lambda z: np.where(z > 0, z, 0.1 * np.expm1(np.minimum(z, 0) / 0.1)), name="celu")
    for q in (1e-4, 0.01, 0.3):
        exact = 0.5 + np.exp(200 * q) * special.ndtr(-20 * np.sqrt(q))
        assert mf.chi1(phi, q, sigma_w2=1.0) == pytest.approx(exact, rel=1e-11)


def test_a_derivative_beside_a_large_constant_is_accepted():
    """Differences of 1 + 1e-8 tanh are rounding from the seventh digit on; that does not speak against df."""
    phi = act.from_callable(lambda z: 1 + 1e-8 * np.tanh(z), lambda z: 1e-8 / np.cosh(np.clip(z, -300, 300)) ** 2)
    assert mf.chi1(phi, 1.0, sigma_w2=1e16) == pytest.approx(mf.chi1(act.tanh(), 1.0, sigma_w2=1.0), rel=1e-12)


def test_a_derivative_lost_in_a_large_constant_is_not_guessed():
    """tanh(z) + 10^7 is known to 2e-9, and its differences to 1e-7."""
    with pytest.raises(ValueError, match=r"the derivative of custom at z = .* cannot be found to 8 digits"):
        act.from_callable(lambda z: np.tanh(z) + 1e7)
    phi = act.from_callable(lambda z: np.tanh(z) + 10.0)
    assert phi.derivative(0.3) == pytest.approx(slope_of_tanh(0.3), rel=1e-10)


def test_what_differs_from_call_to_call_or_is_no_number_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="f must give the same values each time it is called"):
        act.from_callable(lambda z: np.tanh(z) + 1e-3 * rng.standard_normal(z.shape))
    with pytest.raises(TypeError, match="f must return real numbers, got <object"):
        act.from_callable(lambda z: np.array([object() for _ in z]))


def test_waves_of_more_windows_than_are_looked_at_have_no_kinks():
    found = kink_search.survey(lambda z: np.sin(2000 * z))
    assert found.kinks == found.jumps == found.rough == ()
    assert 1e-4 < found.length < 1e-2


# --- Straight, or nearly ---

BUMPS = {
    "beside 0": lambda z: z + 0.5 * z * np.exp(-z * z / 2),
    "narrow": lambda z: z * np.exp(-10 * z * z),
    "one-sided": lambda z: np.where(z > 0, z - z * np.exp(-z * z), 0.0),
    "at 8": lambda z: z + np.exp(-((z - 8) ** 2)),
    "at 61, on clip": lambda z: np.clip(z, -1, 1) + np.exp(-((z - 61) ** 2)),
    "beyond 100": lambda z: np.maximum(z, 0) + np.maximum(0, 50 - np.abs(z - 250)),
}


@pytest.mark.parametrize("name", BUMPS)
def test_a_bump_is_never_taken_for_a_straight_piece(name: str) -> None:
    assert act.from_callable(BUMPS[name]).piece_slopes is None


def test_a_function_that_looks_straight_at_a_few_points_has_its_own_variance_and_slope() -> None:
    phi = act.from_callable(BUMPS["beside 0"])
    # E (Z + Z e^(-Z^2/2) / 2)^2 and E of the squared derivative, by mpmath
    assert mf.variance_map(phi, 1.0, sigma_w2=1.0, sigma_b2=0.0) == pytest.approx(1.4016659130257, rel=1e-12)
    assert mf.chi1(phi, 1.0, sigma_w2=1.0) == pytest.approx(1.4497784354582, rel=1e-11)
    narrow = act.from_callable(BUMPS["narrow"])
    assert mf.variance_map(narrow, 1.0, sigma_w2=1.0, sigma_b2=0.0) == pytest.approx(41**-1.5, rel=1e-11)
    with pytest.raises(ValueError, match="must be straight between its kinks"):
        act.from_callable(BUMPS["beside 0"], piecewise_linear=True)
    right = act.from_callable(lambda z: z * (1 + np.exp(-z * z)), lambda z: 1 + np.exp(-z * z) * (1 - 2 * z * z))
    assert right.piece_slopes is None


def test_a_clip_far_outside_a_tiny_scale_is_seen() -> None:
    with pytest.raises(ValueError, match="derivative of custom"):
        act.from_callable(lambda z: np.clip(z, -0.5, 0.5), scale=1e-8)


@pytest.mark.parametrize("factor", [1 + 9e-8, 1 - 5e-9])
def test_a_derivative_that_is_slightly_off_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="df must be the derivative of f"):
        act.from_callable(np.tanh, lambda z: factor / np.cosh(z) ** 2)


def test_whatever_f_raises_is_told_with_its_argument() -> None:
    with pytest.raises(TypeError, match=r"OverflowError: math range error \(arguments up to 1000"):
        act.from_callable(np.vectorize(lambda z: math.log1p(math.exp(z))))


@pytest.mark.parametrize("size", [1e-75, 1e75])
def test_slopes_whose_fourth_power_is_no_float_are_refused(size):
    with pytest.raises(
        ValueError, match=r"f must have slopes in \[1e-70, 1e70\] and heights .* multiply it by a constant"
    ):
        act.from_callable(lambda z: size * np.tanh(z))
    assert mf.edge_of_chaos(act.from_callable(lambda z: size**0.9 * np.tanh(z)), sigma_b2=0.1).chi1 == pytest.approx(1)
