"""Names that were replaced by the field's words do not come back (CONTRIBUTING.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = [
    (f"{path.relative_to(ROOT)}:{number}", line)
    for folder in ("python", "cpp", "tests", "docs", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".pyi", ".cpp", ".hpp", ".md", ".html", ".txt", ".toml"}
    and path != Path(__file__)
    and "data" not in path.relative_to(ROOT).parts
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
]


@pytest.mark.parametrize(
    ("old", "now"),
    [
        (r"\btake_up\b", "open_finished_run"),
        (r"_Doubt\b|\bLONGEST_DOUBT\b", "UncertainFrames, MAX_UNCERTAIN_IN_A_ROW"),
        (r"\bk(Most|Least|Many|Thin)[A-Z]\w*|\bk(Many|Thin)\b|\b_(MOST|LEAST)_", "kMax…, kMin…"),
        (r"\bpower_of_two\b", "exp2"),
        (r"\bcli[./]standing\b", "cli/status.py"),
        (r"\bplates\b|\bPlate\b", "CaptionedFigure"),
        (r"\blast_words\b", "last_log_line"),
        (r"\b_ROOMS\b", "_EXPORTS"),
        (r"\bLanes\b", "Vec"),
        (r"\bserves\(", "is_valid_for"),
        (r"\b(at_most|at_least|sums_of|numbers_of_bits)\(", "min, max, reduce_add4, Index16x8"),
        (r"\bElementPass\b|\benergy_line\b", "ElementNetwork, energy_row"),
        (r"\b(forget_finished|for_trainings)\b", "discard_finished, training_executor"),
    ],
)  # fmt: skip
def test_an_old_name_does_not_come_back(old: str, now: str) -> None:
    assert LINES
    found = [f"{place}: {line.strip()}" for place, line in LINES if re.search(old, line)]
    assert not found, f"write {now}"
