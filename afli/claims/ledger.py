"""How a claim is written down, checked and shown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from afli.claims.comparisons import ClaimRefuted
from afli.claims.evidence import STATUSES, Claim, Evidence, Refutation
from afli.claims.listing import ledger_page


class MutantSurvived(AssertionError):
    """A mutant of a claim was not refuted: the check would not notice that the statement is wrong."""


class Ledger(Mapping[str, Claim]):
    """All claims by id, in the order of the paper. A former id still finds its claim, but is not listed."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._former: dict[str, str] = {}

    def add(self, claim: Claim, formerly: Sequence[str] = ()) -> None:
        """Enter a claim.

        Parameters
        ----------
        claim
            The claim.
        formerly
            Ids that it had before, or those of claims that it has taken in.

        Raises
        ------
        ValueError
            For an id already taken, or an unknown status.
        """
        for name in (claim.id, *formerly):
            if name in self._claims or name in self._former:
                raise ValueError(f"id {name!r} is already in the ledger")
        if claim.status not in STATUSES:
            raise ValueError(f"status must be one of {STATUSES}, got {claim.status!r}")
        self._claims[claim.id] = claim
        self._former.update(dict.fromkeys(formerly, claim.id))

    def __getitem__(self, id: str) -> Claim:
        id = self._former.get(id, id)
        if id not in self._claims:
            close = get_close_matches(str(id), [*self._claims, *self._former], n=5)
            hint = f"did you mean {', '.join(close)}?" if close else "`afli check` lists them"
            raise KeyError(f"no claim {id!r} in the ledger; {hint}")
        return self._claims[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)


LEDGER = Ledger()


@dataclass(frozen=True)
class Registrar:
    """Registers the claims of one page: what `on` returns."""

    page: str
    source: str

    def __call__(
        self,
        id: str,
        statement: str,
        *,
        at: str = "",
        ours: str = "",
        status: str = "holds",
        mutants: Mapping[str, Mapping[str, Any]] | None = None,
        formerly: Sequence[str] = (),
        claimed: str = "",
        found: str = "",
    ) -> Callable[[Callable[..., Evidence]], Callable[..., Evidence]]:
        """Register the check below it.

        Parameters
        ----------
        at
            The place within the source, "eq. (22)".
        ours
            For a statement of this companion: what it has to do with the paper. It replaces the source.
        id, statement, status, mutants, claimed, found
            As in `Claim`.
        formerly
            As in `Ledger.add`.
        """
        place = at if at.startswith(("Section", "Appendix")) else ", ".join(filter(None, (self.source, at)))
        source = f"this companion ({ours})" if ours else place

        def register(check: Callable[..., Evidence]) -> Callable[..., Evidence]:
            LEDGER.add(
                Claim(id, statement, source, status, self.page, check, dict(mutants or {}), claimed, found), formerly
            )
            return check

        return register

    def untested(self, id: str, statement: str, why: str, *, at: str = "", formerly: Sequence[str] = ()) -> None:
        """Enter a statement that nothing here tests, with the reason."""
        self(id, statement, at=at, status="not tested here", formerly=formerly)(
            lambda: Evidence(float("nan"), float("nan"), float("nan"), why)
        )


def on(page: str, source: str) -> Registrar:
    """What registers the claims of one page, so that its name and source are said once.

    Parameters
    ----------
    page
        The notebook's name, "3_3_uniform_gap".
    source
        Who says it and where, "Section 3.3"; each claim may add a place.
    """
    return Registrar(page, source)


# How numpy treats what a check computes, whatever the session has set; these are its defaults.
_usual = np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


@_usual
def verify(id: str, *mutants: str) -> Evidence:
    """Run the claim, and the mutants named.

    Parameters
    ----------
    id
        Of the ledger, or a former one.
    *mutants
        Names of mutants that must be refuted, and are shown with the evidence.

    Raises
    ------
    ClaimRefuted
        If the claim does not hold.
    MutantSurvived
        If one of the mutants does.
    KeyError
        For unknown names.

    Examples
    --------
    >>> verify("lemma-3.3").margin > 0
    True
    """
    claim = LEDGER[id]
    try:
        evidence = replace(claim.check(), claim=claim)
    except ClaimRefuted as refuted:
        raise ClaimRefuted(f"{claim.id} ({claim.source}) is refuted: {refuted}") from None
    if folder := os.environ.get(RECORDS):
        _record(evidence, Path(folder))
    return replace(evidence, mutants=tuple(refute(id, mutant=name) for name in mutants))


@_usual
def refute(id: str, *, mutant: str) -> Refutation:
    """Run a mutant of the claim, which must be refuted.

    Raises
    ------
    MutantSurvived
        If it is not.
    KeyError
        For unknown names.
    """
    claim = LEDGER[id]
    if mutant not in claim.mutants:
        raise KeyError(f"{id} has no mutant {mutant!r}; it has {', '.join(map(repr, claim.mutants)) or 'none'}")
    try:
        claim.check(**claim.mutants[mutant])
    except ClaimRefuted as refuted:
        return Refutation(claim, mutant, str(refuted))
    raise MutantSurvived(f"{id} still passes with {mutant!r}")


# --- Evidence that a page has found, kept for the Claims page ---

# Names a folder. While it is set, verify() writes there what it finds; tools/build.py sets it when it runs a page.
RECORDS = "AFLI_EVIDENCE"


def _record(evidence: Evidence, folder: Path) -> None:
    assert evidence.claim is not None
    kept = {
        "measured": evidence.measured, "bound": evidence.bound, "margin": evidence.margin, "domain": evidence.domain,
        "oracle": evidence.oracle, "values": {name: float(value) for name, value in evidence.values.items()},
        "found": evidence.found,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{evidence.claim.anchor}.json").write_text(json.dumps(kept), encoding="utf-8")


def recorded(claim: Claim, pages: Path) -> Evidence | None:
    """What the claim's page found when it last ran. pages: holds a folder of records for each page."""
    path = pages / claim.page / f"{claim.anchor}.json"
    if not path.exists():
        return None
    return Evidence(**json.loads(path.read_text(encoding="utf-8")), claim=claim)


# --- The whole ledger ---


def status_counts() -> dict[str, int]:
    """How many claims have each status."""
    found = [claim.status for claim in LEDGER.values()]
    return {status: found.count(status) for status in STATUSES if status in found}


def known(id: str) -> Evidence:
    """What a claim's page has found in this build; outside a build, or without a record, the claim is run.

    Raises ClaimRefuted if it does not hold, KeyError for an unknown id.
    """
    here = os.environ.get(RECORDS)
    return (recorded(LEDGER[id], Path(here).parent) if here else None) or verify(id)


def ledger_table() -> str:
    """The Claims page as HTML; an entry leads to the evidence on its page. Raises ClaimRefuted at the first failure."""
    return ledger_page(known(id) for id in LEDGER)
