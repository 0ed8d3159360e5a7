"""What `secret()` marks: models, tools and the program get it; nothing that is written has it."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_chat import ChatServer, reasoning, text

import mesh_nb as mesh
from mesh_nb.core import _scrub
from mesh_nb.core.events import EventType, ExecutionEvent
from mesh_nb.core.secret import marked
from mesh_nb.core.tape import stop
from mesh_nb.notebook.freeze import freeze
from mesh_nb.testing import Reply, ScriptedModel, check_events

PATIENT = 'Jörg "Jo" Secretson'
DOCTOR = "Dr. Hush Hushington"
RESULT: dict[str, Any] = {"name": "Quiet Person", "salary": 471147, "open": True, "rooms": ["Room Silent"]}


@pytest.fixture(autouse=True)
def nothing_is_marked() -> Iterator[None]:
    marked.__init__()
    yield
    marked.__init__()
    assert stop() is None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    return tmp_path


def llm(**options: Any) -> mesh.StateGraph:
    return mesh.StateGraph().add_node("llm", None, node_type="llm", **options).set_entry_point("llm")


def found(secret: str, *shown: str, home: Path) -> list[str]:
    """Where a secret is: in a file below home, or in what was shown."""
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    texts = {str(p): p.read_text("utf-8", "replace") for p in home.rglob("*") if p.is_file()}
    texts |= {f"shown {n}": said for n, said in enumerate(shown)}
    return [name for name, said in texts.items() if any(form in said for form in forms)]


def test_a_secret_of_a_prompt_is_sent_and_written_nowhere(
    home: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    patient, doctor = mesh.secret(PATIENT), mesh.secret([DOCTOR])[0]
    with ChatServer() as server:
        words = [PATIENT[:7], PATIENT[7:], " sees ", DOCTOR[:1], DOCTOR[1:9], DOCTOR[9:], "."]
        server.models["m"] = [reasoning(DOCTOR), *map(text, words)]
        graph = llm(model="m", base_url=server.base_url, api_key="k")
        shown: list[str] = []
        for mode in ("once", "none"):
            with mesh.record(home / "t.mesh-tape", mode=mode, speed=0):
                run = graph.run_sync(f"Who treats {patient}?", variables={"doctor": doctor}, display=False)
            shown += [repr(run), *map(str, freeze(run.events)[0].values()), repr(mesh.runs())]
            shown += [frame.to_string() for frame in (mesh.messages_df(), mesh.messages_df(run))]
            assert "***" in shown[-1]
            if mode == "once":
                assert run.text == f"{PATIENT} sees {DOCTOR}."
                assert server.requests[0]["messages"][0]["content"] == f"Who treats {PATIENT}?"
            check_events(run.events)
    assert run.text == "*** sees ***."
    shown += [*capfd.readouterr(), caplog.text]
    for secret in (PATIENT, DOCTOR, "Hushington"):
        assert found(secret, *shown, home=home) == []
    assert "*** sees ***." in shown[1]


def test_the_result_of_a_secret_tool_is_the_models_alone(home: Path):
    told: list[Any] = []

    @mesh.tool(secret=True)
    def look(what: str) -> Any:
        """Look something up."""
        return {"dict": RESULT, "text": DOCTOR, "number": 471147}[what]

    def answer(messages: list[Any]) -> Reply | str:
        if messages[-1]["role"] != "tool":
            calls = [("look", {"what": what}) for what in ("dict", "text", "number")]
            return Reply(tool_calls=calls)
        told.append([message["content"] for message in messages[-3:]])
        return f"{RESULT['name']} in {RESULT['rooms'][0]} pays {DOCTOR}."

    model = ScriptedModel(answer, answer)
    graph = llm(**model.options, tools=[look])
    shown: list[str] = []
    for mode in ("once", "none"):
        with mesh.record(home / "t.mesh-tape", mode=mode, speed=0):
            run = graph.run_sync("Who?", display=False)
        assert run.status == "completed"
        shown += [repr(run), *map(str, freeze(run.events)[0].values())]
    (said,) = told
    assert [said[0], said[1], said[2]] == [json.dumps(RESULT, separators=(",", ":")), DOCTOR, "471147"]
    assert run.text == "*** in *** pays ***."
    for secret in ("Quiet Person", "Room Silent", DOCTOR, "471147"):
        assert found(secret, *shown, home=home) == []
    outputs = [e.output for e in run.events if e.type == "tool_call_complete"]
    assert outputs[0] == {"name": "***", "salary": "***", "open": True, "rooms": ["***"]}


def test_a_secret_tool_as_a_node_hands_its_result_on(home: Path):
    got: list[Any] = []

    @mesh.tool(secret=True)
    def measure() -> dict[str, Any]:
        """Measure."""
        return dict(RESULT)

    graph = mesh.StateGraph().add_node("measure", measure, node_type="tool")
    graph.add_node("use", lambda input: got.append(input["salary"]) or {"content": "done"})
    graph.add_sequence(["measure", "use"]).set_entry_point("measure")
    run = graph.run_sync("x", display=False)
    assert got == [471147]
    assert found("Quiet Person", *map(str, freeze(run.events)[0].values()), home=home) == []
    assert found("471147", *map(str, freeze(run.events)[0].values()), home=home) == []


def test_no_message_of_an_error_tells_a_secret(home: Path, caplog: pytest.LogCaptureFixture):
    mesh.secret(PATIENT)

    def fail(input: Any) -> Any:
        try:
            raise KeyError({"who": PATIENT})
        except KeyError as error:
            raise ValueError(f"no {PATIENT}", [PATIENT]) from error

    graph = mesh.StateGraph().add_node("fail", fail).set_entry_point("fail")
    with pytest.raises(mesh.NodeExecutionError) as caught:
        graph.run_sync("x", display=False)
    shown = ["".join(traceback.format_exception(caught.value)), repr(caught.value.cause)]
    logging.getLogger("mesh_nb").warning("It is %s.", PATIENT)
    try:
        raise ValueError(PATIENT)
    except ValueError:
        logging.getLogger("mesh_nb").exception("It failed.")
    assert "It is ***." in caplog.text
    assert "no ***" in shown[0]
    assert found(PATIENT, *shown, caplog.text, home=home) == []


def test_what_is_marked_while_a_run_goes_on_is_hidden_from_then_on(home: Path):
    def look(input: Any) -> Any:
        return {"content": mesh.secret(PATIENT)}

    graph = mesh.StateGraph().add_node("look", look)
    graph.add_node("say", lambda content: {"content": f"It is {content}."})
    graph.add_sequence(["look", "say"]).set_entry_point("look")
    run = graph.run_sync("Who?", display=False)
    assert run.text == f"It is {PATIENT}."
    assert found(PATIENT, repr(run), *map(str, freeze(run.events)[0].values()), home=home) == []
    check_events(mesh.Run.load(run.id).events)


def asking() -> tuple[mesh.StateGraph, list[Any]]:
    got: list[Any] = []
    graph = mesh.StateGraph().add_node("look", lambda: {"content": f"{DOCTOR} sees them."})
    graph.add_node("ask", None, node_type="approval", message=f"May {DOCTOR}?")
    graph.add_node("use", lambda input, context: got.append((input["content"], context.question)) or {})
    return graph.add_sequence(["look", "ask", "use"]).set_entry_point("look"), got


def test_a_run_goes_on_with_its_secrets_where_it_ran(home: Path):
    mesh.secret([PATIENT, DOCTOR])
    graph, got = asking()
    run = graph.run_sync(f"Who is {PATIENT}?", display=False, on_no_answer="stop")
    assert run.status == "interrupted"
    assert mesh.Run.load(run.id).pending[0].message == "May ***?"
    graph.resume(run.id, answers={run.pending[0].id: mesh.Answer("approved")}, display=False).wait()
    graph.fork(run.id, at="use", display=False).wait()
    graph.rerun(run.id, display=False, on_no_answer="allow").wait()
    assert got == [(f"{DOCTOR} sees them.", f"Who is {PATIENT}?")] * 3
    for secret in (PATIENT, DOCTOR):
        assert found(secret, home=home) == []


def test_another_process_does_not_go_on_with_stars(home: Path, monkeypatch: pytest.MonkeyPatch):
    mesh.secret([PATIENT, DOCTOR])
    graph, got = asking()
    run = graph.run_sync("Who?", display=False, on_no_answer="stop")
    whole = graph.run_sync(f"Who is {PATIENT}?", display=False, on_no_answer="allow")
    monkeypatch.setattr(_scrub, "_kept", {})
    for again in (
        lambda: graph.resume(run.id),
        lambda: graph.fork(run.id, at="use"),
        lambda: graph.rerun(whole.id),
    ):
        with pytest.raises(mesh.MeshError, match="only the process that ran it knows"):
            again()
    graph.rerun(run.id, display=False, on_no_answer="allow").wait()  # its input hides nothing
    monkeypatch.setattr(_scrub, "_kept", {})
    again_all = graph.run_sync(f"Who is {PATIENT}?", reuse=True, display=False, on_no_answer="allow")
    assert list(again_all.reused) == []
    assert len(got) == 3


def test_no_message_of_an_error_has_a_key_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch):
    token = "hunter2 of the service"
    monkeypatch.setenv("SOME_SERVICE_TOKEN", token)

    def fail(input: Any) -> Any:
        raise ValueError(f"no {token}", "sk-learn-2.0.1-beta")

    graph = mesh.StateGraph().add_node("fail", fail).set_entry_point("fail")
    with pytest.raises(mesh.NodeExecutionError) as caught:
        graph.run_sync("x", display=False)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    monkeypatch.delenv("SOME_SERVICE_TOKEN")
    with pytest.raises(mesh.NodeExecutionError, match=rf"'no {token}', 'sk-learn-2\.0\.1-beta'"):
        graph.run_sync("x", display=False)


def test_no_saved_output_has_a_key_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "hunter2 of the service")
    model = ScriptedModel(
        Reply(reasoning="hunter2 of", text="It is hunter2 of the service, by sk-learn-2.0.1-beta.")
    )
    graph = llm(**model.options)
    with mesh.record(home / "t.mesh-tape"):
        run = graph.run_sync("Why?", display=False)
    assert "hunter2 of the service" in run.text
    shown = list(map(str, freeze(run.events)[0].values()))
    assert all("sk-learn-2.0.1-beta" in one for one in shown)
    assert found("hunter2 of the service", *shown, home=home) == []


def test_a_cache_has_an_answer_for_each_secret_and_none_that_tells_one(home: Path):
    model = ScriptedModel(lambda messages: f"About {messages[-1]['content'][-3:]}.", repeat=True)
    graph = llm(**model.options)
    for name in (mesh.secret("Anna Ann"), mesh.secret("Bert Bob")):
        for _ in range(2):
            assert graph.run_sync(f"{name} and then", cache=True, display=False).text == "About hen."
    assert len(model.calls) == 2
    for _ in range(2):
        assert graph.run_sync("Who is Bert Bob", cache=True, display=False).text == "About Bob."
    mesh.secret("About Bob")
    for _ in range(2):
        graph.run_sync("Say: Bob", cache=True, display=False)
    assert len(model.calls) == 5
    assert found("Anna Ann", home=home) == []


def test_deltas_go_on_as_soon_as_no_secret_can_begin_in_them():
    mesh.secret("hunter two")
    passed: list[str] = []
    hushed = _scrub.Hushed(lambda event: passed.append(event.content), _scrub.Scrubber())
    for word in ("The ", "hun", "dred ", "h", "unter", " two", " sl", "eeps"):
        hushed(ExecutionEvent(EventType.TOKEN, "n", word))
        passed.append("|")
    hushed.flush()
    assert "".join(passed) == "The ||hundred |||***| sl|eeps|"


def test_a_page_gets_no_secret_live_or_in_a_snapshot(home: Path):
    from mesh_nb.notebook.live import LiveView

    mesh.secret(PATIENT)
    sent: list[Any] = []
    graph = mesh.StateGraph()

    async def say(input: Any) -> Any:
        for piece in ("It is ", *PATIENT, "."):
            sent.append(view._snapshot())
            yield piece

    graph.add_node("say", say).set_entry_point("say")

    async def watched() -> mesh.Run:
        nonlocal view
        run = graph.run(f"Who is {PATIENT}?", display=False)
        view = LiveView(run)
        view.widget.send = lambda content, buffers=None: sent.append(content)
        await run
        view.finish()
        sent.append(view.widget.final)
        return run

    import asyncio

    view: Any = None
    run = asyncio.run(watched())
    assert run.text == f"It is {PATIENT}."
    assert found(PATIENT, json.dumps(sent, default=str), home=home) == []
    words = [e["content"] for batch in sent[-3:] for e in batch["events"] if e["type"] == "token"]
    assert "***" in "".join(words)
    for batch in sent:
        for event in batch["events"]:
            if event["type"] == "token":
                assert not PATIENT.startswith(event["content"].removeprefix("It is ") or "-")


def test_an_edit_in_the_page_keeps_the_secrets_that_it_could_not_show(home: Path):
    import asyncio

    from mesh_nb.notebook.live import LiveView

    sent: list[dict[str, Any]] = []

    @mesh.tool(requires_approval=True)
    def send(to: str, text: str) -> str:
        """Send a letter."""
        sent.append({"to": to, "text": text})
        return "sent"

    mesh.secret([PATIENT, DOCTOR])
    call = Reply(tool_calls=[("send", {"to": PATIENT, "text": f"Dear {PATIENT}, {DOCTOR} is in."})])
    graph = llm(**ScriptedModel(call, "Done.").options, tools=[send])

    async def edited() -> None:
        run = graph.run("Write!", display=False, on_no_answer="wait")
        view = LiveView(run)
        async for event in run:
            if event.type == "interrupt":
                shown = _scrub.visible([event])[0].metadata["arguments"]
                assert shown == {"to": "***", "text": "Dear ***, *** is in."}
                value = {**shown, "text": shown["text"].replace("is in", "is out")}
                answer = {"kind": "answer", "interrupt_id": event.metadata["interrupt_id"]}
                view._receive(view.widget, {**answer, "decision": "edit", "value": value}, None)

    asyncio.run(edited())
    assert sent == [{"to": PATIENT, "text": f"Dear {PATIENT}, {DOCTOR} is out."}]
    assert _scrub.restored("*** and ***", f"only {PATIENT}") == "*** and ***"
    assert _scrub.restored(["***", 1], [PATIENT]) == [PATIENT, 1]


@pytest.mark.parametrize(
    ("value", "said"),
    [("ab", "2 characters"), (["long enough", ""], "0 characters"), (7, "has none"), ([], "none")],
)
def test_what_cannot_be_secret(value: Any, said: str):
    with pytest.raises(mesh.MeshError, match=said):
        mesh.secret(value)
    assert not marked


def test_columns_and_dicts_are_marked_at_any_depth():
    import pandas as pd

    mesh.secret(pd.Series(["Ada Lovelace", "Alan Turing"]))
    mesh.secret({"a": [("Grace Hopper",)], "n": 1})
    assert _scrub.hidden("Ada Lovelace, Alan Turing, Grace Hopper, Ada") == "***, ***, ***, Ada"
