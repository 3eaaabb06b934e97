"""Deadlines and late days of a course, from COURSE/deadlines.toml:

    free_days = 3        # days late that cost a student nothing, over all sets together
    penalty = 0.1        # share of a set's points that each further day costs
    ps1 = 2027-03-01T23:59:00
    ps2 = 2027-03-15T23:59:00+01:00

Without an offset a time is that of the machine that grades.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from course import SETS

FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Deadlines:
    """When sets are due, and what being late costs. of: a time for each set that has a deadline."""

    free_days: int = 0
    penalty: float = 0.0
    of: dict[str, datetime] = field(default_factory=dict)


def deadlines(root: Path) -> Deadlines:
    """What root/deadlines.toml says; nothing if there is no such file. Raises ValueError naming what is wrong."""
    path = root / "deadlines.toml"
    if not path.exists():
        return Deadlines()
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}. A time is written 2027-03-01T23:59:00, with its seconds") from None
    free, penalty = given.pop("free_days", 0), given.pop("penalty", 0.0)
    if not isinstance(free, int) or free < 0:
        raise ValueError(f"{path}: free_days must be a whole number, 0 or more, got {free!r}")
    if not isinstance(penalty, int | float) or not 0 <= penalty <= 1:
        raise ValueError(f"{path}: penalty must be in [0, 1], got {penalty!r}")
    for name, when in given.items():
        if name not in SETS or not isinstance(when, datetime):
            raise ValueError(f"{path}: expected a set ({', '.join(SETS)}) and its date and time, got {name} = {when!r}")
    return Deadlines(free, float(penalty), {name: when.astimezone(UTC) for name, when in given.items()})
