"""The named grids: which networks each figure, and each question that the figures leave open, asks for.

Profiles: `smoke` runs in seconds and `laptop` in minutes on one core, both on digits; `small` is a first look at
CIFAR-10 on a CPU, `wide` a longer one at the paper's width; `gpu` is a shorter `paper`; `paper` has the paper's own
dataset, depths, width and epochs. `splits` asks the digits again: ten divisions into training, validation and test
images, rates chosen on the validation part. The order within a grid is the order of work: what a run that is stopped
early should have done first, with every cell of one trial before the next trial.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from afli._inputs import function
from afli.data import NORMALISATIONS
from afli.experiments.spec import Experiment, Grid, LinearSchedule

__all__ = ["PRESETS", "PROFILES", "Profile", "grid", "register_preset"]


@dataclass(frozen=True)
class Profile:
    """The size of an undertaking: everything but what the grid itself varies."""

    name: str
    dataset: str
    depths: tuple[int, ...]
    width: int
    epochs: int
    trials: int
    learning_rate: float
    validation: float = 0.0

    def experiment(self, family: str, **settings: object) -> Experiment:
        """An experiment of this size; `a` and other parameters of the activation are given as `parameters`.

        It is tested at the stages of its own epochs, where no other `record` is given.
        With a validation part, every trial is on a division of the images of its own.
        """
        chosen = {
            "width": self.width,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "record": replace(self, epochs=settings.get("epochs", self.epochs)).stages,  # type: ignore[arg-type]
        }
        if self.validation:
            chosen |= {"validation": self.validation, "split": settings["trial"]}
        return Experiment(dataset=self.dataset, activation=family, **(chosen | settings))  # type: ignore[arg-type]

    @property
    def stages(self) -> tuple[int, ...]:
        """Epochs 0, 1, 2, 5, 10, 20, 50, ... up to the last: the stages of training at which networks are tested."""
        return tuple(e for e in (0, 1, 2, 5, 10, 20, 50, 100, self.epochs) if e <= self.epochs)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", "digits", depths=(10,), width=32, epochs=2, trials=1, learning_rate=1e-3),
        Profile("laptop", "digits", depths=(50, 20), width=64, epochs=10, trials=5, learning_rate=1e-3),
        Profile(
            "splits", "digits", depths=(20, 50), width=64, epochs=13, trials=10, learning_rate=1e-3, validation=0.2
        ),
        Profile("small", "cifar10", depths=(20,), width=100, epochs=1, trials=4, learning_rate=1e-3),
        Profile("wide", "cifar10", depths=(20,), width=300, epochs=3, trials=3, learning_rate=1e-3),
        Profile("gpu", "cifar10", depths=(50, 20), width=300, epochs=20, trials=5, learning_rate=1e-4),
        Profile("paper", "cifar10", depths=(20, 50, 100, 200), width=300, epochs=100, trials=10, learning_rate=1e-4),
    )
}

LINEAR_RADII = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
BIAS_VARIANCES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
WEIGHTS = ("orthogonal", "gaussian")
FAMILIES = ("shtanh", "ssine", "sexp", "ssaw")

Settings = dict[str, Any]


def grid(preset: str, profile: str = "smoke") -> Grid:
    """The grid of that name (see PRESETS), in the size smoke, laptop, small, wide, gpu or paper.

    Raises ValueError for another name, TypeError if a preset of one's own makes anything but experiments.
    """
    for name, value, known in (("preset", preset, PRESETS), ("profile", profile, PROFILES)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    made = PRESETS[preset](PROFILES[profile])
    experiments = tuple(made) if isinstance(made, Iterable) else (made,)
    if not all(isinstance(each, Experiment) for each in experiments):
        raise TypeError(f"the preset {preset!r} must return experiments, got {reprlib.repr(made)}")
    return Grid(preset, profile, experiments)


def _every(profile: Profile, **axes: Iterable[Any]) -> list[Experiment]:
    """An experiment per point of the product of the axes, the last of which runs fastest.

    The values of an axis are those of the setting that it is named after, or dicts of several settings.
    """
    points = product(*([v if isinstance(v, dict) else {name: v} for v in values] for name, values in axes.items()))
    return [profile.experiment(**{k: v for part in point for k, v in part.items()}) for point in points]


def _candidate(family: str, sigma_b2: float, **parameters: float) -> Settings:
    """An activation with its bias variance."""
    return {"family": family, "parameters": tuple(parameters.items()), "sigma_b2": sigma_b2}


def _map(profile: Profile, family: str = "shtanh") -> list[Settings]:
    """The cells (a, sigma_b2) of Figure 7."""
    smoke = profile.name == "smoke"
    points = product((1.0, 3.0, 12.0), (1.0, 0.01, 1e-4)) if smoke else product(LINEAR_RADII, BIAS_VARIANCES)
    return [_candidate(family, sigma_b2, a=a) for a, sigma_b2 in points]


def _fig7(profile: Profile) -> list[Experiment]:
    """Test accuracy over (a, sigma_b2) at stages of training, for depths and initialisations.

    At the paper's scale a network takes a quarter of an hour of a processor at depth 20, so that the order counts: the
    corners and the middle of the map first.
    """
    every = _every(profile, depth=profile.depths, trial=range(profile.trials), weights=WEIGHTS, cell=_map(profile))
    if profile.name != "paper":
        return every
    cells, (orthogonal, gaussian) = _map(profile), WEIGHTS
    corners = [_candidate("shtanh", sigma_b2, a=a) for sigma_b2 in (1.0, 1e-4, 0.01) for a in (1.0, 3.0, 8.0, 30.0)]
    first = [
        *_every(profile, depth=[20], trial=[0], weights=[orthogonal], cell=corners),
        *_every(profile, depth=[20], trial=[0, 1, 2], weights=[orthogonal], cell=cells),
        *_every(profile, depth=[20], trial=[0, 1, 2], weights=[gaussian], cell=cells),
        *_every(profile, depth=[50], trial=[0], weights=[orthogonal], cell=corners),
    ]
    return list(dict.fromkeys([*first, *every]))  # each once, where it comes first


def _fig8(profile: Profile) -> list[Experiment]:
    """Test accuracy after every epoch, for fixed a and for an a that falls from 10.

    "Over the first few epochs" is read as the first 5 in 100, scaled to the length of the training, and as the first 5;
    the authors' script says 80 in 100. Whether an a that stops at 5 does better is asked too. `laptop` and `splits`
    train four times as long as elsewhere: the figure is about late training. `splits` asks at four rates and for a
    small bias variance too, and so does `paper`, at one rate, at depth 20.
    """
    size = replace(profile, epochs=4 * profile.epochs) if profile.name in ("laptop", "splits") else profile
    few, most = (max(1, round(share * size.epochs)) for share in (0.05, 0.8))
    falls = [(2.0, end) for end in sorted({few, min(5, size.epochs), most})] + [(5.0, most)]
    rates, depths, trials, variances = [size.learning_rate], size.depths, size.trials, [1.0]
    if profile.name in ("splits", "paper"):
        falls, variances = list(product((2.0, 5.0), (few, most))), [1.0, 0.01]
    if profile.name == "splits":
        rates = _rates(size, 1, 3, 10, 0.3)
    if profile.name == "paper":
        depths, trials = (20,), 3
    return _fall(size, falls, depth=depths, sigma_b2=variances, trial=range(trials), learning_rate=rates)


def _fig8_rates(profile: Profile) -> list[Experiment]:
    """Figure 8's curves at three rates, for a tenth of the epochs, at depth 20 and two bias variances."""
    size = replace(profile, epochs=max(1, profile.epochs // 10))
    falls = list(product((2.0, 5.0), sorted({1, max(1, round(0.8 * size.epochs))})))
    depth = 20 if 20 in profile.depths else profile.depths[0]
    trials, rates = range(min(size.trials, 3)), _rates(size, 1, 3, 10)
    return _fall(size, falls, depth=[depth], sigma_b2=[1.0, 0.01], trial=trials, learning_rate=rates)


def _fall(profile: Profile, falls: Iterable[tuple[float, int]], **axes: Iterable[Any]) -> list[Experiment]:
    """Networks whose a stays at 2, 5 or 10, or falls from 10 to (an end, in so many epochs).

    Tested after every epoch, or at the usual stages where there are many of them.
    """
    curves: list[Settings] = [{"parameters": (("a", a),)} for a in (2.0, 5.0, 10.0)]
    curves += [{"parameters": (("a", 10.0),), "schedule": LinearSchedule(10.0, *fall)} for fall in falls]
    record = profile.stages if profile.validation else tuple(range(profile.epochs + 1))
    return _every(profile, **axes, curve=curves, family=["shtanh"], record=[record])


def _families(profile: Profile) -> list[Experiment]:
    """The map of Figure 7 for the other three families, at one rate: is the ridge one of hard tanh alone?

    At the smallest depth of the profile, and on the laptop also at 50, where hard tanh has its ridge.
    """
    depths = sorted(profile.depths) if profile.name == "laptop" else [min(profile.depths)]
    cells = [cell for family in FAMILIES[1:] for cell in _map(profile, family)]
    return _every(profile, depth=depths, trial=range(min(profile.trials, 5)), cell=cells)


def _activations(profile: Profile) -> list[Experiment]:
    """Which activation? The four families beside the usual ones, at four learning rates or six, tested every epoch.

    Orthogonal weights. The families have sigma_b2 = 1 and 0.001, the usual activations a customary 0.1 and 0.001 (ReLU:
    0), and tanh also 1: the small bias variance tells what the shape does from what the biases do. At the first depth
    the families have two linear radii; `laptop` and `paper` ask again at depth 200, with two smaller rates (added when
    the smallest of the four turned out best there).
    """
    if profile.name == "splits":
        return _deep(profile)
    usual = [_candidate("relu", 0.0), _candidate("tanh", 1.0)]
    usual += [_candidate(name, variance) for variance in (0.1, 1e-3) for name in ("tanh", "elu", "gelu")]
    far = [_candidate(family, variance, a=12.0) for variance in (1.0, 1e-3) for family in FAMILIES]
    near = [_candidate(family, 1.0, a=5.0) for family in FAMILIES]
    rates = _rates(profile, 1, 10, 3, 30)
    plan = [(profile.depths[0], rates, usual + far + near)]
    if profile.name in ("laptop", "paper"):
        plan += [(200, rates + _rates(profile, 0.3, 0.1), usual + far)]
    trials, record = range(min(profile.trials, 3)), tuple(range(profile.epochs + 1))
    return [
        experiment
        for depth, chosen, candidates in plan
        for experiment in _every(
            profile, depth=[depth], trial=trials, learning_rate=chosen, candidate=candidates, record=[record]
        )
    ]


def _deep(profile: Profile) -> list[Experiment]:
    """At depth 200: a hundred epochs of plain SGD for six candidates; then momentum and Adam for four of them."""
    candidates = [_candidate("shtanh", 1.0, a=12.0), _candidate("tanh", 0.1), _candidate("shtanh", 1e-3, a=12.0)]
    candidates += [_candidate("tanh", 1e-3), _candidate("tanh", 1.0), _candidate("elu", 0.1)]
    plan = [("sgd", replace(profile, epochs=100), _rates(profile, 1, 0.3, 3), candidates)]
    plan += [("momentum", profile, _rates(profile, 0.1, 0.3, 0.03, 1), candidates[:4])]
    plan += [("adam", profile, _rates(profile, 0.1, 0.03, 0.3, 0.01), candidates[:4])]
    return [
        experiment
        for trial, (optimiser, size, rates, chosen) in product(range(profile.trials), plan)
        for experiment in _every(
            size, depth=[200], trial=[trial], learning_rate=rates, candidate=chosen, optimiser=[optimiser]
        )
    ]


def _learning_rate(profile: Profile) -> list[Experiment]:
    """Is the ridge of Figure 7 one of initialisation or of the learning rate? The whole map at six rates, orthogonal.

    The criterion, fixed before all but 300 of the 960 runs on digits: a ridge exists at sigma_b2 if the best a of the
    grid is not the largest and its mean test accuracy beats that of the largest a by more than the 95% half-width of
    the paired difference over trials. The hypothesis (the ridge at one fixed rate mixes the effect of (a, sigma_b2)
    with that of a stable learning rate that falls as q* grows) is supported on a dataset if ridges exist at one fixed
    rate for at least two of the five sigma_b2, and for none at the best rate per cell.

    What the criterion leaves open, fixed at the same time: accuracy is that after the last epoch, and a diverged
    run counts as guessing; the one fixed rate is the one with the highest mean accuracy over the whole map; the best
    rate of a cell is the one with the highest mean accuracy over its trials.
    """
    rates = _rates(profile, 1, 10, 0.1, 3, 30, 0.3)
    depths: tuple[int, ...] = (min(profile.depths),)
    trials = min(profile.trials, 4)
    if profile.name == "splits":
        depths, trials = profile.depths, profile.trials
    return _every(profile, depth=depths, trial=range(trials), learning_rate=rates, cell=_map(profile))


def _scaled_rate(profile: Profile) -> list[Experiment]:
    """The map of `learning-rate` with rate c / q*, for three c: does a rate that follows q* remove the ridge?"""
    cells = [(cell, profile.experiment(**cell, depth=1, trial=0).mean_field.q) for cell in _map(profile)]
    scaled = [
        cell | {"learning_rate": float(f"{c / q:.6g}")} for c in _rates(profile, 10, 30, 100) for cell, q in cells
    ]
    return _every(profile, depth=[min(profile.depths)], trial=range(min(profile.trials, 4)), cell=scaled)


def _width(profile: Profile) -> list[Experiment]:
    """Orthogonal or Gaussian? Both, for several depths L and widths n: does the gap grow with L / n?"""
    widths = {"smoke": (16, 32), "laptop": (32, 64, 128), "splits": (32, 64, 128)}.get(profile.name, (100, 200, 300))
    depths = (5, 10) if profile.name == "smoke" else (20, 50, 100)
    rates = _rates(profile, 1, 10, 3, 30, 0.3, 0.1) if profile.name == "splits" else [profile.learning_rate]
    return _every(
        profile, trial=range(profile.trials), width=widths, depth=depths, learning_rate=rates, weights=WEIGHTS,
        candidate=[_candidate("shtanh", 1.0, a=5.0)],
    )  # fmt: skip


def _normalisation(profile: Profile) -> list[Experiment]:
    """What the scale of the inputs does to training: the three normalisations of `afli.data`, at three rates."""
    return _every(
        profile, trial=range(profile.trials), learning_rate=_rates(profile, 1, 0.3, 3), normalisation=NORMALISATIONS,
        depth=profile.depths[:1], candidate=[_candidate("shtanh", 1.0, a=10.0)],
    )  # fmt: skip


def _choose(profile: Profile) -> list[Experiment]:
    """Which activation for which depth: the rectifier family and hard tanh with a linear region, at five rates.

    Biases of variance 0.1 and 0.001, zero for ReLU and its leaky kin, whose edge of chaos has none.
    """
    candidates = [_candidate("relu", 0.0), _candidate("leaky_relu", 0.0, slope=0.2)]
    for variance in (0.1, 1e-3):
        candidates += [_candidate(name, variance) for name in ("elu", "selu", "gelu", "silu", "tanh")]
        candidates += [_candidate("shtanh", variance, a=5.0)]
    depths = (5, 10) if profile.name == "smoke" else (5, 10, 20, 50, 100)
    rates, trials = _rates(profile, 1, 10, 0.1, 30, 100), range(min(profile.trials, 3))
    return _every(profile, trial=trials, depth=depths, learning_rate=rates, candidate=candidates)


def _rates(profile: Profile, *factors: float) -> list[float]:
    """Multiples of the profile's learning rate, rounded to the decimal number they mean."""
    return [float(f"{profile.learning_rate * factor:g}") for factor in factors]


PRESETS: dict[str, Callable[[Profile], list[Experiment]]] = {
    "fig7": _fig7,
    "fig8": _fig8,
    "fig8-rates": _fig8_rates,
    "families": _families,
    "activations": _activations,
    "learning-rate": _learning_rate,
    "scaled-rate": _scaled_rate,
    "width": _width,
    "normalisation": _normalisation,
    "choose": _choose,
}
BUILT_IN = frozenset(PRESETS)


def register_preset(name: str, experiments: Callable[[Profile], list[Experiment]]) -> None:
    """Let `grid(name, profile)`, and with `afli --load FILE.py` the command line, find a grid of your own.

    Parameters
    ----------
    name
        Letters, digits, - and _; not that of a preset of this package. Registered again, it means the new grid.
    experiments
        What makes the experiments, in the order of work, from a profile, e.g. with `profile.experiment(family, ...)`.

    Raises
    ------
    ValueError
        If the name is taken, or has other characters.
    """
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w-]*", name)) or name in BUILT_IN:
        raise ValueError(
            f"name must be of letters, digits, - and _, and not {', '.join(sorted(BUILT_IN))}, got {name!r}"
        )
    PRESETS[name] = function("experiments", experiments)  # type: ignore[assignment]
