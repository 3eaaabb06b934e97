"""The claims ledger: every statement of the paper, and of this companion, as a check that can fail.

One ledger feeds three places. A page calls `verify("lemma-3.3")` and shows the evidence; if the claim is refuted the
page raises, and nothing is published. The tests run every claim, and every mutant: a copy of the statement with one
hypothesis dropped or one constant changed, which must be refuted. The Claims page and `afli check --all` print the
table.
"""

from __future__ import annotations

from importlib import import_module

from afli.claims.ledger import (
    LEDGER,
    Claim,
    ClaimRefuted,
    Evidence,
    Ledger,
    MutantSurvived,
    Refutation,
    known,
    ledger_table,
    on,
    refute,
    status_counts,
    verify,
)

__all__ = [
    "LEDGER",
    "Claim",
    "ClaimRefuted",
    "Evidence",
    "Ledger",
    "MutantSurvived",
    "Refutation",
    "known",
    "ledger_table",
    "on",
    "refute",
    "status_counts",
    "verify",
]

# The order of the paper; each module registers its claims when it is imported.
for _module in (
    "part_1_1", "part_1_2", "part_1_3", "part_1_4", "part_1_5", "section_2_1", "section_2_1_edge",
    "section_2_2", "section_2_2_isometry", "section_2_3", "section_3_1", "section_3_1_attraction",
    "section_3_2", "section_3_3", "section_3_4", "section_3_5", "section_4_1", "section_4_2", "section_4_3",
    "section_4_4", "section_4_5", "section_4_6", "infinite_width", "appendix_a", "appendix_b", "open_questions",
):  # fmt: skip
    import_module(f"afli.claims.{_module}")
