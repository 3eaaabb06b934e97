"""What several files of the repository say, they say alike: one version, one pin, the same Pythons and commands."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import FrameType

import check_python
import pytest
import yaml

import afli

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = (".ci", ".github", "afli", "benchmarks", "book", "classroom", "notebooks", "results", "tests", "tools")
PROSE = ("README.md", "CONTRIBUTING.md", "book/rerun.md", "book/students.md", "book/teach.md", "classroom/README.md")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
COMMANDS = [*(ROOT / name for name in PROSE), *WORKFLOWS, ROOT / ".ci/run", ROOT / ".pre-commit-config.yaml"]


def text_files() -> list[Path]:
    """The repository's own files that people edit, without what is built."""
    kinds = {".md", ".py", ".yml", ".yaml", ".toml", ".txt", ".cff", ".sh"}
    paths = [*ROOT.iterdir(), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    paths = [path for path in paths if path.suffix in kinds or path.name in ("Makefile", "Dockerfile", "run")]
    return [path for path in paths if path.is_file() and "_build" not in path.parts]


def supported() -> list[str]:
    """The versions of Python that pyproject.toml allows: >=3.11,<3.14 are 3.11, 3.12 and 3.13."""
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["project"]["requires-python"]).groups())
    return [f"3.{minor}" for minor in range(low, high)]


# --- versions --------------------------------------------------------------------------------------------------------


def test_the_version_of_the_library_is_written_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+", afli.__version__)
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "afli.__version__"}
    assert "\nversion:" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_changelog_has_the_form_of_keep_a_changelog_and_names_no_later_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:]]
    assert all(released)
    ours = tuple(int(part) for part in afli.__version__.split("."))
    assert all(tuple(map(int, match.groups())) <= ours for match in released)
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_pins_stand_in_the_requirements_alone():
    pin = re.compile(r"\b[a-z][\w.-]*==\d")
    places = {
        path.relative_to(ROOT).as_posix()
        for path in text_files()
        if path.suffix != ".py" and pin.search(path.read_text(encoding="utf-8"))
    }
    assert places == {"requirements.txt", "requirements-dist.txt"}
    assert re.search(r"^torch==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)


def test_everything_that_is_needed_is_pinned_within_its_bounds():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE))
    extras = PROJECT["project"]["optional-dependencies"]
    for need in [*PROJECT["project"]["dependencies"], *(need for needs in extras.values() for need in needs)]:
        name, sign, bound = re.fullmatch(r"([\w.-]+)(?:\[.*\])?(>=|<)?(.*)", need).groups()
        if name == "afli":
            continue
        assert name in pins, f"{name} has no pin"
        if sign:
            pinned, limit = (tuple(map(int, re.findall(r"\d+", version))) for version in (pins[name], bound))
            assert (pinned >= limit) if sign == ">=" else (pinned < limit), need


# --- Python ----------------------------------------------------------------------------------------------------------


def test_all_say_the_same_versions_of_python():
    versions = supported()
    words = f"{', '.join(versions[:-1])} or {versions[-1]}"
    for name in ("README.md", "book/rerun.md", "tools/check_python.py"):
        assert words in (ROOT / name).read_text(encoding="utf-8"), name
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + versions[0].replace(".", "")
    classifiers = [entry for entry in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", entry)]
    assert classifiers == [f"Programming Language :: Python :: {version}" for version in versions]
    (matrix,) = re.findall(r"python: \[(.*)\]", (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert re.findall(r"[\d.]+", matrix) == versions
    for name, pattern in (("environment.yml", r"python=([\d.]+)"), ("classroom/Dockerfile", r"FROM python:([\d.]+)")):
        (named,) = re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"))
        assert named in versions, name
    for workflow in WORKFLOWS:
        named = set(re.findall(r"python-version: \"([\d.]+)\"", workflow.read_text(encoding="utf-8")))
        assert named <= set(versions), workflow.name


@pytest.mark.parametrize(("version", "wrong"), [((3, 10), True), ((3, 11), False), ((3, 13), False), ((3, 14), True)])
def test_an_unsupported_python_is_named_before_anything_is_installed(monkeypatch, version, wrong):
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert (f"3.{version[1]}" in supported()) is not wrong
    assert (check_python.problem() is not None) is wrong


# --- commands --------------------------------------------------------------------------------------------------------


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_exists(path):
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"(?:^|`|run: |entry: )make ([a-z][a-z-]*)", text, re.MULTILINE)
    assert set(targets) <= makefile_targets()
    scripts = re.findall(r"\b((?:tools|classroom|benchmarks)/\w+\.py)", text)
    assert [script for script in scripts if not (ROOT / script).exists()] == []
    options = re.findall(r"python tools/build\.py (--\w+)", text)
    assert set(options) <= {"--only", "--jobs"}


def test_the_same_steps_without_make_stand_in_all_places():
    steps = ["pip install --requirement requirements.txt", "pip install --no-deps --editable ."]
    for name in ("README.md", "book/rerun.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "\n".join(steps) in text, name
        assert "make test" in text
        assert "make book" in text


def test_make_help_lists_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^make ([a-z-]+)", done.stdout, re.MULTILINE))
    assert listed == makefile_targets() - {"help"} | {"help"}


def test_what_make_test_leaves_out_are_the_markers_of_the_configuration():
    markers = {entry.partition(":")[0] for entry in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    (left_out,) = re.findall(r'-m "not \((.*)\)"', (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert set(left_out.split(" or ")) == markers
    assert "make test-all" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_every_workflow_and_the_conda_environment_are_read_as_yaml():
    for path in (*WORKFLOWS, ROOT / "environment.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_map_of_the_package_in_contributing_names_every_module():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = [path for path in (ROOT / "afli").rglob("*.py") if not path.stem.startswith("__")]
    missing = [path.name for path in modules if path.parent.name != "claims" and f"`{path.stem}`" not in text]
    assert not missing


# --- the table of pages ----------------------------------------------------------------------------------------------


def test_the_walk_of_phi_in_contributing_is_the_one_that_the_code_takes():
    """The functions that it names are called, for the first time, in the order in which it names them."""
    from afli import activations as act
    from afli import meanfield as mf

    called: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "afli" in Path(frame.f_code.co_filename).parts:
            called[f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"] = None

    sys.setprofile(note)
    mf.edge_of_chaos(act.elu(alpha=1.234), sigma_b2=0.1).correlation_gap(0.2)  # an elu that nothing has kept yet
    sys.setprofile(None)
    order = {name: place for place, name in enumerate(called)}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    walk = text[text.index("### One walk of phi") : text.index("A network that is trained")].split("order:")[1]
    named = [name for name in re.findall(r"`(\w+\.\w+)`", walk) if name != "_inputs.like"]  # it is called all the time
    places = [next(place for found, place in order.items() if found.endswith(name)) for name in named]
    assert len(named) > 10
    assert places == sorted(places), [name for name, _ in sorted(zip(named, places, strict=True), key=lambda x: x[1])]


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.parquet")), ids=lambda path: path.stem)
def test_every_committed_table_has_checksums(path):
    """Without them a flipped bit is read as another number: 50 of 60, tried on fig7-laptop-digits."""
    from pyarrow import parquet

    from afli.experiments.table import COLUMNS

    assert COLUMNS in parquet.read_schema(path).metadata


def test_the_readme_lists_the_pages_of_the_book_in_their_order():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    pages = [name for name in re.findall(r"notebooks/(\w+)", toc) if name != "index"]
    assert re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE) == pages
