"""Section 4: which activation, at equal budgets and at the best rate of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afli.claims.ledger import LEDGER, Evidence, at_most
from afli.claims.tables import only

if TYPE_CHECKING:
    import pandas as pd

_PAGE = "4_4_which_activation"
_RACE = "digits, orthogonal, width 64, 10 epochs, best of 4 rates (6 at depth 200), 3 paired trials, CPU"
USUAL = (("relu", 0.0), ("tanh", 0.1), ("elu(alpha=1)", 0.1), ("gelu", 0.1))
FAMILIES = ("shtanh", "ssine", "sexp", "ssaw")


def race(depth: int) -> dict[tuple[str, float], pd.DataFrame]:
    """Per activation and sigma_b2: the rows after the last epoch at its best rate, with epochs_to_90.

    epochs_to_90: the first tested epoch at 90% test accuracy or more, infinite if there is none.
    """
    from afli.experiments import statistics

    table = only(statistics.load("activations-laptop-digits"), depth=depth)
    first = table[table["test_accuracy"] >= 0.9].groupby("experiment")["epoch"].min()
    best = statistics.at_best_rate(statistics.final(table))
    best = best.assign(epochs_to_90=best["experiment"].map(first).fillna(float("inf")))
    return dict(list(best.groupby(["phi", "sigma_b2"])))


@LEDGER.claim(
    "section-4.4.shape",
    statement="At one depth and a, the mean accuracies of the four families lie within 4 points of each other.",
    source="Section 4.2 (the results are not unique to Shtanh), conclusion; here on digits",
    page=_PAGE,
    mutants={"within 1 point": {"points": 0.01}, "tanh of equal sigma_b2 among them": {"more": ("tanh",)}},
)
def shape(points: float = 0.04, more: tuple[str, ...] = ()) -> Evidence:
    spreads = []
    for depth, a in ((50, 5), (50, 12), (200, 12)):
        runs = race(depth)
        names = [*(f"{family}(a={a})" for family in FAMILIES), *more]
        means = [runs[name, 1.0]["test_accuracy"].mean() for name in names]
        spreads.append(max(means) - min(means))
    return at_most(spreads, points, domain=f"{_RACE}; sigma_b2 = 1; depth 50 with a = 5 and 12, depth 200 with a = 12")


@LEDGER.claim(
    "section-4.4.accuracy",
    statement="At depth 200 each family, a = 12, beats ReLU, tanh, elu and gelu clearly, each at its best rate.",
    source="Abstract and Section 1 (benefits in test accuracy; condition: the depth); here on digits",
    page=_PAGE,
    status="holds under a condition",
    mutants={"depth 50": {"depth": 50}},
)
def accuracy(depth: int = 200) -> Evidence:
    from afli.experiments import statistics

    runs = race(depth)
    families = [runs[f"{family}(a=12)", 1.0] for family in FAMILIES]
    leads = [statistics.paired_difference(ours, runs[usual]) for ours in families for usual in USUAL]
    domain = f"{_RACE}; families at sigma_b2 = 1, ReLU at 0, the others at 0.1; half-width of a lead, and lead"
    return at_most([lead.half_width for lead in leads], [lead.mean for lead in leads], strict=True, domain=domain)


@LEDGER.claim(
    "section-4.4.training-time",
    statement="At depth 50 every run of the families with a = 12 is at 90% before any run of the usual activations.",
    source="Section 1 (benefits in training time; condition: a = 12); here on digits",
    page=_PAGE,
    status="holds under a condition",
    mutants={"a = 5": {"a": 5}},
)
def training_time(a: int = 12) -> Evidence:
    runs = race(50)
    slowest = max(float(runs[f"{family}(a={a})", 1.0]["epochs_to_90"].max()) for family in FAMILIES)
    fastest = min(float(runs[usual]["epochs_to_90"].min()) for usual in USUAL)
    domain = f"{_RACE}; slowest family and fastest usual activation, in epochs"
    return at_most(slowest, fastest, strict=True, domain=domain)


@LEDGER.claim(
    "section-4.4.bias-variance",
    statement="At sigma_b2 = 1 and depth 50 all families, a = 5 and 12, beat tanh clearly, each at its best rate.",
    source="Section 1 (networks with a much larger bias variance can be trained); here on digits",
    page=_PAGE,
    mutants={"tanh at sigma_b2 = 0.1": {"sigma_b2": 0.1}},
)
def large_bias(sigma_b2: float = 1.0) -> Evidence:
    from afli.experiments import statistics

    runs = race(50)
    families = [runs[f"{family}(a={a})", 1.0] for family in FAMILIES for a in (5, 12)]
    leads = [statistics.paired_difference(ours, runs["tanh", sigma_b2]) for ours in families]
    halves, means = [lead.half_width for lead in leads], [lead.mean for lead in leads]
    return at_most(halves, means, strict=True, domain=f"{_RACE}; half-width of a lead, and lead")
