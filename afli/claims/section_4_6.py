"""Section 4: what the theory of the start of training says about its end."""

from __future__ import annotations

from scipy.stats import spearmanr

from afli.claims.comparisons import Evidence, at_most, below
from afli.claims.later import analysis, statistics
from afli.claims.ledger import on
from afli.claims.tables import DIGITS_MAP

claim = on("II_3_theory_meets_training", "")
_DIGITS, _PHOTOGRAPHS = "fig7-laptop-digits", "fig7-small-cifar-10-jpeg-copy"


@claim(
    "section-4.6.isometry-predicts",
    "Digits, width 64, rate 0.001, after 22 steps, n = 5: cells of smaller Jacobian variance are ahead,"
    " with a rank correlation of -0.5 or below on each of four maps.",
    claimed="A network that is closer to dynamical isometry trains faster.",
    found="The weakest correlation is {measured:.2f}.",
    at="Sections 1 and 4.2 (a good initialisation trains faster); measured on these tables",
    status="holds under a condition",
    mutants={
        "best rate per cell, after ten epochs": {"best_rate": True},
        "on CIFAR-10 (JPEG copy)": {"table": _PHOTOGRAPHS},
    },
)
def isometry_predicts(best_rate: bool = False, table: str = _DIGITS) -> Evidence:
    if best_rate:
        rows = statistics.at_best_rate(analysis.final_rows("learning-rate-laptop-digits"))
    else:
        rows = analysis.only(statistics.load(table), epoch=1)
    groups = analysis.predictions(rows).groupby(["depth", "weights"])
    found = [float(spearmanr(g["jacobian"], g["test_accuracy"])[0]) for _, g in groups]
    return at_most(found, -0.5, domain=f"{DIGITS_MAP}; both depths, both initialisations, 40 cells each")


@claim(
    "section-4.6.q-predicts-better",
    "Digits, width 64, rate 0.001, after 22 steps, n = 5: $q^*$ ranks the accuracies of each of four maps"
    " better than the Jacobian's variance does.",
    claimed="The variance of the Jacobian's spectrum tells how well a network trains.",
    found="The correlation is at most {measured:.2f} in size for the variance, and {bound:.2f} for $q^*$.",
    at="this companion",
    status="holds under a condition",
    mutants={"on CIFAR-10 (JPEG copy)": {"table": _PHOTOGRAPHS}},
)
def q_predicts_better(table: str = _DIGITS) -> Evidence:
    rows = analysis.only(statistics.load(table), epoch=1)
    groups = [g for _, g in analysis.predictions(rows).groupby(["depth", "weights"])]
    jacobian = [abs(float(spearmanr(g["jacobian"], g["test_accuracy"])[0])) for g in groups]
    q = [abs(float(spearmanr(g["q"], g["test_accuracy"])[0])) for g in groups]
    domain = f"{DIGITS_MAP}; |rank correlation| of the variance, and of q*"
    return below(jacobian, q, domain=domain)
