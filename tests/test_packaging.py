"""The recipe for conda-forge asks for what pyproject.toml does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nearsight import __version__

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "packaging" / "conda" / "recipe.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OTHER_NAMES = {"matplotlib": "matplotlib-base", "cmeel-eigen": "eigen"}


def required(section: str) -> dict[str, str]:
    """Name and bound of what a section of the recipe's requirements lists."""
    text = RECIPE.read_text().split(f"\n  {section}:\n")[1]
    lines = re.split(r"\n {0,2}\S", text)[0]
    found = re.findall(r"^ +(?:- |then: )([a-z][\w-]*)(?: (>=[\d.]+))?$", lines, re.M)
    return dict(found)


def of_pip(requirements: list[str]) -> dict[str, str]:
    found = [re.match(r"([\w-]+)(>=[\d.]+)", each) for each in requirements]
    return {OTHER_NAMES.get(name, name): bound for name, bound in (m.groups() for m in found if m)}


def test_requirements() -> None:
    assert required("run") == {"python": "", **of_pip(PROJECT["project"]["dependencies"])}
    host = required("host")
    needed = of_pip(PROJECT["build-system"]["requires"])
    assert needed == {name: host.get(name) for name in needed}
    assert f"cmake {PROJECT['tool']['scikit-build']['cmake']['version']}" in RECIPE.read_text()


def test_version_and_text() -> None:
    text = RECIPE.read_text()
    assert f'version: "{__version__}"' in text
    assert f"summary: {PROJECT['project']['description']}\n" in text


@pytest.mark.parametrize("platform", ["linux-64", "linux-aarch64", "osx-arm64"])
@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_rendered(platform: str, python: str) -> None:
    """By the library of rattler-build, as conda-forge does."""
    rattler = pytest.importorskip("rattler_build")
    recipe = rattler.Stage0Recipe.from_file(str(RECIPE))
    variants = rattler.VariantConfig(
        {"python": [f"{python}.*"], "cxx_compiler": ["gxx"], "c_stdlib": ["sysroot"]}
    )
    to = rattler.PlatformConfig(target_platform=platform, build_platform="linux-64")
    (made,) = recipe.render(variants, rattler.RenderConfig(platform=to))
    content = made.recipe.to_dict()
    assert content["package"] == {"name": "nearsight", "version": __version__}
    needed = content["requirements"]
    assert ("tomli >=2.0" in needed["run"]) == (python == "3.10")
    openmp = "llvm-openmp" if platform.startswith("osx") else "libgomp"
    assert openmp in needed["host"]
    assert (f"cross-python_{platform}" in needed["build"]) == (platform != "linux-64")
