"""What an experiment is: every choice of Section 4.1 in one immutable record, and named sets of them."""

from __future__ import annotations

import hashlib
import inspect
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from afli import activations as act
from afli import meanfield as mf
from afli._inputs import WEIGHTS, function, integer, scalar, text, word
from afli.data import NORMALISATIONS

__all__ = [
    "OPTIMISERS", "Experiment", "Grid", "LinearSchedule", "edge_of_chaos", "own_activations", "register_activation",
]  # fmt: skip

OPTIMISERS = ("sgd", "momentum", "adam")

OWN_ACTIVATIONS: dict[str, Callable[..., act.Activation]] = {}


def register_activation(name: str, make: Callable[..., act.Activation]) -> None:
    """Let `Experiment(activation=name, parameters=...)` mean `make(**parameters)`, in this process.

    A table remembers the values of the function and is not continued with another one of the same name.

    Parameters
    ----------
    name
        A word that no family of `afli.activations` has, in any case. Registered again, it means the new function.
    make
        What returns the activation, as `afli.activations.from_callable` makes it, from its parameters by name.

    Raises
    ------
    ValueError
        If the name is taken, or not a word.
    TypeError
        If make cannot be called, or says nothing about its parameters.
    """
    if not (isinstance(name, str) and name.isidentifier()) or _family(name) in act.FAMILIES:
        raise ValueError(f"name must be a word that no family of afli.activations has, got {name!r}")
    try:
        inspect.signature(function("make", make))
    except ValueError as error:
        raise TypeError(f"make must be a function of Python with named parameters, got {make!r}") from error
    OWN_ACTIVATIONS[str(name)] = make


def own_activations(experiments: Iterable[Experiment]) -> dict[str, list[float]]:
    """The registered activations that the experiments use: each with its values at 64 points, by which it is known."""
    z = np.linspace(-6.1, 6.2, 64)
    own = {e.phi_name: e.phi for e in experiments if e.activation in OWN_ACTIVATIONS}
    return {name: [float(value) for value in phi(z)] for name, phi in sorted(own.items())}


@dataclass(frozen=True)
class LinearSchedule:
    """A parameter that moves from `start` to `stop` in equal steps over `epochs` epochs, then stays (Figure 8)."""

    start: float
    stop: float
    epochs: int

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            object.__setattr__(self, name, scalar(name, getattr(self, name), low=0.0, open_low=True))
        object.__setattr__(self, "epochs", integer("epochs", self.epochs, low=1))

    def __call__(self, epoch: int) -> float:
        """The value during epoch 1, 2, ...: `start` in the first, `stop` after `epochs` of them."""
        return self.start + (self.stop - self.start) * min((epoch - 1) / self.epochs, 1.0)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One network, one training run: all of Section 4.1. Two equal experiments give equal numbers.

    dataset: a name for `afli.data.load`, or the name of a dataset that is handed over. normalisation: see `afli.data`.
    depth, width: hidden layers and units in each. activation, parameters: as for `afli.activations.get`, or a name of
    `register_activation`.
    sigma_b2: bias variance; sigma_w2 and q* follow from the edge of chaos. sigma_w2: a weight variance off the edge of
    chaos, None for the one on it; q* is then the fixed point that the variance converges to.
    weights: "orthogonal" or "gaussian".
    head_variance: None draws the last layer as any other; a number gives it that weight variance and zero biases.
    batch, learning_rate, epochs: mini-batches, the incomplete last one of an epoch left out.
    optimiser: "sgd", "momentum" (0.9) or "adam", as in torch.
    split: 0 for the dataset's own training and test images, 1, 2, ... for others, see `afli.data.resplit`.
    validation: the share of the training images on which the network is validated in place of trained.
    trial: the seed. Standardised draws and batch order depend on it and on the epoch alone, so trials pair up.
    schedule: how `a` moves (it starts at the initial a), or None.
    record: the epochs after which the network is tested, 0 for the untrained one; the last epoch is always among them.
    Raises TypeError or ValueError naming the setting, its value and what is allowed.
    """

    dataset: str = "digits"
    normalisation: str = "sphere"
    depth: int
    width: int
    activation: str
    parameters: tuple[tuple[str, float], ...] = ()
    sigma_b2: float
    weights: str = "orthogonal"
    head_variance: float | None = None
    batch: int = 64
    learning_rate: float
    epochs: int
    trial: int = 0
    schedule: LinearSchedule | None = None
    record: tuple[int, ...] = (0,)
    optimiser: str = "sgd"
    split: int = 0
    validation: float = 0.0
    sigma_w2: float | None = None

    def __post_init__(self) -> None:
        """Check the settings, and spell equal ones in one way, so that they have one key: 1 and 1.0, tanh and Tanh."""
        words = {"normalisation": NORMALISATIONS, "weights": WEIGHTS, "optimiser": OPTIMISERS}
        lowest = {"depth": 1, "width": 1, "batch": 1, "epochs": 1, "trial": 0, "split": 0}
        settings: dict[str, Any] = {name: word(name, getattr(self, name), choices) for name, choices in words.items()}
        settings |= {name: integer(name, getattr(self, name), low=low) for name, low in lowest.items()}
        activation, head, off = _activation(self.activation), self.head_variance, self.sigma_w2
        settings |= {
            "dataset": text("dataset", self.dataset),
            "activation": activation,
            "parameters": _parameters(activation, self.parameters),
            "record": _epochs(self.record, settings["epochs"]),
            "sigma_b2": _number("sigma_b2", self.sigma_b2, low=0.0),
            "validation": _number("validation", self.validation, low=0.0, high=0.9),
            "learning_rate": _number("learning_rate", self.learning_rate, low=0.0, open_low=True),
            "head_variance": None if head is None else _number("head_variance", head, low=0.0, open_low=True),
            "sigma_w2": None if off is None else _number("sigma_w2", off, low=0.0, open_low=True),
        }
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        if not isinstance(self.phi, act.Activation):  # raises for a parameter out of range
            raise TypeError(f"activation {activation} must make an Activation, got {reprlib.repr(self.phi)}")
        if self.schedule is not None:
            self._check_schedule(self.schedule)

    def _check_schedule(self, schedule: Any) -> None:
        if not isinstance(schedule, LinearSchedule):
            raise TypeError(f"schedule must be a LinearSchedule or None, got {reprlib.repr(schedule)}")
        if self.activation not in act.SCALED_BOUNDED_FAMILIES:
            families = ", ".join(act.SCALED_BOUNDED_FAMILIES)
            raise ValueError(f"schedule moves the a of {families}, got one for activation {self.activation!r}")
        parameters = dict(self.parameters)
        if parameters["a"] != schedule.start:
            raise ValueError(f"schedule must start at the initial a, got {parameters!r} and {schedule!r}")
        _ = act.get(self.activation, **(parameters | {"a": schedule.stop}))  # raises if that is out of range

    @property
    def phi(self) -> act.Activation:
        """The activation at the start of training."""
        make = OWN_ACTIVATIONS.get(self.activation)
        return act.get(self.activation, **dict(self.parameters)) if make is None else _made(make, self.parameters)

    @property
    def phi_name(self) -> str:
        """The activation with its parameters, e.g. "shtanh(a=2)"."""
        if self.activation not in OWN_ACTIVATIONS:
            return self.phi.name
        inner = ", ".join(f"{name}={value:g}" for name, value in self.parameters)
        return f"{self.activation}({inner})" if inner else self.activation

    @property
    def mean_field(self) -> mf.MeanField:
        """The network's mean field: on the edge of chaos, or at its own sigma_w2.

        Raises NoFixedPointError where there is none.
        """
        if self.sigma_w2 is None:
            return edge_of_chaos(self.phi, self.sigma_b2)
        return _off_the_edge(self.phi, self.sigma_w2, self.sigma_b2)

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name these settings; the same on every machine.

        A setting at its default takes no part: a new one leaves the keys of old tables as they were.
        """
        chosen = {field.name for field in fields(self) if getattr(self, field.name) != field.default}
        settings = {name: value for name, value in asdict(self).items() if name in chosen}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def shape(self) -> tuple[Any, ...]:
        """What experiments must share to be trained together."""
        own = {"parameters", "sigma_b2", "sigma_w2", "weights", "head_variance", "learning_rate", "trial", "schedule"}
        if self.activation in OWN_ACTIVATIONS:
            own.remove("parameters")  # a function of Python is evaluated for all members at once
        return tuple(getattr(self, field.name) for field in fields(self) if field.name not in own)

    def settings(self) -> dict[str, Any]:
        """The settings as one flat row: `a` has a column of its own (NaN without one), `phi` names all parameters.

        sigma_w2 is not among them: in a table it is the value itself, whether chosen or that of the edge of chaos.
        """
        row = asdict(self)
        del row["parameters"], row["record"], row["sigma_w2"]
        schedule = self.schedule
        row["schedule"] = (
            "" if schedule is None else f"{schedule.start:g} to {schedule.stop:g} in {schedule.epochs} epochs"
        )
        row["head_variance"] = float("nan") if self.head_variance is None else self.head_variance
        first = {"experiment": self.key, "phi": self.phi_name, "a": dict(self.parameters).get("a", float("nan"))}
        return first | row


def _number(name: str, value: Any, **allowed: Any) -> float:
    return scalar(name, value, **allowed) + 0.0  # -0.0 equals 0.0, and would have another key


def _family(name: str) -> str:
    """The name by which `afli.activations.get` knows a family: capitals do not matter, swish is silu."""
    return act.ALIASES.get(name.lower(), name.lower())


def _activation(name: Any) -> str:
    """The one spelling of an activation's name."""
    name = text("activation", name)
    known = name if name in OWN_ACTIVATIONS else _family(name)
    if known not in OWN_ACTIVATIONS and known not in act.FAMILIES:
        names = ", ".join([*sorted(act.FAMILIES), *sorted(OWN_ACTIVATIONS)])
        raise ValueError(f"activation must be one of {names}, or a name of register_activation, got {name!r}")
    return known


def _parameters(activation: str, given: Any) -> tuple[tuple[str, float], ...]:
    """Names and values, sorted; what the activation has as default is left out: elu and elu(alpha=1) have one key.

    given: pairs, or a mapping.
    """
    signature = inspect.signature(OWN_ACTIVATIONS.get(activation) or act.FAMILIES[activation])
    try:
        pairs = [(name, value) for name, value in (given.items() if isinstance(given, Mapping) else given)]
        named = dict(pairs)
        if isinstance(given, str):
            raise TypeError
    except (TypeError, ValueError):
        shape = 'pairs of a name and a number, such as (("a", 5.0),)'
        raise TypeError(f"parameters must be {shape}, got {reprlib.repr(given)}") from None
    if len(named) < len(pairs):
        raise ValueError(f"parameters must have every name once, got {pairs!r}")
    try:
        signature.bind(**named)
    except TypeError as error:
        takes = ", ".join(str(p.replace(annotation=p.empty)) for p in signature.parameters.values())
        raise TypeError(f"parameters must be those of {activation}({takes}), got {named!r}: {error}") from None
    values = {name: _number(f"parameter {name}", value) for name, value in named.items()}
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    return tuple(sorted((str(name), value) for name, value in values.items() if defaults.get(name) != value))


def _epochs(given: Any, last: int) -> tuple[int, ...]:
    """Epochs in order, each once, the last of the training among them."""
    try:
        if isinstance(given, (str, bytes, Mapping)):
            raise TypeError
        found = list(given)
    except TypeError:
        raise TypeError(f"record must be a tuple of epochs, such as (0, {last}), got {reprlib.repr(given)}") from None
    return tuple(sorted({*(integer("every epoch in record", epoch, low=0, high=last) for epoch in found), last}))


@lru_cache(maxsize=4096)
def edge_of_chaos(phi: act.Activation, sigma_b2: float) -> mf.MeanField:
    """`afli.meanfield.edge_of_chaos`, remembered."""
    return mf.edge_of_chaos(phi, sigma_b2=sigma_b2)


@lru_cache(maxsize=4096)
def _made(make: Callable[..., act.Activation], parameters: tuple[tuple[str, float], ...]) -> act.Activation:
    return make(**dict(parameters))


@lru_cache(maxsize=4096)
def _off_the_edge(phi: act.Activation, sigma_w2: float, sigma_b2: float) -> mf.MeanField:
    return mf.MeanField(phi, sigma_w2=sigma_w2, sigma_b2=sigma_b2)


@dataclass(frozen=True)
class Grid:
    """A named set of experiments, most valuable first.

    preset, profile: where it comes from, e.g. "fig7" and "paper".
    """

    preset: str
    profile: str
    experiments: tuple[Experiment, ...]

    def __post_init__(self) -> None:
        for name in ("preset", "profile"):
            object.__setattr__(self, name, text(name, getattr(self, name)))
        given: Any = self.experiments
        if isinstance(given, Experiment) or not isinstance(given, Iterable):
            raise TypeError(f"experiments must be a tuple of Experiments, got {reprlib.repr(given)}")
        object.__setattr__(self, "experiments", tuple(given))
        for each in self.experiments:
            if not isinstance(each, Experiment):
                raise TypeError(f"experiments must be Experiments, got {reprlib.repr(each)}")

    def __len__(self) -> int:
        return len(self.experiments)

    def __iter__(self) -> Iterator[Experiment]:
        return iter(self.experiments)

    @property
    def name(self) -> str:
        """The stem of its table, e.g. "fig7-laptop-digits"."""
        datasets = "-".join(sorted({experiment.dataset for experiment in self.experiments}))
        plain = "".join(c if c.isalnum() else "-" for c in datasets.lower())
        return f"{self.preset}-{self.profile}-{'-'.join(word for word in plain.split('-') if word)}"

    def on(self, dataset: str) -> Grid:
        """The same experiments on another dataset."""
        return replace(self, experiments=tuple(replace(e, dataset=dataset) for e in self.experiments))

    def shard(self, index: int, count: int) -> Grid:
        """Part `index` (from 1) of `count`: every count-th experiment, to be run on one of several machines."""
        count = integer("count", count, low=1)
        if integer("index", index, low=1) > count:
            raise ValueError(f"index must be in 1..{count}, got {index!r}")
        return replace(self, experiments=self.experiments[index - 1 :: count])
