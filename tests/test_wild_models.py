"""What models do besides computing: keep books in backward passes, change with their mode, write to their inputs.

Nothing that they hold is left changed, and what is said of them is true of the model as it was.
"""

from __future__ import annotations

import collections
import copy
import warnings

import numpy as np
import pytest
import torch
from test_models import Case as Model
from test_models import Forward, N, changed, initialised, linear, mlp, tensors_of, two, vectors
from torch import nn
from torch.utils.checkpoint import checkpoint

from afli.networks.measure import JACOBIAN_INPUTS
from afli.networks.modules import Shtanh
from afli.networks.probe import diagnose, preactivations, signal_propagation
from afli.networks.recognise import from_torch
from afli.networks.survey import survey

USES = (survey, diagnose, signal_propagation)


class Checkpointed(nn.Module):
    """The block is run again in the backward pass, where a mode or a statistic may have changed."""

    def __init__(self, keep=False):
        super().__init__()
        self.first, self.norm, self.drop = linear(), nn.BatchNorm1d(N), nn.Dropout(0.3)
        self.second, self.last, self.keep, self.calls = linear(), linear(N, 64), keep, 0

    def block(self, x):
        self.calls += 1
        return self.second(self.drop(torch.tanh(self.norm(self.first(x)))))

    def forward(self, x):
        h = self.block(x) if self.keep else checkpoint(self.block, x, use_reentrant=False)
        return self.last(torch.tanh(h))


class Watched(nn.Module):
    """Keeps the gradients of its maps (Grad-CAM), by hooks on a tensor and on a module."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.gradient, self.log = linear(), linear(N, 64), None, []
        self.last.register_full_backward_hook(lambda module, before, after: self.log.append(len(self.log)))

    def forward(self, x):
        h = torch.tanh(self.first(x))
        if h.requires_grad:
            h.register_hook(lambda gradient: setattr(self, "gradient", gradient))
        return self.last(h)


class Merged(nn.Linear):
    """Adds its update of low rank to its weights in evaluation mode, and takes it away in training (loralib)."""

    def __init__(self):
        super().__init__(N, N)
        self.down, self.up = nn.Parameter(torch.randn(4, N)), nn.Parameter(torch.randn(N, 4))
        self.merged = False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-1 if mode else 1) * self.up @ self.down
            self.merged = not mode
        return self

    def forward(self, x):
        return super().forward(x) + (0 if self.merged else x @ self.down.T @ self.up.T)


class Counting(nn.Module):
    """Counts in containers of every kind, and in containers of containers."""

    def __init__(self):
        super().__init__()
        self.net, self.counter, self.last = mlp(nn.Tanh, hidden=1), collections.Counter(), collections.deque(maxlen=2)
        self.lists, self.ids = collections.defaultdict(list), set()
        self.deep = {"calls": [0], "seen": ({"n": 0},)}

    def forward(self, x):
        self.counter["calls"] += 1
        self.last.append(len(x))
        self.lists["x"].append(1)
        self.ids.add(len(self.ids))
        self.deep["calls"][0] += 1
        self.deep["seen"][0]["n"] += 1
        return self.net(x)


@pytest.mark.parametrize("make", [
    Checkpointed, Watched, lambda: nn.Sequential(linear(), nn.Tanh(), Merged(), nn.Tanh(), linear(N, 64)), Counting,
])  # fmt: skip
def test_books_that_a_model_keeps_are_left_as_they_were(make):
    model = make()

    def books():
        parts = dict(model.named_modules()).items()
        plain = int | list | dict | set | collections.deque | None
        return {
            (name, key): copy.deepcopy(value)
            for name, part in parts
            for key, value in vars(part).items()
            if isinstance(value, plain) and not key.startswith("_")
        }

    before, held = books(), tensors_of(model)
    for use in USES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(model, vectors())
        assert not changed(held, tensors_of(model))
        assert books() == before
        assert model.training


def test_gradients_through_a_checkpoint_are_those_without():
    model = Checkpointed()
    direct = Checkpointed(keep=True)
    direct.load_state_dict(model.state_dict())
    for use in (diagnose, signal_propagation):
        tables = [use(each, vectors()) for each in (model, direct)]
        found, wanted = (getattr(each, "table", each).select_dtypes("number") for each in tables)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def write_to_the_input(model, x):
    x -= 1.0
    return model.last(torch.tanh(model.first(x.div_(255.0))))


def test_inputs_that_a_model_writes_to_stay_as_they_are():
    x = 255 * vectors() + 1
    before = x.clone()
    in_place = two(write_to_the_input)
    plain = copy.deepcopy(in_place)
    plain.use = lambda m, x: m.last(torch.tanh(m.first((x - 1.0) / 255.0)))
    for use in (*USES, lambda model, x: initialised(Model(model, x))):
        use(in_place, x)
        assert torch.equal(x, before)
        assert not x.requires_grad
    plain.load_state_dict(in_place.state_dict())
    for found, wanted in zip(preactivations(in_place, x), preactivations(plain, x), strict=True):
        torch.testing.assert_close(found, wanted)


def first_node_alone(m, x, a):
    return m.last(a @ torch.tanh(a @ m.first(x)))


def aside(m, x):
    """The layer called last reads the inputs alone, those before it mix them."""
    h = torch.tanh(m.first(x))
    h = m.second(h + 3 * h.mean(0, keepdim=True))
    return h, m.last(x)


@pytest.mark.parametrize("jacobians", ["exact", "random"])
def test_chi1_where_the_inputs_mix_though_the_first_or_the_last_layer_does_not(jacobians):
    a = torch.full((8, 8), 1 / 7)
    a[0], a[:, 0], a[0, 0] = 0, 0, 1
    cases = [
        (Forward(first_node_alone, first=linear(N, 16), last=linear(16, 8)), (vectors(8), a)),
        (Forward(aside, first=linear(N, 16), second=linear(16, 8), last=linear(N, 8)), vectors(8)),
    ]
    for model, x in cases:
        before, after = preactivations(model, x)[:2]
        whole = [
            [torch.autograd.grad(after[i, k], before, retain_graph=True)[0][i] for k in range(after.shape[1])]
            for i in range(8)
        ]
        wanted = sum(float(row.square().sum()) for rows in whole for row in rows) / after.numel()
        found = signal_propagation(model, x, jacobians=jacobians)["chi1"][1]
        assert found == pytest.approx(wanted, rel=1e-5 if jacobians == "exact" else 0.4)


def times_first(m, x):
    h = torch.tanh(m.second(torch.tanh(m.first(x)).transpose(0, 1)))
    return m.last(torch.tanh(m.third(h.transpose(0, 1).mean(1))))


def recurrent(first=8):
    return Forward(
        times_first, first=linear(first, 16), second=linear(16, 16), third=linear(16, 16), last=linear(16, 4)
    )


@pytest.mark.parametrize(("batch", "steps"), [(64, JACOBIAN_INPUTS), (6, 6), (6, 4)])
def test_rows_that_are_time_steps_are_not_taken_for_inputs(batch, steps):
    model, x = recurrent(), vectors(batch, steps, 8)
    with pytest.warns(UserWarning, match="not seen: second .Linear, whose rows are not those of the batch"):
        table = signal_propagation(model, x)
    assert table.attrs["names"] == ["first", "third", "last"]
    layers = preactivations(model, x)
    for row in (1, 2):  # no derivative has slipped to the row of another layer
        (slope,) = torch.autograd.grad(layers[row][0].sum(), layers[row - 1], retain_graph=True)
        assert (slope == 0).all() == (table["chi1"][row] == 0)
    units = layers[2].shape[1]
    rows = [torch.autograd.grad(layers[2][:, k].sum(), layers[1], retain_graph=True)[0] for k in range(units)]
    wanted = sum(float(r[:JACOBIAN_INPUTS].square().sum()) for r in rows) / units / min(batch, JACOBIAN_INPUTS)
    assert table["chi1"][2] == pytest.approx(wanted, rel=1e-4)


def parts(m, x):
    return m.c(torch.tanh(a := m.a(x))), m.d(torch.tanh(a + m.b(x)))


def test_a_layer_that_reads_one_part_of_a_sum_is_named():
    model = Forward(parts, a=linear(), b=linear(), c=linear(), d=linear())
    _, said = initialised(Model(model, vectors()))
    assert "c: its input comes from a (Linear), which has the variance of one part of a sum" in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_layer_behind_which_the_path_is_lost_is_no_head():
    scripted = torch.jit.script(swish_of_old)
    model = two(lambda m, x: m.last(scripted(m.first(x))))
    found = survey(model, vectors(), "silu")
    assert [(task.name, task.head) for task in found.tasks] == [("first", False)]
    assert "values from elsewhere" in found.untouched["last"]


def swish_of_old(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize(("model", "x", "said"), [
    (lambda: two(lambda m, x: m.last(torch.tanh(m.first(x / 255)))), 255 * vectors(), "multiply what first reads by"),
    (lambda: two(lambda m, x, y: m.last(torch.tanh(m.first(x) + m.other(y))), other=linear()),
     (0.45 * vectors(), 30 * vectors().flip(0)), "what other reads by 0.0"),
    (lambda: mlp(nn.Tanh), 3 * vectors(), "InputScale"),
], ids=["prepared", "two", "plain"])  # fmt: skip
def test_every_input_of_another_scale_is_said_with_what_mends_it(model, x, said):
    assert said in initialised(Model(model(), x))[1]


class Block(nn.Module):
    """Of a wide residual network: its branch ends behind a normalisation, and is not drawn."""

    def __init__(self):
        super().__init__()
        self.norm, self.inner = nn.BatchNorm1d(N), linear()

    def forward(self, x):
        return x + self.inner(torch.relu(self.norm(x)))


def test_of_shortcuts_whose_branches_are_not_drawn_nothing_is_promised():
    model = nn.Sequential(linear(), Block(), nn.ReLU(), linear(N, 64))
    assert survey(model, vectors()).notes == []


def test_a_number_that_is_read_off_a_value_is_named():
    model = two(lambda m, x: m.last(torch.tanh((h := m.first(x)) / h.std().item())))
    assert survey(model, vectors()).notes == [
        "numbers are read from std: where they enter again they are taken for constants"
    ]


class Equation(nn.Module):
    """Of a physics-informed network: it differentiates itself."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(linear(2, N), nn.Tanh(), linear(), nn.Tanh(), linear(N, 1))

    def forward(self, x):
        x.requires_grad = True
        u = self.net(x)
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return u, slope


def test_a_model_that_differentiates_itself_is_run():
    model, x = Equation(), vectors(16, 2)
    assert [task.name for task in survey(model, x).tasks] == ["net.0", "net.2", "net.4"]
    assert diagnose(model, x).table["q_theory"].notna().tolist() == [False, True, True]
    assert not x.requires_grad


class Arguments(dict):
    """A dictionary whose keys are attributes, too."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize("kind", [Arguments, collections.namedtuple("Batch", "a b")])
def test_inputs_in_a_kind_of_their_own_stay_of_that_kind(kind):
    x = (kind(a=vectors(), b=vectors(64).flip(0)),)
    model = two(lambda m, x: m.last(torch.tanh(m.first(x.a) + m.other(x.b))), other=linear())
    assert len(diagnose(model, x).table) == len(signal_propagation(model, x)) == 3


def test_what_has_no_mode_or_no_tensors_is_refused_with_the_reason():
    class Trains(nn.Linear):
        def train(self, data, epochs=3):
            raise TypeError("data must be a data loader")

    class OnlyTrains(nn.Linear):
        def forward(self, x):
            if not self.training:
                raise RuntimeError("not in evaluation")
            return super().forward(x)

    for use in USES:
        with pytest.raises(ValueError, match="evaluation and a training mode, but says: data must be a data loader"):
            use(Trains(N, N), vectors())
    with pytest.raises(ValueError, match="not in evaluation"):
        diagnose(OnlyTrains(N, N), vectors())
    assert len(diagnose(OnlyTrains(N, N), vectors(), training=True).table) == 1
    with pytest.raises(ValueError, match="x must hold tensors, in tuples, lists or dictionaries"):
        diagnose(linear(), (object(),))


def test_an_activation_in_many_steps_takes_no_more_than_their_number():
    def relaxed(z):
        for _ in range(60):  # each uses the last twice
            z = z - 0.01 * torch.sin(z)
        return z

    model = two(lambda m, x: m.last(relaxed(m.first(x))))
    phi = survey(model, vectors()).phi
    z = np.linspace(-3, 3, 7)
    np.testing.assert_allclose(phi(z), relaxed(torch.from_numpy(z)), rtol=1e-12)


def test_a_radius_for_each_unit_is_an_activation_as_long_as_they_are_equal():
    phi = Shtanh(2.0, learnable=True, units=N)
    assert from_torch(phi).name == "shtanh(a=2)"
    with torch.no_grad():
        phi.a[0] = 3.0
    with pytest.raises(ValueError, match="unit by unit"):
        from_torch(phi)


class Copying(nn.Module):
    """Copies a part of itself in its forward pass, as ensembles under torch.func do."""

    def __init__(self):
        super().__init__()
        self.first, self.last = linear(), linear(N, 64)

    def forward(self, x):
        return self.last(torch.tanh(copy.deepcopy(self.first)(x)))


def test_a_model_that_copies_itself_does_not_copy_who_looks_at_it():
    assert diagnose(Copying(), vectors()).table["name"].iloc[-1] == "last"
    assert "last" in survey(Copying(), vectors(), "tanh").untouched


def test_weights_that_are_not_finite_give_no_jacobian():
    model = mlp(nn.Tanh)
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    table = signal_propagation(model, vectors())
    assert table["jacobian_mean"].isna().all()
    assert diagnose(model, vectors()).findings[0].startswith("preactivations are not finite from layer 2")
