"""The named grids: which networks each figure, and each question that the figures leave open, asks for.

Profiles: `smoke` runs in seconds and `laptop` in minutes on one core, both on digits; `gpu` is a shorter `paper`;
`paper` has the paper's own dataset, depths, width and epochs. The order within a grid is the order of work: what a run
that is stopped early should have done first, with every cell of one trial before the next trial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from afli.experiments.spec import Experiment, Grid, LinearSchedule

__all__ = ["PRESETS", "PROFILES", "grid"]


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

    def experiment(self, family: str, **settings: object) -> Experiment:
        """An experiment of this size; `a` and other parameters of the activation are given as `parameters`."""
        chosen = {
            "width": self.width,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "record": self.stages,
        }
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
        Profile("gpu", "cifar10", depths=(50, 20), width=300, epochs=20, trials=5, learning_rate=1e-4),
        Profile("paper", "cifar10", depths=(50, 20, 100, 200), width=300, epochs=100, trials=10, learning_rate=1e-4),
    )
}

LINEAR_RADII = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
BIAS_VARIANCES = (1.0, 0.1, 0.01, 1e-3, 1e-4)
WEIGHTS = ("orthogonal", "gaussian")

Candidate = tuple[str, tuple[tuple[str, float], ...], float]  # family, parameters, sigma_b2


def grid(preset: str, profile: str = "smoke") -> Grid:
    """The grid of that name: fig7, fig8, activations, learning-rate or choose, in the size smoke, laptop, gpu or paper.

    Raises ValueError for another name.
    """
    for name, value, known in (("preset", preset, PRESETS), ("profile", profile, PROFILES)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return Grid(preset, profile, tuple(PRESETS[preset](PROFILES[profile])))


def _fig7(profile: Profile) -> list[Experiment]:
    """Test accuracy over (a, sigma_b2) at stages of training, for depths and initialisations."""
    smoke = profile.name == "smoke"
    radii = (1.0, 3.0, 12.0) if smoke else LINEAR_RADII
    variances = (1.0, 0.01, 1e-4) if smoke else BIAS_VARIANCES
    return [
        profile.experiment(
            "shtanh", parameters=(("a", a),), depth=depth, trial=trial, weights=weights, sigma_b2=sigma_b2
        )
        for depth, trial, weights, a, sigma_b2 in product(
            profile.depths, range(profile.trials), WEIGHTS, radii, variances
        )
    ]


def _fig8(profile: Profile) -> list[Experiment]:
    """Test accuracy after every epoch: fixed a, and an a that falls from 10 to 2, or 5, over 80% of the epochs."""
    most = max(1, round(0.8 * profile.epochs))
    far, half_way = LinearSchedule(10.0, 2.0, most), LinearSchedule(10.0, 5.0, most)
    common = {"sigma_b2": 1.0, "record": tuple(range(profile.epochs + 1))}
    return [
        profile.experiment("shtanh", parameters=(("a", a),), schedule=schedule, depth=depth, trial=trial, **common)
        for depth, trial in product(profile.depths, range(profile.trials))
        for a, schedule in ((2.0, None), (5.0, None), (10.0, None), (10.0, far), (10.0, half_way))
    ]  # fmt: skip


def _activations(profile: Profile) -> list[Experiment]:
    """The usual activations beside the four scaled-bounded families, both initialisations, sigma_b2 = 1 (ReLU: 0)."""
    usual: list[Candidate] = [("tanh", (), 1.0), ("erf", (), 1.0), ("elu", (), 1.0), ("relu", (), 0.0)]
    families = ("shtanh", "ssine", "sexp", "ssaw")
    bounded: list[Candidate] = [(family, (("a", a),), 1.0) for family, a in product(families, (2.0, 5.0, 12.0))]
    return [
        profile.experiment(family, parameters=parameters, depth=depth, trial=trial, weights=weights, sigma_b2=sigma_b2)
        for depth, trial, (family, parameters, sigma_b2), weights in product(
            profile.depths[:1], range(profile.trials), usual + bounded, WEIGHTS
        )
    ]


def _learning_rate(profile: Profile) -> list[Experiment]:
    """Is the ridge of Figure 7 one of initialisation or of the learning rate? The map again, at six rates.

    Fixed before the run: the value of a cell is its best rate's mean test accuracy after the last epoch; a run whose
    loss passed 10^4 or became NaN counts as diverged, apart.
    """
    rates = _rates(profile, 1, 10, 0.1, 3, 30, 0.3)
    shallow = replace(profile, depths=(min(profile.depths),), trials=min(profile.trials, 2))
    radii = (1.0, 12.0) if profile.name == "smoke" else (1.0, 2.0, 5.0, 12.0, 30.0)
    variances = (1.0, 1e-4) if profile.name == "smoke" else BIAS_VARIANCES
    return [
        shallow.experiment(
            "shtanh", parameters=(("a", a),), depth=depth, trial=trial, sigma_b2=sigma_b2, learning_rate=rate
        )
        for depth, trial, rate, a, sigma_b2 in product(shallow.depths, range(shallow.trials), rates, radii, variances)
    ]


def _choose(profile: Profile) -> list[Experiment]:
    """Which activation for which depth: the rectifier family and hard tanh with a linear region, at three rates."""
    candidates: list[Candidate] = [
        ("relu", (), 0.0),
        ("leaky_relu", (("slope", 0.2),), 0.0),
        ("elu", (), 0.1),
        ("selu", (), 0.1),
    ]
    candidates += [("gelu", (), 0.1), ("silu", (), 0.1), ("tanh", (), 0.1), ("shtanh", (("a", 5.0),), 0.1)]
    depths = (5, 10) if profile.name == "smoke" else (5, 10, 20, 50, 100)
    rates = _rates(profile, 1, 10, 0.1)
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
    "activations": _activations,
    "learning-rate": _learning_rate,
    "choose": _choose,
}
