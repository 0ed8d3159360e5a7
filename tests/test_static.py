"""The built front end: its generated types are fresh, its size is bounded, its lock names no host."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
WIDGETS = ROOT / "widgets"
STATIC = ROOT / "mesh_nb" / "static"

CORE_LIMIT = 80_000
STUB_LIMIT = 2 * 1024


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_events", WIDGETS / "generate_events.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_types_of_the_front_end_are_those_of_the_events():
    generator = _generator()
    assert generator.TARGET.read_text(encoding="utf-8") == generator.generate(), (
        "widgets/src/core/events.ts is stale: run `python widgets/generate_events.py`"
    )


def test_an_annotation_without_a_typescript_type_is_refused_by_name():
    with pytest.raises(TypeError, match="complex"):
        _generator().typescript(complex)


def _bundle(name: str) -> str:
    path = STATIC / name
    assert path.is_file(), f"{path} is not built: run `npm run build` in widgets/"
    return path.read_text(encoding="utf-8")


def test_what_every_page_loads_is_at_most_80_kb_gzipped():
    size = sum(len(gzip.compress(_bundle(name).encode(), 9, mtime=0)) for name in ("hub.js", "stub.js"))
    assert size <= CORE_LIMIT, f"hub.js and stub.js are {size / 1000:.1f} KB gzipped"


def test_what_only_some_runs_need_is_not_in_the_hub():
    hub, graph, more = (_bundle(name) for name in ("hub.js", "graph.js", "more.js"))
    assert "markerUnits" in graph
    assert "markerUnits" not in hub
    assert "maxExpand" in more
    assert "maxExpand" not in hub


def test_the_stub_is_small_because_every_run_carries_it():
    assert len(_bundle("stub.js").encode()) <= STUB_LIMIT


def test_hub_and_stub_were_built_together():
    keys = [set(re.findall(r"\b[0-9a-f]{12}\b", _bundle(name))) for name in ("stub.js", "hub.js", "graph.js")]
    assert len(keys[0]) == 1
    assert keys[0] <= keys[1]
    assert keys[0] <= keys[2]


@pytest.mark.parametrize("name", ["hub.js", "stub.js", "graph.js"])
def test_a_bundle_brings_everything_with_it(name: str):
    text = _bundle(name)
    assert not re.search(r"\bfrom\s*[\"']https?:|\bimport\s*\(\s*[\"']https?:|@import\s+url", text)
    assert not re.search(r"^import[\s{*\"']", text, re.MULTILINE)


def test_the_lock_pins_by_content_and_names_no_host():
    lock = json.loads((WIDGETS / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert not [name for name, entry in packages.items() if "integrity" not in entry]


def test_direct_dependencies_are_exact_versions():
    package = json.loads((WIDGETS / "package.json").read_text(encoding="utf-8"))
    versions = {**package["dependencies"], **package["devDependencies"]}
    assert not {name: v for name, v in versions.items() if not re.fullmatch(r"\d+(\.\d+)*", v)}
