"""The plug-in of pytest, in test runs of its own; the model is a real HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gated_chat import ChatServer, text

from mesh_nb.core import plugins
from mesh_nb.pytest_plugin import tape_path

pytest_plugins = "pytester"
pytestmark = pytest.mark.filterwarnings("ignore:Module already imported")

TEST = """
    import mesh_nb as mesh
    import pytest

    def ask(question="Why?", **options):
        graph = mesh.StateGraph().add_node(
            "llm", None, node_type="llm", model="m", base_url="{url}", **options
        )
        run = graph.set_entry_point("llm").run_sync(question, backend=mesh.MemoryBackend(), display=False)
        return run.text

    def test_one(mesh_tape):
        assert ask() == "Because."

    @pytest.mark.parametrize("question", ["a b", "c/d"])
    def test_two(mesh_tape, question):
        assert ask(question) == "Because."
"""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("Beca"), text("use.")]
        yield server


@pytest.fixture(autouse=True, scope="module")
def _sdk_is_there() -> None:
    """A test run inside this one forgets what it imported; a thread that imports would be cut off."""
    plugins.find("provider", "openai_chat").preload()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "MESH_TAPE", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


PLAIN = [item for name in ("cacheprovider", "asyncio", "xdist", "nbval") for item in ("-p", f"no:{name}")]


def run(pytester: pytest.Pytester, *options: str, key: str = "") -> pytest.RunResult:
    with pytest.MonkeyPatch.context() as environment:
        if key:
            environment.setenv("OPENAI_API_KEY", key)
        return pytester.runpytest_inprocess("-p", "mesh_nb.pytest_plugin", *PLAIN, *options)


def test_tests_are_recorded_and_replayed_without_a_key(pytester: pytest.Pytester, server: ChatServer):
    pytester.makepyfile(test_it=TEST.format(url=server.base_url))
    run(pytester, "--mesh-tape=once", key="k").assert_outcomes(passed=3)
    assert len(server.requests) == 3
    tapes = sorted(p.relative_to(pytester.path).as_posix() for p in pytester.path.rglob("*.mesh-tape"))
    assert tapes == [
        "tapes/test_it/test_one.mesh-tape",
        "tapes/test_it/test_two-a-b.mesh-tape",
        "tapes/test_it/test_two-c-d.mesh-tape",
    ]
    for options in ((), ("--mesh-tape=none",), ("--mesh-tape=once",)):
        run(pytester, *options).assert_outcomes(passed=3)
    assert len(server.requests) == 3
    run(pytester, "--mesh-tape=all", "-k", "test_one", key="k").assert_outcomes(passed=1)
    assert len(server.requests) == 4


def test_without_a_tape_the_test_fails_and_says_how_to_record_one(
    pytester: pytest.Pytester, server: ChatServer
):
    pytester.makepyfile(test_it=TEST.format(url=server.base_url))
    result = run(pytester)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*test_one.mesh-tape' to replay. Record it with pytest --mesh-tape=once*"])
    assert server.requests == []


def test_a_changed_prompt_fails_and_says_what_differs(pytester: pytest.Pytester, server: ChatServer):
    source = TEST.format(url=server.base_url)
    pytester.makepyfile(test_it=source)
    run(pytester, "--mesh-tape=once", key="k")
    pytester.makepyfile(test_it=source.replace("Why?", "Why not?"))
    result = run(pytester, "-k", "test_one")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*'Why?' there, 'Why not?' here*"])
    assert len(server.requests) == 3


def test_the_marker_gives_the_tapes_options(pytester: pytest.Pytester, server: ChatServer):
    pytester.makepyfile(
        test_it=TEST.format(url=server.base_url).replace(
            "def test_one", '@pytest.mark.mesh_tape(redact=["Why"])\n    def test_one'
        )
    )
    run(pytester, "--mesh-tape=once", "--strict-markers", "-k", "test_one", key="k").assert_outcomes(passed=1)
    assert "Why" not in (pytester.path / "tapes/test_it/test_one.mesh-tape").read_text("utf-8")
    run(pytester, "-k", "test_one").assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["rewrite", "all"])
def test_a_test_that_fails_takes_nothing_off_its_tape(
    pytester: pytest.Pytester, server: ChatServer, mode: str
):
    source = TEST.format(url=server.base_url).replace(
        'ask() == "Because."', '[ask(q or 1 / 0) for q in ("a", "b")] == ["Because."] * 2'
    )
    pytester.makepyfile(test_it=source)
    run(pytester, "--mesh-tape=once", "-k", "test_one", key="k").assert_outcomes(passed=1)
    pytester.makepyfile(test_it=source.replace('("a", "b")', '("a", "")'))
    run(pytester, f"--mesh-tape={mode}", "-k", "test_one", key="k").assert_outcomes(failed=1)
    pytester.makepyfile(test_it=source)
    run(pytester, "-k", "test_one").assert_outcomes(passed=1)


def test_a_damaged_tape_is_named_with_its_line(pytester: pytest.Pytester, server: ChatServer):
    pytester.makepyfile(test_it=TEST.format(url=server.base_url))
    run(pytester, "--mesh-tape=once", "-k", "test_one", key="k")
    path = pytester.path / "tapes/test_it/test_one.mesh-tape"
    path.write_text("<<<<<<< HEAD\n" + path.read_text("utf-8"), "utf-8")
    result = run(pytester, "-k", "test_one")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*damaged in line 1*"])


def test_an_unknown_mode_is_refused(pytester: pytest.Pytester):
    pytester.makepyfile("def test_one(): pass")
    result = run(pytester, "--mesh-tape=onec")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_the_plug_in_is_announced():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"mesh_nb.pytest_plugin": "mesh_nb.pytest_plugin"}


def test_names_of_tapes_are_names_of_files():
    module = Path("/tests/test_x.py")
    assert tape_path(module, "tests/test_x.py::TestY::test_z[../é:1]").name == "TestY.test_z-..-é-1.mesh-tape"
    long = tape_path(module, f"test_x.py::test_{'z' * 300}").name
    assert len(long) < 130
    assert long != tape_path(module, f"test_x.py::test_{'z' * 301}").name
