"""Train E networks of equal shape at once: hand-written forward and backward passes of eq. (1) and (8), batched over E.

Members differ in a, sigma_w2, sigma_b2, learning rate, initialisation and trial; depth, width and family are shared.
Shapes: weights (E, n_in, n_out), biases (E, 1, n_out), activations (E, batch, n). What makes it fast:

- matrix products write into buffers that were allocated once, or are oneDNN's where those are faster (`products`);
- hard tanh, tanh and ReLU work in place, and their derivative is read off the stored outputs (|z| < a for hard tanh);
- with plain SGD delta carries the factor -learning rate / batch from the start, so that the weight update is the
  epilogue of the gradient's own matrix product, W += z^T delta: there are no gradient buffers, and a rate per member
  costs nothing;
- on a GPU one step is one CUDA graph and the data stay on the device.

A member's numbers do not depend on its neighbours: on a CPU with one thread, bit for bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from afli.activations import Activation
from afli.networks.draws import standard_biases, standard_weights
from afli.networks.elementwise import Elementwise
from afli.networks.optimisers import OPTIMISERS
from afli.networks.passes import Pass, flat, pass_kind
from afli.networks.products import products_for

__all__ = ["DIVERGED_LOSS", "Ensemble", "Member", "Tensors", "initial_layers"]

# A mean cross-entropy above this, or one that is not a number, marks a member as diverged.
DIVERGED_LOSS = 1e4


@dataclass(frozen=True)
class Member:
    """One network of an ensemble: how it is drawn and trained.

    phi: its activation. sigma_w2, sigma_b2: its weight and bias variances. input_scale: the factor on its inputs.
    weights: "orthogonal" or "gaussian". trial: the seed of the standardised draw, which members may share.
    head_variance: None, or the variance (times fan-in) of the last layer's weights, whose biases are then zero.
    """

    phi: Activation
    sigma_w2: float
    sigma_b2: float
    learning_rate: float
    input_scale: float = 1.0
    weights: str = "orthogonal"
    trial: int = 0
    head_variance: float | None = None


class Tensors(NamedTuple):
    """A dataset on one device: images (count, features) of the training dtype, labels (count,) of int64.

    x_validation, y_validation: images held out of the training set, or None.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    x_validation: Tensor | None = None
    y_validation: Tensor | None = None


def initial_layers(sizes: Sequence[int], members: Sequence[Member]) -> Iterator[tuple[Tensor, Tensor]]:
    """Layer by layer, the weights (E, n_in, n_out) and biases (E, 1, n_out), float64, on the CPU.

    Parameters
    ----------
    sizes
        Input features, hidden widths, classes.
    members
        E of them. Those of one trial and kind of weights share the standardised draw.

    Examples
    --------
    >>> from afli import activations as act
    >>> members = [Member(act.tanh(), sigma_w2, 0.1, learning_rate=0.01) for sigma_w2 in (1.0, 4.0)]
    >>> weights, biases = next(initial_layers([5, 8, 3], members))
    >>> weights.shape, bool(torch.equal(weights[1], 2 * weights[0]))
    (torch.Size([2, 5, 8]), True)
    """
    generators = {(m.trial, m.weights): torch.Generator().manual_seed(m.trial) for m in members}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        draws = {
            (trial, kind): (standard_weights(n_out, n_in, kind, generator).T, standard_biases(n_out, generator))
            for (trial, kind), generator in generators.items()
        }
        variances = [_variances(m, head=layer == len(sizes) - 2) for m in members]
        weights = [math.sqrt(v) * draws[m.trial, m.weights][0] for m, (v, _) in zip(members, variances, strict=True)]
        biases = [math.sqrt(v) * draws[m.trial, m.weights][1] for m, (_, v) in zip(members, variances, strict=True)]
        yield torch.stack(weights), torch.stack(biases)[:, None]


def _variances(member: Member, head: bool) -> tuple[float, float]:
    """Variance of a layer's weights (times fan-in) and of its biases."""
    if head and member.head_variance is not None:
        return member.head_variance, 0.0
    return member.sigma_w2, member.sigma_b2


class Ensemble:
    """E networks with `depth` hidden layers of `width` units and a softmax head, trained together.

    Parameters
    ----------
    members
        E of them, activations of one family.
    data
        On one device, images of `dtype`.
    depth, width
        Hidden layers, and units of each.
    batch
        Images per step.
    dtype
        Of weights and images.
    optimiser
        One of OPTIMISERS, "sgd", "momentum" or "adam".

    Raises
    ------
    ValueError
        For an empty ensemble, mixed families, or a batch larger than the training set.

    Notes
    -----
    After construction: `train`, `training_means`, `evaluate`, `set_scale`, `state`, `restore`. The attribute
    diverged_at, (E,), is the step (from 0) at which a member's loss first passed DIVERGED_LOSS or became NaN: the loss
    of its mini-batch or, after it, that of the test set; -1 if never.

    Examples
    --------
    >>> from afli import activations as act
    >>> x, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> members = [Member(act.tanh(), 1.5, 0.01, learning_rate=rate) for rate in (0.01, 0.3)]
    >>> networks = Ensemble(members, Tensors(x, y, x, y), depth=2, width=8, batch=4)
    >>> networks.train(torch.arange(4).expand(2, 50, 4))  # 50 steps of each network on all four images
    >>> losses, accuracies = networks.evaluate()
    >>> bool(losses[1] < losses[0])
    True
    """

    def __init__(
        self,
        members: Sequence[Member],
        data: Tensors,
        *,
        depth: int,
        width: int,
        batch: int,
        dtype: torch.dtype = torch.float32,
        optimiser: str = "sgd",
    ) -> None:
        if not members or not 1 <= batch <= len(data.x_train):
            raise ValueError(
                f"batch must be in 1..{len(data.x_train)} and members not empty, got {batch!r}, {members!r}"
            )
        self.data, self.batch, self.device, self.dtype = data, batch, data.x_train.device, dtype
        self.count = len(members)
        classes = int(max(data.y_train.max(), data.y_test.max())) + 1
        self.sizes = (data.x_train.shape[1], *[width] * depth, classes)
        self.phi = Elementwise([m.phi for m in members], dtype).to(self.device)
        self.weights, self.biases = [], []
        for weight, bias in initial_layers(self.sizes, members):
            self.weights.append(self._buffer(*weight.shape[1:]).copy_(weight))
            self.biases.append(self._buffer(*bias.shape[1:]).copy_(bias))
        self._products = [products_for(weight) for weight in self.weights]
        self.input_scale = self._column([m.input_scale for m in members])
        rates = self._column([m.learning_rate for m in members])
        self._optimiser = OPTIMISERS[optimiser](
            self.weights, self.biases, self._products, rates, lambda like: self._buffer(*like.shape[1:])
        )
        self._delta_factor = self._optimiser.delta_factor(batch)
        self._make_buffers(classes)
        self._reset()
        self._graph = self._capture() if self.device.type == "cuda" else None

    def train(self, order: Tensor) -> None:
        """One step per batch of `order`: row numbers of the training set, (E, steps, batch), int64."""
        order = order.to(self.device)
        for step in range(order.shape[1]):
            self._rows.copy_(order[:, step])
            self._graph.replay() if self._graph else self._step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def training_means(self) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and accuracy, (E,) each, float64, over the mini-batches since the last call.

        Every mini-batch counts as it was before its step: what a training loop usually reports for an epoch.
        """
        loss, accuracy = self._loss_sum / self._loss_count, self._hits / (self._loss_count * self.batch)
        for counter in (self._loss_sum, self._hits, self._loss_count):
            counter.zero_()
        return loss.cpu(), accuracy.cpu()

    def evaluate(self, x: Tensor | None = None, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and accuracy on images x with labels y, by default the test set; (E,) each, float64.

        A member whose weights have just overflowed shows it here first: it is marked as diverged in the last step.
        """
        if x is None or y is None:
            x, y = self.data.x_test, self.data.y_test
        count = len(y)
        loss, hits = (torch.zeros(self.count, dtype=torch.float64, device=self.device) for _ in range(2))
        for start in range(0, count, self.batch):
            # The last batch is filled up from the beginning, so that products keep their shape; the surplus is dropped.
            rows = torch.arange(start, start + self.batch, device=self.device) % count
            fresh = min(self.batch, count - start)
            self._load(x, y, rows.expand(self.count, -1))
            logits = self._forward()
            right = (logits.argmax(2) == self._labels)[:, :fresh]
            loss += _cross_entropy(logits, self._labels)[1][:, :fresh].double().sum(1)
            hits += right.double().sum(1)
        loss /= count
        self._mark_diverged(loss, (self._steps - 1).clamp(min=0))
        return loss.cpu(), (hits / count).cpu()

    def set_scale(self, a: Sequence[float]) -> None:
        """New values of the parameter a, one per member: the schedule of Figure 8."""
        self.phi.params["a"].copy_(torch.tensor(a, dtype=torch.float64).reshape(-1, 1, 1))
        self._pass.parameters_changed()

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes, as contiguous tensors on the CPU."""
        kept = self._changing().items()
        return {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in kept}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to a `state` of an ensemble of the same members."""
        for name, tensor in self._changing().items():
            tensor.copy_(state[name])

    def _changing(self) -> dict[str, Tensor]:
        changing = {"diverged_at": self.diverged_at, "steps": self._steps}
        changing |= {"loss_sum": self._loss_sum, "hits": self._hits, "loss_count": self._loss_count}
        changing |= {f"weights {l}": weight for l, weight in enumerate(self.weights)}
        changing |= {f"biases {l}": bias for l, bias in enumerate(self.biases)}
        return changing | self._optimiser.state()

    def network(self, member: int, phi: Activation) -> nn.Sequential:
        """A copy of one member as ordinary modules with activation `phi`; its inputs still need `input_scale`."""
        modules: list[nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[2], dtype=self.dtype, device=self.device)
            linear.weight.data.copy_(weight[member].T)
            linear.bias.data.copy_(bias[member, 0])
            modules += [linear, Elementwise(phi, self.dtype).to(self.device)]
        return nn.Sequential(*modules[:-1])

    # --- One step ---

    def _step(self) -> None:
        self._load(self.data.x_train, self.data.y_train, self._rows)
        logits = self._forward()
        log_sum, losses = _cross_entropy(logits, self._labels)
        self._hits += (logits.argmax(2) == self._labels).sum(1)
        self._backward(log_sum)
        loss = losses.mean(1)
        self._loss_sum += loss
        self._mark_diverged(loss, self._steps)
        self._steps += 1
        self._loss_count += 1

    def _mark_diverged(self, loss: Tensor, step: Tensor) -> None:
        first = ~(loss <= DIVERGED_LOSS) & (self.diverged_at < 0)
        torch.where(first, step, self.diverged_at, out=self.diverged_at)

    def _load(self, x: Tensor, y: Tensor, rows: Tensor) -> None:
        """Gather each member's images into the input buffer, scaled, and their labels."""
        self._inputs.copy_(x.index_select(0, rows.reshape(-1)).view(self._inputs.shape))
        self._inputs.mul_(self.input_scale)
        self._labels.copy_(y[rows])

    def _forward(self) -> Tensor:
        """Logits (E, batch, classes); every layer's outputs (and preactivations, where needed) stay in the buffers."""
        z = self._inputs
        for l, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            self._products[l].forward(bias, z, weight, self._pre[l])
            if l + 1 < len(self.weights):
                self._pass.forward(l)
                z = self._post[l]
        return self._pre[-1]

    def _backward(self, log_sum: Tensor) -> None:
        """Eq. (8), with every layer updated as soon as delta has passed through it."""
        self._optimiser.begin_step()
        delta = self._delta[-1]
        torch.exp(torch.sub(self._pre[-1], log_sum, out=delta), out=delta)  # softmax
        delta.scatter_add_(2, self._labels[:, :, None], self._minus_one)
        delta.mul_(self._delta_factor)
        for l in reversed(range(len(self.weights))):
            below = self._delta[l % 2]
            if l > 0:
                self._products[l].back(delta, self.weights[l], below)
                self._pass.backward(l - 1, flat(below))
            self._optimiser.update(l, self._post[l - 1] if l > 0 else self._inputs, delta)
            delta = below

    # --- Buffers ---

    def _buffer(self, rows: int, columns: int) -> Tensor:
        """Zeros (E, rows, columns), each member padded to whole vectors of 64 numbers.

        Elsewhere a small matrix product, or the tail of an elementwise function, may round differently.
        """
        stride = 64 * math.ceil(rows * columns / 64)
        memory = torch.zeros(self.count * stride, dtype=self.dtype, device=self.device)
        return memory.as_strided((self.count, rows, columns), (stride, columns, 1))

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device).reshape(-1, 1, 1)

    def _make_buffers(self, classes: int) -> None:
        kind = pass_kind(self.phi)
        self._inputs = self._buffer(self.batch, self.sizes[0])
        self._pre = [self._buffer(self.batch, n) for n in self.sizes[1:]]
        self._post = self._pre if kind is not Pass else [self._buffer(self.batch, n) for n in self.sizes[1:-1]]
        self._pass = kind(self.phi, [flat(h) for h in self._pre], [flat(z) for z in self._post])
        self._delta = [self._buffer(self.batch, n) for n in (self.sizes[1], self.sizes[1], classes)]
        self._rows = torch.zeros(self.count, self.batch, dtype=torch.int64, device=self.device)
        self._labels = torch.zeros_like(self._rows)
        self._minus_one = torch.full((self.count, self.batch, 1), -1.0, dtype=self.dtype, device=self.device)
        self._loss_sum, self._hits = (
            torch.zeros(self.count, dtype=torch.float64, device=self.device) for _ in range(2)
        )
        self.diverged_at = torch.zeros(self.count, dtype=torch.int64, device=self.device)
        self._steps, self._loss_count = (torch.zeros((), dtype=torch.int64, device=self.device) for _ in range(2))

    def _reset(self) -> None:
        for counter in (self._loss_sum, self._hits, self._loss_count, self._steps):
            counter.zero_()
        self.diverged_at.fill_(-1)

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Record one step as a CUDA graph. Recording takes steps: what they changed is put back."""
        before = self.state()
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self.restore(before)
        return graph


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """log sum exp, (E, batch, 1), and the cross-entropy of each image, (E, batch)."""
    log_sum = torch.logsumexp(logits, 2, keepdim=True)
    return log_sum, (log_sum - logits.gather(2, labels[:, :, None]))[:, :, 0]
