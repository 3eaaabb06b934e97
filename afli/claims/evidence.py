"""A claim and its evidence, and how they read on a page and in a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from afli.claims.wording import Number, digits, markup, plain, symbols

__all__ = ["FOUND", "MARKS", "PLACE", "STATUSES", "Claim", "Evidence", "Refutation", "badge", "entry", "slug"]

STATUSES = (
    "holds",
    "holds, and sharpened",
    "corrected",
    "holds under a condition",
    "not reproduced",
    "not tested here",
)


# What is said of a check that says nothing itself.
FOUND = "It holds wherever it was tried: at worst {measured}, where {bound} is allowed."


@dataclass(frozen=True)
class Evidence:
    """What a check found.

    A statement that is not tested here has NaN in place of its three numbers, and its domain says why.

    Attributes
    ----------
    measured
        The worst value seen of the quantity that the statement bounds.
    bound
        What the statement allows there.
    margin
        What was left before the statement would have been false, >= 0.
    domain
        What was searched, in the terminal's notation.
    oracle
        The independent source of the comparison, if any: "48-digit reference", "sampling, width 1000".
    values
        Named numbers, for the prose of a page and for the sentence.
    found
        The sentence on them, where the claim has none of its own.
    claim
        The claim that was checked; `verify` attaches it.
    mutants
        Those that were run beside the claim, and refuted.
    """

    measured: float
    bound: float
    margin: float
    domain: str
    oracle: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    found: str = FOUND
    claim: Claim | None = field(default=None, compare=False, repr=False)
    mutants: tuple[Refutation, ...] = field(default=(), compare=False, repr=False)

    def _repr_html_(self) -> str:
        return fold(self)

    def __str__(self) -> str:
        return in_words(self)


@dataclass(frozen=True)
class Refutation:
    """A mutant that was refuted, as it should be: which hypothesis was changed, and what the check then found."""

    claim: Claim
    mutant: str
    found: str

    def _repr_html_(self) -> str:
        return (
            f'<p class="refutation tex2jax_process">Changed: <b>{symbols(self.mutant)}</b>. The statement is refuted, '
            f"as it should be: {symbols(self.found)}. "
            f'<a href="claims.html#{self.claim.anchor}">{self.claim.id}</a></p>'
        )

    def __str__(self) -> str:
        return f"{self.claim.id} with {self.mutant!r}: refuted, as it should be: {self.found}"


@dataclass(frozen=True)
class Claim:
    """One statement.

    Attributes
    ----------
    id
        For example "lemma-3.3".
    statement
        What the check decides: a sentence, with TeX between dollars.
    source
        Who says it, and where.
    status
        One of STATUSES.
    page
        The notebook that shows it, for example "3_3_uniform_gap".
    check
        Runs the statement and returns its evidence, or raises ClaimRefuted.
    mutants
        Name -> the keyword arguments that change a hypothesis or a constant of the statement.
    claimed
        The source's sentence, where it is not the statement itself.
    found
        A sentence on the numbers, in which {measured}, {bound}, {margin} and the names of the evidence's values stand
        for a `wording.Number`; {compared} is how many entries were compared, {cases} how many along the first axis.
        Empty: the sentence of the evidence.
    """

    id: str
    statement: str
    source: str
    status: str
    page: str
    check: Callable[..., Evidence]
    mutants: Mapping[str, Mapping[str, Any]]
    claimed: str = ""
    found: str = ""

    @property
    def anchor(self) -> str:
        """The id as an HTML anchor."""
        return self.id.replace(".", "-")


# --- How they read ---

# Where a sentence has a number: {measured}, {measured:.1%}; the braces of TeX follow a command, ^ or _.
PLACE = re.compile(r"(?<![A-Za-z^_}])\{([a-z_]\w+)(?::([^{}]*))?\}")

# Marks beside the words, so that a status is told without its colour.
MARKS = {
    "holds": "✓", "holds, and sharpened": "✓+", "corrected": "±", "holds under a condition": "(✓)",
    "not reproduced": "✗", "not tested here": "?",
}  # fmt: skip


def slug(words: str) -> str:
    return re.sub(r"\W+", "-", words)


def badge(status: str) -> str:
    """A status as a coloured word with its mark."""
    return f'<span class="status {slug(status)}"><span aria-hidden="true">{MARKS[status]}</span> {status}</span>'


def found_here(evidence: Evidence) -> str:
    """What was found, as a sentence in TeX: the finding, where it differs from the claim, and its numbers."""
    claim = evidence.claim
    assert claim is not None, "evidence is shown after verify() has attached its claim"
    if np.isnan(evidence.measured):
        return evidence.domain
    numbers = {"measured": evidence.measured, "bound": evidence.bound, "margin": evidence.margin} | dict(
        evidence.values
    )
    # Not str.format: TeX has braces of its own.
    found = claim.found or evidence.found
    sentence = PLACE.sub(lambda m: format(Number(numbers[m[1]]), m[2] or "") if m[1] in numbers else m[0], found)
    return f"{claim.statement} {sentence}" if claim.claimed else sentence


def entry(evidence: Evidence) -> str:
    """The lines that a reader sees of a claim: status, what was claimed and by whom, what was found here."""
    claim = evidence.claim
    assert claim is not None, "evidence is shown after verify() has attached its claim"
    return (
        f'<span class="line">{badge(claim.status)} <b>Claimed</b>, '
        f'<span class="source">{symbols(claim.source)}</span>: {markup(claim.claimed or claim.statement)}</span>'
        f'<span class="line"><b>Found here</b>: {markup(found_here(evidence))}</span>'
    )


def fold(evidence: Evidence) -> str:
    """A claim on its page: the entry, which opens to what was searched, what was left, and the mutants."""
    claim = evidence.claim
    assert claim is not None, "evidence is shown after verify() has attached its claim"
    details = []
    if not np.isnan(evidence.measured):
        against = f"; against {evidence.oracle}" if evidence.oracle else ""
        left = digits(evidence.margin) if evidence.margin else "nothing"
        decided = f"{digits(evidence.measured)} found, {digits(evidence.bound)} allowed: {left} to spare."
        details += [("Searched", symbols(evidence.domain + against)), ("Decided by", markup(decided))]
    shown = {mutant.mutant for mutant in evidence.mutants}
    others = [symbols(name) for name in claim.mutants if name not in shown]
    details += [
        ("Changed: " + symbols(m.mutant), f"refuted, as it should be: {symbols(m.found)}.") for m in evidence.mutants
    ]
    if others:
        details.append(("Also refuted, in the tests", "; ".join(others)))
    link = f'<a href="claims.html#{claim.anchor}">{html.escape(claim.id)}</a>'
    details.append(("In the ledger", f"{link}, <code>afli check {html.escape(claim.id)}</code>"))
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in details)
    return (
        f'<details class="claim tex2jax_process" id="evidence-{claim.anchor}">'
        f"<summary>{entry(evidence)}</summary><dl>{rows}</dl></details>"
    )


def in_words(evidence: Evidence) -> str:
    """A claim and its evidence for the terminal."""
    claim = evidence.claim
    head = []
    if claim:
        head = [f"{claim.id} ({claim.source}): {claim.status}", f"  claimed: {plain(claim.claimed or claim.statement)}"]
        head.append(f"  found here: {plain(found_here(evidence))}")
    if np.isnan(evidence.measured):
        return "\n".join(head or [evidence.domain])
    against = f"; against {evidence.oracle}" if evidence.oracle else ""
    numbers = f"  measured {evidence.measured:.6g}, bound {evidence.bound:.6g}, margin {evidence.margin:.3g}"
    return "\n".join([*head, numbers, f"  {evidence.domain}{against}", *map(str, evidence.mutants)])
