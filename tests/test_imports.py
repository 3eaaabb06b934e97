"""The library's layers: imports point one way, and `import afli` stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import afli

PACKAGE = Path(__file__).resolve().parents[1] / "afli"
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = ("theory", "data", "claims", "departures", "networks", "experiments", "figures", "cli", "__main__")


def dotted(path: Path) -> str:
    """afli/claims/__init__.py is afli.claims."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in MODULES}


def layer(name: str) -> int:
    """Height of a module's layer; what has no layer of its own is theory, and so is the package itself."""
    part = [*name.split("."), ""][1]
    part = "figures" if part in ("live", "tables") else part  # they are of one layer
    return LAYERS.index(part) if part in LAYERS else 0


def imported(path: Path, *, lazily: bool) -> set[str]:
    """Absolute names that a module imports when it is loaded; with lazily, inside its functions and for types, too."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    found: set[str] = set()
    for node in [inner for statement in body for inner in ast.walk(statement)] if lazily else body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(names: set[str]) -> set[str]:
    """The modules of afli among imported names: `afli.gaussian.normal_density` comes from afli.gaussian."""
    candidates = {name if name in NAMES else name.rpartition(".")[0] for name in names}
    return {name for name in candidates & NAMES if name != "afli"}


def checks_claims(path: Path) -> bool:
    """Loading the ledger must stay light, but a claim about training may train a network when it is checked."""
    return layer(dotted(path)) == LAYERS.index("claims")


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_imports_from_a_layer_above_its_own(path: Path):
    names = ours(imported(path, lazily=not checks_claims(path)))
    above = {name for name in names if layer(name) > layer(dotted(path))}
    assert not above, f"{dotted(path)} imports {above}"


def test_modules_import_each_other_without_cycles_not_even_lazily():
    graph = {dotted(path): ours(imported(path, lazily=True)) - {dotted(path)} for path in MODULES}
    packages = {name for name in graph if (PACKAGE.parent / name.replace(".", "/")).is_dir()}
    TopologicalSorter({name: below for name, below in graph.items() if name not in packages}).prepare()


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_only_networks_and_experiments_know_torch(path: Path):
    if layer(dotted(path)) not in (LAYERS.index("networks"), LAYERS.index("experiments")):
        names = imported(path, lazily=not checks_claims(path))
        assert not {name for name in names if name.split(".")[0] == "torch"}


def test_the_package_names_every_public_module_and_loads_it_when_it_is_used():
    public = {name.split(".")[1] for name in NAMES - {"afli"} if not name.split(".")[1].startswith("_")}
    assert public == set(dir(afli)) - {"__version__"}
    listed = re.findall(r"[a-z_]+", " ".join(re.findall(r"^    (\S.*?)  ", afli.__doc__, re.M)))
    assert sorted(listed) == sorted(afli.__all__)
    assert all(getattr(afli, name).__name__ == f"afli.{name}" for name in afli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        afli.nothing  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("heavy", ["torch", "matplotlib", "pandas", "IPython"])
@pytest.mark.parametrize("module", ["afli", "afli.claims"])
def test_theory_loads_nothing_heavy(module: str, heavy: str):
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_paper_s_grids_are_listed_without_torch():
    code = "import sys; from afli import experiments; experiments.PRESETS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
