"""The blackboard experiments of Part I: exact where a formula is known, and gradients that are derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from afli import activations as act
from afli import toy
from afli.errors import ConvergenceError

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


LAYERS = toy.random_layers([3, 2], sigma_w2=1.0, rng=RNG(0))
X, LABELS = np.ones((4, 3)), np.zeros(4, dtype=int)
REFUSED = [
    (lambda: toy.log10_products(0, 3, rng=RNG(0)), "factors must be at least 1, got 0"),
    (lambda: toy.log10_products(3, 3, rng=0), "rng must be a numpy Generator"),
    (lambda: toy.product_above(0.1, 3), r"exponent must be in \[-inf, 0\], got 0.1|exponent must be finite and <= 0"),
    (lambda: toy.log10_chain_gradients("tanh", [[1.0]]), "phi must be an Activation"),
    (lambda: toy.log10_chain_gradients(act.tanh(), [1.0]), r"weights must have shape \(chains, L\), got \(1,\)"),
    (lambda: toy.log10_chain_gradients(act.tanh(), [[np.nan]]), "weights must be finite"),
    (
        lambda: toy.log10_chain_gradients(act.elu(), [[1.0, 1.0], [1e308, 0.0]], x=1e10),
        r"the chain of weights\[1\] leaves the range",
    ),
    (lambda: toy.steps_to_unsaturate(2.0, target=2.0), r"target must be in \[0.001, 1\], got 2.0"),
    (lambda: toy.steps_to_unsaturate(2.0, rate=0.0), "rate must be finite and > 0, got 0.0"),
    (lambda: toy.descend(X, [1.0], [1.0, 1.0, 1.0], rate=0.1, steps=3), r"goal must have shape \(3,\), got \(1,\)"),
    (lambda: toy.descend(X[:0], X[0], X[0], rate=0.1, steps=3), "x must hold one input or more"),
    (lambda: toy.descend(X, X[0], X[0], rate=0.1, steps=3, natural=True), "x must span all directions"),
    (lambda: toy.descend(X, X[0], 0 * X[0], rate=1e9, steps=90), "rate=1e[+]09 is too large"),
    (lambda: toy.share_of_one_sign(X[:0]), "gradients must hold one row or more"),
    (lambda: toy.backprop(LAYERS, act.tanh(), X, [0, 1, 2, 0]), r"labels must be in \[0, 1\], one logit each, got 2"),
    (lambda: toy.backprop(LAYERS, act.tanh(), X, [0, 1, -1, 0]), r"labels must be in \[0, 1\], one logit each, got -1"),
    (lambda: toy.backprop(LAYERS, act.tanh(), X, [0.0] * 4), r"labels must be integers of shape \(4,\), got float64"),
    (
        lambda: toy.backprop(LAYERS, act.tanh(), X, [0]),
        r"labels must be integers of shape \(4,\), got int64 of shape \(1,\)",
    ),
    (lambda: toy.backprop([], act.tanh(), X, LABELS), "layers must hold one layer or more"),
    (lambda: toy.backprop(LAYERS, act.tanh(), X[:, :2], LABELS), r"W and b of layer 1 must have shapes \(units, 2\)"),
    (lambda: toy.random_layers([3], sigma_w2=1.0, rng=RNG(0)), "sizes must hold the number of inputs"),
    (lambda: toy.random_layers([3, 3], sigma_w2=-1.0, rng=RNG(0)), "sigma_w2 must be finite and >= 0, got -1.0"),
    (lambda: toy.train(LAYERS, act.tanh(), X, LABELS, rate=1.0, order=[[4]]), r"order must be rows of x, in \[0, 3\]"),
    (lambda: toy.train(LAYERS, act.tanh(), X, LABELS, rate=1.0, order=[0]), "order must be integers of shape"),
    (
        lambda: toy.train(LAYERS, act.tanh(), X, LABELS[:3], rate=1.0, order=[[0]]),
        r"labels must have shape \(4,\), got \(3,\)",
    ),
    (lambda: toy.train(LAYERS, act.tanh(), X, LABELS, rate=np.inf, order=[[0]]), "rate must be finite, got inf"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_arguments_are_named(call, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_a_neuron_that_takes_too_long_gets_no_number() -> None:
    assert toy.steps_to_unsaturate(2.0, rate=0.01) > 100
    with pytest.raises(ConvergenceError, match=r"a neuron at h=20 is above target=0.5 after 10\^6 steps at rate=1"):
        toy.steps_to_unsaturate(20.0)


def test_integer_images_are_taken_as_numbers() -> None:
    images = np.array([[1, 2, 3]], dtype=np.uint8)
    one, other = (toy.backprop(LAYERS, act.tanh(), x, [1]) for x in (images, images.astype(float)))
    np.testing.assert_array_equal(one.weight_gradient(0), other.weight_gradient(0))


# --- Two weights, and signs of gradients ---


def test_inputs_of_one_sign_move_two_weights_together_and_the_natural_gradient_does_not_mind() -> None:
    far = toy.two_weights(3.0)
    assert toy.share_of_one_sign(far.updates[:50]) == 1.0
    centred = toy.two_weights(0.0)
    assert centred.steps_to(toy.GOAL, 0.1) < 0.2 * far.steps_to(toy.GOAL, 0.1)
    natural = toy.two_weights(3.0, natural=True)
    assert natural.steps_to(toy.GOAL, 0.1) < 0.2 * far.steps_to(toy.GOAL, 0.1)


def test_the_natural_gradient_of_one_direction_has_no_inverse() -> None:
    with pytest.raises(ValueError, match="x must span all directions for the natural gradient"):
        toy.descend([[1.0, 2.0], [2.0, 4.0]], [1.0, 0.0], [0.0, 0.0], rate=0.1, steps=3, natural=True)


def test_positive_inputs_give_each_neuron_one_sign_and_a_batch_of_both_may_not() -> None:
    """Row i of delta z^T is delta_i z: of one sign if z is, for one example; a sum over examples mixes."""
    rng = np.random.default_rng(3)
    layers = toy.random_layers([6, 8, 4], sigma_w2=1.0, rng=rng)
    x, labels = rng.uniform(0.1, 1.0, (40, 6)), rng.integers(0, 4, 40)
    run = toy.backprop(layers, act.tanh(), x, labels)
    assert run.one_sign(0, 1) == 1.0
    gradient = run.weight_gradient(0)
    whole = np.mean((gradient >= 0).all(axis=1) | (gradient <= 0).all(axis=1))
    assert run.one_sign(0, 40) == pytest.approx(whole)
    assert toy.backprop(layers, act.tanh(), x - 0.55, labels).one_sign(0, 1) < 0.2


def test_no_layers_and_masked_labels_are_refused() -> None:
    layers = toy.random_layers([3, 2], sigma_w2=1.0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="layers must hold one layer or more, got none"):
        toy.backprop([], act.tanh(), np.ones((2, 3)), [0, 1])
    with pytest.raises(ValueError, match="labels must not have masked entries"):
        toy.backprop(layers, act.tanh(), np.ones((2, 3)), np.ma.array([0, 1], mask=[True, False]))
