"""How claims, evidence and their numbers read: typeset on a page, plain in a terminal, never against their status."""

from __future__ import annotations

import html
import re

import pytest

from afli import claims
from afli.claims import evidence, listing, wording
from afli.claims.evidence import PLACE, STATUSES, Claim, Evidence

# What a formula in plain letters would leave in the text of a page.
ASCII_FORMULA = re.compile(r"<=|>=|\^|_|\bsqrt\b|\b(rho|phi|chi|sigma|mu|nu)\b|\de-?\d")

NOT_AS_CLAIMED = ("corrected", "not reproduced", "holds under a condition")


def sample(
    status: str = "holds", claimed: str = "", found: str = "At most {measured}, {share:.0%}, in $2^{10}$."
) -> Evidence:
    claim = Claim(
        "lemma-0",
        "$\\sigma_b^2 \\le 1$ holds.",
        "Section 0",
        status,
        "2_page",
        lambda: None,
        {"x <= 2": {}},
        claimed,
        found,
    )
    return Evidence(0.1234567, 1.0, 0.8765, "rho = 1e-4; sigma_b2 <= 0.1", values={"share": 0.5}, claim=claim)


@pytest.mark.parametrize("id", list(claims.LEDGER))
def test_a_claim_is_written_in_words_and_tex(id: str) -> None:
    claim = claims.LEDGER[id]
    for text in (claim.statement, claim.claimed, PLACE.sub("", claim.found), claim.source, *claim.mutants):
        assert text.count("$") % 2 == 0
        shown = re.sub(r"\\\(.*?\\\)|<code>.*?</code>|<[^>]*>", "", wording.markup(text))
        assert not ASCII_FORMULA.search(html.unescape(shown)), shown


@pytest.mark.parametrize("id", [id for id, c in claims.LEDGER.items() if c.status in NOT_AS_CLAIMED])
def test_what_was_claimed_stands_beside_what_was_found_otherwise(id: str) -> None:
    """Without the source's sentence, "not reproduced" would be read as said of the finding."""
    assert claims.LEDGER[id].claimed
    assert claims.LEDGER[id].claimed != claims.LEDGER[id].statement


def test_evidence_has_its_claim_its_status_and_its_numbers_in_sight() -> None:
    shown = sample("not reproduced", claimed="It is so.")._repr_html_()
    seen, folded = shown.split("</summary>")
    assert "not reproduced" in seen
    assert 'Claimed</b>, <span class="source">Section 0</span>: It is so.' in seen
    assert r"Found here</b>: \(\sigma_b^2 \le 1\) holds. At most 0.123, 50%, in \(2^{10}\)." in seen
    assert "ρ = 10<sup>−4</sup>; σ<sub>b</sub><sup>2</sup> ≤ 0.1" in folded
    assert "x ≤ 2" in folded


def test_in_the_terminal_the_same_is_plain() -> None:
    assert "claimed: sigma_b2 <= 1 holds.\n  found here: At most 0.123, 50%, in 2^10." in str(sample())


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (0.0123456, "0.0123"), (-0.5, "$-0.5$"), (1e-9, "$10^{-9}$"), (5.321e-10, r"$5.3 \times 10^{-10}$"),
     (78100.0, "78,100"), (float("inf"), r"$\infty$"), (float("nan"), "no number")],
)  # fmt: skip
def test_a_number_has_three_digits_at_most(number: float, text: str) -> None:
    assert wording.digits(number) == text


def test_numbers_know_points_and_powers() -> None:
    assert f"{wording.Number(0.0123):points}" == "1.2 points"
    assert f"{wording.Number(-27.91):power}" == "$10^{-27.9}$"


@pytest.mark.parametrize(
    ("tex", "text"),
    [(r"$\sigma_w^2 \ge 2$", "sigma_w2 >= 2"), (r"$\sqrt{q^*} < y^{-1/3}$", "sqrt(q*) < y^(-1/3)"),
     (r"$5.3 \times 10^{-10}$", "5.3 * 10^-10"), (r"$\operatorname{erf}(\ell/\sqrt 2)$", "erf(ell/sqrt 2)")],
)  # fmt: skip
def test_tex_in_plain_letters(tex: str, text: str) -> None:
    assert wording.plain(tex) == text


def test_plain_letters_typeset() -> None:
    assert wording.symbols("|phi'| <= k, mu_2/mu_1^2 -> 1") == "|φ'| ≤ k, μ<sub>2</sub>/μ<sub>1</sub><sup>2</sup> → 1"
    assert wording.symbols("1 - mu") == "1 − μ"
    assert wording.symbols("a < b & `x_y`") == "a &lt; b &amp; <code>x_y</code>"
    assert wording.symbols("relu, ssine(a=2), ssaw(a=5), -3") == "ReLU, Ssine of radius 2, Ssaw of radius 5, −3"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((1.0, 1.0), "1 is reached, and must not be"), ((1.0 + 1e-9, 1.0), "1 is exceeded by 1.0e-09"),
     ((2.0, 1.0), "2, where less than 1 is allowed"), ((float("nan"), 1.0), "the result is not a number")],
)  # fmt: skip
def test_a_refutation_says_by_how_much(numbers: tuple[float, float], text: str) -> None:
    assert wording.shortfall(*numbers, strict=True) == text


def test_the_ledger_counts_filters_and_puts_the_paper_first() -> None:
    page = listing.ledger_page([sample(), sample("corrected", claimed="No.")])
    assert page.count('class="entry"') == 2
    assert "<td class='number'>2</td></tr></tfoot>" in page
    assert (
        '[name="status"][value="corrected"]:checked) [data-status]:not([data-status="corrected"]){display:none}' in page
    )
    parts = list(listing.PARTS)
    assert parts.index("4") < parts.index("I")
    assert {listing.part_of(claim) for claim in claims.LEDGER.values()} <= set(parts)


def test_every_status_has_a_mark() -> None:
    assert set(evidence.MARKS) == set(STATUSES)
