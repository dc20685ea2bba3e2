"""Rows of the database: digests, today's checks, what they say, look-ups that use the index."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from helpers.faulty import FAULTY
from helpers.parents import bits
from nearsight.errors import InputError, ParentError
from nearsight.learning.locality import force_locality
from nearsight.learning.targets import Targets
from nearsight.parents import Failure, Origin, Parent
from nearsight.parents.database import ParentDatabase, ParentResult
from nearsight.structures.digest import structure_digest


def copper(seed: int = 3) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parent.db"


@pytest.fixture
def filled(path: Path) -> Path:
    Parent("emt", database=path).calculate_many([copper(n) for n in range(3)], stress=True)
    return path


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def forces_of(path: Path, number: int) -> Any:
    return ase.db.connect(path).get(id=number).forces.copy()


# -- damage


def one_digit(path: Path) -> None:
    forces = forces_of(path, 1)
    forces[2, 1] = np.nextafter(forces[2, 1], np.inf)
    change(path, "UPDATE systems SET forces = ? WHERE id = 1", forces.tobytes())


def swapped(path: Path) -> None:
    change(path, "UPDATE systems SET forces = ? WHERE id = 1", forces_of(path, 2).tobytes())


def huge(path: Path) -> None:
    change(path, "UPDATE systems SET forces = ? WHERE id = 1", np.full((4, 3), 1e300).tobytes())


def renamed(path: Path) -> None:
    change(
        path, "UPDATE systems SET key_value_pairs = replace(key_value_pairs, '\"role\"', '\"x\"')"
    )


DAMAGES: dict[str, Callable[[Path], None] | str] = {
    "last bit of a force": one_digit,
    "forces of another row": swapped,
    "huge forces": huge,
    "role": renamed,
    "energy": "UPDATE systems SET energy = energy + 1e-9 WHERE id = 1",
    "infinite energy": "UPDATE systems SET energy = 9e999 WHERE id = 1",
    "no stress": "UPDATE systems SET stress = NULL WHERE id = 1",
    "position": "UPDATE systems SET positions = zeroblob(96) WHERE id = 1",
    "periodicity": "UPDATE systems SET pbc = 3 WHERE id = 1",
    "no data": "UPDATE systems SET data = NULL WHERE id = 1",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_row_that_does_not_match_its_digest_is_named(what: str, filled: Path) -> None:
    parent = Parent("emt", database=filled)
    damage = DAMAGES[what]
    change(filled, damage) if isinstance(damage, str) else damage(filled)
    for known in (parent, Parent("emt", database=filled)):
        with pytest.raises(InputError) as caught:
            known.calculate(copper(0), stress=True)
        assert str(caught.value).startswith(f"{filled}: row 1 is damaged (it")
        assert f"nearsight labels verify {filled} --repair" in str(caught.value)
        assert known.calculations == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE text_key_values SET value = value || '0' WHERE key = 'fingerprint' AND id = 2",
        "UPDATE text_key_values SET key = 'fingerprin' WHERE key = 'fingerprint' AND id = 2",
        "UPDATE systems SET key_value_pairs = '{}' WHERE id = 2",
        "UPDATE systems SET key_value_pairs = x'ff80' WHERE id = 2",
        "DELETE FROM systems WHERE id = 2",
    ],
)
def test_a_row_that_its_key_does_not_lead_to_is_named(statement: str, filled: Path) -> None:
    change(filled, statement)
    parent = Parent("emt", database=filled)
    assert parent.calculate(copper(0), stress=True).cached
    for structure in (copper(1), copper(7)):  # the one that is lost, and any that is not there
        with pytest.raises(InputError, match=r"row 2 is damaged \("):
            parent.calculate(structure, stress=True)
    assert parent.calculations == 0


def test_the_words_of_a_damage_are_plain_text(filled: Path) -> None:
    # a number of another kind: SQLite's text of it is what the bytes are
    change(filled, "UPDATE systems SET positions = CAST(x'440a80ff1b00' AS TEXT) WHERE id = 1")
    with pytest.raises(InputError, match="row 1 is damaged") as caught:
        Parent("emt", database=filled).calculate(copper(0), stress=True)
    assert str(caught.value).isprintable()


def test_an_index_out_of_order_is_no_reason_to_calculate_again(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'nearsight_keys'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(filled.read_bytes())
    page = (root - 1) * size
    assert content[page] == 10  # a leaf of an index; after eight bytes where its entries are
    count = int.from_bytes(content[page + 3 : page + 5], "big")
    places = [content[page + 8 + 2 * n : page + 10 + 2 * n] for n in range(count)]
    content[page + 8 : page + 8 + 2 * count] = b"".join(places[::-1])
    filled.write_bytes(content)
    said = []
    for n in range(3):
        parent = Parent("emt", database=filled)
        try:
            assert parent.calculate(copper(n), stress=True).cached
        except InputError as error:
            said.append(str(error))
    assert said
    assert all("truncated or corrupted" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ('{"format": "nearsight-parent"}', "no valid version number"),
        ('{"format": "nearsight-parent", "version": "2"}', "no valid version number"),
        ('["nearsight-parent"]', "not one of parent calculations"),
        ('{"format": "nearsight-parenu", "version": 2}', "not one of parent calculations"),
        ("{", "truncated or corrupted"),
    ],
)
def test_a_damaged_header(header: str, reason: str, filled: Path) -> None:
    change(filled, f"UPDATE information SET value = '{header}' WHERE name = 'metadata'")
    with pytest.raises(InputError, match=reason):
        Parent("emt", database=filled)


def test_no_random_damage_gives_other_numbers_or_a_silent_calculation(tmp_path: Path) -> None:
    path = tmp_path / "parent.db"
    structures = [copper(n) for n in range(3)]
    known = [bits(r) for r in Parent("emt", database=path).calculate_many(structures, stress=True)]  # type: ignore[arg-type]
    whole = path.read_bytes()
    generator = random.Random(5)
    told = 0
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(generator.randint(1, 20)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        path.write_bytes(content)
        try:
            parent = Parent("emt", database=path)
            found = parent.calculate_many(structures, stress=True)
        except InputError:
            told += 1
            continue
        assert parent.calculations == 0
        assert [bits(result) for result in found] == known  # type: ignore[arg-type]
    assert told > 10


def test_rows_may_be_marked_with_the_commands_of_ase(filled: Path) -> None:
    ase.db.connect(filled).update(1, checked=True, note="by hand")
    assert Parent("emt", database=filled).calculate(copper(0), stress=True).cached


# -- databases of earlier versions


def as_version_1(path: Path) -> None:
    """Write the rows as version 1 has written them."""
    earlier = path.with_name("earlier.db")
    database = ase.db.connect(earlier, use_lock_file=False)
    database.metadata = {"format": "nearsight-parent", "version": 1}
    for row in ase.db.connect(path).select():
        data = {"settings": row.data["settings"]}
        database.write(row.toatoms(), {}, data, fingerprint=row.fingerprint, seconds=row.seconds)
    earlier.replace(path)


def test_a_database_of_version_1_is_read_and_protected_from_then_on(filled: Path) -> None:
    known = bits(Parent("emt", database=filled).calculate(copper(0), stress=True))
    as_version_1(filled)
    row = ParentDatabase(filled, inspect=True).row(1)
    assert not isinstance(row, str)
    assert not row.has_digest
    found = Parent("emt", database=filled).calculate(copper(0), stress=True)
    assert found.cached
    assert bits(found) == known
    assert ase.db.connect(filled).metadata["version"] == 2
    one_digit(filled)
    with pytest.raises(InputError, match=r"row 1 is damaged \(its digest does not match"):
        Parent("emt", database=filled).calculate(copper(0), stress=True)


def test_nothing_that_no_parent_could_give_gets_a_digest(filled: Path) -> None:
    as_version_1(filled)
    change(filled, "UPDATE systems SET energy = 9e999 WHERE id = 1")
    parent = Parent("emt", database=filled)
    with pytest.raises(InputError, match=r"row 1 is damaged \(it has no digest\)"):
        parent.calculate(copper(0), stress=True)
    assert parent.calculate(copper(1), stress=True).cached


# -- today's checks


def test_max_force_counts_for_known_results_too(filled: Path) -> None:
    largest = np.linalg.norm(forces_of(filled, 1), axis=1).max()
    strict = Parent("emt", database=filled, max_force=0.9 * largest)
    for _ in range(2):
        with pytest.raises(ParentError, match=r"beyond max_force = .* \(in the database\)"):
            strict.calculate(copper(0), stress=True)
    assert strict.calculations == 0
    assert len(strict.failures.given_up()[0].reasons) == 1
    assert Parent("emt", database=filled).calculate(copper(0), stress=True).cached


def test_a_known_result_beyond_max_force_is_tried_again_as_the_retries_say(path: Path) -> None:
    arguments = {"faults": {"4": "blow up"}}
    retries = [{"faults": {}}]
    Parent(FAULTY, arguments, path, max_force=1001.0).calculate(copper())
    failures = path.with_name("failures.json")
    strict = Parent(FAULTY, arguments, path, retries=retries, failures=failures)
    result = strict.calculate(copper())
    assert not result.cached
    assert bits(result) == bits(Parent("emt").calculate(copper()))
    assert len(strict.failures.failed(next(iter(strict.failures._structures)))) == 1
    assert (
        Parent(FAULTY, arguments, path, retries=retries, failures=failures)
        .calculate(copper())
        .cached
    )


# -- what a row says


def test_a_row_says_where_a_chunk_was_cut_and_how_it_was_calculated(path: Path) -> None:
    target = bulk("Pt", cubic=True).repeat((2, 2, 3))
    target.pbc = False
    other = target.copy()
    other.rattle(0.05, seed=1)
    chunks = Targets((target, other)).extract([5, 48 + 7], 4.5, 3.0)
    arguments = {"asap_cutoff": True}
    Parent("emt", arguments, path, chunks={"asap_cutoff": False}).calculate_many(
        chunks, origin=Origin("whole", "nft", 4)
    )
    row = ase.db.connect(path).get(id=2)
    assert {
        key: row[key] for key in row.key_value_pairs if key not in ("fingerprint", "seconds")
    } == {
        "role": "chunk",
        "stage": "nft",
        "iteration": 4,
        "source": structure_digest(other),
        "frame": 1,
        "atom": 7,
        "radius": 4.5,
        "attempt": 1,
    }
    assert row.data["arguments"] == {"asap_cutoff": False}
    assert row.data["settings"]["arguments"] == arguments
    assert row.data["versions"] == {name: version(name) for name in ("nearsight", "ase")}


def test_a_row_says_which_attempt_and_which_arguments_it_comes_from(path: Path) -> None:
    arguments, retries = {"faults": {"4": "raise"}}, [{"faults": {}}]
    Parent(FAULTY, arguments, path, retries=retries).calculate(copper())
    row = ase.db.connect(path).get(id=1)
    assert (row.role, row.attempt) == ("structure", 2)
    assert row.data["arguments"] == {"faults": {}}
    assert row.data["settings"]["changed"] == {"faults": {}}


def test_a_row_keeps_what_the_parent_saw_of_info(path: Path) -> None:
    atoms = copper()
    atoms.info = {"charge": np.int64(-1), "spin": 2.0, "field": [0.0, 0.1]}
    database = ParentDatabase(path)
    database.write("sha256-1", atoms, ParentResult(1.0, np.ones((4, 3)), 1.0, cached=False), {})
    row = ParentDatabase(path).row(1)
    assert not isinstance(row, str)
    assert row.atoms.info == {"charge": -1, "spin": 2.0, "field": [0.0, 0.1]}


def test_the_locality_scan_says_what_is_whole_and_what_is_cut(path: Path) -> None:
    target = bulk("Cu", cubic=True).repeat(2)
    force_locality(target, Parent("emt", database=path), [3.0, 4.0], [0])
    rows = list(ase.db.connect(path).select())
    assert [(row.role, row.get("radius")) for row in rows] == [
        ("whole", None),
        ("chunk", 3.0),
        ("chunk", 4.0),
    ]
    assert {row.stage for row in rows} == {"locality"}
    assert rows[1].source == structure_digest(target)


# -- look-ups


def test_a_look_up_uses_the_index_alone(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = ParentDatabase(filled)
    statements: list[str] = []
    with database.connected():
        database._table.connection.set_trace_callback(statements.append)
        assert database.read("sha256-unknown", 4) is None
        look_up, check = [text for text in statements if "fingerprint" in text]
        assert "UNION ALL" in check  # once, because it was not found
        assert database.read("sha256-unknown", 4) is None
        assert statements.count(check) == 1
        plan = database._query(f"EXPLAIN QUERY PLAN {look_up}")
    assert [step[3] for step in plan] == [
        "SEARCH text_key_values USING COVERING INDEX nearsight_keys (key=? AND value=?)"
    ]


def test_an_error_of_one_look_up_among_many_is_one_sentence(filled: Path) -> None:
    database = ParentDatabase(filled)
    change(filled, "ALTER TABLE text_key_values RENAME TO elsewhere")
    with database.connected():
        with pytest.raises(InputError, match=r"the database cannot be used .no such table"):
            database.read("sha256-1", 4)
        change(filled, "ALTER TABLE elsewhere RENAME TO text_key_values")
        assert database.read("sha256-1", 4) is None


def test_a_database_that_others_write_is_checked_without_false_alarm(filled: Path) -> None:
    checks = threading.Semaphore(0)

    def write() -> None:
        with closing(sqlite3.connect(filled)) as connection:
            while not checks.acquire(blocking=False):
                with connection:
                    connection.execute("UPDATE systems SET id = id + 10")
                    connection.execute("UPDATE text_key_values SET id = id + 10")
                time.sleep(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            ParentDatabase(filled).check()
    finally:
        checks.release()
        writer.join()


def test_failures_are_no_results(path: Path) -> None:
    parent = Parent(FAULTY, {"faults": {"4": "raise"}}, path)
    (found,) = parent.calculate_many([copper()])
    assert isinstance(found, Failure)
    assert len(ParentDatabase(path)) == 0


def test_two_writers_of_one_result(tmp_path: Path) -> None:
    """The second looks only after the first has committed: there are no two rows of one key."""
    first, second = (ParentDatabase(tmp_path / "parent.db") for _ in range(2))
    result = ParentResult(1.0, np.ones((4, 3)), 1.0, cached=False)
    atoms = bulk("Cu", cubic=True)
    with ThreadPoolExecutor(1) as pool:
        with first.transaction():
            first.write("sha256-1", atoms, result, {})
            other = pool.submit(second.write, "sha256-1", atoms, result, {})
            wait([other], 0.3)
        other.result()
    assert first.numbers() == [1]
