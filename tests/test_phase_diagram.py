"""Figure 2(b): q*, chi_1 and rho* on a grid, all cells at once."""

from __future__ import annotations

import numpy as np
import pytest
from zoo import label

from afli import activations as act
from afli import correlation
from afli import meanfield as mf
from afli.errors import ConvergenceError, NoFixedPointError

WEIGHTS, BIASES = np.array([0.4, 0.9, 1.3, 2.0, 3.0]), np.array([0.0, 1e-4, 0.02, 0.25, 2.0])
ACTIVATIONS = [
    act.shtanh(1.0),
    act.ssaw(2.0),
    act.sexp(1.0),
    act.tanh(),
    act.elu(),
    act.gelu(),
    act.relu(),
    act.sigmoid(),
]


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=label)
def test_every_cell_is_the_network_with_these_variances(phi):
    diagram = mf.phase_diagram(phi, sigma_w2=WEIGHTS, sigma_b2=BIASES)
    for i, sigma_w2 in enumerate(WEIGHTS):
        for j, sigma_b2 in enumerate(BIASES):
            try:
                net = mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2)
            except NoFixedPointError:
                assert not diagram.exists[i, j]
                continue
            assert diagram.exists[i, j]
            assert diagram.q[i, j] == pytest.approx(net.q, rel=1e-12)
            assert diagram.chi1[i, j] == pytest.approx(net.chi1, rel=1e-12)
            assert diagram.rho[i, j] == pytest.approx(net.correlation_fixed_point(), abs=1e-11)


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=label)
def test_nan_stands_exactly_where_nothing_exists(phi):
    diagram = mf.phase_diagram(phi, sigma_w2=WEIGHTS, sigma_b2=BIASES)
    for field in (diagram.q, diagram.chi1, diagram.rho):
        np.testing.assert_array_equal(np.isnan(field), ~diagram.exists)
    assert diagram.exists.dtype == bool


@pytest.mark.parametrize("phi", ACTIVATIONS, ids=label)
def test_order_and_chaos_meet_at_chi_1_equal_to_one(phi):
    diagram = mf.phase_diagram(phi, sigma_w2=WEIGHTS, sigma_b2=BIASES)
    np.testing.assert_array_equal(diagram.rho[diagram.exists] < 1, diagram.chi1[diagram.exists] > 1)


def test_rows_are_weights_and_columns_are_biases_in_the_order_given():
    diagram = mf.phase_diagram(act.shtanh(1.0), sigma_w2=WEIGHTS[::-1], sigma_b2=BIASES[:2])
    forward = mf.phase_diagram(act.shtanh(1.0), sigma_w2=WEIGHTS, sigma_b2=BIASES[:2])
    assert diagram.q.shape == diagram.chi1.shape == diagram.rho.shape == diagram.exists.shape == (5, 2)
    np.testing.assert_array_equal(diagram.sigma_w2, WEIGHTS[::-1])
    np.testing.assert_allclose(diagram.rho[::-1], forward.rho, atol=1e-12)


def test_numbers_and_empty_grids_are_grids_too():
    one = mf.phase_diagram(act.tanh(), sigma_w2=1.5, sigma_b2=0.1)
    assert one.q.shape == (1, 1)
    none = mf.phase_diagram(act.tanh(), sigma_w2=[], sigma_b2=[0.1, 0.2])
    assert none.rho.shape == (0, 2)


def test_large_grids_are_worked_in_blocks():
    weights, biases = np.linspace(0.5, 3, 101), np.linspace(0.01, 0.25, 90)
    diagram = mf.phase_diagram(act.shtanh(1.0), sigma_w2=weights, sigma_b2=biases)
    corner = mf.phase_diagram(act.shtanh(1.0), sigma_w2=weights[-3:], sigma_b2=biases[-3:])
    np.testing.assert_allclose(diagram.rho[-3:, -3:], corner.rho, atol=1e-12)
    assert diagram.exists.all()


def test_on_either_side_of_the_edge_of_chaos():
    """The exact critical weights for hard tanh: rho* = 1 up to there, and falls continuously beyond."""
    for sigma_b2 in (1e-3, 0.05, 0.2):
        edge = mf.edge_of_chaos(act.shtanh(1.0), sigma_b2=sigma_b2).sigma_w2
        weights = edge * (1 + np.array([-1e-6, -1e-12, 1e-6, 1e-4, 1e-2]))
        rho = mf.phase_diagram(act.shtanh(1.0), sigma_w2=weights, sigma_b2=sigma_b2).rho[:, 0]
        assert (rho[:2] == 1).all()
        assert (np.diff(rho[1:]) < 0).all()
        assert rho[2] > 1 - 1e-8


@pytest.mark.parametrize("phi", [act.tanh(), act.sin(), act.elu(), act.sexp(1.0)], ids=label)
def test_just_beyond_the_edge_a_curved_activation_has_the_rho_of_its_network(phi):
    """Above 0.999 the gap is integrated from the end 1: cells from there to well below, in one diagram."""
    edge = mf.edge_of_chaos(phi, sigma_b2=0.1)
    weights = edge.sigma_w2 * (1 + np.array([1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1]))
    diagram = mf.phase_diagram(phi, sigma_w2=weights, sigma_b2=0.1)
    rho = [mf.MeanField(phi, sigma_w2=w, sigma_b2=0.1).correlation_fixed_point() for w in weights]
    assert rho[0] > correlation.NEAR_ONE > rho[-1]
    np.testing.assert_allclose(diagram.rho[:, 0], rho, rtol=0, atol=5e-12)
    assert (diagram.rho[1:] < 1).all()


def test_more_weight_less_correlation_more_bias_more():
    diagram = mf.phase_diagram(act.shtanh(1.0), sigma_w2=np.linspace(1.6, 3, 8), sigma_b2=np.linspace(0.01, 0.2, 8))
    assert (np.diff(diagram.rho, axis=0) <= 0).all()
    assert (np.diff(diagram.rho, axis=1) >= 0).all()


@pytest.mark.parametrize("phi", [act.shtanh(1.0), act.elu()], ids=label)
def test_extreme_cells_do_not_disturb_the_others(phi):
    ordinary = mf.phase_diagram(phi, sigma_w2=[0.5, 1.1], sigma_b2=[0.1])
    mixed = mf.phase_diagram(phi, sigma_w2=[0.5, 1.1, 1e-9], sigma_b2=[0.1, 1e-30, 1e12])
    np.testing.assert_allclose(mixed.q[:2, 0], ordinary.q[:, 0], rtol=1e-12)
    np.testing.assert_allclose(mixed.q[2], [0.1, 1e-30, 1e12], rtol=1e-6)


def test_what_is_out_of_reach_of_the_quadrature_costs_its_cell_and_no_other():
    diagram = mf.phase_diagram(act.sin(), sigma_w2=[1.5, 1e6], sigma_b2=0.1)
    assert diagram.out_of_reach[:, 0].tolist() == [False, True]
    assert np.isnan(diagram.rho[1, 0])
    alone = mf.MeanField(act.sin(), sigma_w2=1.5, sigma_b2=0.1)
    assert diagram.rho[0, 0] == pytest.approx(alone.correlation_fixed_point(), abs=1e-10)


@pytest.mark.slow
def test_variances_out_of_reach_are_few_failures_and_their_neighbours_have_their_rho(monkeypatch):
    """As if the correlation map of tanh were out of reach above q = 0.9."""
    phi, failures, tables = act.tanh(), [], correlation.chebyshev_coefficients

    def limited(phi, q, side):
        if q > 0.9:
            failures.append(q)
            raise ConvergenceError("out of reach")
        return tables(phi, q, side)

    grid = {"sigma_w2": np.linspace(2.0, 2.8, 30), "sigma_b2": [1e-3, 0.01, 0.1]}
    whole = mf.phase_diagram(phi, **grid)
    monkeypatch.setattr(correlation, "chebyshev_coefficients", limited)
    diagram = mf.phase_diagram(phi, **grid)
    lost = (diagram.q > 0.9) & (diagram.chi1 > 1)
    assert 10 < lost.sum() < 60
    np.testing.assert_array_equal(diagram.out_of_reach, lost)
    np.testing.assert_array_equal(np.isnan(diagram.rho), lost)
    np.testing.assert_allclose(diagram.rho[~lost], whole.rho[~lost], rtol=0, atol=1e-10)
    assert len(failures) < lost.sum() + 20


def test_a_saturated_activation_is_straight_further_out_and_needs_no_panels_there():
    """At q near 1e6 tanh is a sign with a layer: its correlation map is 2 arcsin(rho) / pi up to 1 / sqrt(q)."""
    net = mf.MeanField(act.tanh(), sigma_w2=1e6, sigma_b2=0.0)
    rho = np.array([-0.5, 0.0, 0.3, 0.9])
    np.testing.assert_allclose(net.correlation_map(rho), 2 / np.pi * np.arcsin(rho), atol=2e-3)
    diagram = mf.phase_diagram(act.tanh(), sigma_w2=1e6, sigma_b2=0.1)
    assert not diagram.out_of_reach.any()


def test_a_wave_around_a_line_exists_where_the_line_does():
    """E snake^2 = q + 3/8 - exp(-2 q) / 2 + exp(-8 q) / 8: below sigma_w2 = 1 there is a fixed point, above none."""
    diagram = mf.phase_diagram(act.snake(), sigma_w2=[0.5, 0.9, 1.1, 3.0], sigma_b2=[1e-3, 0.1, 1.0])
    assert diagram.exists.tolist() == [[True] * 3] * 2 + [[False] * 3] * 2
    assert not diagram.out_of_reach.any()
    q, w = diagram.q[:2], diagram.sigma_w2[:2, None]
    square = q + 3 / 8 - np.exp(-2 * q) / 2 + np.exp(-8 * q) / 8
    np.testing.assert_allclose(w * square + diagram.sigma_b2, q, rtol=1e-12)
