"""Section 2.3: the activations, their derivatives, their structure, and Definition 2.1."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo import CRITICAL, FAMILIES, HOMOGENEOUS, ZOO, family_members, label, piecewise_scaled_bounded, radii

from afli import activations as act
from afli import meanfield as mf
from afli.pieces import jumping_clip

Z = np.linspace(-12.3, 12.3, 401)
VERDICTS = ("holds by construction", "not refuted on a grid", "refuted")


def off_the_kinks(phi, z, distance):
    return np.array([x for x in z if all(abs(x - d) > distance for d in phi.kinks)])


# --- The four families ---


@given(family_members())
def test_a_scaled_bounded_activation_is_the_identity_within_its_radius(phi):
    a = phi.linear_radius
    z = np.linspace(-a, a, 11)
    np.testing.assert_allclose(phi(z), z, rtol=1e-15)
    np.testing.assert_array_equal(phi.derivative(z[1:-1]), 1.0)


@given(family_members())
def test_a_scaled_bounded_activation_is_odd_and_bounded_by_its_radius(phi):
    z = phi.linear_radius * np.linspace(0, 40, 501)
    np.testing.assert_array_equal(phi(-z), -phi(z))
    assert np.abs(phi(z)).max() <= phi.bound * (1 + 1e-15)
    assert phi.bound <= phi.linear_radius * (1 + 1e-15)
    assert np.abs(phi.derivative(z)).max() <= 1


@pytest.mark.parametrize(
    ("phi", "outside"),
    [
        (act.shtanh(2.0), lambda z: 2.0 * np.ones_like(z)),
        (act.ssine(2.0), lambda z: 1 + np.cos(z - 2)),
        (act.sexp(2.0), lambda z: 1 + np.exp(2 - z)),
        (act.ssaw(2.0), lambda z: np.maximum(4 - z, 0)),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_the_tails_are_those_of_figure_3(phi, outside):
    z = np.linspace(2, 9, 50)
    np.testing.assert_allclose(phi(z), outside(z), rtol=1e-15, atol=1e-15)


@given(st.sampled_from(sorted(FAMILIES)), radii, st.floats(0.1, 9.0))
def test_the_slope_k_multiplies_function_derivative_and_bound(family, a, k):
    one, many = act.get(family, a=a), act.get(family, a=a, k=k)
    np.testing.assert_allclose(many(Z), k * one(Z), rtol=1e-15)
    np.testing.assert_allclose(many.derivative(Z), k * one.derivative(Z), rtol=1e-15)
    assert (many.slope, many.bound, many.linear_radius) == pytest.approx((k, k * one.bound, a))


# --- Every activation ---


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_the_derivative_is_the_slope_of_the_function(phi):
    z, h = off_the_kinks(phi, Z, 0.05), 1e-2
    weights = {1: 8 / 12, 2: -1 / 12}
    numerical = sum(w * (phi(z + j * h / 4) - phi(z - j * h / 4)) for j, w in weights.items()) / (h / 4)
    np.testing.assert_allclose(phi.derivative(z), numerical, atol=2e-8)


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_the_function_is_continuous_at_its_kinks(phi):
    for d in phi.kinks:
        assert phi(d + 1e-9) - phi(d - 1e-9) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_the_derivative_at_a_kink_is_the_mean_of_both_sides(phi):
    for d in phi.kinks:
        left, right = phi.derivative(d - 1e-10), phi.derivative(d + 1e-10)
        assert phi.derivative(d) == pytest.approx((left + right) / 2, abs=1e-9)


@pytest.mark.parametrize("a", [1e-100, 0.3, 0.1, 3.0, 7.0, 1e3, 1e100])
@pytest.mark.parametrize("base", [act.relu(), act.shtanh(0.1), act.ssaw(0.7)], ids=label)
def test_scaling_does_not_lose_the_mean_at_a_kink(base, a):
    phi = act.scaled(base, a)
    means = [0.5 * (left + right) for left, right in pairwise(base.piece_slopes)]
    assert [phi.derivative(d) for d in phi.kinks] == means


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_oddness_slope_and_linear_radius_are_what_they_say(phi):
    z = np.linspace(0, 9, 200)
    assert phi.is_odd == bool(np.allclose(phi(-z), -phi(z), atol=1e-13))
    assert phi.slope == pytest.approx((phi(1e-7) - phi(-1e-7)) / 2e-7, rel=1e-6, abs=1e-6)
    if phi.linear_radius > 0:
        inside = min(phi.linear_radius, 9.0) * np.linspace(-1, 1, 21)
        np.testing.assert_allclose(phi(inside), phi.slope * inside, rtol=1e-15)
    assert np.abs(phi(1e3 * Z)).max() <= phi.bound


@pytest.mark.parametrize("phi", [p for p in ZOO if p.piece_slopes is not None], ids=label)
def test_piece_slopes_are_the_derivative_between_the_kinks(phi):
    ends = [-1e3, *phi.kinks, 1e3]
    middles = [(low + high) / 2 for low, high in pairwise(ends)]
    assert [phi.derivative(z) for z in middles] == pytest.approx(list(phi.piece_slopes))


def test_homogeneous_are_relu_leaky_relu_modulus_and_line():
    """The odd parts of gelu, silu, softplus and ReLU are z / 2."""
    halves = [act.symmetrised(phi) for phi in (act.gelu(), act.silu(), act.softplus(), act.relu())]
    assert [phi for phi in ZOO if phi.is_homogeneous] == [*HOMOGENEOUS, act.scaled(act.relu(), 100.0), halves[0]]
    assert all(phi.is_homogeneous for phi in halves)
    own = [act.from_callable(f, kinks=(0,)) for f in (np.abs, lambda z: np.maximum(z, 0), lambda z: 3 * z)]
    assert all(phi.is_homogeneous for phi in own)
    for phi in (act.shtanh(1e5), act.from_callable(lambda z: z + 0.5), act.from_callable(lambda z: z + 1e-9 * z**2)):
        assert not phi.is_homogeneous


def test_activations_are_equal_when_family_and_parameters_are():
    assert act.shtanh(2.0) == act.get("shtanh", a=2) != act.shtanh(2.5)
    assert len({act.shtanh(2.0), act.shtanh(2), act.scaled(act.tanh(), 2.0), act.scaled(act.tanh(), 2)}) == 2
    assert act.from_callable(np.tanh) == act.from_callable(np.tanh) != act.from_callable(np.tanh, scale=2.0)


def test_names_are_readable():
    phis = [act.shtanh(2.0), act.shtanh(2.0, k=0.5), act.abs_(), act.elu(), act.scaled(act.symmetrised(act.elu()), 3.0)]
    names = ["shtanh(a=2)", "shtanh(a=2, k=0.5)", "abs", "elu(alpha=1)", "scaled(symmetrised(elu(alpha=1)), a=3)"]
    assert [phi.name for phi in phis] == names
    assert act.from_callable(np.arctan, name="arctan").name == "arctan"


def test_get_knows_every_family_and_says_which():
    for family in act.FAMILIES:
        assert act.get(family, **({"a": 1.0} if family in FAMILIES else {})).family == family
    with pytest.raises(ValueError, match=r"family must be one of abs_, elu, .*, got 'tanhh'"):
        act.get("tanhh")
    with pytest.raises(TypeError, match="family must be a str, got 3"):
        act.get(3)
    with pytest.raises(TypeError, match="b"):
        act.get("shtanh", b=2.0)


# --- New from old ---


@pytest.mark.parametrize("phi", CRITICAL, ids=label)
def test_scaling_stretches_the_function_and_keeps_the_slope(phi):
    a = 2.5
    stretched = act.scaled(phi, a)
    np.testing.assert_allclose(stretched(Z), a * phi(Z / a), rtol=1e-14, atol=1e-15)
    z = off_the_kinks(stretched, Z, 1e-9)
    np.testing.assert_allclose(stretched.derivative(z), phi.derivative(z / a), rtol=1e-14, atol=1e-15)
    assert (stretched.slope, stretched.linear_radius) == (phi.slope, a * phi.linear_radius)


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_symmetrising_takes_the_odd_part_and_its_derivative(phi):
    odd = act.symmetrised(phi)
    np.testing.assert_allclose(odd(Z), (phi(Z) - phi(-Z)) / 2, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(odd.derivative(Z), (phi.derivative(Z) + phi.derivative(-Z)) / 2, rtol=1e-13, atol=1e-15)
    assert odd.is_odd


def test_the_symmetrised_relu_is_half_the_identity():
    phi = act.symmetrised(act.relu())
    np.testing.assert_array_equal(phi(Z), Z / 2)
    assert phi.linear_radius == np.inf
    assert set(phi.piece_slopes) == {0.5}


def test_the_odd_part_of_an_even_function_is_zero_without_rounding():
    for even in (act.abs_(), act.from_callable(np.cos), act.from_callable(lambda z: z * np.tanh(z), scale=0.1)):
        phi = act.symmetrised(even)
        assert (phi(Z) == 0).all()
        assert (phi.derivative(Z) == 0).all()
    assert act.symmetrised(act.from_callable(lambda z: np.cos(z) + 1e-9 * np.sin(z))).slope == pytest.approx(1e-9)


def test_heights_whose_square_leaves_the_range_of_a_float_are_refused():
    for family in FAMILIES:
        assert act.get(family, a=1e70, k=1e70).bound == pytest.approx(1e140)
        for power in (100, -100):
            with pytest.raises(ValueError, match=r"^a k must be in \[1e-140, 1e\+140\], got "):
                act.get(family, a=10.0**power, k=10.0 ** (power / 2))


# --- Your own ---


OWN = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2, (), 1.0),
    "tanh(50 z)": (lambda z: np.tanh(50 * z), lambda z: 50 / np.cosh(np.clip(50 * z, -300, 300)) ** 2, (), 0.02),
    "clip, kinks closer than a stencil": (
        lambda z: np.clip(z, -0.05, 0.05),
        lambda z: (np.abs(z) < 0.05) * 1.0,
        (-0.05, 0.05),
        1.0,
    ),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0)), (0.0,), 1.0),
    "sin left, tanh right": (
        lambda z: np.where(z > 0, np.tanh(z), np.sin(z)),
        lambda z: np.where(z > 0, 1 / np.cosh(z) ** 2, np.cos(z)),
        (0.0,),
        1.0,
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_without_a_derivative_it_is_as_accurate_as_promised(name):
    f, df, kinks, scale = OWN[name]
    phi = act.from_callable(f, kinks=kinks, scale=scale)
    z = off_the_kinks(phi, np.concatenate([Z, scale * Z, 0.1 * scale * Z]), 1e-12)
    slope = np.abs(df(z)).max()
    assert np.all(np.abs(phi.derivative(z) - df(z)) <= 1e-12 * slope * np.maximum(1, np.abs(f(z)) / scale))


@pytest.mark.parametrize("name", ["tanh", "elu", "sin left, tanh right"])
def test_critical_networks_with_and_without_a_derivative_agree(name):
    f, df, kinks, scale = OWN[name]
    own = [mf.edge_of_chaos(act.from_callable(f, d, kinks, scale=scale), sigma_b2=0.1) for d in (df, None)]
    assert own[1].q == pytest.approx(own[0].q, rel=1e-12)
    assert own[1].correlation_map(0.5) == pytest.approx(own[0].correlation_map(0.5), rel=1e-12)


def test_an_own_activation_equals_the_built_in_one():
    own = mf.edge_of_chaos(act.from_callable(lambda z: np.clip(z, -1, 1), kinks=(-1, 1)), sigma_b2=0.1)
    built_in = mf.edge_of_chaos(act.shtanh(1.0), sigma_b2=0.1)
    rho = np.linspace(-1, 1, 41)
    assert own.q == pytest.approx(built_in.q, rel=1e-12)
    np.testing.assert_allclose(own.correlation_map(rho), built_in.correlation_map(rho), atol=1e-12)


def test_oddness_of_an_own_activation_is_found_out():
    assert act.from_callable(np.arctan).is_odd
    assert not act.from_callable(np.cos).is_odd
    assert not act.from_callable(lambda z: np.tanh(z) + np.where(z > 12, z - 12, 0)).is_odd


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"f": 3}, TypeError, "f must be callable, got 3"),
        ({"f": np.tanh, "df": "df"}, TypeError, "df must be callable, got 'df'"),
        ({"f": np.poly1d([1, 0])}, TypeError, "f must be hashable"),
        ({"f": np.tanh, "kinks": ("0",)}, TypeError, "kinks must be a real number"),
        ({"f": np.tanh, "kinks": (True,)}, TypeError, "kinks must be a real number"),
        ({"f": np.tanh, "kinks": (np.nan,)}, ValueError, "kinks must be finite, got nan at index"),
        ({"f": np.tanh, "scale": 0}, ValueError, r"scale must be in \[1e-100, 1e\+100\], got 0.0"),
        ({"f": lambda z: 1.0}, ValueError, r"f must return an array of its argument's shape, got \(\) from \(2001,\)"),
        ({"f": lambda z: np.where(z > 9, np.nan, z)}, ValueError, r"f must be finite on \[-10, 10\], got nan at 9.01"),
        ({"f": np.tanh, "df": lambda z: z / 0.0}, ValueError, r"df must be finite on \[-10, 10\]"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_from_callable_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        act.from_callable(**arguments)


# --- Definition 2.1 ---


def verdicts(phi):
    return {check.requirement.split(":")[0].split(" off")[0]: check for check in act.check_scaled_bounded(phi)}


@given(family_members())
def test_the_four_families_are_scaled_bounded_by_construction(phi):
    assert {check.verdict for check in act.check_scaled_bounded(phi)} == {"holds by construction"}


@given(piecewise_scaled_bounded())
def test_random_members_are_scaled_bounded(phi):
    assert all(check.holds for check in act.check_scaled_bounded(phi))


@pytest.mark.parametrize("a", [0.9, 0.5, 0.1])
def test_ssine_below_radius_one_and_sexp_below_one_half_are_not_bounded_by_their_radius(a):
    check = verdicts(act.ssine(a))["bounded"]
    assert check.verdict == "refuted"
    assert abs(act.ssine(a)(check.refuted_at)) > a
    assert verdicts(act.sexp(a))["bounded"].holds == (a >= 0.5)


def test_just_outside_the_range_nothing_is_said_to_hold_by_construction():
    for phi in (act.ssine(1 - 1e-9), act.sexp(0.5 - 1e-12)):
        assert "holds by construction" not in {check.verdict for check in act.check_scaled_bounded(phi)}


@pytest.mark.parametrize(
    ("phi", "refuted"),
    [
        (act.tanh(), {"linear near zero"}),
        (act.relu(), {"odd", "linear near zero", "bounded", "slope at most k"}),
        (act.elu(), {"odd", "linear near zero", "bounded"}),
        (act.linear(), {"bounded"}),
        (act.scaled(act.shtanh(1.0), 1e3), set()),
        (act.scaled(act.shtanh(1.0), 1e-9), set()),
        (act.from_callable(lambda z: np.clip(z, -1, 1), kinks=(-1, 1)), set()),
        (act.from_callable(np.sinh), {"linear near zero", "bounded", "slope at most k"}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_which_properties_of_the_definition_fail(phi, refuted):
    assert {name for name, check in verdicts(phi).items() if not check.holds} == refuted


def test_a_jump_refutes_continuity_where_it_is():
    phi = jumping_clip(6.0, at=np.pi)
    check = verdicts(phi)["continuous"]
    assert check.verdict == "refuted"
    assert abs(check.refuted_at) == pytest.approx(np.pi, abs=1e-12)


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_every_verdict_is_one_of_three(phi):
    for check in act.check_scaled_bounded(phi):
        assert check.verdict in VERDICTS
        assert check.holds == (check.refuted_at is None) == (check.verdict != "refuted")


def test_activations_with_other_values_are_not_equal():
    one, three = (
        act.Activation("mine", (), lambda z, c=c: np.tanh(c * z), lambda z, c=c: c / np.cosh(c * z) ** 2)
        for c in (1.0, 3.0)
    )
    assert one != three
    assert one == act.Activation("mine", (), np.tanh, lambda z: 1.0 / np.cosh(1.0 * z) ** 2)


def test_a_closure_whose_constant_changed_is_another_activation():
    """The same function object: only its values tell, and every cache is keyed by the activation."""
    width = [1.0]

    def f(z):
        return width[0] * np.tanh(z / width[0])

    def df(z):
        return 1 / np.cosh(z / width[0]) ** 2

    narrow = act.from_callable(f, df)
    mf.MeanField(narrow, sigma_w2=1.5, sigma_b2=0.1)
    width[0] = 3.0
    net = mf.MeanField(act.from_callable(f, df), sigma_w2=1.5, sigma_b2=0.1)
    expected = mf.MeanField(act.scaled(act.tanh(), 3.0), sigma_w2=1.5, sigma_b2=0.1)
    assert net.q == pytest.approx(expected.q, rel=1e-12)
    assert mf.critical_at(net.phi, q=1.0).correlation_map(0.5) == pytest.approx(
        mf.critical_at(expected.phi, q=1.0).correlation_map(0.5), abs=1e-12
    )


def test_what_was_made_of_ones_own_function_survives_pickling():
    for phi in (act.from_callable(np.tanh), act.scaled(act.from_callable(np.arctan, name="arctan"), 2.0)):
        again = pickle.loads(pickle.dumps(phi))
        assert again == phi
        assert again(0.3) == phi(0.3)


@pytest.mark.parametrize("phi", ZOO, ids=label)
def test_far_out_a_value_is_a_number_whatever_numpy_was_told(phi):
    z = np.array([1e300, -1e300, 1e-300, 800.0, -800.0])
    if phi.name.startswith("snake"):
        z = z[2:]  # z^2 is no float
    with np.errstate(all="raise"):
        assert not np.isnan(phi(z)).any()
        assert not np.isnan(phi.derivative(z)).any()


def test_where_a_formula_has_no_value_that_is_said():
    with pytest.raises(ValueError, match=r"z must be in the range of the formula of .*, got 1e\+300"):
        act.scaled(act.sin(), 1e-100)(1e300)
