"""Files written whole or not at all, and read with a sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.files.atomic import check_header, read_json, write_bytes, write_json, write_text


def test_floats_round_trip_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-300, 300, 0.6)
    write_json(path, {"values": values, "one": values[0], "count": np.int64(3), "path": path})
    content = read_json(path)
    assert content["values"] == values.tolist()
    assert content["one"] == values[0]
    assert content["count"] == 3
    assert content["path"] == str(path)


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "δ = 2.58 σ, eV/Å\n")
    assert (tmp_path / "a.txt").read_bytes() == "δ = 2.58 σ, eV/Å\n".encode()


def test_an_older_file_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])
    write_json(path, [2])
    assert read_json(path) == [2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_group_may_read_what_was_written(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")

    def full(*arguments: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(owner, name, full)
    with pytest.raises(InputError, match="no space left"):
        write_json(path, "new")
    monkeypatch.undo()
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [np.nan, np.inf, np.array([1.0, -np.inf])])
def test_what_json_cannot_hold_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": value})
    assert not list(tmp_path.iterdir())


def test_objects_have_no_json_form(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        write_json(tmp_path / "a.json", {1, 2})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": [1, 2', b"\x80\x04K\x01.", b"import os", b'{"a": NaN}', b"[Infinity]"],
    ids=["empty", "brace", "truncated", "pickle", "python", "nan", "infinity"],
)
def test_damaged_files(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not valid JSON") as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_any_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"format": "x", "values": [1.5, 2.5], "text": "ü"})
    content = path.read_bytes()
    for length in range(len(content.rstrip())):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="not valid JSON"):
            read_json(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read \(No such file"):
        read_json(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match=r"cannot be read \(not a file\)"):
        read_json(tmp_path)


def test_header_of_a_good_file() -> None:
    content = {"format": "thing", "version": 2, "more": 1}
    assert check_header(content, "a.json", "thing", 2) is content
    assert check_header(content, "a.json", "thing", 3) is content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a.json: not a file of format 'thing'"),
        ({}, "a.json: not a file of format 'thing'"),
        ({"format": "other", "version": 1}, "a.json: not a file of format 'thing'"),
        ({"format": "thing"}, r"a.json: no valid version number \(found None\)"),
        ({"format": "thing", "version": "1"}, r"no valid version number \(found '1'\)"),
        ({"format": "thing", "version": 0}, r"no valid version number \(found 0\)"),
        ({"format": "thing", "version": 3}, r"newer nearsight \(file version 3, this one reads"),
    ],
)
def test_headers_that_are_refused(content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_header(json.loads(json.dumps(content)), Path("a.json"), "thing", 2)
