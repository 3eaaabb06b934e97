"""One thread, repeatable property tests, and the worst errors against the oracle at the end of a run."""

import json
import os
import signal

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Contended threads are many times slower, and with one thread results are equal bit for bit.
    os.environ.setdefault(name, "1")

from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import AbstractContextManager, contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from types import ModuleType  # noqa: E402
from typing import Any  # noqa: E402

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


@pytest.fixture
def signals_of_a_shell() -> Iterator[None]:
    """SIGINT and SIGHUP as in a terminal: tests that were started in the background, or by nohup, ignore them."""
    shell = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        shell[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in shell.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, int], AbstractContextManager[None]]:
    """killed_after(module, n): what runs inside is ended where the module would replace a file for time n + 1."""
    from afli.experiments import files

    @contextmanager
    def killed(module: ModuleType, writes: int) -> Iterator[None]:
        made: list[Any] = []

        def replace_file(path: Any, content: Any) -> None:
            if len(made) == writes:
                raise KeyboardInterrupt
            made.append(path)
            files.replace_file(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(module, "replace_file", replace_file)
            with pytest.raises(KeyboardInterrupt):
                yield

    return killed


@pytest.fixture
def edit_manifest() -> Callable[[Path, Callable[[dict[str, Any]], object]], None]:
    """edit_manifest(path, change): a manifest changed by hand in the documented way, without format and checksum."""

    def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        for name in ("format", "checksum"):
            manifest.pop(name, None)
        change(manifest)
        path.write_text(json.dumps(manifest), encoding="utf-8")

    return edit


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands what it saw to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        seen = session.config.stash[WORST_ERRORS]
        session.config.workeroutput["worst errors"] = [[*key, *value] for key, value in seen.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    rows = node.config.stash[WORST_ERRORS]
    for quantity, kind, *worst in getattr(node, "workeroutput", {}).get("worst errors", []):
        rows[quantity, kind] = max(rows.get((quantity, kind), (0.0, 0.0)), tuple(worst))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash[WORST_ERRORS]
    if rows:
        terminalreporter.section("worst errors against the oracle")
        for (quantity, kind), (error, tolerance) in sorted(rows.items()):
            terminalreporter.write_line(f"{quantity:42}{kind:20}{error:9.1e}  (tolerance {tolerance:.0e})")
