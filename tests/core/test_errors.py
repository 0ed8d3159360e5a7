"""Errors say what, and what next, in one line."""

from __future__ import annotations

import pickle

import pytest

import mesh_nb
from mesh_nb.core import errors


@pytest.mark.parametrize(
    ("name", "close"), [("gpt5", "gpt-5"), ("GPT-5", "gpt-5"), ("claude", "claude-x"), ("zzz", None)]
)
def test_nearest_finds_a_misspelt_name(name: str, close: str | None) -> None:
    assert errors.nearest(name, ["gpt-5", "claude-x"]) == close


def test_unknown_names_answer_with_the_known_ones() -> None:
    error = errors.UnknownNameError("model", "gtp-5", ["gpt-5", "demo"], "Set one.")
    assert str(error) == "Unknown model 'gtp-5'. Did you mean 'gpt-5'? Known: demo, gpt-5. Set one."
    assert (error.kind, error.name, error.known) == ("model", "gtp-5", ["demo", "gpt-5"])
    assert isinstance(error, LookupError)


def test_a_notebook_shows_our_errors_as_one_line() -> None:
    for error in (
        errors.InputError("Bad input."),
        errors.UnknownNameError("model", "x", ["y"]),
        errors.NodeExecutionError("n", errors.ToolError("No.", tool="t")),
    ):
        assert error._render_traceback_() == [f"{type(error).__name__}: {error}"]


def test_a_failure_in_the_users_code_keeps_its_traceback() -> None:
    try:
        raise ValueError("mine")
    except ValueError as cause:
        error = errors.NodeExecutionError("n", cause)
    lines = "".join(error._render_traceback_())
    assert "raise ValueError" in lines
    assert "Node 'n' failed: ValueError: mine" in lines
    assert error.cause is error.original_error


def test_a_traceback_begins_in_the_users_code() -> None:
    def deeper() -> None:
        raise ValueError("mine")

    def node(input: object) -> None:
        deeper()

    with pytest.raises(errors.NodeExecutionError) as caught:
        mesh_nb.StateGraph().add_node("n", node).set_entry_point("n").run_sync("q", display=False)
    lines = "".join(caught.value._render_traceback_())
    assert [line.split(" in ")[1] for line in lines.splitlines() if line.startswith("  File")] == [
        "node",
        "deeper",
    ]
    assert lines.startswith("Traceback (most recent call last):")


def test_a_failure_is_shown_when_its_lines_cannot_be_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def raced(*_: object) -> None:
        raise SystemError("AST constructor recursion depth mismatch (before=15, after=-36)")

    monkeypatch.setattr("traceback.format_exception", raced)
    error = errors.NodeExecutionError("n", ValueError("mine"))
    assert error._render_traceback_() == ["ValueError: mine", f"NodeExecutionError: {error}"]


def test_a_group_tells_what_is_in_it() -> None:
    group = ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [TypeError("b")])])
    inside = "ValueError: a; ExceptionGroup: h (1 sub-exception): TypeError: b"
    assert errors.told(group) == f"ExceptionGroup: g (2 sub-exceptions): {inside}"
    many = ExceptionGroup("g", [ValueError(str(n)) for n in range(9)])
    assert errors.told(many).endswith("ValueError: 4; …")


def test_provider_errors_carry_fields() -> None:
    error = errors.RateLimitError(
        "Slow down.", provider="openai", model="m", status=429, request_id="r1", retry_after=2.0, hint="Wait."
    )
    assert str(error) == "openai/m (HTTP 429): Slow down. Wait. [request r1]"
    assert (error.status, error.retry_after) == (429, 2.0)


def test_the_tree_is_the_one_that_the_docstring_draws() -> None:
    for name in ("GraphValidationError", "UnknownNameError", "NodeExecutionError", "ProviderError"):
        assert issubclass(getattr(errors, name), mesh_nb.MeshError)
    assert issubclass(errors.CycleDetectedError, errors.GraphValidationError)
    assert issubclass(errors.InvalidNodeTypeError, errors.GraphValidationError)
    assert issubclass(errors.MeshInterrupted, KeyboardInterrupt)
    drawn = errors.__doc__ or ""
    for name, thing in vars(errors).items():
        if isinstance(thing, type) and issubclass(thing, BaseException):
            assert name in drawn


@pytest.mark.parametrize(
    "error",
    [
        errors.UnknownNameError("model", "gtp-5", ["gpt-5"], "Set one."),
        errors.GraphValidationError(["one", "two"]),
        errors.RateLimitError("Slow.", provider="openai", model="m", status=429, retry_after=2.0),
        errors.ToolError("No.", tool="t"),
        errors.BudgetExceededError("Too much.", spent=1.0, limit=0.5),
        errors.RunTimeoutError(3.0),
        errors.RunNotFoundError("x", ["xy"]),
        errors.NodeExecutionError("n", ValueError("no")),
        errors.MeshInterrupted(run=None),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_from_another_process_as_it_was(error: BaseException) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.args) == (type(error), str(error), error.args)
    assert {k: repr(v) for k, v in vars(back).items()} == {k: repr(v) for k, v in vars(error).items()}
