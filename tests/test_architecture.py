"""The rules of ARCHITECTURE.md as tests: who may import whom, and where third-party packages live.

A broken rule names the file, the import and the rule.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mesh_nb
from mesh_nb.core import plugins

ROOT = Path(mesh_nb.__file__).parent
FILES = sorted(p for p in ROOT.rglob("*.py") if "__pycache__" not in p.parts)

MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "providers": {"core"},
    "backends": {"core"},
    "frames": {"core"},
    "streaming": {"core"},
    "agents": {"core", "providers"},
    "nodes": {"core", "providers"},
    "hosts": {"core", "providers", "backends", "frames", "streaming", "agents", "nodes", "notebook"},
    "notebook": {"core", "providers", "backends", "frames", "streaming", "agents", "nodes", "hosts"},
    "cli": {"core", "providers", "backends", "frames", "streaming", "agents", "nodes", "notebook", "hosts"},
}
PLUGIN_FOLDERS = {folder.rpartition(".")[2] for folder in plugins.FOLDERS.values()}

# Where a third-party package may be imported, at module level or inside functions only.
ANYWHERE, IN_FUNCTIONS = "anywhere", "in functions"
HOMES: dict[str, dict[str, str]] = {
    "pandas": {"frames/": ANYWHERE, "backends/": IN_FUNCTIONS},
    "pyarrow": {"frames/": ANYWHERE, "backends/": IN_FUNCTIONS, "notebook/": IN_FUNCTIONS},
    "numpy": {"frames/": ANYWHERE},
    "openai": {"providers/_clients.py": ANYWHERE},
    "anthropic": {"providers/_clients.py": ANYWHERE},
    "httpx2": {"providers/": ANYWHERE},
    "httpcore2": {"providers/": ANYWHERE},
    "httptools": {"providers/": ANYWHERE},
    "google": {"providers/_clients.py": ANYWHERE},
    "agents": {"agents/openai_agents.py": IN_FUNCTIONS},
    "vel": {"agents/vel.py": IN_FUNCTIONS},
    "pydantic_ai": {"agents/pydantic_ai.py": IN_FUNCTIONS},
    "langgraph": {"agents/langgraph.py": IN_FUNCTIONS},
    "pygments": {"notebook/_code.py": IN_FUNCTIONS},
    "IPython": {"notebook/": ANYWHERE, "hosts/": ANYWHERE},
    "ipykernel": {"notebook/": ANYWHERE, "hosts/": ANYWHERE},
    "ipywidgets": {"notebook/": ANYWHERE},
    "anywidget": {"notebook/": ANYWHERE},
    "traitlets": {"notebook/": ANYWHERE},
    "comm": {"notebook/": ANYWHERE},
    "markdown_it": {"notebook/": ANYWHERE},
    "nh3": {"notebook/": ANYWHERE},
    "orjson": {"core/_json.py": ANYWHERE, "providers/_wire.py": ANYWHERE, "providers/_stream.py": ANYWHERE},
    "pydantic": {"core/tools.py": IN_FUNCTIONS, "nodes/_structured.py": IN_FUNCTIONS},
    "genai_prices": {"core/prices.py": IN_FUNCTIONS, "core/_linear.py": IN_FUNCTIONS},
    "nest_asyncio": {"core/runner.py": IN_FUNCTIONS},
    "starlette": {"streaming/_response.py": ANYWHERE, "streaming/": IN_FUNCTIONS},
    "fastapi": {},
    "pytest": {"pytest_plugin.py": ANYWHERE},
}
HEAVY = [
    *("openai", "anthropic", "httpx2", "httptools", "pandas", "pyarrow", "numpy", "pydantic", "IPython"),
    *("ipywidgets", "anywidget", "traitlets", "genai_prices", "nest_asyncio", "nh3", "markdown_it"),
]


def imports(path: Path) -> Iterator[tuple[int, str, int, bool]]:
    """Yield (line, module, level, in a function) of every import that runs."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[int, str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name, 0, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = child.module or ""
                names = [module] if module else [alias.name for alias in child.names]
                yield from ((child.lineno, name, child.level, inside) for name in names)
            else:
                is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from walk(child, inside or is_function)

    yield from walk(ast.parse(path.read_text("utf-8")), False)


def own_target(path: Path, module: str, level: int) -> tuple[str, ...] | None:
    """Return the parts below mesh_nb that an import of ours names, None for a foreign one."""
    if level == 0:
        parts = module.split(".")
        return tuple(parts[1:]) if parts[0] == "mesh_nb" else None
    base = path.relative_to(ROOT).parts[:-1]
    kept = base[: len(base) - (level - 1)]
    return (*kept, *filter(None, module.split(".")))


def import_problems(path: Path) -> list[str]:
    here = path.relative_to(ROOT)
    room = here.parts[0]
    if len(here.parts) == 1:
        return []
    problems: list[str] = []
    for line, module, level, _ in imports(path):
        target = own_target(path, module, level)
        if not target:
            continue
        where = f"mesh_nb/{here}:{line} imports {'.'.join(target)}"
        other = target[0]
        if other != room and other not in MAY_IMPORT[room]:
            allowed = ", ".join(sorted(MAY_IMPORT[room])) or "nothing of ours"
            problems.append(f"{where}: {room} may import {allowed}.")
        if other == room and room in PLUGIN_FOLDERS and len(target) > 1:
            own = target[1]
            if not own.startswith("_") and own != here.stem and (ROOT / room / f"{own}.py").exists():
                problems.append(f"{where}: plug-ins do not import each other; shared parts are _x.py.")
    return problems


def home_problems(path: Path) -> list[str]:
    here = path.relative_to(ROOT).as_posix()
    problems: list[str] = []
    for line, module, level, inside in imports(path):
        top = module.split(".")[0]
        if level or top not in HOMES:
            continue
        rules = [
            rule
            for home, rule in HOMES[top].items()
            if here == home or (home[-1] == "/" and here.startswith(home))
        ]
        where = f"mesh_nb/{here}:{line} imports {module}"
        if not rules:
            homes = ", ".join(HOMES[top]) or "nowhere"
            problems.append(f"{where}: the home of {top} is {homes}.")
        elif ANYWHERE not in rules and not inside:
            problems.append(f"{where} at module level: here {top} is imported inside functions.")
    return problems


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_follow_the_architecture(path: Path) -> None:
    assert import_problems(path) + home_problems(path) == []


def test_every_third_party_import_has_a_home() -> None:
    known = {*HOMES, *sys.stdlib_module_names, "mesh_nb"}
    found = {
        f"mesh_nb/{path.relative_to(ROOT)}:{line} imports {module}: name its home in HOMES."
        for path in FILES
        for line, module, level, _ in imports(path)
        if not level and module.split(".")[0] not in known
    }
    assert found == set()


@pytest.mark.parametrize("kind", sorted(plugins.FOLDERS))
def test_every_plugin_module_offers_its_plugin(kind: str) -> None:
    folder = ROOT / plugins.FOLDERS[kind].rpartition(".")[2]
    for path in folder.glob("[!_]*.py"):
        assert "plugin" in {
            target.id
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }, f"mesh_nb/{path.relative_to(ROOT)} has no module-level `plugin`"


@pytest.mark.parametrize("name", mesh_nb.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(mesh_nb, name) is not None
    assert name in dir(mesh_nb)


@pytest.mark.parametrize("name", [n for n in mesh_nb.__all__ if n != "__version__"])
def test_every_public_name_is_documented_where_it_is_and_where_it_is_used(name: str) -> None:
    summary = (getattr(mesh_nb, name).__doc__ or "").strip()
    assert summary, f"mesh_nb.{name} has no docstring"
    assert "." in summary.replace("\n\n", "."), f"mesh_nb.{name}: the docstring begins with a sentence"
    root = ROOT.parent
    shown = [root / "README.md", *sorted((root / "notebooks").glob("*.ipynb"))]
    word = re.compile(rf"\b{name}\b")
    assert any(word.search(path.read_text("utf-8")) for path in shown), f"nothing shows mesh_nb.{name}"


def test_an_unknown_public_name_suggests_the_nearest() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'StateGraph'"):
        _ = mesh_nb.StateGrph


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, mesh_nb; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert found.stdout.split() == []


def test_building_a_graph_loads_nothing_heavy() -> None:
    code = (
        "import sys, mesh_nb as m; g = m.StateGraph().add_node('n', lambda: 1).set_entry_point('n');"
        f"m.Executor(g); print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert found.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400, f"mesh_nb/{path.relative_to(ROOT)} has more than 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, (
                f"mesh_nb/{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines"
            )


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("core/x.py", "from ..providers import demo", "core may import nothing of ours"),
        ("nodes/x.py", "from .tool import ToolNode", "plug-ins do not import each other"),
        ("frames/x.py", "def f():\n    import mesh_nb.notebook.live", "frames may import core"),
        ("core/x.py", "import pandas as pd", "the home of pandas is frames/, backends/"),
        ("core/tools.py", "import pydantic", "imported inside functions"),
    ],
)
def test_a_broken_rule_names_file_import_and_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, says: str
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "tool.py").touch()
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    [problem] = import_problems(path) + home_problems(path)
    assert says in problem
    assert problem.startswith(f"mesh_nb/{file}:")
