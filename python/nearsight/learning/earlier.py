"""A training gone on with under other stop rules, or made anew from the chunks of an earlier."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nearsight.config import STOP_RULES
from nearsight.errors import DamagedFileError
from nearsight.files.names import evaluation_files, iteration_folder
from nearsight.files.records import Iteration

__all__ = ["EARLIER", "earlier_chunks", "has_other_labels", "is_continued", "set_aside"]

EARLIER = "earlier"
"""Folder with the iterations of the training before."""


def is_continued(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether an ensemble was trained as it would be today, to the same point."""
    return _without_stop_rules(found) == _without_stop_rules(expected)


def has_other_labels(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    """Whether it was trained on the same structures by other labels of the chunks.

    Versions before ``nft.labels`` learned the forces on the centres.
    """
    if any(found.get(key) != expected[key] for key in ("inputs", "parent")):
        return False
    labels = found.get("settings", {}).get("nft", {}).get("labels", "center")
    wanted = expected["settings"]["nft"]["labels"]
    return bool(labels != wanted) and "target" not in (labels, wanted)


def set_aside(folder: Path) -> str:
    """Move the iterations of an earlier training out of the way; one sentence about it."""
    place = folder / EARLIER
    if iteration_folder(place, 0).exists():  # of a training before that, moved as a whole
        shutil.rmtree(place)
    place.mkdir(exist_ok=True)
    # the first one last: until then this is recognised as the folder of the earlier training
    for path in sorted(folder.glob("iteration-*"), reverse=True):
        path.rename(place / path.name)
    chunks = earlier_chunks(folder)
    return (
        f"the iterations here learned other labels of the chunks (nft.labels): they are in "
        f"{EARLIER}/ now, and training begins anew on their {len(chunks)} chunks, whose "
        "calculations are in the database"
    )


def earlier_chunks(folder: Path) -> list[int]:
    """Atoms whose chunks the training before had; empty if there was none."""
    return _chunks(folder / EARLIER)


def _chunks(folder: Path) -> list[int]:
    for path in reversed(evaluation_files(folder)):
        try:
            return Iteration.load(path).chunk_indices
        except DamagedFileError:
            continue
    return []


def _without_stop_rules(provenance: Mapping[str, Any]) -> dict[str, Any]:
    settings = dict(provenance.get("settings", {}))
    for name, rules in STOP_RULES.items():
        section = settings.get(name, {})
        settings[name] = {key: value for key, value in section.items() if key not in rules}
    return {**provenance, "settings": settings}
