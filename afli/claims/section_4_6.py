"""Section 4: what the theory of the start of training says about its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afli.claims.ledger import LEDGER, Evidence, at_most
from afli.claims.tables import DIGITS_MAP, final_rows, only

if TYPE_CHECKING:
    import pandas as pd

_PAGE = "II_3_theory_meets_training"
_DIGITS, _PHOTOGRAPHS = "fig7-laptop-digits", "fig7-small-cifar-10-jpeg-copy"


def predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: its mean test accuracy, and what theory says of it before training.

    q: the fixed point. depth_scale: q / (sigma_b2 L), the layers that move a correlation by 1 at the pace of Lemma 3.3,
    over the depth. correlation: where correlation 0 is after L layers. jacobian: the variance of eq. (13).
    """
    from afli import activations as act
    from afli import isometry
    from afli.experiments.spec import edge_of_chaos

    cells = rows.groupby(["depth", "weights", "a", "sigma_b2"])["test_accuracy"].mean().reset_index()
    nets = [edge_of_chaos(act.shtanh(a=a), v) for a, v in zip(cells["a"], cells["sigma_b2"], strict=True)]
    kinds = list(zip(nets, cells["depth"], cells["weights"], strict=True))
    return cells.assign(
        q=[net.q for net in nets],
        depth_scale=[net.q / (net.sigma_b2 * depth) for net, depth, _ in kinds],
        correlation=[float(net.correlation_trajectory(0.0, int(depth))[-1]) for net, depth, _ in kinds],
        jacobian=[isometry.jacobian_variance(net, int(depth), weights=weights) for net, depth, weights in kinds],
    )


@LEDGER.claim(
    "section-4.6.isometry-predicts",
    statement="On digits, cells of smaller Jacobian variance learn faster: rank correlation with accuracy <= -0.5.",
    source="Sections 1 and 4.2 (a good initialisation trains faster); here on digits, at one rate",
    page=_PAGE,
    status="holds under a condition",
    mutants={
        "best rate per cell, after ten epochs": {"best_rate": True},
        "at most -0.8": {"most": -0.8},
        "on CIFAR-10 (JPEG copy)": {"table": _PHOTOGRAPHS},
    },
)
def isometry_predicts(best_rate: bool = False, most: float = -0.5, table: str = _DIGITS) -> Evidence:
    from scipy.stats import spearmanr

    from afli.experiments import statistics

    if best_rate:
        rows = statistics.at_best_rate(final_rows("learning-rate-laptop-digits"))
    else:
        rows = only(statistics.load(table), epoch=1)
    groups = predictions(rows).groupby(["depth", "weights"])
    found = [float(spearmanr(g["jacobian"], g["test_accuracy"])[0]) for _, g in groups]
    return at_most(found, most, domain=f"{DIGITS_MAP}; both depths, both initialisations, 40 cells each")


@LEDGER.claim(
    "section-4.6.q-predicts-better",
    statement="On digits, at one rate, q* ranks the accuracies after one epoch better than the Jacobian's variance.",
    source="this companion",
    page=_PAGE,
    status="holds under a condition",
    mutants={"better by 0.4": {"by": 0.4}, "on CIFAR-10 (JPEG copy)": {"table": _PHOTOGRAPHS}},
)
def q_predicts_better(by: float = 0.0, table: str = _DIGITS) -> Evidence:
    from scipy.stats import spearmanr

    from afli.experiments import statistics

    rows = only(statistics.load(table), epoch=1)
    groups = [g for _, g in predictions(rows).groupby(["depth", "weights"])]
    jacobian = [abs(float(spearmanr(g["jacobian"], g["test_accuracy"])[0])) for g in groups]
    q = [abs(float(spearmanr(g["q"], g["test_accuracy"])[0])) for g in groups]
    domain = f"{DIGITS_MAP}; |rank correlation| of the variance (plus what is asked), and of q*"
    return at_most([value + by for value in jacobian], q, strict=True, domain=domain)
