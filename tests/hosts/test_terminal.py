"""Runs in a terminal's IPython: a real one, on a pseudo-terminal, and sessions whose output is a file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, gate, reasoning, text
from kernels import GIVE_UP, kernel_env

pytestmark = pytest.mark.kernel

GRAPH = (
    "import mesh_nb as mesh, asyncio, time;"
    " graph = mesh.StateGraph().add_node('llm', None, node_type='llm', model='m').set_entry_point('llm')"
)
USAGE = re.compile(r"openai/m · 12 tokens in · 34 tokens out · unpriced · [\d.]+ m?s")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as server:
        server.models["m"] = [text("Hello"), gate("more"), text(" wor\x1b[2Jld.")]
        yield server


@pytest.fixture
def env(server: ChatServer, tmp_path: Path) -> dict[str, str]:
    home = str(tmp_path)
    return kernel_env(
        OPENAI_BASE_URL=server.base_url,
        OPENAI_API_KEY="sk-x",
        MESH_HOME=home,
        IPYTHONDIR=home,
        TERM="xterm",
        NO_COLOR="",
    )


@pytest.fixture
def ipython(env: dict[str, str]) -> Iterator[Callable[..., Any]]:
    pexpect = pytest.importorskip("pexpect", reason="There are no pseudo-terminals here.")
    opened: list[Any] = []

    def start(*options: str, **more: str) -> Any:
        words = ["-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit", *options]
        shell = pexpect.spawn(
            sys.executable, words, env={**env, **more}, timeout=GIVE_UP, encoding="utf-8", echo=False
        )
        opened.append(shell)
        shell.expect_exact("In [1]: ")
        shell.sendline("%load_ext mesh_nb")
        shell.expect_exact("In [2]: ")
        shell.sendline(GRAPH)
        shell.expect_exact("In [3]: ")
        return shell

    yield start
    for shell in opened:
        shell.close(force=True)


CELLS = {
    "await": "run = await graph.run('Say it')",
    "run_sync": "run = graph.run_sync('Say it')",
    "magic": "run = get_ipython().run_cell_magic('mesh', '-m m', 'Say it')",
    "stream": "async for value in graph.stream('Say it', display=True): pass",
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_words_are_there_before_the_answer_is_complete(
    server: ChatServer, ipython: Callable[..., Any], cell: str
) -> None:
    shell = ipython()
    shell.sendline(cell)
    shell.expect_exact("Hello")
    server.open("more")
    shell.expect(USAGE)
    assert shell.before == " world.\r\n\r\n\x1b[2m"
    shell.expect_exact("In [4]: ")
    assert "Hello" not in shell.before


def test_what_goes_on_is_said_and_replaced_by_what_came_of_it(
    server: ChatServer, ipython: Callable[..., Any]
) -> None:
    server.models["m"] = [reasoning("Let me"), gate("thought"), reasoning(" see."), text("Hello.")]
    shell = ipython()
    shell.sendline("run = await graph.run('Say it')")
    shell.expect_exact("\x1b[2mThinking …\x1b[0m")
    server.open("thought")
    shell.expect_exact("\r\x1b[K\x1b[2mThought (3 words): Let me see.\x1b[0m\r\n\r\nHello.\r\n")
    shell.expect_exact("In [4]: ")


def test_ctrl_c_keeps_what_has_come(ipython: Callable[..., Any]) -> None:
    shell = ipython()
    for n, cell in ((3, "run = await graph.run('Say it')"), (4, "run = graph.run_sync('Say it')")):
        shell.sendline(cell)
        shell.expect_exact("Hello")
        shell.sendintr()
        shell.expect_exact(f"In [{n + 1}]: ")
        assert "Stopped before the end." in shell.before
        assert "Kept: 1 word." in shell.before
        assert "MeshInterrupted" in shell.before
    shell.sendline("mesh.last_run().text")
    shell.expect_exact("'Hello'")


def test_a_run_that_outlives_its_cell_is_written_in_one_piece(
    server: ChatServer, ipython: Callable[..., Any]
) -> None:
    server.models["fast"] = [text("Fast.")]
    shell = ipython()
    shell.sendline("slow = graph.run('Say it')")
    shell.expect_exact("In [4]: ")
    # It keeps nobody from writing.
    shell.sendline("one = get_ipython().run_cell_magic('mesh', '-m fast', 'Say it')")
    shell.expect_exact("Fast.")
    shell.expect_exact("In [5]: ")
    server.open("more")
    shell.expect_exact("world.")
    shell.expect(USAGE)


@pytest.mark.parametrize("how", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_nothing_is_dimmed_where_no_colour_is_wanted(
    server: ChatServer, ipython: Callable[..., Any], how: dict[str, str]
) -> None:
    server.open("more")
    shell = ipython(*([] if how else ["--colors=nocolor"]), **how)
    shell.sendline("run = await graph.run('Say it')")
    shell.expect_exact("Hello")
    shell.expect(USAGE)
    assert shell.before == " world.\r\n\r\n"


def session(env: dict[str, str], tmp_path: Path, *cells: str) -> list[str]:
    """What each cell of a session printed, in a shell whose output is no terminal."""
    script = tmp_path / "session.py"
    run = "ip.run_cell({!r}, store_history=True); print('\\f', end='')"
    script.write_text(
        "\n".join(
            [
                "from IPython.core.interactiveshell import InteractiveShell",
                "ip = InteractiveShell.instance(colors='nocolor')",
                f"ip.run_cell('%load_ext mesh_nb'); ip.run_cell({GRAPH!r})",
                *map(run.format, cells),
            ]
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**env, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=GIVE_UP,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("\f")


def test_nothing_is_printed_twice(env: dict[str, str], server: ChatServer, tmp_path: Path) -> None:
    server.open("more")
    answer = re.compile(r"Hello world\.\n\n" + USAGE.pattern + r"\n")
    printed = session(
        env,
        tmp_path,
        "await graph.run('1')",
        "%%mesh -m m\nSay it",
        "run = await graph.run('2')",
        "run",
        "run.show()",
        "async for event in graph.run('3'): print(event.type, end=' ')",
        "async for words in graph.stream('4', 'messages'): pass",
        "%%mesh -m m\nSay it\n;",
        "await graph.run('5', display=False)",
    )
    for cell in printed[:2]:
        assert re.fullmatch(answer.pattern + r"Out\[\d\]: <Run [\w-]+>\n", cell)
    assert answer.fullmatch(printed[2])
    assert re.fullmatch(r"Out\[4\]: <Run [\w-]+ completed .*'Hello wor \[2Jld\.'>\n", printed[3])
    assert answer.fullmatch(printed[4])
    assert "token token" in printed[5]
    assert "Hello" not in printed[5]
    assert printed[6:8] == ["", ""]
    assert printed[8].startswith("Out[9]: <Run ")
    assert not any("\x1b" in cell for cell in printed)


def test_a_comparison_is_printed_once(env: dict[str, str], server: ChatServer, tmp_path: Path) -> None:
    server.models = {"a": [text("From a.")], "b": [text("From b.")]}
    printed = session(env, tmp_path, "%%mesh -m a,b -o both\nSay it", "both")
    assert [printed[0].count(f"From {name}.") for name in "ab"] == [1, 1]
    assert printed[0].endswith("Out[1]: <Comparison of a, b>\n")
    assert re.search(r"a: <Run .*'From a\.'>\nb: <Run .*'From b\.'>", printed[1])


def test_an_answer_to_a_question_goes_on_where_it_was_asked(env: dict[str, str], tmp_path: Path) -> None:
    asked, answered = session(
        env,
        tmp_path,
        "asks = mesh.StateGraph().add_node('ask', None, node_type='approval', message='Send it?')\n"
        "asks.add_node('send', lambda input: {'content': 'It was sent.'})\n"
        "run = await asks.add_sequence(['START', 'ask', 'send']).run({'to': 'ana'})",
        "run = await run.approve()",
    )[:2]
    assert "── ask ──\nWaiting for an answer: Send it?\n" in asked
    assert answered.startswith("── ask ──\nApproved: Send it?\n\n── send ──\n")
    assert "Waiting" not in answered


def test_runs_at_once_are_written_one_after_the_other_and_many_counted(
    env: dict[str, str], server: ChatServer, tmp_path: Path
) -> None:
    server.models["m"] = [text("Hello"), text(" world.")]
    both, many = session(
        env,
        tmp_path,
        "_ = await asyncio.gather(graph.run('1'), graph.run('2'))",
        "_ = [await graph.run(str(n)) for n in range(8)]",
    )[:2]
    assert [line for line in both.splitlines() if line][::2] == ["Hello world."] * 2
    assert many.count("Hello world.") == 5
    assert many.endswith("\n3 more runs in this cell: 3 completed. mesh_nb.runs() lists them.\n")


def test_static_output_is_written_at_the_end(env: dict[str, str], server: ChatServer, tmp_path: Path) -> None:
    server.open("more")
    cells = (
        "_ = graph.add_node('tell', lambda input: print('FUNCTION')).add_edge('llm', 'tell')",
        "_ = await graph.run('1')",
    )
    printed = session({**env, "MESH_NB_LIVE": "0"}, tmp_path, *cells)[1]
    assert re.match(r"FUNCTION\n── llm ──\nHello world\.\n\n── tell ──\nTool: ", printed)
