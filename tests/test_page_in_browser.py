"""The page of a report in a browser, without a network: what can be done with it, and for whom.

Needs Debian's chromium (or one named by the variable CHROMIUM) and, from PyPI, playwright and
axe-playwright-python, which carries axe-core.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from helpers.records import make_iteration
from helpers.report import (
    ATOMS,
    CALIBRATED,
    REFERENCE,
    RELAXATION,
    RUN,
    TARGETS,
    but,
    iteration,
    save,
    three,
)
from nearsight.files.records import Comparison, Iteration, Reference, Target
from nearsight.report.page import write_report
from nearsight.structures.images import write_structures

pytestmark = pytest.mark.browser

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, Page, expect, sync_playwright
except ModuleNotFoundError as missing:
    if "NEARSIGHT_CI" in os.environ:
        raise
    pytest.skip(f"needs {missing.name}", allow_module_level=True)

LARGE, SMALL = {"width": 1400, "height": 1000}, {"width": 400, "height": 850}
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        (pytest.fail if "NEARSIGHT_CI" in os.environ else pytest.skip)("needs chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page of a run from its file; no page may complain, nor ask for anything."""
    complaints, asked, opened = [], [], []

    def open_run(folder: Path, **options: Any) -> Page:
        context = browser.new_context(offline=True, **({"viewport": LARGE} | options))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((folder / "report.html").as_uri())
        opened.append(page)
        return page

    yield open_run
    assert not complaints
    assert all(url.startswith(("file:", "data:")) for url in asked)
    for page in opened:
        page.context.close()


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two targets."""
    folder = tmp_path_factory.mktemp("several") / "run"
    three(folder, but(RUN, targets=TARGETS), reference=REFERENCE, relaxation=RELAXATION)
    lone = Atoms("Pt", [[0, 0, 0]])
    write_structures(folder / "target.extxyz", [ATOMS[:3], lone])
    write_report(folder)
    return folder


def data_of(page: Page) -> Any:
    return json.loads(page.locator("#data").text_content() or "")


def middle(page: Page) -> tuple[float, float]:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def picture(page: Page) -> str:
    return str(page.evaluate("document.getElementById('canvas').toDataURL()"))


def test_an_atom_leads_to_its_chunk_and_its_row(full: Path, open_page: Open) -> None:
    page = open_page(full)
    page.locator("#canvas").scroll_into_view_if_needed()
    expect(page.locator("#atom")).to_contain_text("Choose an atom")
    before = picture(page)
    # the four atoms surround the middle: go outwards until one is met
    x, y = middle(page)
    for away in range(0, 200, 10):
        page.mouse.click(x + away, y)
        if page.locator("#atom dl").count():
            break
    number = int((page.locator("#atom p").text_content() or "").split(",")[0].split()[1])
    calibrated = 1000 * CALIBRATED[number]
    expect(page.locator("#atom")).to_contain_text(f"uncertainty (99 %){calibrated:.3g} meV/Å")
    assert picture(page) != before
    if number in (0, 1, 3):
        expect(page.locator("tr.chosen td").first).to_have_text(str(number))
    page.get_by_role("button", name="all atoms").click()
    assert page.locator("tr.chosen").count() == 0
    assert picture(page) == before


def test_a_row_and_a_point_lead_to_their_atom(full: Path, open_page: Open) -> None:
    page = open_page(full)
    page.locator("tr[data-atom='3'] button").click()
    expect(page.locator("#atom p")).to_have_text("Atom 3, Pt")
    # 2.6 Å away from atom 2 and from nothing else
    expect(page.locator("#atom")).to_contain_text("neighbours1")
    expect(page.locator("#atom")).to_contain_text("since iteration 1, 2 chunks")
    expect(page.locator("#atom")).to_contain_text("error10 meV/Å")
    expect(page.locator("#canvas")).to_be_in_viewport()
    points = page.locator("#parity g[data-label^='2 atoms not in the training'] use")
    points.nth(1).scroll_into_view_if_needed()
    points.nth(1).hover(force=True)
    expect(page.locator(".hint")).to_contain_text("atom 2")
    expect(page.locator(".hint")).to_contain_text("|F|, parent (eV/Å): 3")
    points.nth(1).click(force=True)
    expect(page.locator("#atom p")).to_have_text("Atom 2, Pt")
    assert page.locator("tr.chosen").count() == 0  # no chunk of it was labelled


def test_iterations_and_relaxation(full: Path, open_page: Open) -> None:
    page = open_page(full)
    slider, moment = page.locator("#slider"), page.locator("#moment")
    expect(moment).to_have_text("iteration 1, 2 chunks ★")
    now = picture(page)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(moment).to_have_text("iteration 0, 0 chunks")
    expect(page.locator("#legend")).to_contain_text("150 meV/Å")  # 100 · 1.5 · 1 meV/Å
    page.keyboard.press("ArrowRight")
    assert picture(page) == now
    page.locator("#mode").select_option("relaxation")
    expect(moment).to_have_text("step 2, -2.75 eV")
    relaxed = picture(page)
    page.keyboard.press("Tab")
    slider.focus()
    page.keyboard.press("Home")
    expect(moment).to_have_text("step 0, 0.00 eV")
    assert picture(page) != relaxed
    assert page.locator("#color option[value=error]").is_disabled()


def test_every_colour_is_drawn(full: Path, open_page: Open) -> None:
    page = open_page(full)
    found = {}
    for value in ("uncertainty", "error", "force", "added", "chunks", "element", "coordination"):
        page.locator("#color").select_option(value)
        found[value] = picture(page)
    assert len(set(found.values())) == len(found)


def test_turning_and_sorting(full: Path, open_page: Open) -> None:
    page = open_page(full)
    page.locator("#canvas").scroll_into_view_if_needed()
    before = picture(page)
    page.mouse.move(*middle(page))
    page.mouse.down()
    page.mouse.move(middle(page)[0] + 60, middle(page)[1] + 20)
    page.mouse.up()
    turned = picture(page)
    assert turned != before
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="nearer").click()
    assert picture(page) != turned
    column = page.locator("table.sortable tbody td:first-child")
    assert column.all_text_contents() == ["0", "3", "1"]
    for state, order in (("ascending", ["0", "1", "3"]), ("descending", ["3", "1", "0"])):
        page.get_by_role("button", name="atom", exact=True).click()
        assert column.all_text_contents() == order
        assert page.locator("th[aria-sort]").get_attribute("aria-sort") == state


def test_several_targets(several: Path, open_page: Open) -> None:
    page = open_page(several)
    assert [each["first"] for each in data_of(page)["targets"]] == [0, 3]
    page.locator("#target").select_option("1")
    x, y = middle(page)
    page.locator("#canvas").scroll_into_view_if_needed()
    x, y = middle(page)
    page.mouse.click(x, y)
    expect(page.locator("#atom p")).to_have_text("Atom 3, Pt")
    expect(page.locator("#atom")).to_contain_text("12 meV/Å")


def test_without_structures(minimal: Path, open_page: Open) -> None:
    page = open_page(minimal)
    assert page.locator("#canvas").count() == 0
    page.locator("#iterations use").first.scroll_into_view_if_needed()


def test_without_script(full: Path, open_page: Open) -> None:
    page = open_page(full, java_script_enabled=False)
    expect(page.locator(".view")).to_be_hidden()
    expect(page.get_by_text("The view needs JavaScript")).to_be_visible()
    expect(page.locator("tr[data-atom='3'] td").first).to_have_text("3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [LARGE, SMALL])
def test_nothing_hinders_anybody(
    full: Path, open_page: Open, scheme: str, size: dict[str, int]
) -> None:
    page = open_page(full, viewport=size, color_scheme=scheme)
    page.locator("tr[data-atom='3'] button").click()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == size["width"]  # nothing wider than the window
    found = Axe().run(page, options={"runOnly": list(RULES)})
    assert not found.response["violations"], found.generate_report()


def test_tables_fit_beside_their_figures(tmp_path: Path, open_page: Open) -> None:
    """In a window of 1200 px no column is hidden, and no box is longer than its table."""
    numbers = np.arange(200)
    forces = np.random.default_rng(0).normal(size=(200, 3))
    labels = Comparison(
        ensemble="",
        role=numbers % 3,
        image=numbers % 30,
        labels=forces,
        forces=1.001 * forces,
        uncertainty=np.full(200, 0.01),
        uncertainty_95=np.full(200, 0.005),
    )
    steps = (iteration(n, [0, 3], 900.0, validation_error=0.9, seconds=754.0) for n in range(3))
    folder = save(tmp_path / "run", *steps, reference=REFERENCE, comparison=labels)
    write_report(folder)
    page = open_page(folder, viewport={"width": 1200, "height": 900})
    boxes = page.locator(".wide")
    assert page.get_by_text("of validation, never trained on").is_visible()
    for box in boxes.all():
        seen, whole = box.evaluate("each => [each.clientWidth, each.scrollWidth]")
        assert whole <= seen, box.inner_text()
        rest = box.evaluate("each => each.clientHeight - each.firstElementChild.offsetHeight")
        assert rest < 20, box.inner_text()


def test_printed_it_is_light_and_whole(full: Path, open_page: Open) -> None:
    page = open_page(full, color_scheme="dark")
    page.emulate_media(media="print")
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == "rgb(255, 255, 255)"
    table = page.locator(".tall")
    heights = table.evaluate("each => [each.scrollHeight, each.clientHeight]")
    assert heights[0] == heights[1]


def test_a_large_target(tmp_path: Path, open_page: Open) -> None:
    """2000 atoms: the page stays small, and the view draws."""
    atoms = bulk("Pt", cubic=True).repeat((5, 10, 10))
    random = np.random.default_rng(0)
    size = Target(n_atoms=len(atoms), formula="Pt2000")
    forces = random.normal(size=(len(atoms), 3))

    def step(number: int) -> Iteration:
        raw = random.uniform(0.001, 0.1, len(atoms))
        chunks = list(range(10 * number))
        return make_iteration(number, raw, chunks, uncertainty=2 * raw, forces=forces)

    run = but(RUN, target=size, targets=[size])
    reference = Reference(energies=np.array([1.0]), forces=forces + 0.01)
    folder = save(tmp_path / "run", *map(step, range(30)), run=run, reference=reference)
    write_structures(folder / "target.extxyz", [atoms])
    assert write_report(folder).stat().st_size < 1.5e6
    page = open_page(folder)
    assert len(data_of(page)["iterations"]) <= 11
    assert page.evaluate("Number(document.getElementById('canvas').dataset.drawn)") >= 1
