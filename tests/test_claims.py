"""The ledger: every claim holds, every mutant is refuted, and a refuted claim stops a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from afli import claims
from afli.claims.ledger import STATUSES, Evidence, Ledger, at_most, equal

ROOT = Path(__file__).resolve().parents[1]
MUTANTS = [(id, mutant) for id, claim in claims.LEDGER.items() for mutant in claim.mutants]


@pytest.mark.parametrize("id", list(claims.LEDGER))
def test_every_claim_holds(id: str) -> None:
    evidence = claims.verify(id)
    assert np.isfinite([evidence.measured, evidence.bound, evidence.margin]).all()
    assert evidence.margin >= 0
    assert evidence.domain


@pytest.mark.parametrize(("id", "mutant"), MUTANTS, ids=[f"{id}: {mutant}" for id, mutant in MUTANTS])
def test_every_mutant_is_refuted(id: str, mutant: str) -> None:
    assert claims.refute(id, mutant=mutant).found


@pytest.mark.parametrize("id", [id for id in claims.LEDGER if not id.startswith("definition")])
def test_every_claim_but_a_definition_could_have_failed(id: str) -> None:
    assert claims.LEDGER[id].mutants


@pytest.mark.parametrize("id", list(claims.LEDGER))
def test_every_claim_is_shown_on_its_page(id: str) -> None:
    source = ROOT / "notebooks" / f"{claims.LEDGER[id].page}.md"
    assert f'claims.verify("{id}")' in source.read_text(encoding="utf-8")


def small_ledger() -> Ledger:
    """Two claims about the number two: one true, one false."""
    ledger = Ledger()

    @ledger.claim(
        "true", statement="2 <= 3", source="test", page="none", mutants={"1": {"bound": 1.0}, "4": {"bound": 4.0}}
    )
    def true(bound: float = 3.0) -> Evidence:
        return at_most(2.0, bound, domain="one number")

    @ledger.claim("false", statement="2 <= 1", source="test", page="none")
    def false() -> Evidence:
        return at_most(2.0, 1.0, domain="one number")

    return ledger


def test_a_refuted_claim_names_itself_and_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afli.claims.ledger.LEDGER", small_ledger())
    assert claims.verify("true").margin == 1.0
    with pytest.raises(claims.ClaimRefuted, match=r"false \(test\) is refuted: 2 <= 1 fails"):
        claims.verify("false")


def test_a_surviving_mutant_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afli.claims.ledger.LEDGER", small_ledger())
    assert "2 <= 1" in claims.refute("true", mutant="1").found
    with pytest.raises(claims.MutantSurvived, match="still passes with '4'"):
        claims.refute("true", mutant="4")
    with pytest.raises(KeyError, match="no mutant '5'"):
        claims.refute("true", mutant="5")


def test_the_worst_entry_decides() -> None:
    evidence = at_most([1.0, 5.0], [2.0, 5.5], domain="two numbers", values={"x": 1.0})
    assert (evidence.measured, evidence.bound, evidence.margin) == (5.0, 5.5, 0.5)
    with pytest.raises(claims.ClaimRefuted, match="at the second"):
        at_most([1.0, 5.0], [2.0, 4.0], domain="", at=lambda i: ["the first", "the second"][i[0]])


def test_nan_never_passes_and_strict_means_strict() -> None:
    with pytest.raises(claims.ClaimRefuted):
        at_most([0.0, np.nan], 1.0, domain="")
    with pytest.raises(claims.ClaimRefuted):
        at_most(1.0, 1.0, strict=True, domain="")
    with pytest.raises(claims.ClaimRefuted):
        equal([1.0, np.nan], 1.0, 1e-3, domain="")


def test_ids_and_statuses_are_guarded() -> None:
    ledger = small_ledger()
    with pytest.raises(ValueError, match="already in the ledger"):
        ledger.claim("true", statement="", source="", page="")
    with pytest.raises(ValueError, match="status must be one of"):
        ledger.claim("new", statement="", source="", page="", status="perhaps")
    with pytest.raises(KeyError, match="did you mean"):
        ledger["truth"]
    assert all(claim.status in STATUSES for claim in claims.LEDGER.values())


def test_a_claim_sees_the_function_that_is_there_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong correlation gap must refute Lemma 3.3, or the ledger would not be looking at the package."""
    from afli import meanfield as mf

    monkeypatch.setattr(mf.MeanField, "correlation_gap", lambda self, rho: 1.001 * (self.sigma_b2 / self.q) * (1 - rho))
    with pytest.raises(claims.ClaimRefuted):
        claims.verify("lemma-3.3")
