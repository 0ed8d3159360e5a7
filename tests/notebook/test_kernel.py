"""`%%mesh`, `await graph.run()` and the live widget in a real kernel, against a real HTTP server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
from kernels import RUN, WIDGET_VIEW, Cell, Kernel, kernel_env
from replay_server import ReplayThread
from support import Replay

pytestmark = pytest.mark.kernel

TOKENS = 20
MODEL = f"synthetic-{TOKENS}"
ENDLESS = "synthetic-2000@tps=20"


@pytest.fixture(scope="module")
def _server() -> Iterator[Replay]:
    thread = ReplayThread()
    with thread as url:
        yield Replay(thread, url)


@pytest.fixture
def server(_server: Replay) -> Replay:
    _server.server.reset()
    return _server


@pytest.fixture(scope="module")
def _kernel(_server: Replay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    home = tmp_path_factory.mktemp("project")
    env = kernel_env(MESH_HOME=str(home), OPENAI_BASE_URL=_server.base_url, OPENAI_API_KEY="sk-test-key")
    with Kernel(home, env) as kernel:
        kernel.run("import mesh_nb as mesh, asyncio\n%load_ext mesh_nb")
        kernel.run(
            "def one(model):\n"
            "    g = mesh.StateGraph()\n"
            "    g.add_node('llm', None, node_type='llm', model=model)\n"
            "    return g.set_entry_point('llm')\n"
        )
        yield kernel


@pytest.fixture
def kernel(_kernel: Kernel, server: Replay) -> Kernel:
    _kernel.forget()
    return _kernel


def value(kernel: Kernel, expression: str) -> str:
    cell = kernel.run(f"print({expression}, end='')")
    assert cell.status == "ok", cell.reply
    return cell.stdout


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)


def nothing_left(kernel: Kernel) -> None:
    left = "[t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith('mesh_nb')]"
    assert value(kernel, left) == "[]"


def answer(kernel: Kernel, cell: Cell) -> str:
    (output,) = cell.outputs
    assert WIDGET_VIEW not in output["data"]
    assert RUN in output["data"]
    return output["data"]["text/plain"]


def test_a_cell_streams_live_and_freezes_in_place(kernel: Kernel):
    cell = kernel.run(f"%%mesh -m {MODEL} -o r\nHello {{x}}")
    assert cell.status == "ok"
    (live,) = cell.of("display_data")
    (frozen,) = cell.of("update_display_data")
    assert WIDGET_VIEW in live["data"]
    assert live["transient"]["display_id"] == frozen["transient"]["display_id"]
    assert WIDGET_VIEW not in frozen["data"]
    assert cell.of("execute_result") == []
    assert cell.of("comm_close")
    assert value(kernel, "_ is r") == "True"
    assert value(kernel, "r.text.strip()") in frozen["data"]["text/plain"]
    assert value(kernel, "r.input") == "Hello {x}"


def test_the_hub_comes_once_and_every_widget_is_small(kernel: Kernel):
    cells = [kernel.run(f"%%mesh -m {MODEL}\nHello") for _ in range(2)]
    opened = [c["data"]["state"] for cell in cells for c in cell.of("comm_open")]
    sizes = [len(state["_esm"]) for state in opened if "_esm" in state]
    assert len(sizes) == 2
    assert max(sizes) < 5_000


def test_batches_are_few_gapless_and_complete(kernel: Kernel):
    started = time.monotonic()
    cell = kernel.run("%%mesh -m synthetic-600@tps=400 -o r\nHello")
    seconds = time.monotonic() - started
    batches = cell.batches()
    assert [b["kind"] for b in batches] == ["events"] * len(batches)
    assert [b["from"] for b in batches] == [0, *[b["to"] + 1 for b in batches[:-1]]]
    assert len(batches) <= 30 * seconds + 2
    text = "".join(e["content"] for b in batches for e in b["events"] if e["type"] == "token")
    assert text == value(kernel, "r.text")
    assert str(batches[-1]["to"]) == value(kernel, "r.events[-1].seq")


def test_static_output_for_a_client_that_takes_no_input(kernel: Kernel):
    cell = kernel.run(f"%%mesh -m {MODEL}\nHello", stdin=False)
    assert [m["msg_type"] for m in cell.messages if m["msg_type"] != "execute_input"] == ["display_data"]
    assert answer(kernel, cell)


@pytest.mark.parametrize(
    ("setting", "stdin", "live"),
    [("1", False, True), ("0", True, False)],
    ids=["forced live", "forced static"],
)
def test_mesh_nb_live_decides(kernel: Kernel, setting: str, stdin: bool, live: bool):
    kernel.run(f"%env MESH_NB_LIVE={setting}")
    try:
        cell = kernel.run(f"%%mesh -m {MODEL}\nHello", stdin=stdin)
    finally:
        kernel.run("import os; del os.environ['MESH_NB_LIVE']")
    assert bool(cell.of("comm_open")) is live


def test_await_graph_run_shows_once_and_underscore_holds_it(kernel: Kernel):
    cell = kernel.run(f"await one('{MODEL}').run('Hello')")
    assert len(cell.outputs) == 1
    assert answer(kernel, cell)
    assert value(kernel, "_.status") == "completed"


def test_a_run_is_shown_again_in_another_cell_and_not_twice_in_one(kernel: Kernel):
    kernel.run(f"%%mesh -m {MODEL} -o r\nHello")
    again = kernel.run("r")
    assert answer(kernel, again)
    assert not again.of("comm_open")
    assert len(kernel.run("display(r)\nr").outputs) == 1
    shown = kernel.run("r.show()").outputs[0]["data"]
    assert RUN in shown
    assert WIDGET_VIEW not in shown


def test_two_runs_in_one_cell_have_an_output_each(kernel: Kernel):
    cell = kernel.run(f"a, b = await asyncio.gather(one('{MODEL}').run('A'), one('{MODEL}').run('B'))")
    assert [RUN in o["data"] for o in cell.outputs] == [True, True]


def test_many_runs_in_one_cell_are_counted_in_one_line(kernel: Kernel):
    cell = kernel.run(f"g = one('{MODEL}')\nruns = await asyncio.gather(*[g.run(str(n)) for n in range(12)])")
    assert len(cell.of("comm_open")) == 2 * 5
    assert len(cell.outputs) == 6
    assert cell.outputs[-1]["data"]["text/plain"].startswith("7 more runs in this cell: 7 completed.")
    static = kernel.run("runs = await asyncio.gather(*[g.run(str(n)) for n in range(12)])", stdin=False)
    assert len(static.of("display_data")) == 6
    assert not static.of("update_display_data")
    assert "7 completed" in static.outputs[-1]["data"]["text/plain"]


def stopped(kernel: Kernel, server: Replay, cell: Cell, *, partial: bool = True) -> None:
    assert cell.status == "error"
    assert cell.error["ename"] == "MeshInterrupted"
    assert len(cell.error["traceback"]) == 1
    wait_for(lambda: server.stats["client_disconnects"] == 1)
    assert value(kernel, "r.status") == "cancelled"
    text = value(kernel, "r.text")
    assert bool(text) is partial
    assert "Stopped before the end." in cell.outputs[0]["data"]["text/plain"]
    assert WIDGET_VIEW not in cell.outputs[0]["data"]
    nothing_left(kernel)
    assert kernel.run(f"%%mesh -m {MODEL}\nNext").status == "ok"


def test_the_stop_button_ends_the_cell_and_the_request(kernel: Kernel, server: Replay):
    id = kernel.send(f"%%mesh -m {ENDLESS} -o r\nHello")
    kernel.from_page(kernel.streaming(id), {"kind": "stop"})
    stopped(kernel, server, kernel.finish(id))


def test_a_kernel_interrupt_ends_the_cell_and_the_request(kernel: Kernel, server: Replay):
    id = kernel.send(f"%%mesh -m {ENDLESS} -o r\nHello")
    kernel.streaming(id)
    kernel.interrupt()
    stopped(kernel, server, kernel.finish(id))


def test_an_interrupt_is_seen_while_the_first_token_is_awaited(kernel: Kernel, server: Replay):
    id = kernel.send("%%mesh -m synthetic-5@first=600 -o r\nHello")
    wait_for(lambda: server.stats["active"] == 1)
    kernel.interrupt()
    stopped(kernel, server, kernel.finish(id), partial=False)


def test_an_interrupt_ends_a_quiet_async_for(kernel: Kernel, server: Replay):
    id = kernel.send("async for event in one('synthetic-5@first=600').run('Hello'):\n    pass")
    wait_for(lambda: server.stats["active"] == 1)
    kernel.interrupt()
    assert kernel.finish(id).status == "error"
    kernel.run("%mesh stop")
    wait_for(lambda: server.stats["client_disconnects"] == 1)
    nothing_left(kernel)


def test_an_interrupt_stops_the_sync_path_too(kernel: Kernel, server: Replay):
    id = kernel.send(f"%%time\n%%mesh -m {ENDLESS} -o r\nHello")
    kernel.streaming(id)
    kernel.interrupt()
    stopped(kernel, server, kernel.finish(id))


def test_a_stopped_gather_leaves_the_kernel_alive(kernel: Kernel, server: Replay):
    code = f"g = one('{ENDLESS}')\nawait asyncio.gather(g.run('A'), g.run('B'))"
    id = kernel.send(code)
    kernel.from_page(kernel.streaming(id), {"kind": "stop"})
    cell = kernel.finish(id)
    assert cell.status == "error"
    kernel.run("%mesh stop")
    wait_for(lambda: server.stats["active"] == 0)
    assert value(kernel, "1 + 1") == "2"


def test_cells_queued_behind_all_run(kernel: Kernel):
    ids = [kernel.send(f"%%mesh -m {MODEL} -o r{n}\nHello {n}") for n in range(3)]
    ids.append(kernel.send("print(r0.status, r1.status, r2.status)"))
    cells = [kernel.finish(id) for id in ids]
    assert [c.status for c in cells] == ["ok"] * 4
    assert cells[-1].stdout.split() == ["completed"] * 3


def test_a_failed_run_keeps_its_partial_text_in_the_cell(kernel: Kernel):
    cell = kernel.run("%%mesh -m synthetic-20@cut_event=10 -o r\nHello")
    assert cell.status == "error"
    assert cell.error["ename"] == "NodeExecutionError"
    assert len(cell.error["traceback"]) == 1
    text = value(kernel, "r.text")
    assert text
    shown = answer(kernel, cell)
    assert text.strip() in shown
    assert "Node llm failed." in shown
    assert "sk-test-key" not in str(cell.messages)


def test_a_page_that_comes_late_gets_a_snapshot_and_the_bundle(kernel: Kernel):
    id = kernel.send(f"%%mesh -m {ENDLESS} -o r\nHello")
    comm = kernel.streaming(id)
    for kind in ("snapshot", "bundle"):
        kernel.from_page(comm, {"kind": kind})

    def kind_of(message: dict) -> str | None:
        data = message["content"].get("data", {}) if message["msg_type"] == "comm_msg" else {}
        return data.get("content", {}).get("kind") if data.get("method") == "custom" else None

    snapshot = kernel.until(lambda m: kind_of(m) == "snapshot")[-1]["content"]["data"]["content"]
    bundle = kernel.until(lambda m: kind_of(m) == "bundle")[-1]
    kernel.from_page(comm, {"kind": "stop"})
    kernel.finish(id)
    assert [e["type"] for e in snapshot["events"]].count("token") == 1
    assert snapshot["events"][0]["type"] == "execution_start"
    assert len(bundle["buffers"][0]) > 10_000


def test_a_page_that_was_reloaded_keeps_its_widget_with_the_whole_run(kernel: Kernel):
    id = kernel.send(f"%%mesh -m {ENDLESS} -o r\nHello")
    comm = kernel.streaming(id)
    for kind in ("snapshot", "snapshot", "stop"):
        kernel.from_page(comm, {"kind": kind})
    cell = kernel.finish(id)
    assert not cell.of("comm_close")
    states = [c["data"]["state"] for c in cell.of("comm_msg") if c["data"].get("method") == "update"]
    (final,) = [state["final"] for state in states if "final" in state]
    assert final["events"][-1]["type"] == "execution_error"
    assert {"status": "cancelled"} in states
    assert RUN in cell.outputs[0]["data"]


def test_a_background_run_returns_at_once_and_goes_on_in_its_cell(kernel: Kernel, server: Replay):
    cell = kernel.run(f"%%mesh -m {ENDLESS} --background -o r\nHello")
    assert cell.status == "ok"
    assert value(kernel, "r.status") == "running"
    assert kernel.run("%mesh stop").stdout == "Stopped 1 run.\n"
    display_id = cell.of("display_data")[0]["transient"]["display_id"]
    update = kernel.until(lambda m: m["msg_type"] == "update_display_data")[-1]
    assert update["content"]["transient"]["display_id"] == display_id
    assert update["parent_header"]["msg_id"] == cell.id
    wait_for(lambda: server.stats["active"] == 0)


@pytest.mark.parametrize(
    "code",
    [
        f"%%time\n%%mesh -m {MODEL}\nHello",
        f"def f():\n    return get_ipython().run_cell_magic('mesh', '-m {MODEL}', 'Hello')\nf()",
    ],
    ids=["time", "function"],
)
def test_under_another_magic_it_runs_in_sync(kernel: Kernel, code: str):
    cell = kernel.run(code)
    assert cell.status == "ok"
    assert RUN in cell.outputs[0]["data"]


def test_capture_captures_static_output(kernel: Kernel):
    cell = kernel.run(f"%%capture out\n%%mesh -m {MODEL} -o r\nHello")
    assert cell.status == "ok"
    assert not cell.outputs
    assert not cell.of("comm_open")
    assert value(kernel, f"[list(o.data) for o in out.outputs if '{RUN}' in o.data] != []") == "True"


def test_a_last_line_of_semicolon_hides_the_output(kernel: Kernel):
    cell = kernel.run(f"%%mesh -m {MODEL} -o r\nSay (this; it's fine;\n;")
    assert cell.status == "ok"
    assert not cell.outputs
    assert value(kernel, "r.input") == "Say (this; it's fine;"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("%%mesh --modle x\nHello", "Did you mean --model"),
        ("%%mesh -m gtp-5 -g nope\nHello", "-g nope"),
        ("%%mesh -g one\nHello", "not a graph"),
        ("%%mesh -m x\nHello {{nope}}", "no variable 'nope'"),
        ("%%mesh\nHello", "MESH_MODEL"),
        (f"%%mesh -m {MODEL}\n \n", "no prompt"),
        ("%mesh stpo", "Did you mean %mesh stop?"),
        ("%mesh runs many", "a number"),
    ],
)
def test_bad_input_is_one_line_and_starts_nothing(kernel: Kernel, server: Replay, code: str, message: str):
    cell = kernel.run(code)
    assert cell.status == "error"
    shown = cell.stdout + "".join("\n".join(e["traceback"]) for e in cell.of("error"))
    assert re.search(re.escape(message), shown), shown
    assert len(shown.strip().splitlines()) == 1
    assert server.requests == []


def test_a_session_remembers_and_variables_fill_the_prompt(kernel: Kernel, server: Replay):
    kernel.run("import pandas as pd\ndf = pd.DataFrame({'city': ['Paris'], 'high': [21]})")
    kernel.run(f"%%mesh -m {MODEL} -s talk\nLook at {{{{df}}}}")
    kernel.run(
        f"%%mesh -m {MODEL} -s talk --system 'Be brief.'\nAnd now? {{{{df}}}}".replace("{{df}}", "{df}")
    )
    first, second = (r["body"]["messages"] for r in server.requests)
    assert "| Paris | 21 |" in first[-1]["content"]
    assert [m["role"] for m in second] == ["system", "user", "assistant", "user"]
    assert second[-1]["content"] == "And now? {df}"


def test_m_replaces_the_model_of_a_graph_and_leaves_the_graph_alone(kernel: Kernel, server: Replay):
    kernel.run("g = one('synthetic-3')")
    kernel.run(f"%%mesh -g g -m {MODEL}\nHello")
    kernel.run("%%mesh -g g\nHello")
    assert [r["model"] for r in server.requests] == [MODEL, "synthetic-3"]


def test_line_magics(kernel: Kernel):
    kernel.run(f"%%mesh -m {MODEL} -o r\nHello")
    assert value(kernel, "get_ipython().run_line_magic('mesh', 'last') is r") == "True"
    assert "completed" in kernel.run("%mesh runs 1").outputs[0]["data"]["text/plain"]
    assert kernel.run("%mesh stop").stdout == "Nothing is running.\n"
    assert "openai" in kernel.run("%mesh models").stdout
    assert "--session-id" in kernel.run("%mesh").stdout


def test_loading_twice_and_unloading_leaves_nothing(kernel: Kernel):
    state = (
        "(len(get_ipython().input_transformers_post), 'mesh' in get_ipython().magics_manager.magics['cell'],"
        " 'mesh' in get_ipython().magics_manager.magics['line'])"
    )
    kernel.run("def other(lines): return lines\nget_ipython().input_transformers_post.append(other)")
    loaded = value(kernel, state)
    assert (
        kernel.run("%load_ext mesh_nb\nimport mesh_nb; mesh_nb.load_ipython_extension(get_ipython())").status
        == "ok"
    )
    assert value(kernel, state) == loaded == "(2, True, True)"
    kernel.run("%unload_ext mesh_nb")
    assert value(kernel, state) == "(1, False, False)"
    assert "not found" in kernel.run("%%mesh -m x\nHello").stdout
    reloaded = kernel.run("get_ipython().input_transformers_post.remove(other)\n%load_ext mesh_nb")
    assert (reloaded.status, reloaded.stdout) == ("ok", "")
    assert kernel.run(f"%%mesh -m {MODEL}\nHello").status == "ok"
