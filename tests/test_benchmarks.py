"""The programs in benchmarks/python start: what they import is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.cli import python

PROGRAMS = sorted((Path(__file__).parents[1] / "benchmarks" / "python").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_it_starts(program: Path) -> None:
    code, out, err = python(program, "--help")
    assert (code, err) == (0, "")
    assert program.stem == "accuracy" or out.startswith("usage: ")
