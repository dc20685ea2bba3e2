"""Parent calculations in a PostgreSQL database, which several machines can share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, molecule

from helpers import postgres
from helpers.cli import run_command
from helpers.parents import bits
from helpers.runs import GIVEN, make_workplace, tiny_config, write_given
from nearsight.errors import InputError
from nearsight.parents import Origin, Parent
from nearsight.parents.database import ParentDatabase

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(postgres.program("initdb") is None, reason="needs Debian's postgresql"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("ase_db_backends")
    pytest.importorskip("psycopg2")
    with postgres.server() as url:
        yield url


def rattled(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


def test_what_one_has_calculated_another_finds_bit_for_bit(url: str) -> None:
    first, second = Parent("emt", database=url), Parent("emt", database=url)
    for atoms, stress in ((rattled(1), True), (rattled(2), False), (molecule("H2O"), False)):
        made = first.calculate(atoms, stress)
        found = second.calculate(atoms, stress)
        assert (made.cached, found.cached) == (False, True)
        assert bits(found) == bits(made) == bits(Parent("emt").calculate(atoms, stress))
        assert found.seconds == made.seconds
    assert (first.known, second.calculations) == (3, 0)
    assert not second.calculate(rattled(2), stress=True).cached  # the stress was missing
    assert first.calculate(rattled(2), stress=True).cached
    assert first.known == 3


def test_a_changed_row_is_named_and_a_look_up_uses_the_index(url: str) -> None:
    parent = Parent("emt", {"asap_cutoff": True}, url, chunks={"asap_cutoff": False})
    parent.calculate(rattled(4), stress=True, origin=Origin("cell", "initial", 2))
    database = ParentDatabase(url)
    number = database.numbers()[-1]
    row = database.row(number)
    assert not isinstance(row, str)
    assert (row.notes["role"], row.notes["iteration"]) == ("cell", 2)
    assert row.data["arguments"] == {"asap_cutoff": True}
    with database.connected():
        cursor = database._table.connection.cursor()
        cursor.execute("SET enable_seqscan = off")  # a small table is read whole
        text = "SELECT id FROM text_key_values WHERE key = 'fingerprint' AND value = 'x'"
        plan = " ".join(line for (line,) in database._query(f"EXPLAIN {text}"))
    assert "Index Only Scan using nearsight_keys" in plan
    with database.transaction():
        change = "UPDATE systems SET energy = energy + 1e-9 WHERE id = ?"
        database._table.connection.cursor().execute(change, (number,))
    with pytest.raises(InputError, match=f"row {number} is damaged .its digest does not match"):
        parent.calculate(rattled(4), stress=True)
    assert "its digest does not match" in run_command("labels", "list", url).out
    assert run_command("labels", "verify", url, "--repair").code == 0
    assert "its digest does not match" not in run_command("labels", "list", url).out
    assert "pg_dump" in run_command("labels", "copy", url, "copy.db").err
    assert not parent.calculate(rattled(4), stress=True).cached


def test_a_database_of_version_1_gets_its_digests(url: str) -> None:
    known = bits(Parent("emt", database=url).calculate(rattled(5), stress=True))
    database = ParentDatabase(url)
    with database.transaction():
        cursor = database._table.connection.cursor()
        cursor.execute("UPDATE systems SET data = data - 'digest'")
        cursor.execute("DROP INDEX nearsight_keys")
        database._table.metadata = {"format": ParentDatabase.FORMAT, "version": 1}
    before = ParentDatabase(url, inspect=True)
    found = Parent("emt", database=url).calculate(rattled(5), stress=True)
    assert found.cached
    assert bits(found) == known
    after = ParentDatabase(url, inspect=True)
    assert (before.version, after.version) == (1, 2)
    assert all(after.row(number).has_digest for number in after.numbers())  # type: ignore[union-attr]
    assert after._query("SELECT indexname FROM pg_indexes WHERE indexname = 'nearsight_keys'")


@pytest.mark.parametrize("repeat", range(6))
def test_two_parents_calculate_at_once(url: str, repeat: int) -> None:
    first = 10 + 8 * repeat
    structures = [rattled(seed) for seed in range(first, first + 8)]
    before = Parent("emt", database=url).known
    parents = [Parent("emt", database=url) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda parent: parent.calculate_many(structures), parents)
    assert [bits(result) for result in one] == [bits(result) for result in two]  # type: ignore[arg-type]
    known = Parent("emt", database=url)
    assert all(result.cached for result in known.calculate_many(structures))  # type: ignore[union-attr]
    assert known.known - before <= sum(parent.calculations for parent in parents)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("postgres?", "nowhere?"), "does not exist"),
        (("nearsight:", "nobody:"), "authentication failed"),
        (("%3A", "%3B"), "authentication failed"),
        (("host=", "host=/nowhere"), "No such file or directory"),
        (("?host=", "?hosts="), "hosts"),
        (("@/", "@:port/"), "port"),
    ],
)
def test_no_message_shows_the_password(url: str, change: tuple[str, str], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        Parent("emt", database=url.replace(*change))
    sentence = str(caught.value)
    assert reason in sentence
    assert "\n" not in sentence
    assert sentence.startswith("postgresql://")
    assert "s3cret" not in sentence
    assert "word@" not in sentence


def test_a_run_takes_the_password_from_the_environment_and_writes_it_nowhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_given(tmp_path)
    plain = url.replace(":" + postgres.PASSWORD.replace(":", "%3A"), "")
    make_workplace(tmp_path, tiny_config(GIVEN, parent={"database": plain}))
    refused = run_command("run", "nft.toml")
    assert (refused.code, "no password supplied" in refused.err) == (2, True)
    monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
    done = run_command("run", "nft.toml")
    assert done.code == 0, done.err
    said = done.out + done.err + run_command("status", "nft").out
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        said += path.read_bytes().decode(errors="replace")
    assert plain in said
    assert "s3cret" not in said


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Parent("emt", database="mysql://user:s3cret@host/parents")
    assert "got 'mysql://user@host/parents'" in str(caught.value)


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ase_db_backends.postgresql", None)
    with pytest.raises(InputError, match=r'pip install "nearsight\[postgres\]"'):
        Parent("emt", database="postgresql://user@host/parents")
