"""A file system that fails at every write of a run, once: one sentence each time, nothing lost.

`faulty_files.cpp` stands between the program and the C library, so that what SQLite and ASE write
fails too. The program is run, fails at the first operation it has not failed at before, is run
again, and so on, until it ends.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.cli import without_progress
from helpers.faulty import FAULTY
from helpers.runs import FILES, assert_same_results, files, make_workplace, tiny_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD and /proc"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler"),
]

DRIVER = '''\
"""Run a configuration until it ends, every operation on its folder failing once; tell how."""
import contextlib, ctypes, io, json, shutil, sys
from pathlib import Path
import nearsight.report.page
from nearsight.cli import app

library, config, number, times = sys.argv[1:]
folder = Path(config).with_suffix("")
faults = ctypes.CDLL(library)
faults.faults_end.restype = ctypes.c_char_p
page, drawn = nearsight.report.page, []
draw = page.draw_figures
page.draw_figures = lambda data: drawn or drawn.extend(draw(data)) or drawn  # takes long
page.png = lambda figure: b"a figure"
told = []
while len(told) < 1000:
    out, err = io.StringIO(), io.StringIO()
    # nothing depends on status.json
    faults.faults_begin(str(folder).encode(), b"status.json", int(number), int(times))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app(["run", config], prog_name="nearsight")
        except SystemExit as end:
            code = end.code
    failed = faults.faults_end().decode()
    if not failed:
        break
    told.append({"failed": failed, "code": code, "said": err.getvalue()})
    if code == 0:  # it could do without; there is more to fail in a new run
        shutil.rmtree(folder)
print(json.dumps({"told": told, "code": code, "said": err.getvalue()}))
'''


def run(command: list[str | Path], place: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, without_progress(done.stderr)) == (0, "")
    return done.stdout


def make_logged_workplace(place: Path) -> None:
    parent = {"calculator": FAULTY, "arguments": {"log": "calculations.log"}}
    make_workplace(place, tiny_config(parent=parent))


def calculations(place: Path) -> list[str]:
    return (place / "calculations.log").read_text().splitlines()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place of an undisturbed run."""
    place = tmp_path_factory.mktemp("finished")
    make_logged_workplace(place)
    run(["-m", "nearsight", "run", "nft.toml"], place)
    return place


@dataclass(frozen=True)
class Fault:
    """An operation that failed, and what the program made of it."""

    failed: str
    code: int
    said: str

    @property
    def file(self) -> str:
        """The file a user knows."""
        name = self.failed.split()[1]
        return re.sub(r"(\.part|-journal)$", "", name)


@pytest.fixture(scope="module", params=[("ENOSPC", 3), ("EIO", 2)], ids=lambda pair: pair[0])
def disturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Fault], str]:
    """The place of a run on the faulty file system, what failed, and the error it failed with."""
    name, times = request.param
    place = tmp_path_factory.mktemp(name)
    make_logged_workplace(place)
    (place / "driver.py").write_text(DRIVER)
    library = place / "faulty.so"
    source = Path(__file__).with_name("helpers") / "faulty_files.cpp"
    subprocess.run(
        ["c++", "-std=c++17", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True
    )
    number = getattr(errno, name)
    told: dict[str, Any] = json.loads(
        run(
            ["driver.py", library, place / "nft.toml", str(number), str(times)],
            place,
            LD_PRELOAD=str(library),
        )
    )
    assert (told["code"], without_progress(told["said"])) == (0, "")
    faults = [Fault(**each | {"said": without_progress(each["said"])}) for each in told["told"]]
    return place, faults, os.strerror(number)


def test_every_file_has_failed(disturbed: tuple[Path, list[Fault], str]) -> None:
    _, faults, _ = disturbed
    assert {fault.file for fault in faults} >= FILES - {"status.json"}
    assert {fault.failed.split()[0] for fault in faults} >= {"open", "write", "fsync", "rename"}


def test_one_sentence_names_the_file(disturbed: tuple[Path, list[Fault], str]) -> None:
    place, faults, reason = disturbed
    for fault in faults:
        if fault.code == 0:
            # SQLite then opens it for reading, a folder that is there need not be made, what
            # cannot be in a file of its own is in the database, and begun.json is not needed in a
            # run that is not killed
            spared = ["open parent.db ", "mkdir iteration-"]
            if reason == os.strerror(errno.ENOSPC):  # waited for, or written later
                spared += [f"{fault.failed.split()[0]} {name}" for name in ("parent", "run.log ")]
            other = fault.file.startswith(("parent/results", "begun.json"))
            assert other or fault.failed.startswith(tuple(spared)), fault
            continue
        assert fault.code == 2, fault
        assert fault.said.count("\n") == 1, fault
        assert str(place / "nft" / fault.file.partition("KEY")[0]) in fault.said, fault
        # SQLite and NumPy have words of their own
        if fault.file != "parent.db" and not fault.failed.startswith("fwrite"):
            assert reason in fault.said, fault


def test_it_ends_like_an_undisturbed_run(
    disturbed: tuple[Path, list[Fault], str], finished: Path
) -> None:
    place, _, _ = disturbed
    assert files(place / "nft") == files(finished / "nft")
    assert_same_results(place / "nft", finished / "nft")


def test_what_was_committed_is_not_calculated_again(
    disturbed: tuple[Path, list[Fault], str], finished: Path
) -> None:
    place, faults, _ = disturbed
    expected, found = calculations(finished), calculations(place)
    assert len(set(expected)) == len(expected)
    assert set(found) == set(expected)
    runs = 1 + sum(fault.code == 0 for fault in faults)
    # what could not be committed was in a file of its own
    assert len(found) == runs * len(expected)
