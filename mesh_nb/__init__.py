"""mesh_nb: LLM graphs in a notebook.

General layout
    core/        events, graph, scheduler, executor, Run: the engine
    providers/   model APIs -> events           nodes/    what a graph is made of
    agents/      foreign agents -> events       backends/ event logs
    frames/      event logs -> DataFrames       hosts/    where a run is shown
    streaming/   events -> SSE                  notebook/ magics, widgets, static output
A run is a stream of ExecutionEvent; nodes write it, everything else reads it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backends.file import FileBackend
    from .backends.memory import MemoryBackend
    from .backends.sqlite import SQLiteBackend
    from .core import prices, spending
    from .core.budget import Budget
    from .core.cache import Cache
    from .core.context import ExecutionContext
    from .core.errors import (
        AuthenticationError,
        BudgetExceededError,
        ConfigurationError,
        CycleDetectedError,
        GraphValidationError,
        IncompleteStreamError,
        InputError,
        InvalidNodeTypeError,
        MeshError,
        MeshInterrupted,
        NodeExecutionError,
        NodeTimeoutError,
        ProviderError,
        RateLimitError,
        RejectedError,
        RunError,
        RunNotFoundError,
        RunTimeoutError,
        StreamTimeoutError,
        ToolError,
        UnknownNameError,
        UnpricedError,
        VariableResolutionError,
    )
    from .core.events import EventType, ExecutionEvent
    from .core.executor import Executor
    from .core.graph import CompiledGraph, StateGraph
    from .core.interrupts import Answer
    from .core.modes import DebugInfo, StateUpdate, StateValue, StreamMessage, StreamMode
    from .core.node import BaseNode, NodeResult
    from .core.plugins import register
    from .core.react_flow import from_react_flow
    from .core.run import Run
    from .core.runs import last_run, runs
    from .core.secret import secret
    from .core.tape import TapeError, TapeMissError, record
    from .core.tools import Tool, tool
    from .frames._chart import chart
    from .frames._report import CostReport, cost_report, usage
    from .frames.calls import calls_df
    from .frames.costs import costs_df
    from .frames.events import events_df
    from .frames.messages import messages_df
    from .frames.nodes import nodes_df
    from .frames.runs import runs_df
    from .frames.tools import tools_df
    from .nodes.condition import Condition
    from .notebook.batch import Batch, batch
    from .notebook.chat import Chat, chat
    from .notebook.compare import Comparison, compare
    from .providers._limits import limits
    from .streaming.sse import SSEAdapter

__version__ = "0.1.0"

_PUBLIC = {
    "Answer": "core.interrupts",
    "AuthenticationError": "core.errors",
    "BaseNode": "core.node",
    "Batch": "notebook.batch",
    "Budget": "core.budget",
    "BudgetExceededError": "core.errors",
    "Cache": "core.cache",
    "Chat": "notebook.chat",
    "Comparison": "notebook.compare",
    "CompiledGraph": "core.graph",
    "Condition": "nodes.condition",
    "ConfigurationError": "core.errors",
    "CostReport": "frames._report",
    "CycleDetectedError": "core.errors",
    "DebugInfo": "core.modes",
    "EventType": "core.events",
    "ExecutionContext": "core.context",
    "ExecutionEvent": "core.events",
    "Executor": "core.executor",
    "FileBackend": "backends.file",
    "GraphValidationError": "core.errors",
    "IncompleteStreamError": "core.errors",
    "InputError": "core.errors",
    "InvalidNodeTypeError": "core.errors",
    "MemoryBackend": "backends.memory",
    "MeshError": "core.errors",
    "MeshInterrupted": "core.errors",
    "NodeExecutionError": "core.errors",
    "NodeResult": "core.node",
    "NodeTimeoutError": "core.errors",
    "ProviderError": "core.errors",
    "RateLimitError": "core.errors",
    "RejectedError": "core.errors",
    "Run": "core.run",
    "RunError": "core.errors",
    "RunNotFoundError": "core.errors",
    "RunTimeoutError": "core.errors",
    "SQLiteBackend": "backends.sqlite",
    "SSEAdapter": "streaming.sse",
    "StateGraph": "core.graph",
    "StateUpdate": "core.modes",
    "StateValue": "core.modes",
    "StreamMessage": "core.modes",
    "StreamMode": "core.modes",
    "StreamTimeoutError": "core.errors",
    "TapeError": "core.tape",
    "TapeMissError": "core.tape",
    "Tool": "core.tools",
    "ToolError": "core.errors",
    "UnknownNameError": "core.errors",
    "UnpricedError": "core.errors",
    "VariableResolutionError": "core.errors",
    "batch": "notebook.batch",
    "calls_df": "frames.calls",
    "chart": "frames._chart",
    "chat": "notebook.chat",
    "compare": "notebook.compare",
    "cost_report": "frames._report",
    "costs_df": "frames.costs",
    "events_df": "frames.events",
    "from_react_flow": "core.react_flow",
    "last_run": "core.runs",
    "limits": "providers._limits",
    "messages_df": "frames.messages",
    "nodes_df": "frames.nodes",
    "record": "core.tape",
    "register": "core.plugins",
    "runs": "core.runs",
    "runs_df": "frames.runs",
    "secret": "core.secret",
    "tool": "core.tools",
    "tools_df": "frames.tools",
    "usage": "frames._report",
}

__all__ = [
    "Answer",
    "AuthenticationError",
    "BaseNode",
    "Batch",
    "Budget",
    "BudgetExceededError",
    "Cache",
    "Chat",
    "Comparison",
    "CompiledGraph",
    "Condition",
    "ConfigurationError",
    "CostReport",
    "CycleDetectedError",
    "DebugInfo",
    "EventType",
    "ExecutionContext",
    "ExecutionEvent",
    "Executor",
    "FileBackend",
    "GraphValidationError",
    "IncompleteStreamError",
    "InputError",
    "InvalidNodeTypeError",
    "MemoryBackend",
    "MeshError",
    "MeshInterrupted",
    "NodeExecutionError",
    "NodeResult",
    "NodeTimeoutError",
    "ProviderError",
    "RateLimitError",
    "RejectedError",
    "Run",
    "RunError",
    "RunNotFoundError",
    "RunTimeoutError",
    "SQLiteBackend",
    "SSEAdapter",
    "StateGraph",
    "StateUpdate",
    "StateValue",
    "StreamMessage",
    "StreamMode",
    "StreamTimeoutError",
    "TapeError",
    "TapeMissError",
    "Tool",
    "ToolError",
    "UnknownNameError",
    "UnpricedError",
    "VariableResolutionError",
    "__version__",
    "batch",
    "calls_df",
    "chart",
    "chat",
    "compare",
    "cost_report",
    "costs_df",
    "events_df",
    "from_react_flow",
    "last_run",
    "limits",
    "messages_df",
    "nodes_df",
    "prices",
    "record",
    "register",
    "runs",
    "runs_df",
    "secret",
    "spending",
    "tool",
    "tools_df",
    "usage",
]


_ROOMS = ("backends", "frames", "nodes", "streaming", "testing")
_MODULES = {"prices": "core.prices", "spending": "core.spending"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    from .core.errors import nearest

    close = nearest(name, __all__)
    raise AttributeError(
        f"module 'mesh_nb' has no attribute {name!r}.{f' Did you mean {close!r}?' if close else ''}"
    )


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})


def load_ipython_extension(ip: Any) -> None:
    """Add `%%mesh` and `%mesh` to this IPython session: `%load_ext mesh_nb`."""
    from .notebook import magics

    magics.load(ip)


def unload_ipython_extension(ip: Any) -> None:
    """Remove everything that `%load_ext mesh_nb` added."""
    from .notebook import magics

    magics.unload(ip)
