"""Small trainings in a folder, and what they leave there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ase.io import read

from helpers import copper
from nearsight.learning.nft import NFT
from nearsight.learning.state import State
from nearsight.parents import Parent


def train(nft: NFT, folder: Path, parent: Parent | None = None, **changed: Any) -> State:
    """Train on the small case of copper in a folder, with its database there."""
    folder.mkdir(exist_ok=True)
    given: dict[str, Any] = {
        "images": copper.cells(),
        "functions": copper.functions(),
        "target": copper.particle(),
        "parent": parent or Parent("emt", database=folder / "parent.db"),
        **changed,
    }
    return nft.run(folder=folder, **given)


def contents(folder: Path) -> dict[str, Any]:
    """All files but the database, evaluations without their times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "evaluation.json":
            found[name] = evaluation(path)
        elif path.suffix == ".traj":
            found[name] = [(a.positions.tolist(), a.info) for a in read(path, ":")]
        elif path.is_file() and path.name != "parent.db":
            found[name] = path.read_bytes()
    return found


def evaluation(path: Path) -> dict[str, Any]:
    """What an iteration found, but for the time it took, and the digest, which covers it."""
    found: dict[str, Any] = json.loads(path.read_text())
    assert found.pop("seconds") > 0
    assert len(found.pop("digest")) == 64
    return found


def assert_same(found: Path, expected: Path) -> None:
    """The same files with the same contents."""
    one, two = contents(found), contents(expected)
    assert list(one) == list(two)
    for name, content in two.items():
        assert one[name] == content, name
