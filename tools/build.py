"""Build the book: run every notebook, then let Jupyter Book typeset the executed copies.

    python tools/build.py                  the whole book, into _build/html   (make book)
    python tools/build.py --only 3_3       run the pages whose names start with 3_3, show them in _build/preview
    python tools/build.py --jobs 1         one page at a time

A page runs again when its source, afli/, a table in results/, benchmarks/ or the lock has changed. Where anything has
changed, all of the book is typeset anew: it takes seconds, and leaves no page of a former table of contents. A page
that fails stops the build and keeps no record, so it fails again the next time; so does typesetting.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat
import pdf
import psutil
import yaml
from browser import BrowserError, program
from captions import fill
from clean import names_of, write_copies
from columns import narrow
from filelock import FileLock, Timeout
from finish import add_drawings, finish
from front import figure_list, with_facts
from kernel import execute, prepare_environment
from nbformat import NotebookNode
from outputs import complaints, other_drawings, without_ledger_calls, without_other_drawings
from pairs import read_source
from provenance import Run, commit, device, table
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
PAGE_BUDGET_SECONDS = 60
LEDGER_PAGES = ("verdict", "claims")  # read the evidence that the other pages have found
PDF_LINE = f'<a href="../{pdf.NAME}">The whole book as one PDF</a>, with contents and links.\n'
NO_PDF_LINE = "This copy of the book was built where there is no Chromium, so it has no PDF of the whole.\n"
CELL_LIMIT_SECONDS = 600  # a cell that hangs must end the build, not hold it
# Pages show these on purpose and say so in their text; they are not printed there. Anything else on stderr fails its
# page: another warning, or texts of a figure that lie on each other, which afli.figures reports there.
KNOWN_WARNINGS = ("RepellingPointWarning: ", "UserWarning: theory holds for inputs of mean square")
WARNING = re.compile(r"^\S.*: (\w+: .*)\n(?:  .*\n?)?", re.MULTILINE)  # with the line of code that Python adds
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class BuildError(Exception):
    """The book could not be built; the message names the page and shows what happened."""


@dataclass(frozen=True)
class Book:
    """Where a book's sources lie and where its products go."""

    root: Path

    @property
    def build(self) -> Path:
        return self.root / "_build"

    @cached_property
    def toc(self) -> dict[str, Any]:
        return yaml.safe_load((self.root / "_toc.yml").read_text(encoding="utf-8"))

    @cached_property
    def pages(self) -> list[str]:
        """Names of the notebooks that _toc.yml lists, in reading order."""
        return [Path(file).name for file in files_of(self.toc) if file.startswith("notebooks/")]

    def source(self, page: str) -> Path:
        return self.root / "notebooks" / f"{page}.md"

    def executed(self, page: str) -> Path:
        return self.build / "runs" / f"{page}.ipynb"

    def record(self, page: str) -> Path:
        return self.build / "runs" / f"{page}.json"

    def evidence(self, page: str) -> Path:
        """The folder where a page leaves what its claims have found, for the page that lists them all."""
        return self.build / "evidence" / page


def files_of(toc: Any) -> Iterable[str]:
    """Every document named in a table of contents, in reading order."""
    if isinstance(toc, dict):
        for key in ("root", "file"):
            if key in toc:
                yield toc[key]
        for key in ("parts", "chapters", "sections"):
            yield from files_of(toc.get(key, []))
    else:
        for entry in toc:
            yield from files_of(entry)


# --- what a page depends on ------------------------------------------------------------------------------------------


def digest(paths: Iterable[Path], root: Path) -> str:
    """A hash of the names and contents of files; the same wherever root lies."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Regular files below a folder, without Python's own caches."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def page_key(book: Book, page: str) -> str:
    """Hash of all that a page's outputs depend on: its source, afli/, tables, benchmarks/, the lock, the Python."""
    shared = [path for folder in ("afli", "benchmarks") for path in files_below(book.root / folder)]
    # A run in progress keeps locks and checkpoints beside its table, which no page reads.
    tables = [path for kind in ("parquet", "json") for path in (book.root / "results").rglob(f"*.{kind}")]
    content = digest([book.source(page), book.root / "requirements.txt", *shared, *tables], book.root)
    return hashlib.sha256(f"{sys.version_info[:2]}{content}".encode()).hexdigest()


def is_fresh(book: Book, page: str, key: str) -> bool:
    run = Run.load(book.record(page))
    return run is not None and run.key == key and book.executed(page).exists()


# --- running pages ---------------------------------------------------------------------------------------------------


def run_page(book: Book, page: str, key: str) -> Run:
    """Execute one page; keep the result and a record of the run.

    Raises BuildError with the page's name and the traceback of the failing cell, or if the page imported an `afli` that
    is not the book's own.
    """
    book.record(page).unlink(missing_ok=True)  # whatever ends this run, what it leaves is not taken for a whole one
    prepare_environment()
    os.environ.update(IPYTHONDIR=str(book.build / "ipython"), AFLI_EVIDENCE=str(book.evidence(page)))
    shutil.rmtree(book.evidence(page), ignore_errors=True)
    executed = book.build / "work" / f"{page}.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        notebook, kernel = execute(
            read_source(book.source(page)), executed, folder=book.root / "notebooks", cell_limit=CELL_LIMIT_SECONDS
        )
    except Exception as error:
        # The executed copy shows how far it came; errors of the kernel itself leave none.
        where = f"\nAs far as it ran: {executed}" if executed.exists() else ""
        raise BuildError(f"notebooks/{page}.md failed.{where}\n{ANSI.sub('', str(error))}") from None
    if kernel.library and not Path(kernel.library).resolve().is_relative_to(book.root):
        raise BuildError(
            f"notebooks/{page}.md ran with another library: {kernel.library}, which is not below {book.root}.\n"
            "Use an environment in which this checkout is installed (`make` creates one), and no PYTHONPATH."
        )
    if found := list(complaints(notebook)):
        raise BuildError(f"notebooks/{page}.md shows what no page may show:\n" + "\n".join(found))
    if unexpected := warnings_of(notebook):
        raise BuildError(f"notebooks/{page}.md warned:\n{unexpected}")
    clock = notebook.metadata.pop("papermill")  # holds paths of this machine, which are not published
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    run = Run(
        page, key, started=clock["start_time"][:19].replace("T", " "), seconds=round(clock["duration"], 2),
        python=kernel.python, packages=kernel.packages, device=device(), commit=commit(book.root),
    )  # fmt: skip
    book.executed(page).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, book.executed(page))
    run.save(book.record(page))
    return run


def warnings_of(notebook: NotebookNode) -> str:
    """What the cells of an executed notebook wrote to stderr, without the known warnings."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    written = "".join(output["text"] for output in outputs if output.get("name") == "stderr")
    left = WARNING.sub(lambda found: "" if found[1].startswith(KNOWN_WARNINGS) else found[0], written)
    return left.strip()


def run_pages(book: Book, keys: dict[str, str], jobs: int) -> None:
    """Execute pages in a pool of processes; the bar names those that run. The first failure starts no further page."""
    waiting = list(keys)
    running: dict[Future[Run], str] = {}
    failures: list[str] = []
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    with pool, tqdm(total=len(keys), desc="pages", unit="page", disable=None if keys else True) as bar:
        while (waiting and not failures) or running:
            while waiting and not failures and len(running) < jobs:
                page = waiting.pop(0)
                running[pool.submit(run_page, book, page, keys[page])] = page
            bar.set_postfix_str(", ".join(running.values()))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                failures += report(future, running.pop(future), bar)
    if failures:
        raise BuildError("\n\n".join(failures))


def run_book(book: Book, pages: Iterable[str], jobs: int = 2) -> dict[str, NotebookNode]:
    """Pages of the book as they have run; those that changed since run now. Not for the pages of the ledger."""
    keys = {page: page_key(book, page) for page in pages}
    with alone(book):
        run_pages(book, {page: key for page, key in keys.items() if not is_fresh(book, page, key)}, jobs)
    return {page: nbformat.read(book.executed(page), as_version=4) for page in keys}


def report(future: Future[Run], page: str, bar: tqdm) -> list[str]:
    """One line about a page that ended; its error, if it has one."""
    bar.update()
    error = future.exception()
    if error:
        bar.write(f"FAILED  {page}")
        return [str(error)]
    seconds = future.result().seconds
    late = f"   over the budget of {PAGE_BUDGET_SECONDS} s" if seconds > PAGE_BUDGET_SECONDS else ""
    bar.write(f"ran     {page}  {seconds:.1f} s{late}")
    return []


# --- staging ---------------------------------------------------------------------------------------------------------


def config(book: Book, repository: str | None) -> dict[str, Any]:
    """_config.yml, with links to the repository and to the published site only where a repository is known.

    repository: "owner/name", as GitHub Actions gives it, or None.
    """
    settings = yaml.safe_load((book.root / "_config.yml").read_text(encoding="utf-8"))
    if not repository:
        return settings
    owner, name = repository.split("/")
    site = f"https://{owner}.github.io/{name}/"
    # The branch `launch` is what the Pages workflow pushes: these notebooks, with an install cell for Colab.
    settings["repository"] = {"url": f"https://github.com/{repository}", "branch": "launch", "path_to_book": ""}
    settings["launch_buttons"] = {
        "notebook_interface": "jupyterlab",
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
    }
    settings["html"].update(use_repository_button=True, use_issues_button=True, baseurl=site)
    settings["sphinx"]["extra_extensions"] += ["sphinxext.opengraph", "sphinx_sitemap"]
    settings["sphinx"]["config"].update(
        ogp_site_url=site, ogp_site_name=settings["title"], ogp_social_cards={"enable": False},
        ogp_image=f"{site}_static/social-card.png", ogp_image_alt=settings["title"],
        sitemap_url_scheme="{link}", sitemap_show_lastmod=False,
    )  # fmt: skip
    return settings


def stage(book: Book, target: Path, pages: list[str], toc: dict[str, Any], settings: dict[str, Any]) -> None:
    """Lay out in a folder all that Jupyter Book reads: executed pages, prose, our Sphinx extension, configuration."""
    for folder in ("book", "tools/sphinx_ext"):
        shutil.rmtree(target / folder, ignore_errors=True)
        shutil.copytree(book.root / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(target / "notebooks", ignore_errors=True)
    (target / "notebooks").mkdir()
    notebooks: dict[str, NotebookNode] = {}
    for page in pages:
        try:
            executed = without_other_drawings(nbformat.read(book.executed(page), as_version=4))
            notebooks[page] = without_ledger_calls(fill(executed))
        except KeyError as error:
            raise BuildError(f"notebooks/{page}.md: a caption names {error}, which the page keeps nowhere") from None
    narrow(list(notebooks.values()))
    (target / "figure_list.md").write_text(figure_list(notebooks.items()), encoding="utf-8")
    for page, notebook in notebooks.items():
        run = Run.load(book.record(page))
        home = toc["root"] == f"notebooks/{page}"  # opens with its picture
        seen = with_facts(notebook, run.seconds) if run and not home else notebook
        nbformat.write(seen, target / "notebooks" / f"{page}.ipynb")
    (target / "pdf_line.md").write_text(PDF_LINE if program() else NO_PDF_LINE, encoding="utf-8")
    if (book.root / "CHANGELOG.md").exists():
        shutil.copy(book.root / "CHANGELOG.md", target)
    for name, content in (("_config.yml", settings), ("_toc.yml", toc)):
        (target / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


# --- typesetting -----------------------------------------------------------------------------------------------------


def html_key(book: Book, settings: dict[str, Any], keys: dict[str, str]) -> str:
    """Hash of all that the finished HTML depends on."""
    prose = [*files_below(book.root / "book"), *files_below(book.root / "tools"), book.root / "_toc.yml"]
    prose += book.root.glob("CHANGELOG.md")  # a page of the book includes it
    parts = f"{keys}{settings}{digest(prose, book.root)}{bool(program())}"
    return hashlib.sha256(parts.encode()).hexdigest()


def typeset(source: Path, output: Path, *, strict: bool) -> Path:
    """Run Jupyter Book on a staged book, from nothing; returns the page to open.

    strict: any warning is an error. What an earlier build left is removed first: Sphinx would not repeat the warnings
    of pages that it has read before, so that a failed build would pass the second time.
    """
    for left in ("html", ".doctrees"):
        shutil.rmtree(output / "_build" / left, ignore_errors=True)
    # Not the program jupyter-book: where it lies depends on the system.
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", str(source), "--path-output", str(output)]
    command += ["-W", "-n", "--keep-going"] if strict else []
    warnings = []
    # A program that writes into a pipe uses the encoding of the system, which need not know the letters of a path.
    utf8 = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", env=utf8
    )
    assert process.stdout is not None
    for line in process.stdout:
        line = ANSI.sub("", line)
        if not line.startswith("myst"):  # two lines that list every option
            print(line, end="", flush=True)
        if any(f"{level}:" in line for level in ("WARNING", "ERROR", "CRITICAL")):
            warnings.append(line)
    if process.wait() != 0:
        raise BuildError(f"Jupyter Book failed, with {len(warnings)} warnings or errors:\n" + "".join(warnings))
    return output / "_build" / "html" / "index.html"


def for_phones_and_the_dark(book: Book, html: Path, pages: list[str]) -> None:
    """Give the figures of finished pages their other drawings."""
    for page in pages:
        figures = other_drawings(nbformat.read(book.executed(page), as_version=4))
        add_drawings(html / "notebooks" / f"{page}.html", figures)


def hand_out(book: Book) -> None:
    """Replace the notebooks that the book's download buttons give by clean copies."""
    html = book.build / "html"
    try:
        write_copies(
            {page: book.executed(page) for page in book.pages}, names_of(book.root, html), html / "_sources/notebooks"
        )
    except ValueError as error:
        raise BuildError(str(error)) from None


def print_book(book: Book) -> None:
    """Make the PDF of the whole, where there is a browser to print it."""
    if not program():
        print("No Chromium here: the book has no PDF.")
        return
    try:
        pdf.write_pdf(book.build / "html")
    except BrowserError as error:
        raise BuildError(f"The PDF of the book was not made: {error}") from None


def build(book: Book, jobs: int = 2, repository: str | None = None) -> Path:
    """Run the pages that changed and typeset the book where anything changed; returns the page to open."""
    settings = config(book, repository)
    keys = {page: page_key(book, page) for page in book.pages}
    everything = hashlib.sha256(f"{keys}".encode()).hexdigest()
    keys |= {page: everything for page in LEDGER_PAGES if page in keys}
    stale = {page: key for page, key in keys.items() if not is_fresh(book, page, key)}
    index, stamp = book.build / "html" / "index.html", book.build / "html.key"
    key = html_key(book, settings, keys)
    if not stale and index.exists() and stamp.exists() and stamp.read_text() == key:
        print(f"Nothing has changed: {len(keys)} pages kept.")
        return index
    stamp.unlink(missing_ok=True)
    print(f"{len(stale)} of {len(keys)} pages to run.")
    run_pages(book, {page: key for page, key in stale.items() if page not in LEDGER_PAGES}, jobs)
    run_pages(book, {page: key for page, key in stale.items() if page in LEDGER_PAGES}, jobs)
    stage(book, book.build / "src", book.pages, book.toc, settings)
    runs = [run for page in book.pages if (run := Run.load(book.record(page)))]
    (book.build / "src" / "provenance_table.md").write_text(table(runs, executed_now=set(stale)), encoding="utf-8")
    typeset(book.build / "src", book.root, strict=True)
    finish(book.build / "html")
    for_phones_and_the_dark(book, book.build / "html", book.pages)
    hand_out(book)
    print_book(book)
    stamp.write_text(key)
    return index


def preview(book: Book, prefix: str, jobs: int) -> Path:
    """Run the pages whose names start with prefix, listed in _toc.yml or not, and typeset them alone.

    References to other pages stay unresolved there, so warnings do not count.
    """
    pages = [path.stem for path in sorted((book.root / "notebooks").glob(f"{prefix}*.md"))]
    if not pages:
        raise BuildError(f"--only {prefix}: no notebooks/{prefix}*.md")
    for page in book.pages:  # evidence of other code is none
        if not is_fresh(book, page, page_key(book, page)):
            shutil.rmtree(book.evidence(page), ignore_errors=True)
    run_pages(book, {page: page_key(book, page) for page in pages}, jobs)
    folder = book.build / "preview"
    chapters = [{"file": f"notebooks/{page}"} for page in pages[1:]] + [{"file": "book/bibliography"}]
    toc = {"format": "jb-book", "root": f"notebooks/{pages[0]}", "chapters": chapters}
    stage(book, folder / "src", pages, toc, config(book, None))
    index = typeset(folder / "src", folder, strict=False)
    finish(index.parent)
    for_phones_and_the_dark(book, index.parent, pages)
    return index


@contextmanager
def alone(book: Book) -> Iterator[None]:
    """Hold the lock of a book's products; wait for another build of it to end."""
    book.build.mkdir(exist_ok=True)
    lock = FileLock(book.build / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"Another build is at work in {book.build}; this one starts when it has ended.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def stop(signum: int, frame: FrameType | None) -> None:
    """End what runs below this process, too: the signal to it spares its pages, their kernels and Jupyter Book."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    print(f"\nStopped by {signal.Signals(signum).name}. Pages that had run are kept.", file=sys.stderr, flush=True)
    os._exit(128 + signum)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run every notebook and build the book into _build/html.")
    parser.add_argument("--only", metavar="PREFIX", help="run and show only the pages whose names start so")
    parser.add_argument("--jobs", type=int, default=2, help="pages that run at once (default 2)")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {options.jobs}")
    book = Book(options.root.resolve())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a letter must not end the build
    try:
        with alone(book):
            if options.only:
                page = preview(book, options.only, options.jobs)
            else:
                page = build(book, options.jobs, os.environ.get("GITHUB_REPOSITORY"))
    except (BuildError, OSError) as error:  # a full disk, a folder that nobody may write
        print(f"\n{error}\n\nThe book was not built.", file=sys.stderr)
        return 1
    print(f"\nThe book is ready. Open {page}")
    return 0


if __name__ == "__main__":
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    sys.exit(main())
