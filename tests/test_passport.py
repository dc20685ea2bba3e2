"""What `nearsight new` says of a structure and its run, and the short file it writes."""

from __future__ import annotations

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.cluster.octahedron import Octahedron

from helpers.cli import run_command
from nearsight.config import Config
from nearsight.parents.database import ParentDatabase

PARTICLE = Octahedron("Cu", 6, 2)  # 116 atoms


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a particle."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("particle.xyz", PARTICLE)
    return tmp_path


def rows(text: str) -> dict[str, str]:
    """The table: what stands behind each name."""
    pairs = (re.split(r"  +", line.rstrip(), maxsplit=1) for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def test_a_particle() -> None:
    code, out, err = run_command("new", "particle.xyz", "--accuracy", "0.05")
    assert (code, err) == (0, "")
    found = rows(out)
    assert found["target"] == "Cu116, 116 atoms; not periodic"
    # copper: 3.61 Å / √2; the octahedron has these distances throughout
    assert found["distances"] == "Cu–Cu 2.55 Å (usual: 2.55)"
    near = [int((np.linalg.norm(PARTICLE.positions - p, axis=1) <= 8.0).sum()) for p in
            PARTICLE.positions]  # fmt: skip
    smallest, largest = map(int, re.findall(r"(\d+) to (\d+) atoms", found["chunks"])[0])
    assert min(near) <= smallest <= largest <= max(near)
    # those of a cube's corner whose coordinates have the same lengths, in any order
    away = np.abs(PARTICLE.positions - PARTICLE.positions.mean(axis=0)).round(3)
    different = len({tuple(sorted(row)) for row in away.tolist()})
    assert found["parent calls"].startswith(
        f"about 34 small cells, at most {different} chunks (by symmetry there are no others), "
        "3 larger ones, 30 more if a relaxation"
    )
    assert found["time"].startswith("less than a minute for the chunks, from one of ")
    assert out.splitlines()[-1].endswith("start with: nearsight run nft.toml")
    assert Config.load("nft.toml").nft.accuracy == 0.05


def rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "calls"),
    [
        (rattled(PARTICLE.copy()), "at most 25 chunks, 3 larger ones"),
        (rattled(bulk("Cu", cubic=True)), "at most 4 chunks, 3 larger ones"),
        (bulk("Cu") * 3, "at most 1 chunk (by symmetry there are no others), 1 larger one"),
    ],
    ids=["rattled", "few atoms", "crystal"],
)
def test_chunks_that_are_alike_count_once(atoms: Atoms, calls: str) -> None:
    ase.io.write("atoms.extxyz", atoms)
    _, out, _ = run_command("new", "atoms.extxyz", "--no-probe")
    assert f", {calls}" in rows(out)["parent calls"]


def test_a_slab_and_its_empty_space() -> None:
    slab = fcc111("Cu", (5, 5, 4), vacuum=6.0)
    slab.pbc, slab.info = True, {}
    ase.io.write("slab.extxyz", slab)
    _, out, _ = run_command("new", "slab.extxyz")
    assert rows(out)["target"] == (
        "Cu100, 100 atoms; periodic along a; periodic along b; periodic along c with 12.0 Å of "
        "empty space"
    )


def test_what_only_a_small_target_affords() -> None:
    """Above 10,000 atoms nothing asks for a calculation of the whole."""
    ase.io.write("large.extxyz", bulk("Cu", cubic=True) * 14)
    code, out, _ = run_command("new", "large.extxyz", "--seed", "3")
    assert code == 0
    assert "the whole target" not in rows(out)["parent calls"]
    assert rows(out)["cost"].startswith("chunks as much as less than 0.01 calculations of the ")
    config = Config.load("nft.toml")
    assert config.locality is None
    assert not config.report.true_forces
    assert config.relaxation is not None
    assert not config.relaxation.with_parent


def test_a_cost_is_a_number_to_be_read() -> None:
    ase.io.write("small.extxyz", rattled(bulk("Cu", cubic=True) * 2))
    _, out, _ = run_command("new", "small.extxyz")
    cost = re.findall(r"chunks as much as (\d+) calculations", rows(out)["cost"])
    assert int(cost[0]) > 10 * (182 / 32) ** 3  # at least ten chunks
    assert "\nThe target (32 atoms) is no larger than a chunk" in out


def test_a_dozen_keys_mean_the_same_as_all() -> None:
    assert run_command("new", "particle.xyz", "-o", "short.toml", "--seed", "3").code == 0
    assert run_command("new", "particle.xyz", "-o", "full.toml", "--seed", "3", "--full").code == 0
    short, full = Path("short.toml").read_text(), Path("full.toml").read_text()

    def keys(text: str) -> int:
        return sum(bool(re.match(r"\w+ =", line)) for line in text.splitlines())

    assert keys(short) < 25 < 60 < keys(full)
    assert len(short.splitlines()) < 0.4 * len(full.splitlines())
    assert Config.load("short.toml").model_dump() == Config.load("full.toml").model_dump()


def test_a_chunk_is_timed_and_kept() -> None:
    """With a parent of one's own; in the database of the run, which has it at once."""
    Path("mine.py").write_text("from ase.calculators.emt import EMT as make\n")
    code, out, err = run_command("new", "particle.xyz", "--parent", "mine:make")
    assert code == 0, err
    assert "from one of" in rows(out)["time"]
    assert len(ParentDatabase("nft/parent.db", inspect=True)) == 1
    assert run_command("new", "particle.xyz", "-o", "b.toml", "--parent", "mine:make",
                       "--no-probe").code == 0  # fmt: skip
    assert not Path("b").exists()


def test_a_slow_parent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearsight.cli.new.PATIENCE", 1.5)
    Path("slow.py").write_text(
        "import time\n"
        "from ase.calculators.emt import EMT\n"
        "class Slow(EMT):\n"
        "    def calculate(self, *given, **more):\n"
        "        time.sleep(60)\n"
    )
    code, out, _ = run_command("new", "particle.xyz", "--parent", "slow:Slow")
    assert code == 0
    assert "time" not in rows(out)
    assert "Not timed: " in out
    assert "adapt" not in out
    assert Config.load("nft.toml").parent.timeout is None


def test_a_parent_that_fails_is_to_be_given_what_it_needs() -> None:
    """ASE's EAM without a file of coefficients."""
    code, out, _ = run_command("new", "particle.xyz", "--parent", "eam")
    assert code == 0
    assert "A run would fail likewise" in out
    assert "adapt the arguments in [parent], then start with" in out


def test_parents_to_adapt_are_not_started() -> None:
    _, out, _ = run_command("new", "particle.xyz", "--parent", "espresso")
    assert "Not timed yet: nearsight new ... --parent espresso --probe" in out
    assert not Path("nft").exists()


def test_formats_that_ase_cannot_guess() -> None:
    atoms = PARTICLE.copy()
    atoms.center(vacuum=4.0)
    ase.io.write("cu.data", atoms, format="lammps-data", masses=True)
    code, _, err = run_command("new", "cu.data")
    assert code == 2
    assert err == "cu.data: holds no structure, or its format is another one (--format)\n"
    code, out, err = run_command("new", "cu.data", "--format", "lammps-data")
    assert code == 0, err
    assert "Cu116" in out
    assert Config.load("nft.toml").target.format == "lammps-data"
    code, _, err = run_command("new", "cu.data", "--format", "lamps", "--force")
    assert (code, err) == (2, "cu.data: ASE cannot read it (it knows no format 'lamps')\n")
