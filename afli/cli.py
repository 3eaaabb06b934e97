"""The command line: `afli check`, `afli gain`, `afli run`, `afli kernel`, `afli show`, `afli verify`, `afli merge`."""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afli import __version__
from afli.errors import ConvergenceError, NoFixedPointError
from afli.experiments import PRESETS, PROFILES

if TYPE_CHECKING:
    from afli.experiments import Table

__all__ = ["Exit", "app"]


class Exit(IntEnum):
    """Exit codes. 2 is the shell's own for a wrong option."""

    DONE = 0
    FAILED = 1
    STOPPED_EARLY = 3


EXIT_CODES = """
Exit codes: 0 done; 1 an error, or a claim refuted or not checked; 2 a wrong option; 3 `run` stopped before the end, at
its budget, at --limit or on a signal: run the same command again to go on. Networks that `run` gave up because
their workers died or failed are an error.
"""

RUNS = Path("runs")  # git ignores it: a first try leaves the repository as it was

app = typer.Typer(
    help="AFLI: check the claims of the paper, and run its experiments." + EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    load: Annotated[
        list[Path] | None,
        typer.Option(
            "--load", envvar="AFLI_LOAD", help="A Python file to run first: it registers presets of your own."
        ),
    ] = None,
) -> None:
    """Options that stand before a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this; a progress bar writes all the same
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that lacks a letter must not end a run
    try:
        Path.home()
    except RuntimeError:  # a user without one, as in some containers; downloads go elsewhere
        os.environ.setdefault("AFLI_DATA", str(Path(tempfile.gettempdir()) / "afli"))
    if version:
        typer.echo(__version__)
        raise typer.Exit(Exit.DONE)
    for path in load or []:
        _load(path)


def _load(path: Path) -> None:
    """Run a file of the user's, as Python itself would; what goes wrong there is one line that names it."""
    with _errors_in_words(OSError):
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path} to load")
    sys.path.insert(0, str(path.resolve().parent))
    try:
        runpy.run_path(str(path))
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f", line {lines[-1]}" if lines else ""
        typer.echo(f"error: {path}{where}: {type(error).__name__}: {error}", err=True)
        raise typer.Exit(Exit.FAILED) from error


@app.command()
def check(
    claim: Annotated[str, typer.Argument(help="A claim, e.g. lemma-3.3.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Check every claim of the ledger.")] = False,
) -> None:
    """Check one claim of the paper, or all of them, by computing both of its sides.

    Without an argument: the list of claims. Claims about trained networks need the extra [networks], and the tables
    that the repository has in results/; without them they are not checked.
    """
    from afli import claims
    from afli.claims import wording

    if everything and claim:
        raise typer.BadParameter(f"either a claim or --all, got both: {claim}")
    if everything:
        with _errors_in_words(OSError):
            found = _check_all()
        raise typer.Exit(found)
    if not claim:
        for entry in claims.LEDGER.values():
            typer.echo(f"{entry.id}: {wording.plain(entry.statement)}")
        return
    with _errors_in_words(KeyError, OSError, claims.ClaimRefuted):
        typer.echo(str(claims.verify(claim if claim in claims.LEDGER else claim.lower().replace(" ", "-"))))


def _check_all() -> Exit:
    """Check every claim, with a line for each."""
    from afli import claims

    refuted = unchecked = 0
    for entry in claims.LEDGER.values():
        try:
            margin = claims.verify(entry.id).margin  # NaN: not tested here
            verdict = entry.status if margin != margin else f"{entry.status}  (margin {margin:.3g})"
        except claims.ClaimRefuted as error:
            verdict, refuted = f"REFUTED: {error}", refuted + 1
        except _lacking() as error:
            verdict, unchecked = f"NOT CHECKED: {_in_words(error)}", unchecked + 1
        typer.echo(f"{entry.id}: {verdict}")
    typer.echo(f"{len(claims.LEDGER)} claims, {refuted} refuted, {unchecked} not checked")
    return Exit.FAILED if refuted or unchecked else Exit.DONE


def _lacking() -> tuple[type[Exception], ...]:
    """What is raised where a package or a table that is needed is absent. Asked for only then: it loads torch."""
    try:
        from afli.experiments import TableError
    except ImportError:
        return (ImportError,)
    return (ImportError, TableError)


@app.command()
def gain(
    activation: Annotated[str, typer.Argument(help="Its name, e.g. gelu, or with parameters shtanh:a=2.")],
    sigma_b2: Annotated[str, typer.Option(help="Bias variance; empty: 0 for ReLU and its like, 0.1 for others.")] = "",
) -> None:
    """Which gain for an activation: its edge of chaos, the input scale, and whether a deep network can use it.

    Where the point repels, the smallest bias variance at which it attracts is shown as well.
    """
    from afli import activations as act
    from afli.gain import gain as gain_of

    with _errors_in_words(ValueError, TypeError, NoFixedPointError, ConvergenceError):
        family, *given = re.split("[:,]", activation)
        numbers = [re.fullmatch(r"(\w+)=(.+)", each) for each in given]
        if not all(numbers):
            raise ValueError(f"activation must look like gelu or shtanh:a=2, got {activation!r}")
        phi = act.get(family, **{part[1]: _number(part[1], part[2]) for part in numbers if part})
        found = gain_of(phi, sigma_b2=_number("sigma_b2", sigma_b2) if sigma_b2 else None)
        typer.echo(str(found))
        if not found.attracts and found.attracting_sigma_b2 == found.attracting_sigma_b2:  # not nan
            typer.echo(str(gain_of(phi, sigma_b2=found.attracting_sigma_b2 * (1 + 1e-6))))


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help=f"{', '.join(PRESETS)}; or one of your own, see --load.")],
    profile: Annotated[str, typer.Option(help=f"{', '.join(PROFILES)}: seconds to hours.")] = "smoke",
    out: Annotated[
        Path,
        typer.Option(help="The folder for the table and its manifest. The tables that the book reads are in results."),
    ] = RUNS,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto: a GPU if there is one.")] = "auto",
    budget: Annotated[str, typer.Option(help="When to stop: 90s, 30m, 1h30m. Empty: no limit.")] = "",
    data: Annotated[str, typer.Option(help="Another dataset: its name, or npz:/path/to/file.npz.")] = "",
    arithmetic: Annotated[
        str, typer.Option(help="float32, tf32 (GPU only: faster, less exact) or float64.")
    ] = "float32",
    executor: Annotated[str, typer.Option(help="local, dask-local:N processes, or dask://HOST:PORT.")] = "local",
    limit: Annotated[int, typer.Option(min=0, help="Train at most so many experiments; 0: all that are missing.")] = 0,
    chunk: Annotated[
        int, typer.Option(min=0, help="Train at most so many networks together; 0: as many as suit the device.")
    ] = 0,
    shard: Annotated[str, typer.Option(help="I/N: part I of N, to divide a grid among machines; see merge.")] = "",
) -> None:
    """Train the networks of a grid that its table does not have yet.

    Prints an estimate of the time first, and shows a progress bar. Every finished ensemble is written at once, so a run
    may be stopped or killed at any moment; the same command goes on where it stopped.

    Exit codes: 0 the grid is complete; 1 an error; 2 a wrong option; 3 stopped early, run it again to go on.
    """
    from afli import experiments

    with _errors_in_words(ValueError, TypeError, OSError, NoFixedPointError, ConvergenceError):
        grid = experiments.grid(preset, profile)
        if shard:
            if not re.fullmatch(r"\d{1,9}/\d{1,9}", shard):
                raise ValueError(f"shard must look like 1/3, got {shard!r}")
            grid = grid.shard(*(int(number) for number in shard.split("/")))
            if not len(grid):
                typer.echo(f"shard {shard} has no experiment: {preset} has fewer than that")
                raise typer.Exit(Exit.DONE)
        report = experiments.run(
            grid,
            out,
            dataset=data or None,
            device=device,
            arithmetic=arithmetic,
            budget=_seconds(budget),
            executor=executor,
            limit=limit or None,
            chunk=chunk or None,
            echo=typer.echo,
        )
    typer.echo(
        f"{report.table}: {report.finished} experiments in {report.seconds:.1f} s, {report.missing} still missing"
    )
    if report.missing:
        typer.echo(f"stopped early: {report.stopped}; the same command goes on from here")
        raise typer.Exit(Exit.FAILED if report.lost else Exit.STOPPED_EARLY)


@app.command()
def kernel(
    data: Annotated[str, typer.Option(help="The dataset: its name, or npz:/path/to/file.npz.")] = "digits",
    images: Annotated[int, typer.Option(min=8, help="Training images, the first of a fixed shuffle.")] = 1000,
    width: Annotated[int, typer.Option(min=1, help="Units of a hidden layer, for the tangent kernel.")] = 300,
    rate: Annotated[
        float, typer.Option(min=0.0, help="Predict the stages of training at this learning rate too; 0: do not.")
    ] = 0.0,
    depths: Annotated[str, typer.Option(help="Hidden layers, in the order of work.")] = "50,20,200,100",
    out: Annotated[Path, typer.Option(help="The folder for the table and its manifest.")] = RUNS,
    budget: Annotated[str, typer.Option(help="When to stop: 90s, 30m, 1h30m. Empty: no limit.")] = "",
) -> None:
    """The map of Figure 7 at infinite width: regression with both kernels in every cell, and no network trained.

    Every finished cell is written at once; the same command goes on where it stopped.

    Exit codes: 0 the map is complete; 1 an error; 2 a wrong option; 3 stopped early, run it again to go on.
    """
    with _errors_in_words(ValueError, OSError):
        from afli.data import load
        from afli.experiments import kernel_maps

        if not re.fullmatch(r"\d+(,\d+)*", depths):
            raise ValueError(f"depths must look like 50,20, got {depths!r}")
        settings = kernel_maps.Settings(images=images, width=width, rate=rate or None)
        chosen = [int(depth) for depth in depths.split(",")]
        table, missing = kernel_maps.run(
            load(data), settings, out, depths=chosen, budget=_seconds(budget), echo=typer.echo
        )
    typer.echo(f"{table}: {missing} cells missing")
    if missing:
        typer.echo("stopped early: the budget is used up; the same command goes on from here")
        raise typer.Exit(Exit.STOPPED_EARLY)


@app.command()
def show(path: Annotated[Path, typer.Argument(help="A table, or a folder of tables.")] = RUNS) -> None:
    """What is done and what is missing, and for a single table the mean test accuracy of every cell."""
    from afli import experiments

    tables = _tables([path])
    failed = False
    with _errors_in_words(ValueError, OSError):
        if not tables:
            raise FileNotFoundError(f"there is no table of experiments at {path}")
    for name in tables:
        try:
            with _errors_in_words(ValueError, OSError):
                _show(experiments.Table(name), cells=len(tables) == 1)
        except typer.Exit:  # the others may be sound
            failed = True
    if failed:
        raise typer.Exit(Exit.FAILED)


def _show(table: Table, *, cells: bool) -> None:
    """One line about a table; with `cells`, its cells."""
    from afli.experiments import summary

    if not table.path.is_file():
        raise FileNotFoundError(f"there is no table at {table.path}")
    about = table.manifest
    if not about:
        raise FileNotFoundError(f"{table.path} has no manifest {table.manifest_path.name}")
    diverged = table.frame.loc[table.frame["diverged"], "experiment"].nunique()
    typer.echo(
        f"{table.path.stem}: {len(table.done)} done, {about['experiments'] - len(table.done)} missing,"
        f" {diverged} diverged; {about['dataset']['name']}, {about['arithmetic']}, code {about['code']},"
        f" {', '.join(sorted({run['machine'] for run in about['runs']}))}"
    )
    if cells and table.done:
        found = summary(table.frame)
        always = ("trials", "mean", "std", "diverged", "worse")
        varying = [c for c in found if c in always or found[c].nunique(dropna=False) > 1]
        typer.echo(found[varying].to_string(index=False, float_format=lambda x: f"{x:.4g}"))


@app.command()
def verify(
    tables: Annotated[list[Path], typer.Argument(help="Tables, or folders of tables.")],
    data: Annotated[str, typer.Option(help="The images, where a table's own name does not find them: npz:FILE.")] = "",
    networks: Annotated[int, typer.Option(min=1, help="Networks to train again per kind of network in a table.")] = 4,
) -> None:
    """Train a few networks of each table again, for a few steps, and accept the code as it is now where they agree.

    Needed after a change of the code that trains: pages refuse a table whose numbers this code is not known to give.
    Bit for bit on the type of machine that made the table; elsewhere within 0.01 in test accuracy. With --data, tables
    on other images are passed over.

    Exit codes: 0 all agree; 1 one does not, or its images are not there.
    """
    from afli import experiments
    from afli.data import load

    paths = _tables(tables)
    failed = passed_over = 0
    with _errors_in_words(ValueError, OSError):
        if not paths:
            raise FileNotFoundError(f"there is no table in {', '.join(map(str, tables))}")
        images = load(data) if data else None
    for path in paths:
        try:
            manifest = experiments.Table(path).manifest
            if images is not None and manifest and manifest["dataset"]["sha256"] != images.sha256:
                passed_over += 1
                continue
            typer.echo(experiments.verify(path, dataset=images, networks=networks))
        except (ValueError, OSError) as error:
            typer.echo(f"{path.stem}: NOT VERIFIED: {_in_words(error)}")
            failed += 1
    typer.echo(f"{len(paths) - passed_over} tables, {failed} not verified")
    if failed:
        raise typer.Exit(Exit.FAILED)


def _tables(paths: list[Path]) -> list[Path]:
    """The tables of experiments among these files and in these folders; the kernel maps there are other tables."""
    found = [sorted(path.glob("*.parquet")) if path.is_dir() else [path] for path in paths]
    return [path for group in found for path in group if path in paths or not path.name.startswith("kernel-")]


@app.command()
def merge(
    tables: Annotated[list[Path], typer.Argument(help="Tables of the same grid, made on several machines.")],
    out: Annotated[Path, typer.Option(help="The table to write, or its folder; it may be one of them.")],
) -> None:
    """Join tables into one. Refused, with nothing written, if they were made by different code, from different data, or
    give one experiment different numbers."""
    from afli import experiments

    with _errors_in_words(ValueError, OSError):
        merged = experiments.merge(tables, out / tables[0].name if out.is_dir() else out)
    typer.echo(f"{merged.path}: {merged.manifest['finished']} experiments of {merged.manifest['experiments']}")


@contextmanager
def _errors_in_words(*expected: type[Exception]) -> Iterator[None]:
    """Mistakes that a user can mend are one line, not a traceback."""
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough, as `| head`: typer ends the command without a word
        raise
    except Exception as error:
        if not isinstance(error, expected) and not isinstance(error, _lacking()):
            raise
        typer.echo(f"error: {_in_words(error)}", err=True)
        raise typer.Exit(Exit.FAILED) from error


def _in_words(error: Exception) -> str:
    """The message of an error; with the extra to install, where a package is absent."""
    if isinstance(error, ImportError):
        extra = "cluster" if error.name in ("dask", "distributed") else "networks"
        return f"{error}; in a copy of the repository, pip install -e '.[{extra}]' adds it"
    return str(error.args[0]) if isinstance(error, KeyError) else str(error)


def _number(name: str, text: str) -> float:
    """The number that an option holds. Raises ValueError if it is none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None


def _seconds(duration: str) -> float | None:
    """1h30m, 30m, 90s or 90 as seconds; None for the empty string. Raises ValueError for anything else."""
    if not duration:
        return None
    match = re.fullmatch(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", duration)
    if match is None:
        raise ValueError(f"budget must look like 90s, 30m or 1h30m, got {duration!r}")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)
