"""The ledger: every claim holds, every mutant is refuted, and a refuted claim stops a page."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from afli import claims
from afli.claims import comparisons, tables
from afli.claims.comparisons import at_most, equal
from afli.claims.evidence import PLACE, found_here
from afli.claims.ledger import STATUSES, Claim, Evidence, Ledger

ROOT = Path(__file__).resolve().parents[1]
TESTED = [id for id, claim in claims.LEDGER.items() if claim.status != "not tested here"]

# Frames that make a comparison for a claim: the clause is where the claim called them.
NOT_A_CLAUSE = (comparisons.__file__, tables.__file__, __file__)


def clause(frame: FrameType | None) -> str:
    """Where a comparison was called: the innermost frame outside the ledger, as "module:line"."""
    while frame is not None and frame.f_code.co_filename in NOT_A_CLAUSE:
        frame = frame.f_back
    assert frame is not None
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def killer(error: BaseException) -> str:
    """The clause that raised; an exception that no comparison raised has none."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if frames[-1][0] != comparisons.__file__:
        return "no comparison"
    file, line = next(entry for entry in reversed(frames) if entry[0] not in NOT_A_CLAUSE)
    return f"{Path(file).name}:{line}"


@pytest.mark.claims
@pytest.mark.parametrize("id", TESTED)
def test_a_claim_holds_and_each_of_its_clauses_refutes_a_mutant(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that refutes no mutant could be replaced by "true", and nothing would be noticed."""
    made: set[str] = set()
    decide = comparisons._decide

    def recording(*arguments: Any) -> Evidence:
        made.add(clause(sys._getframe(1)))
        return decide(*arguments)

    monkeypatch.setattr(comparisons, "_decide", recording)
    evidence = claims.verify(id)
    assert np.isfinite([evidence.measured, evidence.bound, evidence.margin]).all()
    assert evidence.margin >= 0
    assert evidence.domain
    left = PLACE.findall(found_here(evidence).removeprefix(claims.LEDGER[id].statement))  # TeX has braces too
    assert not left, f"{id}: no number for {left}"
    asserted, killers = set(made), set()
    for mutant, changed in claims.LEDGER[id].mutants.items():
        with pytest.raises(claims.ClaimRefuted) as refuted:
            claims.LEDGER[id].check(**changed)
        killers.add(killer(refuted.value))
        assert str(refuted.value), mutant
    idle = asserted - killers
    assert not idle, f"{id}: {sorted(idle)} refute none of {list(claims.LEDGER[id].mutants)}"


@pytest.mark.parametrize("id", list(claims.LEDGER))
def test_every_claim_is_shown_on_its_page(id: str) -> None:
    source = ROOT / "notebooks" / f"{claims.LEDGER[id].page}.md"
    assert f'claims.verify("{id}"' in source.read_text(encoding="utf-8")


def small_ledger() -> Ledger:
    """Two claims about the number two: one true, one false."""
    ledger = Ledger()

    def two_at_most(bound: float) -> Evidence:
        return at_most(2.0, bound, domain="one number")

    mutants = {"1": {"bound": 1.0}, "4": {"bound": 4.0}}
    ledger.add(entry("true", lambda bound=3.0: two_at_most(bound), mutants=mutants))
    ledger.add(entry("false", lambda: two_at_most(1.0)))
    return ledger


def entry(id: str, check: Any = None, *, page: str = "none", status: str = "holds", mutants: Any = None) -> Claim:
    return Claim(id, "A statement.", "test", status, page, check, mutants or {})


def test_a_refuted_claim_names_itself_and_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afli.claims.ledger.LEDGER", small_ledger())
    assert claims.verify("true").margin == 1.0
    with pytest.raises(claims.ClaimRefuted, match=r"false \(test\) is refuted: 2, where at most 1 is allowed"):
        claims.verify("false")


def test_a_surviving_mutant_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afli.claims.ledger.LEDGER", small_ledger())
    assert "2, where at most 1" in claims.refute("true", mutant="1").found
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
        ledger.add(entry("true"))
    with pytest.raises(ValueError, match="status must be one of"):
        ledger.add(entry("new", status="perhaps"))
    with pytest.raises(KeyError, match="did you mean"):
        ledger["truth"]
    assert all(claim.status in STATUSES for claim in claims.LEDGER.values())


def test_a_former_id_finds_its_claim_and_cannot_be_taken_again() -> None:
    ledger = small_ledger()
    ledger.add(entry("new"), formerly=("old",))
    assert ledger["old"].id == "new"
    assert "old" not in list(ledger)
    with pytest.raises(ValueError, match="'old' is already in the ledger"):
        ledger.add(entry("old"))


def test_one_registrar_says_page_and_source_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Ledger()
    monkeypatch.setattr("afli.claims.ledger.LEDGER", found)
    claim = claims.on("a_page", "Section 9")
    claim("x", "X.", at="eq. (99)")(lambda: at_most(0, 1, domain=""))
    claim("y", "Y.", ours="Section 9 leaves it open")(lambda: at_most(0, 1, domain=""))
    claim.untested("z", "Z.", "it would take a year")
    assert [c.page for c in found.values()] == ["a_page"] * 3
    assert [c.source for c in found.values()] == [
        "Section 9, eq. (99)", "this companion (Section 9 leaves it open)", "Section 9",
    ]  # fmt: skip
    assert "it would take a year" in str(claims.verify("z"))
    assert "it would take a year" in claims.verify("z")._repr_html_()


def test_mutants_can_be_run_with_their_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afli.claims.ledger.LEDGER", small_ledger())
    evidence = claims.verify("true", "1")
    assert [r.mutant for r in evidence.mutants] == ["1"]
    assert "refuted, as it should be" in str(evidence)
    assert "refuted, as it should be" in evidence._repr_html_()
    with pytest.raises(claims.MutantSurvived):
        claims.verify("true", "4")


def test_evidence_is_computed_once_per_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A page leaves what it found; the Claims page reads it, and runs only what no page has left."""
    runs: list[str] = []
    found = Ledger()
    for id, page in (("x", "first"), ("y", "second")):

        def check(id: str = id) -> Evidence:
            runs.append(id)
            return at_most(2.0, 3.0, domain="one number", values={"two": np.float64(2.0)})

        found.add(entry(id, check, page=page))

    monkeypatch.setattr("afli.claims.ledger.LEDGER", found)
    monkeypatch.setenv("AFLI_EVIDENCE", str(tmp_path / "first"))
    claims.verify("x")
    monkeypatch.setenv("AFLI_EVIDENCE", str(tmp_path / "claims"))
    table = claims.ledger_table()
    assert runs == ["x", "y"]
    assert 'href="first.html#evidence-x"' in table
    monkeypatch.delenv("AFLI_EVIDENCE")
    assert claims.ledger_table() == table
    assert runs == ["x", "y", "x", "y"]


@pytest.mark.parametrize("id", ["section-b.6.rates-kinked", "section-3.1.unique"])
def test_a_claim_does_not_mind_what_the_session_has_told_numpy(id: str) -> None:
    with np.errstate(all="raise"):
        assert claims.verify(id).margin >= 0


def test_a_claim_sees_the_function_that_is_there_when_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong correlation gap must refute Lemma 3.3, or the ledger would not be looking at the package."""
    from afli import meanfield as mf

    monkeypatch.setattr(mf.MeanField, "correlation_gap", lambda self, rho: 1.001 * (self.sigma_b2 / self.q) * (1 - rho))
    with pytest.raises(claims.ClaimRefuted):
        claims.verify("lemma-3.3")
