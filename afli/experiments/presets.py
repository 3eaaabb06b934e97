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

from afli import activations as act
from afli._inputs import function
from afli.data import NORMALISATIONS
from afli.experiments.spec import Experiment, Grid, LinearSchedule, edge_of_chaos

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

# depths, trials, initialisations, cells (a, sigma_b2)
Part = tuple[Iterable[int], Iterable[int], Iterable[str], Iterable[tuple[float, float]]]
Variant = tuple[float, LinearSchedule | None]
Candidate = tuple[str, tuple[tuple[str, float], ...], float]  # family, parameters, sigma_b2


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


def _map(profile: Profile) -> list[tuple[float, float]]:
    """The cells (a, sigma_b2) of Figure 7."""
    smoke = profile.name == "smoke"
    return list(product((1.0, 3.0, 12.0), (1.0, 0.01, 1e-4)) if smoke else product(LINEAR_RADII, BIAS_VARIANCES))


def _fig7(profile: Profile) -> list[Experiment]:
    """Test accuracy over (a, sigma_b2) at stages of training, for depths and initialisations.

    At the paper's scale a network takes a quarter of an hour of a processor at depth 20, so that the order counts: the
    corners and the middle of the map first.
    """
    every: Part = (profile.depths, range(profile.trials), WEIGHTS, _map(profile))
    work = [every]
    if profile.name == "paper":
        corners = [(a, sigma_b2) for sigma_b2 in (1.0, 1e-4, 0.01) for a in (1.0, 3.0, 8.0, 30.0)]
        orthogonal, gaussian = WEIGHTS[:1], WEIGHTS[1:]
        work = [
            ((20,), range(1), orthogonal, corners),
            ((20,), range(1), orthogonal, _map(profile)),
            ((20,), range(1, 3), orthogonal, _map(profile)),
            ((20,), range(3), gaussian, _map(profile)),
            ((50,), range(1), orthogonal, corners),
            every,
        ]
    cells = dict.fromkeys(cell for part in work for cell in product(*part))  # each once, where it comes first
    return [
        profile.experiment(
            "shtanh", parameters=(("a", a),), depth=depth, trial=trial, weights=weights, sigma_b2=sigma_b2
        )
        for depth, trial, weights, (a, sigma_b2) in cells
    ]


def _fig8(profile: Profile) -> list[Experiment]:
    """Test accuracy after every epoch, for fixed a and for an a that falls from 10.

    "Over the first few epochs" is read as the first 5 in 100, scaled to the length of the training, and as the first 5;
    the authors' script says 80 in 100. Whether an a that stops at 5 does better is asked too. `laptop` and `splits`
    train four times as long as elsewhere: the figure is about late training. `splits` asks at four rates and for a
    small bias variance too, and so does `paper`, at one rate, at depth 20.
    """
    longer = replace(profile, epochs=4 * profile.epochs) if profile.name in ("laptop", "splits") else profile
    epochs = longer.epochs
    most = max(1, round(0.8 * epochs))
    ends = sorted({max(1, round(0.05 * epochs)), min(5, epochs), most})
    falls = [LinearSchedule(10.0, 2.0, end) for end in ends] + [LinearSchedule(10.0, 5.0, most)]
    if profile.name in ("splits", "paper"):
        ends = [max(1, round(0.05 * epochs)), most]
        falls = [LinearSchedule(10.0, stop, end) for stop in (2.0, 5.0) for end in ends]
    variants: list[Variant] = [(2.0, None), (5.0, None), (10.0, None)] + [(10.0, fall) for fall in falls]
    if profile.name == "paper":
        return _fall(longer, (20,), range(3), (1.0, 0.01), (longer.learning_rate,), variants)
    if profile.name == "splits":
        return _fall(longer, longer.depths, range(longer.trials), (1.0, 0.01), _rates(longer, 1, 3, 10, 0.3), variants)
    return _fall(longer, longer.depths, range(longer.trials), (1.0,), (longer.learning_rate,), variants)


def _fig8_rates(profile: Profile) -> list[Experiment]:
    """Figure 8's curves at three rates, for a tenth of the epochs, at depth 20 and two bias variances."""
    shorter = replace(profile, epochs=max(1, profile.epochs // 10))
    epochs = shorter.epochs
    falls = [LinearSchedule(10.0, stop, end) for stop in (2.0, 5.0) for end in sorted({1, max(1, round(0.8 * epochs))})]
    variants: list[Variant] = [(2.0, None), (5.0, None), (10.0, None)] + [(10.0, fall) for fall in falls]
    depth = 20 if 20 in profile.depths else profile.depths[0]
    rates = _rates(shorter, 1, 3, 10)
    return _fall(shorter, (depth,), range(min(shorter.trials, 3)), (1.0, 0.01), rates, variants)


def _fall(
    profile: Profile,
    depths: Iterable[int],
    trials: Iterable[int],
    variances: Iterable[float],
    rates: Iterable[float],
    variants: Iterable[Variant],
) -> list[Experiment]:
    """Networks whose a stays or falls; every variant of one trial before the next trial.

    Tested after every epoch, or at the usual stages where there are many of them.
    """
    record = profile.stages if profile.validation else tuple(range(profile.epochs + 1))
    return [
        profile.experiment(
            "shtanh", parameters=(("a", a),), schedule=fall, depth=depth, trial=trial, sigma_b2=sigma_b2,
            learning_rate=rate, record=record,
        )
        for depth, sigma_b2, trial, rate, (a, fall) in product(depths, variances, trials, rates, variants)
    ]  # fmt: skip


def _families(profile: Profile) -> list[Experiment]:
    """The map of Figure 7 for the other three families, at one rate: is the ridge one of hard tanh alone?

    At the smallest depth of the profile, and on the laptop also at 50, where hard tanh has its ridge.
    """
    depths = sorted(profile.depths) if profile.name == "laptop" else [min(profile.depths)]
    trials = range(min(profile.trials, 5))
    return [
        profile.experiment(family, parameters=(("a", a),), depth=depth, trial=trial, sigma_b2=sigma_b2)
        for depth, trial, family, (a, sigma_b2) in product(depths, trials, FAMILIES[1:], _map(profile))
    ]


def _activations(profile: Profile) -> list[Experiment]:
    """Which activation? The four families beside the usual ones, at four learning rates or six, tested every epoch.

    Orthogonal weights. The families have sigma_b2 = 1 and 0.001, the usual activations a customary 0.1 and 0.001 (ReLU:
    0), and tanh also 1: the small bias variance tells what the shape does from what the biases do. At the first depth
    the families have two linear radii; `laptop` and `paper` ask again at depth 200, with two smaller rates (added when
    the smallest of the four turned out best there).
    """
    usual: list[Candidate] = [("relu", (), 0.0), ("tanh", (), 1.0)]
    usual += [(name, (), variance) for variance in (0.1, 1e-3) for name in ("tanh", "elu", "gelu")]
    far: list[Candidate] = [(family, (("a", 12.0),), variance) for variance in (1.0, 1e-3) for family in FAMILIES]
    near: list[Candidate] = [(family, (("a", 5.0),), 1.0) for family in FAMILIES]
    if profile.name == "splits":
        return _deep(profile)
    deep = (200,) if profile.name in ("laptop", "paper") else ()
    rates = _rates(profile, 1, 10, 3, 30)
    plan = [(profile.depths[0], rates, usual + far + near)]
    plan += [(depth, rates + _rates(profile, 0.3, 0.1), usual + far) for depth in deep]
    return [
        profile.experiment(
            family, parameters=parameters, depth=depth, trial=trial, sigma_b2=sigma_b2, learning_rate=rate,
            record=tuple(range(profile.epochs + 1)),
        )
        for depth, chosen, candidates in plan
        for trial, rate, (family, parameters, sigma_b2) in product(range(min(profile.trials, 3)), chosen, candidates)
    ]  # fmt: skip


def _deep(profile: Profile) -> list[Experiment]:
    """At depth 200: a hundred epochs of plain SGD for six candidates; then momentum and Adam for four of them."""
    longer = replace(profile, epochs=100)
    candidates: list[Candidate] = [("shtanh", (("a", 12.0),), 1.0), ("tanh", (), 0.1), ("shtanh", (("a", 12.0),), 1e-3)]
    candidates += [("tanh", (), 1e-3), ("tanh", (), 1.0), ("elu", (), 0.1)]
    plan = [("sgd", longer, _rates(profile, 1, 0.3, 3), candidates)]
    plan += [("momentum", profile, _rates(profile, 0.1, 0.3, 0.03, 1), candidates[:4])]
    plan += [("adam", profile, _rates(profile, 0.1, 0.03, 0.3, 0.01), candidates[:4])]
    return [
        size.experiment(
            family, parameters=parameters, depth=200, trial=trial, sigma_b2=sigma_b2, learning_rate=rate,
            optimiser=optimiser,
        )
        for trial, (optimiser, size, rates, chosen) in product(range(profile.trials), plan)
        for rate, (family, parameters, sigma_b2) in product(rates, chosen)
    ]  # fmt: skip


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
    depths: Iterable[int] = (min(profile.depths),)
    trials = min(profile.trials, 4)
    if profile.name == "splits":
        depths, trials = profile.depths, profile.trials
    return [
        profile.experiment(
            "shtanh", parameters=(("a", a),), depth=depth, trial=trial, sigma_b2=sigma_b2, learning_rate=rate
        )
        for depth, trial, rate, (a, sigma_b2) in product(depths, range(trials), rates, _map(profile))
    ]


def _scaled_rate(profile: Profile) -> list[Experiment]:
    """The map of `learning-rate` with rate c / q*, for three c: does a rate that follows q* remove the ridge?"""
    constants = _rates(profile, 10, 30, 100)
    cells = [(edge_of_chaos(act.shtanh(a=a), sigma_b2).q, a, sigma_b2) for a, sigma_b2 in _map(profile)]
    return [
        profile.experiment(
            "shtanh", parameters=(("a", a),), depth=min(profile.depths), trial=trial, sigma_b2=sigma_b2,
            learning_rate=float(f"{c / q:.6g}"),
        )
        for trial, c, (q, a, sigma_b2) in product(range(min(profile.trials, 4)), constants, cells)
    ]  # fmt: skip


def _width(profile: Profile) -> list[Experiment]:
    """Orthogonal or Gaussian? Both, for several depths L and widths n: does the gap grow with L / n?"""
    widths = {"smoke": (16, 32), "laptop": (32, 64, 128), "splits": (32, 64, 128)}.get(profile.name, (100, 200, 300))
    depths = (5, 10) if profile.name == "smoke" else (20, 50, 100)
    rates = _rates(profile, 1, 10, 3, 30, 0.3, 0.1) if profile.name == "splits" else [profile.learning_rate]
    return [
        profile.experiment(
            "shtanh", parameters=(("a", 5.0),), depth=depth, width=width, trial=trial, weights=weights, sigma_b2=1.0,
            learning_rate=rate,
        )
        for trial, width, depth, rate, weights in product(range(profile.trials), widths, depths, rates, WEIGHTS)
    ]  # fmt: skip


def _normalisation(profile: Profile) -> list[Experiment]:
    """What the scale of the inputs does to training: the three normalisations of `afli.data`, at three rates."""
    return [
        profile.experiment(
            "shtanh", parameters=(("a", 10.0),), depth=profile.depths[0], trial=trial, sigma_b2=1.0,
            learning_rate=rate, normalisation=normalisation,
        )
        for trial, rate, normalisation in product(range(profile.trials), _rates(profile, 1, 0.3, 3), NORMALISATIONS)
    ]  # fmt: skip


def _choose(profile: Profile) -> list[Experiment]:
    """Which activation for which depth: the rectifier family and hard tanh with a linear region, at five rates.

    Biases of variance 0.1 and 0.001, zero for ReLU and its leaky kin, whose edge of chaos has none.
    """
    candidates: list[Candidate] = [("relu", (), 0.0), ("leaky_relu", (("slope", 0.2),), 0.0)]
    for variance in (0.1, 1e-3):
        candidates += [(name, (), variance) for name in ("elu", "selu", "gelu", "silu", "tanh")]
        candidates += [("shtanh", (("a", 5.0),), variance)]
    depths = (5, 10) if profile.name == "smoke" else (5, 10, 20, 50, 100)
    rates = _rates(profile, 1, 10, 0.1, 30, 100)
    trials = range(min(profile.trials, 3))
    return [
        profile.experiment(
            family, parameters=parameters, depth=depth, trial=trial, sigma_b2=sigma_b2, learning_rate=rate
        )
        for trial, depth, rate, (family, parameters, sigma_b2) in product(trials, depths, rates, candidates)
    ]


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
