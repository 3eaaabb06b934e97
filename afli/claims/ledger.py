"""How a claim is written down, checked and shown."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

STATUSES = ("holds", "holds, and sharpened", "corrected", "holds under a condition", "not reproduced")


class ClaimRefuted(AssertionError):
    """The check of a claim found a counter-example; the message says where, and by how much."""


class MutantSurvived(AssertionError):
    """A mutant of a claim was not refuted: the check would not notice that the statement is wrong."""


@dataclass(frozen=True)
class Evidence:
    """What a check found.

    measured: the worst value seen of the quantity that the statement bounds. bound: what the statement allows there.
    margin: what was left before the statement would have been false, >= 0. domain: what was searched.
    oracle: the independent source of the comparison ("48-digit reference", "sampling, width 1000", ...), if any.
    values: named numbers for the prose of a page.
    """

    measured: float
    bound: float
    margin: float
    domain: str
    oracle: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    claim: Claim | None = field(default=None, compare=False, repr=False)

    def _repr_html_(self) -> str:
        claim = self.claim
        assert claim is not None, "evidence is shown after verify() has attached its claim"
        link = f'<a href="claims.html#{claim.anchor}">{html.escape(claim.id)}</a>'
        statement = (
            f'<p class="statement">{link}, <em>{html.escape(claim.status)}</em>: {html.escape(claim.statement)}</p>'
        )
        cells = [
            ("measured", f"{self.measured:.6g}"),
            ("bound", f"{self.bound:.6g}"),
            ("margin", f"{self.margin:.3g}"),
            ("searched", html.escape(self.domain + (f"; against {self.oracle}" if self.oracle else ""))),
        ]
        return statement + _table(cells)

    def __str__(self) -> str:
        claim = self.claim
        head = f"{claim.id} ({claim.source}): {claim.status}\n  {claim.statement}\n" if claim else ""
        against = f"; against {self.oracle}" if self.oracle else ""
        numbers = f"measured {self.measured:.6g}, bound {self.bound:.6g}, margin {self.margin:.3g}"
        return f"{head}  {numbers}\n  {self.domain}{against}"


@dataclass(frozen=True)
class Refutation:
    """A mutant that was refuted, as it should be: which hypothesis was changed, and what the check then found."""

    claim: Claim
    mutant: str
    found: str

    def _repr_html_(self) -> str:
        cells = [
            ("changed", html.escape(self.mutant)),
            ("verdict", "refuted, as it should be"),
            ("found", html.escape(self.found)),
        ]
        return _table(cells)

    def __str__(self) -> str:
        return f"{self.claim.id} with {self.mutant!r}: refuted, as it should be. {self.found}"


@dataclass(frozen=True)
class Claim:
    """One statement.

    id: e.g. "lemma-3.3". statement: in plain words. source: where the paper says it. status: one of STATUSES.
    page: the notebook that shows it, e.g. "3_3_uniform_gap". check: runs the statement and returns its evidence, or
    raises ClaimRefuted. mutants: name -> the keyword arguments that change a hypothesis or a constant of the statement.
    """

    id: str
    statement: str
    source: str
    status: str
    page: str
    check: Callable[..., Evidence]
    mutants: Mapping[str, Mapping[str, Any]]

    @property
    def anchor(self) -> str:
        """The id as an HTML anchor."""
        return self.id.replace(".", "-")


class Ledger(Mapping[str, Claim]):
    """All claims by id, in the order of the paper."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def claim(
        self,
        id: str,
        *,
        statement: str,
        source: str,
        page: str,
        status: str = "holds",
        mutants: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Callable[[Callable[..., Evidence]], Callable[..., Evidence]]:
        """Register the check below it. Raises ValueError for an id already taken or an unknown status."""
        if id in self._claims:
            raise ValueError(f"id {id!r} is already in the ledger")
        if status not in STATUSES:
            raise ValueError(f"status must be one of {STATUSES}, got {status!r}")

        def register(check: Callable[..., Evidence]) -> Callable[..., Evidence]:
            self._claims[id] = Claim(id, statement, source, status, page, check, dict(mutants or {}))
            return check

        return register

    def __getitem__(self, id: str) -> Claim:
        if id not in self._claims:
            close = [known for known in self._claims if known.split("-")[0] == str(id).split("-")[0]] or list(
                self._claims
            )
            raise KeyError(f"no claim {id!r} in the ledger; did you mean one of {', '.join(close)}?")
        return self._claims[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)


LEDGER = Ledger()


def verify(id: str) -> Evidence:
    """Run the claim and return its evidence. Raises ClaimRefuted if it does not hold, KeyError for an unknown id."""
    claim = LEDGER[id]
    try:
        evidence = claim.check()
    except ClaimRefuted as refuted:
        raise ClaimRefuted(f"{claim.id} ({claim.source}) is refuted: {refuted}") from None
    return Evidence(**{**evidence.__dict__, "claim": claim})


def refute(id: str, *, mutant: str) -> Refutation:
    """Run a mutant of the claim, which must be refuted. Raises MutantSurvived if not, KeyError for unknown names."""
    claim = LEDGER[id]
    if mutant not in claim.mutants:
        raise KeyError(f"{id} has no mutant {mutant!r}; it has {', '.join(map(repr, claim.mutants)) or 'none'}")
    try:
        claim.check(**claim.mutants[mutant])
    except ClaimRefuted as refuted:
        return Refutation(claim, mutant, str(refuted))
    raise MutantSurvived(f"{id} still passes with {mutant!r}")


# --- The two shapes that almost every check has ---


def at_most(
    measured: ArrayLike,
    bound: ArrayLike,
    *,
    domain: str,
    at: Callable[[tuple[int, ...]], str] | None = None,
    strict: bool = False,
    oracle: str = "",
    values: Mapping[str, float] | None = None,
) -> Evidence:
    """Evidence that measured <= bound (or <, if strict) in every entry, at the entry with the least margin.

    at: describes the point of an index, for the message. Raises ClaimRefuted at the worst entry; NaN never passes.
    """
    measured, bound = np.broadcast_arrays(np.asarray(measured, dtype=float), np.asarray(bound, dtype=float))
    margin = bound - measured
    worst = np.unravel_index(int(np.argmin(np.where(np.isfinite(margin), margin, -np.inf))), margin.shape)
    least = float(margin[worst])
    where = f" at {at(tuple(int(i) for i in worst))}" if at else ""
    if not np.isfinite(least) or least < 0 or (strict and least == 0):
        sign = "<" if strict else "<="
        raise ClaimRefuted(f"{measured[worst]:.6g} {sign} {bound[worst]:.6g} fails{where}")
    return Evidence(float(measured[worst]), float(bound[worst]), least, domain, oracle, values or {})


def equal(
    measured: ArrayLike,
    expected: ArrayLike,
    tolerance: float,
    *,
    domain: str,
    at: Callable[[tuple[int, ...]], str] | None = None,
    oracle: str = "",
    values: Mapping[str, float] | None = None,
) -> Evidence:
    """Evidence that |measured - expected| <= tolerance everywhere; its `measured` is the largest difference."""
    difference = np.abs(np.asarray(measured, dtype=float) - np.asarray(expected, dtype=float))
    return at_most(difference, tolerance, domain=domain, at=at, oracle=oracle, values=values)


# --- The whole ledger ---


def status_counts() -> dict[str, int]:
    """How many claims have each status."""
    found = [claim.status for claim in LEDGER.values()]
    return {status: found.count(status) for status in STATUSES if status in found}


def ledger_table() -> str:
    """The Claims page as HTML: every claim is run. Raises ClaimRefuted at the first that fails."""
    names = ("claim", "statement", "measured", "bound", "mutants")
    rows = []
    for id, claim in LEDGER.items():
        evidence = verify(id)
        cells = [
            f'<a href="{claim.page}.html">{html.escape(id)}</a>',
            f"<em>{html.escape(claim.status)}</em>: {html.escape(claim.statement)}<br>"
            f"<small>{html.escape(claim.source)}</small>",
            f"{evidence.measured:.4g}",
            f"{evidence.bound:.4g}",
            f"{len(claim.mutants)}",
        ]
        body = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(names, cells, strict=True))
        rows.append(f'<tr id="{claim.anchor}">{body}</tr>')
    header = "".join(f"<th>{name}</th>" for name in names)
    return f'<table class="evidence ledger"><thead><tr>{header}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _table(cells: list[tuple[str, str]]) -> str:
    header = "".join(f"<th>{name}</th>" for name, _ in cells)
    body = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in cells)
    return f'<table class="evidence"><thead><tr>{header}</tr></thead><tbody><tr>{body}</tr></tbody></table>'
