"""The claims ledger: every statement of the paper, and of this companion, as a check that can fail.

One ledger feeds three places. A page calls `verify("lemma-3.3")` and shows the evidence; if the claim is refuted the
page raises, and nothing is published. The tests run every claim, and every mutant: a copy of the statement with one
hypothesis dropped or one constant changed, which must be refuted. The Claims page and `afli check --all` print the
table.
"""

from __future__ import annotations

from afli.claims.ledger import (
    LEDGER,
    Claim,
    ClaimRefuted,
    Evidence,
    Ledger,
    MutantSurvived,
    Refutation,
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
    "ledger_table",
    "on",
    "refute",
    "status_counts",
    "verify",
]

# The order of the paper; each module registers its claims when it is imported.
# isort: off
from afli.claims import part_1_1  # noqa: F401
from afli.claims import part_1_2  # noqa: F401
from afli.claims import part_1_3  # noqa: F401
from afli.claims import part_1_4  # noqa: F401
from afli.claims import part_1_5  # noqa: F401
from afli.claims import section_2_1  # noqa: F401
from afli.claims import section_2_1_edge  # noqa: F401
from afli.claims import section_2_2  # noqa: F401
from afli.claims import section_2_2_isometry  # noqa: F401
from afli.claims import section_2_3  # noqa: F401
from afli.claims import section_3_1  # noqa: F401
from afli.claims import section_3_1_attraction  # noqa: F401
from afli.claims import section_3_2  # noqa: F401
from afli.claims import section_3_3  # noqa: F401
from afli.claims import section_3_4  # noqa: F401
from afli.claims import section_3_5  # noqa: F401
from afli.claims import section_4_1  # noqa: F401
from afli.claims import section_4_2  # noqa: F401
from afli.claims import section_4_3  # noqa: F401
from afli.claims import section_4_4  # noqa: F401
from afli.claims import section_4_5  # noqa: F401
from afli.claims import section_4_6  # noqa: F401
from afli.claims import infinite_width  # noqa: F401
from afli.claims import appendix_a  # noqa: F401
from afli.claims import appendix_b  # noqa: F401
from afli.claims import open_questions  # noqa: F401
