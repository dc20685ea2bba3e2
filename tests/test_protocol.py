"""Calls and results as JSON: every bit comes through, and nothing is executed but what may be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from nearsight.errors import InputError
from nearsight.executors import CallError, protocol
from nearsight.executors.protocol import call_function, call_text, digest, read_result
from nearsight.files.atomic import read_json
from nearsight.parents.tasks import run_tasks


def echo(*arguments: Any, **keywords: Any) -> Any:
    return [*arguments, keywords]


def fail(error: str) -> None:
    raise {"InputError": InputError, "ValueError": ValueError}[error]("a reason\nin two lines")


@pytest.fixture
def any_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = {f"{__name__}:{name}" for name in ("echo", "fail")}
    monkeypatch.setattr(protocol, "FUNCTIONS", protocol.FUNCTIONS | allowed)


def through(*arguments: Any, **keywords: Any) -> Any:
    """What comes back from another process, all but the process."""
    call = call_text(echo, arguments, keywords)
    assert "\n" not in call
    text = json.dumps(call_function(call), allow_nan=False)
    assert "\n" not in text
    return read_result(text, digest(call))


def bits(value: Any) -> Any:
    """Content with types and bits to compare."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    if isinstance(value, float):
        return np.float64(value).tobytes()
    if isinstance(value, list | tuple):
        return [bits(each) for each in value]
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    return [type(value), value]


DENORMAL = 5e-324


@pytest.mark.usefixtures("any_echo")
@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, 2**70, "Å \ud800 \0 \n", -0.0, DENORMAL, 0.1),
        *(float("nan"), float("inf"), -float("inf")),
        {"a": {"$array": 1}, "$dict": [{"$float": "x"}]},
        np.array([[0.1, -0.0], [DENORMAL, 1e308]]),
        np.array([np.nan, -np.nan, np.inf]),
        np.random.default_rng(0).normal(size=(40, 100)),
        np.zeros((0, 3)),
        np.array(3.5),
        np.arange(5, dtype=np.int32),
        np.array([True, False]),
        np.array(["Cu", "Å"]),
        np.array([1.0 + 2.0j]),
        np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        bulk("Cu", cubic=True).todict(),
    ],
)
def test_every_bit_comes_through(value: Any) -> None:
    back, keywords = through(value, name=value)
    expected = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    assert bits(back) == bits(expected) == bits(keywords["name"])


@pytest.mark.usefixtures("any_echo")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_plain_content_comes_through(value: Any) -> None:
    assert bits(through(value)[0]) == bits(value)


@pytest.mark.usefixtures("any_echo")
@pytest.mark.parametrize("value", [object(), {1: 2}, {1}, b"", np.array([object()]), Path()])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="must be plain, got "):
        call_text(echo, [[value]], {})


@pytest.mark.usefixtures("any_echo")
def test_exceptions_come_back_as_text() -> None:
    for name, kind, words in (
        ("InputError", InputError, "a reason\nin two lines"),
        ("ValueError", CallError, "ValueError: a reason in two lines"),
    ):
        call = call_text(fail, [name], {})
        with pytest.raises(kind) as caught:
            read_result(json.dumps(call_function(call)), digest(call))
        assert str(caught.value) == words
        assert "in fail" in str(caught.value.__cause__)


@pytest.mark.parametrize("name", ["os:system", "nearsight.parents.tasks:os.system"])
def test_a_worker_calls_nothing_else(tmp_path: Path, name: str) -> None:
    call = {"function": name, "arguments": [f"touch {tmp_path / 'executed'}"], "keywords": {}}
    (tmp_path / "call.json").write_text(json.dumps(call))
    words = [sys.executable, "-m", "nearsight.executors.work", "call.json", "result.json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run(words, cwd=tmp_path, env=environment, check=False).returncode == 1
    assert json.loads((tmp_path / "result.json").read_text())["error"]["text"] == (
        f"workers do not call {name}"
    )
    assert not (tmp_path / "executed").exists()
    with pytest.raises(TypeError, match="workers do not call posixpath:join"):
        call_text(os.path.join, [], {})


def test_a_worker_calculates(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    task = {
        "calculator": "emt",
        "folder": None,
        "script": None,
        "arguments": {},
        "structure": atoms.todict(),
        "stress": True,
        "attempt_folder": None,
        "shared": False,
        "result": str(tmp_path / "kept.json"),
        "about": {"key": "sha256-0", "data": {}, "notes": {}},
    }
    call = call_text(run_tasks, [[task]], {})
    (tmp_path / "call.json").write_text(call)
    words = [sys.executable, "-m", "nearsight.executors.work", "call.json", "result.json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(words, cwd=tmp_path, env=environment, check=True)
    (found,) = read_result((tmp_path / "result.json").read_bytes(), digest(call))
    (expected,) = run_tasks([task])
    assert read_json(tmp_path / "kept.json")["energy"] == expected["energy"]
    for outcome in (found, expected):
        del outcome["seconds"]
    assert bits(found) == bits(expected)


TEXT = json.dumps(
    {
        "format": "nearsight-result",
        "call": "x",
        "value": {"a": {"$array": ["<f8", [2], [1.0, 2.0]]}, "b": {"$float": "nan"}},
    }
)


@given(st.integers(0, len(TEXT) - 1), st.sampled_from('{}[],:"$0aO\\|<-'), st.integers(0, 2))
@settings(max_examples=500, deadline=None)
def test_damage_is_a_value_error(place: int, put: str, removed: int) -> None:
    with suppress(ValueError):
        read_result(TEXT[:place] + put + TEXT[place + removed :], "x")
