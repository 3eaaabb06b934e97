"""The ensemble: the same arithmetic as autograd, members that do not see each other, trials that pair up."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from afli import activations as act
from afli.experiments import LinearSchedule
from afli.networks import products
from afli.networks.ensemble import DIVERGED_LOSS, Ensemble, Member, Tensors, initial_layers
from afli.networks.init import WEIGHTS
from afli.networks.modules import FORMULAS
from afli.networks.optimisers import OPTIMISERS

RADII = (1.0, 2.0, 3.0, 5.0, 8.0)


def family(name: str, count: int = 3) -> list[act.Activation]:
    """Members of one family, with different a where it has one."""
    if name in act.SCALED_BOUNDED_FAMILIES:
        return [act.get(name, a=a) for a in RADII[:count]]
    return [act.get(name)] * count


OTHERS = {
    "shtanh with k": [act.shtanh(a, k=0.9) for a in RADII[:3]],
    "scaled tanh": [act.scaled(act.tanh(), a) for a in RADII[:3]],
    "symmetrised elu": [act.symmetrised(act.elu())] * 3,
    "leaky relus": [act.leaky_relu(slope) for slope in (0.1, 0.2, -0.3)],
}
EVERY = {name: family(name) for name in FORMULAS} | OTHERS


def images(features=13, classes=3, train=60, test=25, dtype=torch.float64) -> Tensors:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(train + test, features, generator=g, dtype=torch.float64).to(dtype)
    y = torch.randint(classes, (train + test,), generator=g)
    y[:classes] = y[-classes:] = torch.arange(classes)
    return Tensors(x[:train], y[:train], x[train:], y[train:])


def orders(count: int, data: Tensors, steps: int, batch: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.stack([torch.randint(len(data.y_train), (steps, batch), generator=g) for _ in range(count)])


def members(phis, **settings) -> list[Member]:
    return [
        Member(phi, 1.0 + 0.1 * e, 0.1 * e, 0.02 * (e + 1), 0.5 + e / 4, WEIGHTS[e % 2], trial=e, **settings)
        for e, phi in enumerate(phis)
    ]


TORCH = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}


def train_with_autograd(network, member: Member, data: Tensors, order: torch.Tensor, name: str = "sgd") -> float:
    """One member, ten lines of torch; returns the mean loss."""
    optimiser = TORCH[name](network.parameters(), lr=member.learning_rate)
    losses = []
    for rows in order:
        optimiser.zero_grad()
        logits = network(data.x_train[rows] * member.input_scale)
        loss = torch.nn.functional.cross_entropy(logits, data.y_train[rows])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", EVERY)
def test_ten_steps_equal_autograd_to_twelve_digits(name, weights):
    data, team = images(), [replace(m, weights=weights) for m in members(EVERY[name])]
    ensemble = Ensemble(team, data, depth=5, width=17, batch=9, dtype=torch.float64)
    networks = [ensemble.network(e, m.phi) for e, m in enumerate(team)]
    order = orders(len(team), data, 10, 9)
    ensemble.train(order)
    loss = ensemble.training_means()[0]
    for e, (member, network) in enumerate(zip(team, networks, strict=True)):
        assert train_with_autograd(network, member, data, order[e]) == pytest.approx(float(loss[e]), abs=1e-12)
        trained = ensemble.network(e, member.phi)
        for expected, found in zip(network.parameters(), trained.parameters(), strict=True):
            np.testing.assert_allclose(found.detach(), expected.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", ["shtanh", "ssine", "relu"])
def test_twenty_steps_of_every_optimiser_equal_torchs(name, optimiser):
    data, team = images(), members(family(name))
    ensemble = Ensemble(team, data, depth=5, width=17, batch=9, dtype=torch.float64, optimiser=optimiser)
    networks = [ensemble.network(e, m.phi) for e, m in enumerate(team)]
    order = orders(len(team), data, 20, 9)
    ensemble.train(order)
    loss = ensemble.training_means()[0]
    for e, (member, network) in enumerate(zip(team, networks, strict=True)):
        mean = train_with_autograd(network, member, data, order[e], optimiser)
        assert mean == pytest.approx(float(loss[e]), abs=1e-12)
        trained = ensemble.network(e, member.phi)
        for expected, found in zip(network.parameters(), trained.parameters(), strict=True):
            np.testing.assert_allclose(found.detach(), expected.detach(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_goes_on_where_it_stopped_and_members_do_not_see_each_other(optimiser):
    torch.set_num_threads(1)
    data, team = images(dtype=torch.float32), members(family("shtanh", 5))
    order = orders(5, data, 8, 9)

    def make(chosen: list[Member]) -> Ensemble:
        return Ensemble(chosen, data, depth=3, width=17, batch=9, optimiser=optimiser)

    whole, first, second = make(team), make(team), make(team)
    whole.train(order)
    first.train(order[:, :3])
    second.restore(first.state())
    second.train(order[:, 3:])
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, second.weights, strict=True))
    for e, member in enumerate(team):
        alone = make([member])
        alone.train(order[e : e + 1])
        assert all(torch.equal(a[e], b[0]) for a, b in zip(whole.weights, alone.weights, strict=True))
        assert all(torch.equal(a[e], b[0]) for a, b in zip(whole.biases, alone.biases, strict=True))


def test_training_accuracy_is_the_share_of_right_answers_before_each_step():
    data, team = images(), members(family("shtanh"))
    ensemble = Ensemble(team, data, depth=3, width=16, batch=8, dtype=torch.float64)
    order, right = orders(3, data, 6, 8), torch.zeros(3, dtype=torch.float64)
    for step in range(6):
        for e, member in enumerate(team):
            logits = ensemble.network(e, member.phi)(data.x_train[order[e, step]] * member.input_scale)
            right[e] += (logits.argmax(1) == data.y_train[order[e, step]]).sum()
        ensemble.train(order[:, step : step + 1])
    np.testing.assert_allclose(ensemble.training_means()[1], right / 48, rtol=1e-12)


@pytest.mark.parametrize("name", act.SCALED_BOUNDED_FAMILIES)
def test_a_schedule_of_a_equals_autograd_with_a_changed_by_hand(name):
    data, team = images(), members(family(name))
    schedules = [LinearSchedule(a, stop, 3) for a, stop in zip(RADII[:3], (4.0, 1.0, 2.0), strict=True)]
    ensemble = Ensemble(team, data, depth=4, width=16, batch=8, dtype=torch.float64)
    networks = [ensemble.network(e, m.phi) for e, m in enumerate(team)]
    order = orders(len(team), data, 10, 8)
    for epoch in (1, 2, 3, 4):
        part = order[:, 3 * (epoch - 1) : 3 * epoch]
        ensemble.set_scale([schedule(epoch) for schedule in schedules])
        ensemble.train(part)
        for e, (member, network) in enumerate(zip(team, networks, strict=True)):
            for module in network[1::2]:
                module.params["a"].fill_(schedules[e](epoch))
            train_with_autograd(network, member, data, part[e])
    for e, network in enumerate(networks):
        for expected, found in zip(network.parameters(), ensemble.network(e, team[e].phi).parameters(), strict=True):
            np.testing.assert_allclose(found.detach(), expected.detach(), rtol=0, atol=1e-12)


def test_evaluation_is_the_mean_over_the_test_set():
    data, team = images(test=25), members(family("shtanh"))
    ensemble = Ensemble(team, data, depth=3, width=16, batch=8, dtype=torch.float64)
    loss, accuracy = ensemble.evaluate()
    for e, member in enumerate(team):
        logits = ensemble.network(e, member.phi)(data.x_test * member.input_scale)
        expected = torch.nn.functional.cross_entropy(logits, data.y_test).item()
        assert float(loss[e]) == pytest.approx(expected, abs=1e-12)
        assert float(accuracy[e]) == pytest.approx((logits.argmax(1) == data.y_test).double().mean().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(13, 17, 17, 3), (64, 64, 64, 10), (7, 5, 3, 2), (200, 48, 33, 10)], ids=str)
@pytest.mark.parametrize(
    "name", ["shtanh", "ssine", "sexp", "ssaw", "tanh", "erf", "relu", "elu", "sin", "gelu", "silu"]
)
def test_five_members_equal_five_ensembles_of_one_bit_for_bit(name, shape, dtype):
    features, width, batch, classes = shape
    torch.set_num_threads(1)
    data, team = images(features, classes, train=70, test=50, dtype=dtype), members(family(name, 5))
    order = orders(5, data, 4, batch)

    def results(chosen: list[Member], rows: torch.Tensor) -> list[torch.Tensor]:
        ensemble = Ensemble(chosen, data, depth=3, width=width, batch=batch, dtype=dtype)
        ensemble.train(rows)
        return [ensemble.training_means()[0], *ensemble.evaluate(), *ensemble.weights, *ensemble.biases]

    together = results(team, order)
    for e, member in enumerate(team):
        alone = results([member], order[e : e + 1])
        assert all(torch.equal(one[0], many[e]) for one, many in zip(alone, together, strict=True))


# oneDNN's products where this torch has them; torch's own, everywhere.
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
PRODUCTS = [products.Products, *([products.OneDnnProducts] if HAS_ONEDNN else [])]


@pytest.mark.parametrize("here", [True, False])
def test_only_wide_float32_networks_on_a_processor_that_gains_from_it_get_onednns_products(monkeypatch, here):
    class Fast(products.Products):
        pass

    monkeypatch.setattr(products, "OneDnnProducts", Fast)
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: here)
    chosen = {
        (shape, dtype): type(products.products_for(torch.empty(2, *shape, dtype=dtype)))
        for shape in ((300, 300), (3072, 300), (300, 10), (64, 64))
        for dtype in (torch.float32, torch.float64)
    }
    fast = {key for key, kind in chosen.items() if kind is Fast}
    assert fast == ({((300, 300), torch.float32), ((3072, 300), torch.float32)} if here else set())


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize(("n_in", "n_out", "batch"), [(300, 300, 64), (513, 256, 33), (200, 407, 7), (3, 2, 1)])
def test_products_are_those_of_the_formula(kind, n_in, n_out, batch):
    g = torch.Generator().manual_seed(3)
    z, delta, bias, weight = (
        torch.randn(3, *shape, generator=g) for shape in ((batch, n_in), (batch, n_out), (1, n_out), (n_in, n_out))
    )
    out, below, updated = torch.empty(3, batch, n_out), torch.empty(3, batch, n_in), weight.clone()
    multiply = kind()
    multiply.forward(bias, z, weight, out)
    multiply.back(delta, weight, below)
    multiply.update(updated, z, delta)
    z, delta, bias, weight = (each.double() for each in (z, delta, bias, weight))
    exact = (
        bias + torch.einsum("ebi,eio->ebo", z, weight),
        torch.einsum("ebo,eio->ebi", delta, weight),
        weight + torch.einsum("ebi,ebo->eio", z, delta),
    )
    for expected, found in zip(exact, (out, below, updated), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("name", ["shtanh", "ssine"])
def test_wide_members_do_not_see_each_other_and_follow_autograd(monkeypatch, name, kind):
    monkeypatch.setattr("afli.networks.ensemble.products_for", lambda weight: kind())
    data, team = images(256, 4, train=70, test=50, dtype=torch.float32), members(family(name, 5))
    order = orders(5, data, 4, 16)
    together, *alone = (
        Ensemble(chosen, data, depth=3, width=224, batch=16) for chosen in (team, *([member] for member in team))
    )
    networks = [together.network(e, member.phi) for e, member in enumerate(team)]
    together.train(order)
    for e, (member, ensemble, network) in enumerate(zip(team, alone, networks, strict=True)):
        ensemble.train(order[e : e + 1])
        assert all(torch.equal(w[e], v[0]) for w, v in zip(together.weights, ensemble.weights, strict=True))
        train_with_autograd(network, member, data, order[e])
        for expected, found in zip(network.parameters(), together.network(e, member.phi).parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def test_one_trial_shares_its_standardised_draw_across_a_sigma_and_kind_of_weights():
    trial = [Member(act.shtanh(a), w, b, 0.1, trial=4) for a, w, b in ((1.0, 1.5, 0.1), (5.0, 1.1, 1.0))]
    for weight, bias in initial_layers((6, 8, 8, 3), trial):
        np.testing.assert_allclose(weight[0] / 1.5**0.5, weight[1] / 1.1**0.5, atol=1e-15)
        np.testing.assert_allclose(bias[0] / 0.1**0.5, bias[1], atol=1e-15)
    (first, _), *_ = initial_layers((6, 8, 8, 3), [replace(trial[0], trial=5)])
    assert not torch.allclose(first[0], next(iter(initial_layers((6, 8, 8, 3), trial)))[0][0])


def test_a_head_variance_changes_the_head_only():
    team = [Member(act.tanh(), 1.5, 0.1, 0.1, head_variance=h) for h in (None, 1e-4)]
    *hidden, (weight, bias) = initial_layers((6, 8, 8, 3), team)
    assert all(torch.equal(w[0], w[1]) and torch.equal(b[0], b[1]) for w, b in hidden)
    np.testing.assert_allclose(weight[1] / weight[0], (1e-4 / 1.5) ** 0.5)
    assert not bias[1].any()
    assert bias[0].any()


@pytest.mark.parametrize("name", ["relu", "elu", "linear"])
def test_a_diverging_member_is_recorded_and_poisons_nobody(name):
    data, team = images(), members(family(name))
    team[1] = replace(team[1], learning_rate=1e6)
    order = orders(3, data, 12, 8)
    ensemble = Ensemble(team, data, depth=4, width=16, batch=8)
    ensemble.train(order)
    bystander = Ensemble(team[2:], data, depth=4, width=16, batch=8)
    bystander.train(order[2:])
    assert 0 < int(ensemble.diverged_at[1]) < 12
    assert ensemble.diverged_at[[0, 2]].tolist() == [-1, -1]
    assert all(torch.equal(w[2], v[0]) for w, v in zip(ensemble.weights, bystander.weights, strict=True))


def test_the_step_of_a_divergence_is_the_first_with_a_loss_beyond_the_limit():
    data, member = images(), replace(members(family("relu", 1))[0], learning_rate=100.0)
    order = orders(1, data, 20, 8)
    ensemble = Ensemble([member], data, depth=4, width=16, batch=8, dtype=torch.float64)
    losses = []
    for step in range(20):
        ensemble.train(order[:, step : step + 1])
        losses.append(float(ensemble.training_means()[0][0]))
    expected = next(step for step, loss in enumerate(losses) if not loss <= DIVERGED_LOSS)
    assert int(ensemble.diverged_at[0]) == expected


def test_weights_that_overflow_in_the_last_step_are_marked_at_the_test():
    data, member = images(), replace(members(family("relu", 1))[0], learning_rate=1e20)
    ensemble = Ensemble([member], data, depth=4, width=16, batch=8)
    ensemble.train(orders(1, data, 1, 8))  # its loss is that of the weights before the step
    assert int(ensemble.diverged_at[0]) == -1
    loss, _ = ensemble.evaluate()
    assert not float(loss[0]) <= DIVERGED_LOSS
    assert int(ensemble.diverged_at[0]) == 0


def test_a_restored_state_goes_on_bit_for_bit():
    data, team = images(), members(family("ssine"))
    order = orders(3, data, 9, 8)
    whole, half, rest = (Ensemble(team, data, depth=4, width=16, batch=8) for _ in range(3))
    whole.train(order)
    half.train(order[:, :4])
    rest.restore(half.state())
    rest.train(order[:, 4:])
    assert torch.equal(whole.training_means()[0], rest.training_means()[0])
    assert all(torch.equal(w, r) for w, r in zip(whole.weights, rest.weights, strict=True))


def test_recording_a_cuda_graph_takes_steps_but_changes_no_weight(monkeypatch):
    """The recording itself needs a GPU; what surrounds it is tested with a graph that replays by stepping."""

    class Stream:
        def __init__(self, device=None):
            pass

        def wait_stream(self, other):
            pass

    class Graph:
        def replay(self):
            recorded._step()

    for name, stand_in in {
        "Stream": Stream, "current_stream": Stream, "CUDAGraph": Graph,
        "stream": contextlib.nullcontext, "graph": contextlib.nullcontext,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    data, team = images(), members(family("shtanh"))
    eager, recorded = (Ensemble(team, data, depth=4, width=16, batch=8) for _ in range(2))
    recorded._graph = recorded._capture()
    assert all(torch.equal(w, v) for w, v in zip(eager.weights, recorded.weights, strict=True))
    for ensemble in (eager, recorded):
        ensemble.train(orders(3, data, 5, 8))
    assert torch.equal(eager.training_means()[0], recorded.training_means()[0])
    assert all(torch.equal(w, v) for w, v in zip(eager.weights, recorded.weights, strict=True))


def test_wrong_arguments_are_named():
    data = images()
    with pytest.raises(ValueError, match=r"batch must be in 1\.\.60.*got 61"):
        Ensemble(members(family("tanh")), data, depth=2, width=4, batch=61)
    with pytest.raises(ValueError, match="one activation or several of one family"):
        Ensemble(members([act.tanh(), act.relu()]), data, depth=2, width=4, batch=8)
