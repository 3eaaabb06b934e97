"""Tables of numbers, as every page of the book shows them: one look, headings in formulas, decimals under each other.

Functions take a pandas table and do not import pandas. `figures.use_style()` also tells IPython to show every pandas
table in this way, so that a page cannot show another.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from afli.claims.wording import digits as three_digits
from afli.claims.wording import markup

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HEADS", "MISSING", "Html", "Table", "table", "use_for_pandas"]

MISSING = "–"  # in place of what a row does not have

# How columns that have a name in the code are headed: with a word, since a formula alone is no head to a screen reader.
HEADS = {
    "sigma_b2": r"bias variance $\sigma_b^2$", "sigma_w2": r"weight variance $\sigma_w^2$", "q": "variance $q^*$",
    "q*": "variance $q^*$", "a": "radius $a$", "rho": r"correlation $\rho$", "chi1": r"slope $\chi_1$",
    "V'(q*)": "slope $V'(q^*)$", "R(0)": "correlation $R(0)$", "a / sqrt(q*)": r"ratio $a/\sqrt{q^*}$",
    "phi": "activation",
    "sigma_b2 L / a^2": r"ratio $\sigma_b^2 L/a^2$", "sigma_b2 L / q*": r"ratio $\sigma_b^2 L/q^*$",
    "q* there": "$q^*$ there", "lead over a = 1": "lead over $a = 1$", "lead of a = 10": "lead of $a = 10$",
    "ms_per_network_step": "ms for a step of one network",
}  # fmt: skip


@dataclass(frozen=True)
class Html:
    """A cell that is HTML already, a link for example. No str: pandas would forget what kind of str it was."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """A pandas table as the book shows it.

    Attributes
    ----------
    frame
        The pandas table.
    caption
        What it shows, with TeX between dollars; empty for none.
    decimals
        Column -> how many, where three digits of its largest number will not do.
    """

    frame: pd.DataFrame
    caption: str = ""
    decimals: Mapping[Any, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.frame}"

    def _repr_html_(self) -> str:
        caption = f"<caption>{markup(self.caption)}</caption>" if self.caption else ""
        inside = f"{caption}<thead>{self._head()}</thead><tbody>{self._body()}</tbody>"
        return f'<table class="data tex2jax_process">{inside}</table>'

    def _levels(self) -> list[Any]:
        """Names of the index, level by level; none where the rows are only counted."""
        index = self.frame.index
        counted = index.nlevels == 1 and index.name is None and list(index) == list(range(len(index)))
        return [] if counted else list(index.names)

    def _head(self) -> str:
        levels, columns = self._levels(), self.frame.columns
        above = ""
        if columns.name is not None:
            blank = "<td></td>" * len(levels)
            above = f'<tr>{blank}<th colspan="{len(columns)}" scope="colgroup">{_heading(columns.name)}</th></tr>'
        names = "".join("<td></td>" if n is None else f'<th scope="col">{_heading(n)}</th>' for n in levels)
        heads = "".join(
            f'<th scope="col"{_number(_is_numeric(self.frame.iloc[:, j]))}>{_heading(name)}</th>'
            for j, name in enumerate(columns)
        )
        return f"{above}<tr>{names}{heads}</tr>"

    def _body(self) -> str:
        columns = [_column(self.frame.iloc[:, j], self.decimals.get(name)) for j, name in enumerate(self.frame.columns)]
        numeric = [_is_numeric(self.frame.iloc[:, j]) for j in range(len(columns))]
        rows = []
        for headers, cells in zip(self._row_headers(), zip(*columns, strict=True), strict=True):
            body = "".join(f"<td{_number(n)}>{cell}</td>" for n, cell in zip(numeric, cells, strict=True))
            rows.append(f"<tr>{headers}{body}</tr>")
        return "".join(rows)

    def _row_headers(self) -> list[str]:
        """The heads of each row; one that several rows share spans them."""
        index, depth = self.frame.index, len(self._levels())
        keys = [key if isinstance(key, tuple) else (key,) for key in index]
        heads = [""] * len(keys)
        for level in range(depth):
            shown = _column([key[level] for key in keys], None)
            for _, run in groupby(range(len(keys)), key=lambda i, level=level: keys[i][: level + 1]):  # type: ignore[misc]
                rows = list(run)
                span = f' rowspan="{len(rows)}" scope="rowgroup"' if len(rows) > 1 else ' scope="row"'
                heads[rows[0]] += f"<th{span}>{shown[rows[0]]}</th>"
        return heads


def table(frame: pd.DataFrame, caption: str, *, decimals: Mapping[Any, int] | None = None) -> Table:
    """A pandas table as the book shows it.

    Parameters
    ----------
    frame
        Its index heads the rows, unless it only counts them; its columns' name, if any, stands over all of them.
    caption
        What the table shows: a sentence, with TeX between dollars.
    decimals
        Column -> number of decimals, where three digits of the column's largest number are not right.

    Raises
    ------
    ValueError
        If `decimals` names a column that is not there, or the caption is empty.
    """
    if not caption.strip():
        raise ValueError("caption must say what the table shows, got an empty one")
    unknown = [name for name in decimals or {} if name not in frame.columns]
    if unknown:
        raise ValueError(f"decimals must name columns of the table, {list(frame.columns)}, got {unknown[0]!r}")
    return Table(frame, caption, dict(decimals or {}))


def use_for_pandas() -> None:
    """Show pandas' tables in this way from now on, in a notebook; elsewhere nothing happens."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        formatter = shell.display_formatter.formatters["text/html"]
        for module in ("pandas", "pandas.core.frame"):  # the class says the one or the other, by version
            formatter.for_type_by_name(module, "DataFrame", lambda frame: Table(frame)._repr_html_())
        for module in ("pandas", "pandas.core.series"):
            formatter.for_type_by_name(module, "Series", lambda series: Table(series.to_frame())._repr_html_())


# --- Cells ---


def _heading(name: Any) -> str:
    text = np.format_float_positional(name, trim="-") if isinstance(name, float) else str(name)
    return markup(HEADS.get(text, text.replace("_", " ") if " " not in text and "$" not in text else text))


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and value in ("-", "nan"))
        or (isinstance(value, Real) and bool(np.isnan(float(value))))
    )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_numeric(values: Iterable[Any]) -> bool:
    """Whether a column is of numbers, or of strings that begin with one: "81.8 ± 4.7"; blank cells aside."""
    present = [value for value in values if not _is_missing(value) and not (isinstance(value, str) and not value)]
    return all(
        _is_real(value)
        or (
            isinstance(value, str)
            and not isinstance(value, Html)
            and value.lstrip("-−±. ")[:1].isdigit()
            and len(value) < 20
        )
        for value in present
    ) and bool(present)


def _column(values: Iterable[Any], decimals: int | None) -> list[str]:
    """A column's cells as HTML, its numbers with equally many decimals."""
    values = list(values)
    numbers = [float(v) for v in values if _is_real(v) and not _is_missing(v) and np.isfinite(float(v))]
    places = _places(numbers) if decimals is None else decimals
    return [_text(value, places) for value in values]


def _places(numbers: list[float]) -> int | None:
    """Decimals for three digits of the largest number; None where the smallest would lose its last digit."""
    sizes = [abs(x) for x in numbers if x]
    if not sizes or all(x.is_integer() for x in numbers):
        return 0
    places = max(0, 2 - int(np.floor(np.log10(max(sizes)))))
    return places if places <= 4 and min(sizes) >= 0.5 * 10.0**-places else None


def _text(value: Any, places: int | None) -> str:
    if _is_missing(value):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}".replace("-", "−")
    if isinstance(value, Real):
        number = float(value)
        if np.isinf(number):
            return "∞" if number > 0 else "−∞"
        return _three_digits(number) if places is None else f"{number:,.{places}f}".replace("-", "−")
    if isinstance(value, Html):
        return value.text
    text = str(value)
    return markup(text) if "$" in text or "<" not in text else html.escape(text)


def _three_digits(number: float) -> str:
    """In HTML: a formula alone is no head to a screen reader, and has other digits than the cells around it."""
    text = three_digits(number).strip("$").replace(r" \times ", " × ").replace("-", "−")
    return re.sub(r"10\^\{(.+)\}", r"10<sup>\1</sup>", text)
