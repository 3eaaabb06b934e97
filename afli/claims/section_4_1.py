"""Section 4.1: the scale of the inputs, and what it does to training."""

from __future__ import annotations

from afli import activations as act
from afli import data
from afli.claims.comparisons import Evidence, at_most, below, equal
from afli.claims.later import analysis
from afli.claims.ledger import on
from afli.claims.vocabulary import critical

claim = on("4_1_setup", "")


@claim(
    "section-4.1.input-scale",
    "Digits, untrained: scaled to (q* - sigma_b2) / sigma_w2, inputs start at q*; pixels times sqrt(q*) start"
    " below 0.6 q*.",
    claimed="Inputs are scaled to the variance $q^*$.",
    found="With the authors' inputs the first layer starts at {measured:.2f} of $q^*$ at most.",
    at="eq. (1) with l = 1; the authors' scripts multiply pixels in [0, 1] by sqrt(q*)",
    status="corrected",
    mutants={"||x||^2 / n = q* in place of it": {"target": "q"}, "the inputs of this book": {"kind": "sphere"}},
)
def input_scale(target: str = "exact", kind: str = "authors") -> Evidence:
    digits = data.load("digits")
    ratios, starts = [], []
    for a, sigma_b2 in ((1.0, 0.1), (3.0, 0.01), (10.0, 1.0)):
        net = critical(act.shtanh(a=a), sigma_b2)
        at = {"q": net.q, "sigma_w2": net.sigma_w2, "sigma_b2": sigma_b2}
        scale2 = net.q if target == "q" else data.input_scale("sphere", **at) ** 2
        square = (data.normalised(digits).x_train.astype(float) ** 2).mean(axis=1)
        starts += [net.sigma_w2 * scale2 * square.mean() / net.q + sigma_b2 / net.q]
        pixels = (data.normalised(digits, kind).x_train.astype(float) ** 2).mean(axis=1).mean()
        ratios.append((net.sigma_w2 * data.input_scale(kind, **at) ** 2 * pixels + sigma_b2) / net.q)
    domain = "training images of digits, Shtanh at three pairs (a, sigma_b2); mean variance of layer 1 over q*"
    equal(starts, 1.0, 1e-6, domain=domain)
    return below(ratios, 0.6, domain=f"{domain}, with the authors' inputs")


@claim(
    "section-4.1.normalisation",
    "Digits, depth 50, width 64, 220 steps, n = 5: the authors' inputs lose over 20 points at rate 0.003;"
    " at the best of 3 rates under 2 points.",
    found="The loss at rate 0.003 is {bound:points}.",
    at="this companion",
    mutants={"20 points at rate 0.001 too": {"rate": 1e-3}, "both at 0.003": {"offered": (3e-3,)}},
)
def normalisation(rate: float = 3e-3, offered: tuple[float, ...] = (3e-4, 1e-3, 3e-3)) -> Evidence:
    last = analysis.final_rows("normalisation-laptop-digits")
    means = last.groupby(["learning_rate", "normalisation"])["test_accuracy"].mean().unstack()
    best = means.loc[list(offered)].max()
    domain = "digits, Shtanh a = 10, sigma_b2 = 1, depth 50, width 64, 10 epochs, 3 rates, 5 trials, CPU"
    at_most(best["sphere"] - best["authors"], 0.02, domain=domain)
    return below(0.2, means.loc[rate, "sphere"] - means.loc[rate, "authors"], domain=domain)
