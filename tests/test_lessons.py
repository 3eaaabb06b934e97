"""The training loop of Part I's pages: reproducible, and about the models it says it builds."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from afli import activations as act  # noqa: E402
from afli import data  # noqa: E402
from afli.networks import lessons  # noqa: E402

SIZES = [64, 16, 16, 10]


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.normalised(data.load("digits"))


def test_training_learns_and_repeats_itself(digits: data.Dataset) -> None:
    first, second = (
        lessons.fit(lessons.stack(SIZES, nn.ReLU, gain=2**0.5), digits, learning_rate=0.2, epochs=4, cosines=True)
        for _ in range(2)
    )
    assert first.test_accuracy[-1] > 0.8 > first.test_accuracy[0]
    assert np.array_equal(first.loss, second.loss)
    assert len(first.loss) == 4 * (1437 // 64)
    assert len(first.cosines) == len(first.loss) - 1
    assert np.abs(first.cosines).max() <= 1 + 1e-6


def test_watch_sees_the_model_before_training_and_after_every_epoch(digits: data.Dataset) -> None:
    model = lessons.stack(SIZES, nn.Tanh)
    run = lessons.fit(model, digits, learning_rate=0.1, epochs=2, watch=lambda m: m.training)
    assert run.watched == [False, False, False]


def test_steps_to_counts_steps_and_knows_never() -> None:
    run = lessons.History(np.r_[np.ones(30), np.zeros(30)], np.zeros(1), [], np.zeros(0))
    assert run.steps_to(0.5) == 41  # the first with eleven zeros among twenty
    assert run.steps_to(-1.0) == float("inf")


def test_the_best_rate_is_not_one_that_diverges(digits: data.Dataset) -> None:
    rate, _ = lessons.best_rate(
        lambda: lessons.stack(SIZES, nn.ReLU, gain=2**0.5), digits, (0.2, 1e4), level=0.5, epochs=3
    )
    assert rate == 0.2


def test_a_stack_has_the_weight_variance_it_was_asked_for() -> None:
    model = lessons.stack([400, 400, 10], nn.ReLU, gain=2.0)
    (hidden, *_) = (m for m in model.modules() if isinstance(m, nn.Linear))
    assert float(hidden.weight.detach().square().mean()) * 400 == pytest.approx(4.0, rel=0.02)


def test_a_shortcut_goes_round_layers_that_keep_their_width() -> None:
    model = lessons.stack([5, 8, 8, 3], nn.Tanh, shortcut=0.5)
    assert [isinstance(m, lessons.Shortcut) for m in model] == [False, True, False]
    x = torch.ones(2, 8)
    assert torch.equal(model[1](x), x + 0.5 * model[1].block(x))


def test_on_edge_scales_the_images_to_the_fixed_point(digits: data.Dataset) -> None:
    from afli import meanfield as mf

    phi = act.shtanh(a=3.0)
    _, scaled = lessons.on_edge(phi, digits, depth=2, width=16, sigma_b2=0.1)
    net = mf.edge_of_chaos(phi, sigma_b2=0.1)
    variance = net.sigma_w2 * np.mean(np.square(scaled.x_train.astype(float)), axis=1) + 0.1
    assert variance == pytest.approx(np.full(len(variance), net.q), rel=1e-5)


def test_bad_input_is_named(digits: data.Dataset) -> None:
    with pytest.raises(ValueError, match="optimiser must be 'sgd' or 'adam', got 'lion'"):
        lessons.fit(nn.Linear(64, 10), digits, learning_rate=0.1, epochs=1, optimiser="lion")
    with pytest.raises(ValueError, match="sizes must name"):
        lessons.stack([64], nn.ReLU)


def test_speed_reports_the_best_of_its_rates():
    digits = data.normalised(data.load("digits"))
    found = lessons.speed(digits, nn.ReLU, (1e-4, 0.1), epochs=5)
    assert found["rate"] == 0.1
    assert 20 <= found["steps"] < np.inf
    assert found["test accuracy"] > 0.8
    assert -1 <= found["cosine"] <= 1
