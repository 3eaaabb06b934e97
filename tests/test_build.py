"""The pipeline, on a small book of its own: what fails must fail loudly, and again; what is kept must be right."""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib
import importlib.metadata
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import types
from pathlib import Path

import browser
import build
import captions
import check_browser
import check_html
import clean
import columns
import finish
import front
import labels
import nbformat
import pairs
import pdf
import psutil
import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.core import publish_doctree
from IPython.core.inputtransformer2 import TransformerManager
from kernel import execute
from provenance import Run, commit, table
from sphinx.ext.napoleon import Config, NumpyDocstring
from sphinx_ext import afli_book

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
title: A small book
only_build_toc_files: true
execute: {execute_notebooks: "off"}
html: {}
parse: {myst_enable_extensions: [dollarmath]}
sphinx:
  local_extensions: {afli_book: tools/sphinx_ext/}
  extra_extensions: [sphinx.ext.autodoc, sphinx_proof]
  config: {proof_title_format: " %t", math_numfig: false, mathjax_path: mathjax.js}
"""
TOC = "{format: jb-book, root: notebooks/first, chapters: [{file: notebooks/second}, {file: book/provenance}]}"
FIRST = """# First

```{prf:lemma} 3.3 (uniform gap)
:label: lem-3-3
:nonumber:

$$
R(0) = 1
$$ (eq-22)
```

```{code-cell} ipython3
print("the answer is", 6 * 7)
```
"""
SECOND = """# Second

See {prf:ref}`lem-3-3` and {eq}`eq-22` on [the first page](first.md), {prf:ref}`thm-ours` and {eq}`eq-also-ours`.

```{prf:theorem} (attraction)
:label: thm-ours
:nonumber:

$$
y = 2
$$ (eq-also-ours)
```

$$
x = 1
$$ (eq-of-ours)

```{code-cell} ipython3
1 + 1
```
"""


@pytest.fixture
def book(tmp_path: Path) -> build.Book:
    """Two pages that refer to each other, and the Provenance page."""
    for folder in ("notebooks", "book", "afli", "results"):
        (tmp_path / folder).mkdir()
    shutil.copytree(ROOT / "tools/sphinx_ext", tmp_path / "tools/sphinx_ext")
    shutil.copy(ROOT / "book/provenance.md", tmp_path / "book")
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6\n")
    (tmp_path / "afli/theory.py").write_text("q = 1\n")
    (tmp_path / "results/fig7.parquet").write_text("a,accuracy\n")
    (tmp_path / "notebooks/first.md").write_text(FIRST)
    (tmp_path / "notebooks/second.md").write_text(SECOND)
    return build.Book(tmp_path)


@pytest.fixture
def run(book: build.Book, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Build the small book as `make book` does; returns the exit status and all that was printed."""
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setenv("CHROMIUM", "")  # the PDF has a test of its own

    def build_it(*arguments: str) -> tuple[int, str]:
        status = build.main(["--root", str(book.root), *arguments])
        printed = capfd.readouterr()
        return status, printed.out + printed.err

    return build_it


# --- what fails ------------------------------------------------------------------------------------------------------


@pytest.mark.book
def test_a_failing_page_stops_the_build_with_its_name_and_traceback_every_time(book, run):
    book.source("second").write_text(SECOND.replace("1 + 1", "width = 0\n1 / width"))
    for _ in range(2):
        status, printed = run()
        assert status == 1
        assert "notebooks/second.md failed" in printed
        assert "1 / width" in printed
        assert "ZeroDivisionError" in printed
        assert not (book.build / "html").exists()
        assert not book.executed("second").exists()


@pytest.mark.book
def test_a_refuted_claim_stops_the_build(book, run):
    """The page of Lemma 3.3, on a library whose correlation gap is a thousandth too large."""
    page = (ROOT / "notebooks/3_3_uniform_gap.md").read_text(encoding="utf-8")
    wrong = "mf.MeanField.correlation_gap = lambda net, rho: 1.001 * net.sigma_b2 / net.q * (1 - rho)"
    book.source("second").write_text(page.replace("figures.use_style()", f"figures.use_style()\n{wrong}", 1))
    status, printed = run()
    assert status == 1
    assert "notebooks/second.md failed" in printed
    assert re.search(r"lemma-3\.3 \(.*Lemma 3\.3.*\) is refuted", printed)
    assert not (book.build / "html").exists()


@pytest.mark.book
def test_what_other_pages_computed_is_kept_when_one_fails(book, run):
    book.source("second").write_text(SECOND.replace("1 + 1", "1 / 0"))
    run("--jobs", "1")
    first = Run.load(book.record("first"))
    run("--jobs", "1")
    assert first is not None
    assert Run.load(book.record("first")) == first


@pytest.mark.book
def test_a_failed_sphinx_build_fails_the_second_time_too(book, run):
    book.source("second").write_text(SECOND.replace("lem-3-3", "lem-nowhere"))
    for _ in range(2):
        status, printed = run()
        assert status == 1
        assert "notebooks/second" in printed
        assert "lem-nowhere" in printed.split("Jupyter Book failed")[1]
    book.source("second").write_text(SECOND)
    assert run()[0] == 0


@pytest.mark.book
def test_a_page_taken_out_of_the_book_leaves_no_trace_in_it(book, run):
    run()
    book.source("first").write_text("# First\n")
    (book.root / "_toc.yml").write_text(TOC.replace("{file: notebooks/second}, ", ""))
    assert run()[0] == 0
    assert not (book.build / "html/notebooks/second.html").exists()
    assert "second.html" not in (book.build / "html/notebooks/first.html").read_text()


@pytest.mark.book
def test_an_unknown_page_is_an_error(run):
    status, printed = run("--only", "9_9")
    assert status == 1
    assert "9_9" in printed


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("page.py:1: RepellingPointWarning: q* repels\n  net = f()\n", ""),
        ("page.py:1: RuntimeWarning: overflow\n  f()\n", "page.py:1: RuntimeWarning: overflow\n  f()"),
        ("Killed\n", "Killed"),
        ("a figure cannot be read: 'one' lies on 'two'\n", "a figure cannot be read: 'one' lies on 'two'"),
    ],
)
def test_a_page_may_write_known_warnings_and_nothing_else(written, left):
    cell = nbformat.v4.new_code_cell("f()", outputs=[nbformat.v4.new_output("stream", name="stderr", text=written)])
    assert build.warnings_of(nbformat.v4.new_notebook(cells=[cell])) == left


def test_a_page_that_warns_fails(book):
    book.source("first").write_text(FIRST.replace("print(", "import warnings\nwarnings.warn('odd')\nprint("))
    with pytest.raises(build.BuildError, match=r"first.md warned:\n.*UserWarning: odd"):
        build.run_page(book, "first", key="k")
    assert not book.record("first").exists()


# --- what succeeds ---------------------------------------------------------------------------------------------------


@pytest.mark.book
def test_the_book_is_built_once_and_then_only_where_it_changed(book, run):
    status, printed = run()
    assert status == 0
    assert str(book.build / "html" / "index.html") in printed
    first, second = ((book.build / f"html/notebooks/{page}.html").read_text() for page in ("first", "second"))
    assert "the answer is 42" in first
    assert "Lemma 3.3" in second  # the paper's numbers, in the words of a reference
    assert ">(22)<" in second
    assert 'href="first.html"' in second
    assert re.search(r"Theorem *</span>\s*C1 \(attraction\)", second)  # what is not the paper's bears a C
    assert re.search(r"Theorem\s+C1\b", second.split("C1 (attraction)")[0])
    assert second.index("(C1)") < second.index("(C2)")
    handed_out = (book.build / "html/_sources/notebooks/second.ipynb").read_text(encoding="utf-8")
    assert "See [Lemma 3.3](first.ipynb) and [(22)](first.ipynb)" in handed_out
    assert "**Theorem C1 (attraction).**" in handed_out
    runs = [Run.load(book.record(page)) for page in book.pages]

    status, printed = run()
    assert status == 0
    assert "Nothing has changed" in printed

    book.source("second").write_text(SECOND.replace("1 + 1", "1 + 2"))
    status, printed = run()
    assert status == 0
    assert "1 of 2 pages to run" in printed
    assert Run.load(book.record("first")) == runs[0]
    assert Run.load(book.record("second")) != runs[1]
    provenance = (book.build / "src/provenance_table.md").read_text().splitlines()
    assert "unchanged, kept" in next(line for line in provenance if "notebooks/first" in line)
    assert "executed" in next(line for line in provenance if "notebooks/second" in line)


def test_a_new_line_in_the_changelog_is_a_change_of_the_book(book):
    def key() -> str:
        return build.html_key(book, settings={}, keys={})

    (book.root / "CHANGELOG.md").write_text("# Changelog\n")
    before = key()
    assert key() == before
    (book.root / "CHANGELOG.md").write_text("# Changelog\n\n- A table.\n")
    assert key() != before


def test_an_executed_page_holds_no_path_of_the_machine_that_ran_it(book):
    build.run_page(book, "first", key="k")
    executed = book.executed("first").read_text()
    assert str(book.root) not in executed
    assert "the answer is 42" in executed


# --- what runs a page ------------------------------------------------------------------------------------------------


def test_a_page_runs_in_this_interpreter_whatever_kernels_are_installed(book, tmp_path, monkeypatch):
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["false", "{connection_file}"], "display_name": "another", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    book.source("first").write_text(FIRST.replace("6 * 7", "__import__('sys').executable"))
    record = build.run_page(book, "first", key="k")
    assert f"the answer is {sys.executable}" in book.executed("first").read_text()
    assert record.packages["numpy"] == importlib.metadata.version("numpy")
    assert "importlib.metadata" not in book.executed("first").read_text()  # the question to the kernel is no part of it


def test_a_page_that_imported_another_library_is_refused_and_leaves_no_record(book, tmp_path, monkeypatch):
    other = tmp_path.parent / f"{tmp_path.name}-other/afli/__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("")
    monkeypatch.setenv("PYTHONPATH", str(other.parents[1]))
    book.source("first").write_text(FIRST.replace("print(", "import afli\nprint("))
    with pytest.raises(build.BuildError, match=r"notebooks/first.md ran with another library: .*-other/afli/"):
        build.run_page(book, "first", key="k")
    assert not book.record("first").exists()
    assert not book.executed("first").exists()


def test_a_run_that_is_cut_off_leaves_no_record_of_an_earlier_one(book, monkeypatch):
    """What it has overwritten, half a page or no evidence, must not be taken for that of the earlier run."""
    build.run_page(book, "first", key="k")
    monkeypatch.setattr(build, "commit", lambda root: 1 / 0)  # asked for when the page has run
    with pytest.raises(ZeroDivisionError):
        build.run_page(book, "first", key="k")
    assert not build.is_fresh(book, "first", "k")


def test_a_folder_that_cannot_be_written_is_one_line(book, capsys):
    shutil.rmtree(book.build, ignore_errors=True)
    book.build.write_text("a file")
    assert build.main(["--root", str(book.root)]) == 1
    printed = capsys.readouterr().err
    assert str(book.build) in printed
    assert "The book was not built." in printed


def test_asserts_on_a_page_count_even_where_python_is_told_to_skip_them(book, monkeypatch):
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    book.source("first").write_text(FIRST.replace("print(", "assert False, 'seen'\nprint("))
    with pytest.raises(build.BuildError, match="AssertionError: seen"):
        build.run_page(book, "first", key="k")


def test_the_commit_is_that_of_the_repository_which_tracks_the_book_or_unknown(book, tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert commit(tmp_path) == "unknown"
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "somebody else's")
    assert commit(tmp_path) == "unknown"  # their repository, around an environment or a download
    git("add", "_toc.yml", "afli", "notebooks")
    git("commit", "--quiet", "--message", "the book")
    ours = git("rev-parse", "HEAD")
    assert ours.startswith(commit(tmp_path))
    (tmp_path / "_toc.yml").write_text(TOC + "\n")
    assert commit(tmp_path).endswith("-dirty")
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as a hook of another repository would set it
    assert ours.startswith(commit(tmp_path).removesuffix("-dirty"))


def test_a_second_build_waits_for_the_first(book, capsys):
    entered = threading.Event()

    def second() -> None:
        with build.alone(book):
            entered.set()

    with build.alone(book):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(30)
    thread.join()
    assert "Another build is at work" in capsys.readouterr().out


@pytest.mark.book
def test_a_signal_to_the_build_leaves_no_process_behind(book):
    book.source("first").write_text(
        FIRST.replace("print(", "open('started', 'w').close()\nimport time\ntime.sleep(600)\nprint(")
    )
    command = [sys.executable, str(ROOT / "tools/build.py"), "--root", str(book.root), "--only", "first"]
    process = psutil.Popen(command, stderr=subprocess.PIPE, encoding="utf-8")
    while not (book.root / "notebooks/started").exists():
        assert process.poll() is None
        time.sleep(0.1)
    below = process.children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert "Stopped by SIGTERM" in process.stderr.read()
    assert len(below) >= 2  # the page's process, and its kernel
    assert psutil.wait_procs(below, timeout=30)[1] == []


@pytest.mark.book
def test_a_console_with_few_letters_and_a_folder_with_many(book, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # as on Windows, where a pipe has the encoding of the system
    there = tmp_path / "学 José"
    shutil.copytree(book.root, there, ignore=shutil.ignore_patterns("学*"))
    command = [sys.executable, str(ROOT / "tools/build.py"), "--root", str(there)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"The book is ready" in done.stdout


# --- what a page depends on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["notebooks/first.md", "afli/theory.py", "results/fig7.parquet", "results/fig7.json", "requirements.txt"]
)
def test_a_page_runs_again_when_what_it_depends_on_changes(book, file):
    before = build.page_key(book, "first")
    (book.root / file).write_text("changed")
    assert build.page_key(book, "first") != before


@pytest.mark.parametrize(
    "file",
    [
        "notebooks/second.md", "book/provenance.md", "afli/__pycache__/theory.pyc", "results/fig7.lock",
        "results/fig7.checkpoints/1.pt", "results/README.md",
    ],
)  # fmt: skip
def test_a_page_is_kept_when_something_else_changes(book, file):
    before = build.page_key(book, "first")
    (book.root / file).parent.mkdir(exist_ok=True)
    (book.root / file).write_text("changed")
    assert build.page_key(book, "first") == before


def test_a_file_renamed_in_the_library_is_a_change(book):
    before = build.page_key(book, "first")
    (book.root / "afli/theory.py").rename(book.root / "afli/renamed.py")
    assert build.page_key(book, "first") != before


def test_modification_times_do_not_matter(book):
    before = build.page_key(book, "first")
    os.utime(book.source("first"), (0, 0))
    assert build.page_key(book, "first") == before


# --- captions --------------------------------------------------------------------------------------------------------


def test_captions_and_alt_texts_show_numbers_that_the_page_has_kept():
    keep = nbformat.v4.new_code_cell("figures.numbers(gap=0.25, runs=3)")
    for name, text in (("gap", "0.25"), ("runs", "3")):
        data = {"application/papermill.record/text/plain": text}
        keep.outputs.append(nbformat.v4.new_output("display_data", data, metadata={"scrapbook": {"name": name}}))
    caption, alt = "Mean of {glue:text}`runs` runs, at $a = 1.5$.", "It falls to {glue:text}`gap:.1%`."
    options = {"mystnb": {"figure": {"caption": caption, "name": "fig"}, "image": {"alt": alt}}}
    page = nbformat.v4.new_notebook(cells=[keep, nbformat.v4.new_code_cell("", metadata=options)])
    shown = captions.fill(copy.deepcopy(page)).cells[1].metadata.mystnb
    assert shown.figure.caption == "Mean of 3 runs, at $a = 1.5$."
    assert shown.image.alt == "It falls to 25.0%."
    page.cells.pop(0)
    with pytest.raises(KeyError, match="runs"):
        captions.fill(page)


# Numbers with a decimal point that are typed, not kept: what defines a set-up. Only ever lower it.
MOST_TYPED_DECIMALS = 44


def test_captions_gain_no_typed_decimals():
    typed = {}
    for source in pairs.sources(ROOT):
        written = " ".join(options[key] for options, key in captions.texts(pairs.read_source(source)))
        written = re.sub(r"(Section|Definition|Lemma|Corollary|Theorem) [\d.]+", "", captions.GLUED.sub("", written))
        typed[source.stem] = len(re.findall(r"(?<![\w.])\d*\.\d+", written))
    assert sum(typed.values()) <= MOST_TYPED_DECIMALS, typed


# --- what the book says of itself ------------------------------------------------------------------------------------


def test_a_book_that_knows_no_repository_links_to_none():
    assert "github" not in yaml.safe_dump(build.config(build.Book(ROOT), None))


def test_a_published_book_links_to_its_repository_and_site():
    settings = build.config(build.Book(ROOT), "someone/somewhere")
    assert settings["repository"]["url"].endswith("/someone/somewhere")
    assert settings["html"]["baseurl"] == "https://someone.github.io/somewhere/"
    assert "colab_url" in settings["launch_buttons"]


def test_the_provenance_table_has_one_row_a_page_and_each_environment_once():
    def entry(page: str, numpy: str) -> Run:
        return Run(page, "k", "2026-01-01 00:00:00", 1.5, "3.12.1", {"numpy": numpy}, "a processor", "abc")

    text = table([entry("one", "2.0"), entry("two", "2.0"), entry("three", "2.1")], executed_now={"two"})
    assert [text.count(f"notebooks/{page}`") for page in ("one", "two", "three")] == [1, 1, 1]
    assert text.count("numpy 2.0") == text.count("numpy 2.1") == 1
    assert "Environment 2" in text
    assert "Environment 3" not in text


def test_a_record_of_another_format_counts_as_none(tmp_path):
    (tmp_path / "run.json").write_text('{"page": "one"}')
    assert Run.load(tmp_path / "run.json") is None


def test_every_page_is_in_the_table_of_contents_once():
    listed = [file for file in build.files_of(build.Book(ROOT).toc) if file.startswith("notebooks/")]
    assert sorted(listed) == [f"notebooks/{path.stem}" for path in pairs.sources(ROOT)]


# --- notebook pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", pairs.sources(ROOT), ids=lambda path: path.stem)
def test_each_notebook_equals_its_source(source):
    assert pairs.complaint(source) is None


def test_a_byte_order_mark_is_no_part_of_a_page(book):
    source = book.source("first")
    plain = pairs.stripped(source)
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
    assert pairs.stripped(source) == plain


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("option", [[], ["--check"]])
def test_a_page_in_another_encoding_is_named(book, capsys, encoding, option):
    pairs.main(["--root", str(book.root)])
    book.source("second").write_text(SECOND + "é", encoding=encoding)
    assert pairs.main(["--root", str(book.root), *option]) == 1
    assert re.search(r"notebooks/second.md must be saved as UTF-8, which byte \d+ is not", capsys.readouterr().out)


def test_cell_ids_are_the_same_at_every_reading(book):
    ids = [cell["id"] for cell in pairs.read_source(book.source("first")).cells]
    assert ids == [cell["id"] for cell in pairs.read_source(book.source("first")).cells]
    assert len(set(ids)) == len(ids)


def test_the_pair_check_finds_edits_orphans_and_missing_pairs(book, capsys):
    arguments = ["--root", str(book.root)]
    assert pairs.main([*arguments, "--check"]) == 1
    assert "first.ipynb is missing" in capsys.readouterr().out
    assert pairs.main(arguments) == 0
    assert pairs.main([*arguments, "--check"]) == 0

    edited = book.source("first").with_suffix(".ipynb")
    edited.write_text(edited.read_text().replace("6 * 7", "6 * 8"))
    (book.root / "notebooks/alone.ipynb").write_text("{}")
    capsys.readouterr()
    assert pairs.main([*arguments, "--check"]) == 1
    printed = capsys.readouterr().out
    assert "first.ipynb differs" in printed
    assert "alone.ipynb has no source" in printed
    assert "second" not in printed


# --- notebooks that readers open -------------------------------------------------------------------------------------


class Anything(dict):
    """A number or a name for every label, so that a page can be read without the rest of the book."""

    def __missing__(self, name):
        return clean.Label(f"Thing {name}", "notebooks/elsewhere", name)


class AnyNumber(dict):
    def __missing__(self, name):
        return 1.0


def names_for(page: str) -> clean.Names:
    macros = build.config(build.Book(ROOT), None)["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    return clean.Names(
        Anything(), labels.citations(ROOT / "book/references.bib"), {name: tex[0] for name, tex in macros.items()}, page
    )


@pytest.fixture
def any_number(monkeypatch):
    monkeypatch.setattr(clean, "kept_numbers", lambda page: AnyNumber())


@pytest.mark.parametrize("source", pairs.sources(ROOT), ids=lambda path: path.stem)
def test_the_notebook_that_readers_open_holds_no_myst(source, any_number):
    page = pairs.read_source(source)
    copy = clean.clean(page, names_for(source.stem))
    assert clean.raw(copy) == []
    nbformat.validate(copy)
    text = "\n".join(cell.source for cell in copy.cells if cell.cell_type == "markdown")
    for name in ("E", "R", "erf", "erfc"):
        assert not re.search(rf"\\{name}\b", text), "TeX that only the book defines"
    code = [cell.source for cell in page.cells if cell.cell_type == "code"]
    assert sorted(cell.source for cell in copy.cells if cell.cell_type == "code") == sorted(code)
    captions_there = sum("caption" in cell.metadata.get("mystnb", {}).get("figure", {}) for cell in page.cells)
    assert len(re.findall(r"^\*Thing ", text, re.MULTILINE)) >= captions_there


MYST = r"""Mean {glue:text}`gap:.1%` by {prf:ref}`lem-3-3` and {eq}`eq-22` {cite:p}`price1958`; see [there](second) and
{doc}`the other <second>`.

```{prf:lemma} 3.3 (uniform gap)
:label: lem-3-3
:nonumber:

Let $\E X = 0$:

$$
R(0) = 1
$$ (eq-22)
```

````{prf:proof}
:class: dropdown

```{math}
:label: eq-22
x
```
````

```{exercise} Why?
:label: ex-1

(easy) Say.
```

```{solution} ex-1
:class: dropdown

Because.
```
"""


def test_statements_references_numbers_and_solutions_become_plain_markdown():
    found = {
        "lem-3-3": "Lemma 3.3", "eq-22": "(22)", "ex-1": "Exercise 1", "notebooks/second": "Second",
    }  # fmt: skip
    known = {
        key: clean.Label(name, "notebooks/second" if key.startswith("notebooks") else "notebooks/first", key)
        for key, name in found.items()
    }
    names = clean.Names(known, labels.citations(ROOT / "book/references.bib"), {"E": r"\mathbb{E}"}, "first")
    keep = nbformat.v4.new_code_cell("figures.numbers(gap=0.25)")
    keep.outputs.append(
        nbformat.v4.new_output(
            "display_data", {"application/papermill.record/text/plain": "0.25"}, metadata={"scrapbook": {"name": "gap"}}
        )
    )
    page = nbformat.v4.new_notebook(cells=[keep, nbformat.v4.new_markdown_cell(MYST)])
    copy = clean.clean(page, names)
    text = "\n".join(cell.source for cell in copy.cells)
    for part in (
        "Mean 25.0% by Lemma 3.3 and (22) (Price, 1958); see [there](second.ipynb)", "[the other](second.ipynb)",
        "**Lemma 3.3 (uniform gap).** Let $\\mathbb{E} X = 0$:", "R(0) = 1\n\\tag{22}\n$$",
        "*Proof.* $$\nx\n\\tag{22}\n$$ ∎",
        "**Exercise 1: Why?** (easy) Say.", "## Solutions\n### Exercise 1\nBecause.",
    ):  # fmt: skip
        assert part in text
    assert copy.cells[0].outputs == []
    del known["eq-22"]
    with pytest.raises(KeyError, match="eq-22"):
        clean.clean(page, names)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["3_3_uniform_gap", "A_gaussian_calculus", "2_3_scaled_bounded"])
def test_the_copy_runs_where_only_the_package_is(page, tmp_path, monkeypatch, any_number):
    shutil.copytree(ROOT / "afli", tmp_path / "site/afli")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    (tmp_path / "downloads").mkdir()
    copy = clean.clean(pairs.read_source(ROOT / f"notebooks/{page}.md"), names_for(page))
    executed, kernel = execute(copy, tmp_path / f"{page}.ipynb", folder=tmp_path / "downloads", cell_limit=600)
    assert Path(kernel.library).is_relative_to(tmp_path)
    assert any(cell.get("outputs") for cell in executed.cells)


def test_on_colab_a_copy_installs_before_its_first_code(book):
    page, url = pairs.read_source(book.source("first")), "https://forge.example/someone/somewhere"
    here = list(page.cells)
    published = clean.with_install_cell(page, url).cells
    install = published.pop(1)
    assert published == here
    assert here[1].cell_type == "code"
    assert url in install.source
    assert url not in str(here)


class Recorded(dict):
    """A namespace in which a cell runs, and what it asked of the shell and of IPython."""

    def __init__(self):
        self.asked = []
        super().__init__(get_ipython=lambda: self)

    def system(self, line):
        self.asked.append(line.format(**self))

    def run_line_magic(self, name, line):
        self.asked.append(f"{name} {line}")


@pytest.mark.parametrize("there", [True, False])
def test_on_colab_and_only_there_the_install_cell_clones_installs_and_goes_to_the_pages(monkeypatch, there):
    monkeypatch.setattr(sys, "path", list(sys.path))
    if there:
        monkeypatch.setitem(sys.modules, "google.colab", object())
    url = "https://forge.example/someone/somewhere"
    exec(TransformerManager().transform_cell(clean.INSTALL_CELL.format(repository=url)), shell := Recorded())
    assert [line.split("|| ")[-1] for line in shell.asked] == there * [
        f'git clone --quiet --depth 1 "{url}" /content/companion',
        'pip install -q -e "/content/companion[notebooks]"',
        "cd -q /content/companion/notebooks",
    ]
    assert ("/content/companion" in sys.path) == there


def test_the_extra_of_the_install_cell_has_all_that_pages_import():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for extra in ("figures", "networks", "notebooks") for name in extras[extra]}
    named = {name.split(">")[0].replace("-", "_") for name in named} | {"numpy", "scipy", "afli", "sklearn"}
    used = set()
    for source in pairs.sources(ROOT):
        for cell in pairs.read_source(source).cells:
            if cell.cell_type == "code":
                used |= set(re.findall(r"^\s*(?:from|import) (\w+)", cell.source, flags=re.MULTILINE))
    used = {name.lower() for name in used - sys.stdlib_module_names}
    assert used <= named


# --- the finished pages ----------------------------------------------------------------------------------------------

PAGE = """<html data-content_root="../"><head><title>A book &#8212; A book</title></head><body>
<article class="bd-article"><h1>Title</h1><p>Short.</p>
<p>The variance <span>\\(q^*\\)</span> of a layer is what the next one starts from &amp; keeps.</p>
<p>See <a class="reference internal" href="second.html#equation-eq-1">(1)</a> and
<a class="reference internal" href="#part">a part</a>.</p>
<section id="part"><h2>Part<a class="headerlink" href="#part">#</a></h2><p>It begins.</p></section>
<div class="proof" id="lem-1">
<p class="admonition-title" id="lem-1">Lemma 1</p><section id="proof-content"></section></div>
<table><tr><th></th><th>a</th></tr></table></article><footer><a href="{root}book/cite.html">Cite</a></footer></body>
</html>"""


def test_a_finished_page_has_a_description_one_title_and_no_empty_heads():
    page = finish.mended(PAGE)
    assert (
        '<meta name="description" content="The variance q^* of a layer is what the next one starts from &amp; keeps."'
        in page
    )
    assert "<title>A book</title>" in page
    assert "<td></td><th>a</th>" in page
    assert page.count("lem-1") == 1
    assert 'href="../book/cite.html"' in page
    assert "proof-content" not in page
    assert finish.mended(page) == page


def test_a_proof_that_folds_has_a_title_to_click_on():
    page = finish.mended('<div class="proof dropdown admonition" id="proof">\n<p>Proof. Write</p></div>')
    assert '<div class="proof dropdown admonition"><p class="admonition-title">Proof</p><p>Write</p></div>' in page


def test_links_show_what_they_lead_to(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/first.html").write_text(PAGE)
    (tmp_path / "notebooks/second.html").write_text(
        '<article><div class="math" id="equation-eq-1"><span class="eqno">(1)</span>x</div><p id="p">no</p></article>'
    )
    shown = finish.previews(tmp_path)
    assert shown["notebooks/second"] == {"equation-eq-1": '<div class="math"><span class="eqno">(1)</span>x</div>'}
    assert shown["notebooks/first"] == {"part": "<strong>Part</strong><p>It begins.</p>"}
    finish.write_previews(tmp_path)
    assert (
        (tmp_path / "_static/previews/notebooks/second.js").read_text().startswith('afliPreviews["notebooks/second"]')
    )


def test_a_symbol_says_what_the_notation_page_says():
    row = "<tr><td>{0}; {1}</td><td>bias variance; linear radius</td></tr>"
    formula = '<span class="math notranslate nohighlight">\\({}\\)</span>'
    table = row.format(formula.format(r"\sigma_b^2"), formula.format("a"))
    meaning = finish.symbols(BeautifulSoup(f"<article><table>{table}</table></article>", "html.parser"))
    assert meaning == {r"\(\sigma_b^2\)": "bias variance"}  # a letter may mean something else on a page
    page = finish.explained(formula.format(r"\sigma_b^2") + formula.format("a"), meaning)
    assert page.count('title="bias variance"') == page.count("title=") == 1


def test_a_figure_has_its_other_drawings_beside_it(tmp_path):
    curve, map_ = "<svg>curve</svg>", "<svg>map</svg>"
    kinds = {"dark": "<svg>2</svg>", "phone": "<svg>3</svg>", "dark phone": "<svg>4</svg>"}
    others = {curve: {"phone": "<svg>1</svg>"}, map_: kinds}
    drawn = [svg for drawings in others.values() for svg in drawings.values()]
    names = {svg: hashlib.sha256(svg.encode()).hexdigest() for svg in (curve, map_, *drawn)}
    page = tmp_path / "notebooks" / "page.html"
    page.parent.mkdir()
    page.write_text("".join(f'<img alt="A" src="../_images/{names[svg]}.svg"/>' for svg in (curve, map_)))
    finish.add_drawings(page, others)
    shown = page.read_text()
    for svg in drawn:
        assert f"../_images/{names[svg]}.svg" in shown
        assert (tmp_path / "_images" / f"{names[svg]}.svg").read_text() == svg
    plain, light, dark, _ = shown.split("</picture>")
    assert plain.startswith("<picture><source")
    assert light.startswith('<picture class="in-light"><source')
    assert names["<svg>4</svg>"] in dark.split("<img")[0]
    assert names["<svg>2</svg>"] in dark.split("<img")[1]


def test_icons_that_no_page_shows_are_left_out():
    script = 'var a={"up-long":[1,2,["old-up"],"f0","M0"],sun:[1,2,[],"f1","M1"],moon:[1,2,[9],"f2",["M2","M3"]]},b=1;'
    assert finish.without_unused_icons(script, {"sun"}) == 'var a={sun:[1,2,[],"f1","M1"]},b=1;'
    assert finish.without_unused_icons(script, {"old-up", "moon"}).startswith('var a={"up-long":')


def test_code_on_a_page_fits_its_column_and_means_the_same():
    wide = "f(" + ", ".join(f"argument_{n}={n}" for n in range(9)) + ")"
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (wide, "x  =  1")])
    columns.narrow([page])
    assert max(len(line) for line in page.cells[0].source.split("\n")) <= columns.COLUMN
    assert ast.dump(ast.parse(page.cells[0].source)) == ast.dump(ast.parse(wide))
    assert page.cells[1].source == "x  =  1"  # what fits is left as it is


# Lines of code that no layout makes short enough: strings and comments. Only ever lower it.
MOST_WIDE_LINES = 19


def test_pages_gain_no_code_that_is_wider_than_their_column():
    pages = {source.stem: pairs.read_source(source) for source in pairs.sources(ROOT)}
    columns.narrow(list(pages.values()))
    wide = [
        f"{name}: {line}"
        for name, page in pages.items()
        for cell in page.cells
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", [])
        for line in cell.source.split("\n")
        if len(line) > columns.COLUMN
    ]
    assert len(wide) <= MOST_WIDE_LINES, "\n".join(wide)


def test_a_page_says_how_long_it_is_and_what_it_needs():
    text = nbformat.v4.new_markdown_cell("# Title\n\n" + "word " * 1500)
    code = nbformat.v4.new_code_cell("import torch\nfrom afli import figures\nstatistics.load('t')")
    page = front.with_facts(nbformat.v4.new_notebook(cells=[text, code]), seconds=7.4)
    assert (
        "About 10 minutes to read. Its code ran for 7 s and needs NumPy and SciPy, PyTorch, matplotlib, and the tables"
        in page.cells[0].source
    )
    assert front.facts(nbformat.v4.new_notebook(cells=[code]), 1.0) == ""


def test_the_list_of_figures_has_the_first_sentence_of_each_caption():
    figure = {"caption": "Above: the gap at $a = 1.5$ (in brackets; 5 trials). It falls.", "name": "fig-gap"}
    cell = nbformat.v4.new_code_cell("", metadata={"mystnb": {"figure": figure}})
    page = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_code_cell("")])
    sentence = "Above: the gap at $a = 1.5$ (in brackets; 5 trials)."
    assert front.figure_list([("first", page)]) == f"- {{numref}}`fig-gap`. {sentence} ({{doc}}`/notebooks/first`)\n"


@pytest.mark.book
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_kernel_that_dies_before_it_answers_is_started_once_more(tmp_path, monkeypatch, deaths):
    import kernel
    import papermill

    calls, run = [], papermill.execute_notebook

    def dying(*args, **settings):
        calls.append(args)
        if len(calls) <= deaths:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return run(*args, **settings)

    monkeypatch.setattr(papermill, "execute_notebook", dying)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
    if deaths == 2:
        with pytest.raises(RuntimeError, match="Kernel died"):
            kernel.execute(notebook, tmp_path / "page.ipynb", folder=tmp_path, cell_limit=60)
    else:
        ran, _ = kernel.execute(notebook, tmp_path / "page.ipynb", folder=tmp_path, cell_limit=60)
        assert ran.cells[0].outputs[0].text == "42\n"
    assert len(calls) == 2


@pytest.mark.book
@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2e-05", "2 × 10<sup>−5</sup>"), ("-1.2e+03", "−1.2 × 10<sup>3</sup>"), ("55274", "55,274"),
        ("0.62 (-0.41 to 0.71)", "0.62 (−0.41 to 0.71)"), ("1050.25", "1050.25"), ("10-20", "10-20"), ("0.5", "0.5"),
    ],
)  # fmt: skip
def test_numbers_of_the_text_are_typeset(written, read):
    page = '<p>It is <span class="pasted-text">{}</span>, and e-05 in code.</p>'
    assert finish.mended(page.format(written)) == finish.mended(page.format(read))
    assert page.format(read) in finish.mended(page.format(written))


needs_a_browser = pytest.mark.skipif(not browser.program(), reason="there is no Chromium here")
VISIBLE = """<!DOCTYPE html><html lang="en"><head><title>T</title></head><body><main><article class="bd-article">
<h1 style="font-size: 30px">Title</h1><h2 style="font-size: 20px">Part</h2><p>Text.</p></article></main></body>
</html>"""


@pytest.mark.book
@needs_a_browser
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Text.", "Text.", ""),
        ("Text.", '<img src="data:image/png;base64,AA">', "image-alt"),
        ("<p>", '<p style="color: #aaa; background: #fff">', "color-contrast"),
        ("<p>", '<p style="width: 900px">', "sideways"),
        ("30px", "12px", "no larger"),
        ("Text.", "<script>null.f()</script>", "console"),
    ],
)
def test_what_keeps_a_reader_from_a_page_is_found(tmp_path, old, new, problem):
    path = tmp_path / "page.html"
    path.write_text(VISIBLE.replace(old, new, 1))
    with browser.browser() as page:
        found, _ = check_browser.look(page, path)
    assert [line for line in found if problem in line or not problem] == found
    assert bool(found) == bool(problem)


@pytest.mark.book
@needs_a_browser
def test_the_book_is_printed_as_one_document_whose_links_stay_inside(book, run, monkeypatch):
    run()
    html = book.build / "html"
    monkeypatch.delenv("CHROMIUM")
    text = pdf.whole(html)
    ids = set(re.findall(r' id="([^"]+)"', text))
    inside = re.findall(r'href="#([^"]+)"', text)
    assert "notebooks-first--lem-3-3" in inside
    assert set(inside) <= ids
    assert pdf.write_pdf(html).read_bytes().startswith(b"%PDF")


# --- reading offline -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outside",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<script>import("https://cdn.example/x.js")</script>',
        '<link rel="stylesheet" href="//fonts.example/f.css">',
        '<img src="http://images.example/i.png" alt="">',
        '<p style="background: url(https://images.example/i.png)"></p>',
        "<style>@import 'https://fonts.example/f.css';</style>",
        '<img src="missing.png" alt="">',
        '<a href="missing.html">gone</a>',
    ],
)
def test_what_is_loaded_from_outside_or_missing_is_found(tmp_path, outside):
    (tmp_path / "index.html").write_text(outside)
    assert len(check_html.problems(tmp_path)) == 1


def test_links_that_a_reader_may_follow_are_no_problem(tmp_path):
    (tmp_path / "other page.html").write_text("")
    (tmp_path / "index.html").write_text(
        '<a href="https://doi.example/10.1">doi</a> <a href="other%20page.html#here">on</a> <a href="#top">up</a>'
        '<link rel="canonical" href="https://site.example/"><img src="data:image/png;base64,AA" alt="">'
    )
    assert check_html.problems(tmp_path) == []


# --- docstrings ------------------------------------------------------------------------------------------------------


def test_plain_docstrings_become_paragraphs_lists_and_code():
    lines = ["The gap |R(rho) - rho| of `phi`,", "eq. (22).", ""]
    lines += ["q, rho: variance > 0,", "correlation.", "Raises abs_."]
    assert [line for line in afli_book.plain_to_rst(lines) if line] == [
        r"The gap \|R(rho) - rho\| of ``phi``, eq. (22).",
        "* ``q, rho``: variance > 0, correlation.",
        r"Raises abs\_.",
    ]


def test_an_indented_paragraph_of_a_docstring_is_code():
    assert "\n".join(afli_book.plain_to_rst(["Use:", "", "    f(2 * a)"])).endswith("::\n\n    f(2 * a)\n")


API = re.findall(r"automodule:: (\S+)", (ROOT / "book/api.md").read_text(encoding="utf-8"))


def public_docstrings(module: types.ModuleType):
    """Name and docstring of a module, of what it names in __all__ or defines, and of their public methods."""
    yield module.__name__, module.__doc__
    public = [name for name in vars(module) if not name.startswith("_")]
    for name in getattr(module, "__all__", public):
        thing = getattr(module, name)
        if getattr(thing, "__module__", "").startswith("afli") and callable(thing):
            yield f"{module.__name__}.{name}", thing.__doc__
            for member, method in vars(thing).items() if isinstance(thing, type) else ():
                inherited = any(hasattr(base, member) for base in thing.__mro__[1:])  # its contract is the base's
                if not member.startswith("_") and not inherited and (callable(method) or isinstance(method, property)):
                    yield f"{module.__name__}.{name}.{member}", method.__doc__


@pytest.mark.parametrize("name", API)
def test_everything_public_has_a_docstring_that_can_be_typeset(name):
    for place, text in public_docstrings(importlib.import_module(name)):
        assert text, f"{place} has no docstring"
        rst = "\n".join(afli_book.to_rst(inspect.cleandoc(text).splitlines()))
        document = publish_doctree(rst, settings_overrides={"report_level": 5})
        found = [message.astext() for message in document.findall(nodes.system_message)]
        assert not found, f"{place}: {found[0]}\n{rst}"


NUMPY_STYLE = """\
The gap |R(rho) - rho| of `phi`, q_ and 2 * a.

Parameters
----------
rho : array_like
    Correlation in [-1, 1]; at 1 * 1 it is |0|.
**options : float
    More.

Returns
-------
float or ndarray
    The gap, eq. (22).

Notes
-----
.. math:: |R(\\rho)| * 2

Examples
--------
>>> abs(-1) * 2 | 1
3
"""


def test_words_of_a_numpy_docstring_are_plain_text_and_its_code_is_left_alone():
    lines = afli_book.escaped(NUMPY_STYLE.splitlines())
    assert lines[0] == r"The gap \|R(rho) - rho\| of ``phi``, q\_ and 2 \* a."
    assert [line for line in lines if line not in NUMPY_STYLE.splitlines()] == [
        lines[0],
        r"    Correlation in [-1, 1]; at 1 \* 1 it is \|0\|.",
    ]
    document = publish_doctree(str(NumpyDocstring(lines, Config(napoleon_use_param=False))))
    assert not list(document.findall(nodes.system_message))
    assert "2 * a." in document.astext()
    assert "**options" in document.astext()
