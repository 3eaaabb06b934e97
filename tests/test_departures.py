"""The records of departures: their numbers are there, their pages exist, and slips lead to what was printed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from afli import departures
from afli.claims.evidence import PLACE
from afli.departures import DEPARTURES, PLACES, Departure

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.parametrize("record", DEPARTURES, ids=lambda record: record.what[:40])
def test_a_record_says_where_it_stands_and_has_all_its_numbers(record: Departure) -> None:
    assert record.place in PLACES
    assert not record.page or (NOTEBOOKS / f"{record.page}.md").exists()
    numbers = record.measure() if record.measure else {}
    assert {m[1] for m in PLACE.finditer(record.effect)} <= set(numbers)
    assert np.isfinite(list(numbers.values())).all()
    assert record.what.count("$") % 2 == record.found().count("$") % 2 == 0


def test_the_slip_in_the_derivative_of_elu_gives_the_printed_fixed_points() -> None:
    found = [departures.slipped_variance(a) for a in (1, 2, 3, 5)]
    assert found == pytest.approx([0.866, 1.506, 2.131, 3.357], abs=5e-4)


@pytest.mark.slow
def test_iterating_until_a_step_is_short_gives_the_printed_fixed_points() -> None:
    numbers = departures.measured()
    assert numbers["stops_1"] == pytest.approx(0.63217251, abs=5e-9)
    assert numbers["stops_5"] == pytest.approx(4.98510, abs=5e-6)
