"""Copies of a configuration that the next step asks for, made as it is told."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import ase.db
import pytest
from typer.testing import CliRunner

from helpers.runs import GIVEN, make_workplace, tiny_config, write_given
from nearsight.cli import app
from nearsight.files.records import Verdict
from nearsight.report.configuration import RunConfiguration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    ("database", "workdir"),
    [(None, None), ("labels.db", None), (None, "other run")],
    ids=["of its own", "shared", "folder of another name"],
)
def test_a_copy_as_it_is_told_calculates_no_label_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str | None, workdir: str | None
) -> None:
    """Copy the file, set what is to be set, and type the command."""
    write_given(tmp_path)
    (tmp_path / "a run.toml").write_text(tiny_config(GIVEN, parent={"database": database}))
    make_workplace(tmp_path)
    monkeypatch.chdir(tmp_path)
    command = ["nearsight", "run", "a run.toml", *(["--workdir", workdir] if workdir else [])]
    labels, folder = Path(database or f"{workdir or 'a run'}/parent.db"), Path(workdir or "a run")

    def calculated() -> list[bytes]:
        """Run; then structures with labels, all of them in one place."""
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, done.output
        assert list(Path().rglob("*.db")) == [labels]
        return [row.positions.tobytes() for row in ase.db.connect(labels).select()]

    first = calculated()
    told = Verdict.load(folder / "verdict.json")
    copy = re.search(r"copy (.+?) to (.+?), and there set (.+)", told.next_step(folder))
    assert copy is not None, told.advice
    assert not Path(copy[2]).exists()
    content = tomllib.loads(Path(copy[1]).read_text())
    for key, value, section in re.findall(r"(\w+) = (.+?) under \[(\w+)\]", copy[3]):
        content.setdefault(section, {}).update(tomllib.loads(f"{key} = {value}"))
    Path(copy[2]).write_text(tiny_config(content))
    command = shlex.split(told.next_command(folder))
    both = calculated()
    assert both[: len(first)] == first
    assert len(set(both)) == len(both) > len(first)  # the validation chunks were not there


def test_a_copy_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    """Neither that of a file nor that of a folder, which would be one of another configuration."""
    folder = tmp_path / "k.1"
    folder.mkdir()
    found = RunConfiguration(folder, None)
    assert found.copy_to("larger", "x")[1] == "{run}-larger.toml"
    (tmp_path / "k.1-larger.toml").touch()
    (tmp_path / "k.1-larger-2").mkdir()
    assert found.copy_to("larger", "x")[1] == "{run}-larger-3.toml"
    assert found.copy_to("larger", "x")[0].startswith("copy {run}/config.toml to ")
    (tmp_path / "k.1.toml").touch()
    assert found.copy_to("larger", "x")[0].startswith("copy {run}.toml to ")
