"""The blackboard experiments of Part I: exact where a formula is known, and gradients that are derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from afli import activations as act
from afli import toy

RNG = np.random.default_rng


def mean_loss(layers: list[toy.Layer], phi: act.Activation, x: np.ndarray, labels: np.ndarray) -> float:
    return float(toy.backprop(layers, phi, x, labels).loss.mean())


def test_the_tail_of_one_uniform_factor_is_uniform() -> None:
    assert toy.product_above(np.log10([0.1, 0.5, 0.9]), 1) == pytest.approx([0.9, 0.5, 0.1], abs=1e-14)


def test_sampled_products_follow_the_gamma_distribution() -> None:
    powers = toy.log10_products(50, 20_000, rng=RNG(0))
    assert powers.mean() == pytest.approx(-50 / np.log(10), abs=4 * np.sqrt(50 / 20_000) / np.log(10))
    for exponent in (-25.0, -20.0, -18.0):
        assert np.mean(powers > exponent) == pytest.approx(toy.product_above(exponent, 50), abs=0.015)


def test_the_chain_gradient_is_the_derivative_of_the_chain() -> None:
    weights, step = RNG(1).standard_normal((5, 4)), 1e-6

    def output(x: float) -> np.ndarray:
        z = np.full(5, x)
        for w in weights.T:
            z = act.tanh()(w * z)
        return z

    numerical = np.abs(output(0.7 + step) - output(0.7 - step)) / (2 * step)
    assert toy.log10_chain_gradients(act.tanh(), weights, x=0.7) == pytest.approx(np.log10(numerical), abs=1e-6)


def test_backpropagation_agrees_with_difference_quotients() -> None:
    rng = RNG(2)
    layers = toy.random_layers([5, 4, 3], sigma_w2=2.0, sigma_b2=0.1, rng=rng)
    x, labels = rng.standard_normal((7, 5)), rng.integers(3, size=7)
    run = toy.backprop(layers, act.tanh(), x, labels)
    for i, (w, b) in enumerate(layers):
        for array, gradient in ((w, run.weight_gradient(i)), (b, run.bias_gradient(i))):
            for index in np.ndindex(array.shape):
                kept, losses = array[index], []
                for step in (1e-6, -1e-6):
                    array[index] = kept + step
                    losses.append(mean_loss(layers, act.tanh(), x, labels))
                array[index] = kept
                assert gradient[index] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-8)


def test_training_lowers_the_loss_and_leaves_the_given_layers_alone() -> None:
    rng = RNG(3)
    layers = toy.random_layers([5, 8, 3], sigma_w2=2.0, rng=rng)
    before = [(w.copy(), b.copy()) for w, b in layers]
    x, labels = rng.standard_normal((30, 5)), rng.integers(3, size=30)
    *_, after = toy.train(layers, act.relu(), x, labels, rate=0.2, order=rng.integers(30, size=(50, 10)))
    assert mean_loss(after, act.relu(), x, labels) < 0.8 * mean_loss(layers, act.relu(), x, labels)
    assert all(np.array_equal(w, v) and np.array_equal(b, c) for (w, b), (v, c) in zip(layers, before, strict=True))


def test_descent_reaches_its_goal_and_counts_its_steps() -> None:
    goal, start = np.array([1.0, -1.0]), np.array([-1.0, 1.0])
    run = toy.descend(np.eye(2), goal, start, rate=1.0, steps=4)
    assert run.weights[2] == pytest.approx(goal)  # one step an axis
    assert run.steps_to(goal, 0.1) == 2
    assert run.cosines == pytest.approx([0.0])  # the updates after the goal is reached are zero, and left out


def test_one_sign_counts_rows_and_ignores_zeros() -> None:
    assert toy.share_of_one_sign(np.array([[1.0, 0.0], [-1.0, -2.0], [1.0, -1.0], [2.0, 3.0]])) == 0.75


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(ValueError, match="loss must be 'square' or 'cross-entropy', got 'hinge'"):
        toy.steps_to_unsaturate(2.0, loss="hinge")
