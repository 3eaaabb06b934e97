"""One thread, repeatable property tests, and the worst errors against the oracle at the end of a run."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Contended threads are many times slower, and with one thread results are equal bit for bit.
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("afli", derandomize=True, deadline=None, database=None, max_examples=30)
settings.load_profile("afli")

WORST_ERRORS = pytest.StashKey[dict[tuple[str, str], tuple[float, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[WORST_ERRORS] = {}


@pytest.fixture(scope="session")
def worst_errors(request: pytest.FixtureRequest) -> dict[tuple[str, str], tuple[float, float]]:
    """(quantity, class of activation) -> (worst error seen, tolerance); printed when the run ends."""
    return request.config.stash[WORST_ERRORS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash[WORST_ERRORS]
    if rows:
        terminalreporter.section("worst errors against the oracle")
        for (quantity, kind), (error, tolerance) in sorted(rows.items()):
            terminalreporter.write_line(f"{quantity:42}{kind:20}{error:9.1e}  (tolerance {tolerance:.0e})")
