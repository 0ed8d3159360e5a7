"""A run in the page while it runs: one widget, batches of events, a snapshot when asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import importlib.resources
import json
import math
import threading
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from ..core._scrub import Hushed, Scrubber, restored
from ..core.errors import MeshError
from ..core.events import ENDINGS, EventType, ExecutionEvent
from ..core.runner import in_marimo, private_loop
from ..core.secret import marked
from ._again import VERBS, again, offers
from ._coalesce import Coalescer, coalesce
from ._tables import preview

INTERVAL = 1 / 30
"""Seconds between two messages of a run; one message a token loses text on the way (IOPub limits)."""

FILE_CAP = 1_000_000
"""Characters of base64 above which a file's content travels only when the page asks for it."""


@functools.cache
def bundle(name: str) -> str:
    """Return a built front-end module, `hub`, `stub`, `graph` or `more`, as source text."""
    return importlib.resources.files("mesh_nb").joinpath("static", f"{name}.js").read_text("utf-8")


def stub_source() -> str:
    """Return the module of a visible widget: the stub, or in marimo, where a request waits for the running
    cell and modules are cached by content, the stub with the hub and the graph's module inside."""
    if not in_marimo():
        return bundle("stub")
    sources = [json.dumps(bundle(name)).replace("</", "<\\/") for name in ("hub", "graph")]
    loads = [
        f'import(URL.createObjectURL(new Blob([{source}], {{type: "text/javascript"}})));\n'
        for source in sources
    ]
    return "".join([*loads, bundle("stub")])


class Hub(anywidget.AnyWidget):
    """A hidden widget that carries a part of the front end to each page once; it is never displayed."""

    _esm = traitlets.Unicode().tag(sync=True)

    def __init__(self, part: str = "hub") -> None:
        self.part = part
        super().__init__()

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return bundle(self.part)

    def __repr__(self) -> str:
        return f"Hub({self.part!r})"


class RunWidget(anywidget.AnyWidget):
    """The visible widget of one run; what it shows travels as custom messages, not as traits."""

    _esm = traitlets.Unicode().tag(sync=True)
    run_id = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("running").tag(sync=True)
    final = traitlets.Dict().tag(sync=True)
    offer = traitlets.Dict().tag(sync=True)
    place = traitlets.Unicode("").tag(sync=True)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return stub_source()

    def __repr__(self) -> str:
        return f"RunWidget({self.run_id!r})"


_hubs: dict[str, Hub] = {}
_hub_lock = threading.Lock()


def open_hub(*parts: str) -> None:
    """Open the hub of this kernel, or what brings the named parts to each page, unless it is open."""
    with _hub_lock:
        for part in parts or ("hub",):
            if part not in _hubs or _hubs[part].comm is None:
                _hubs[part] = Hub(part)


def close_hub() -> None:
    """Close the hub and the other parts; the next live view opens others."""
    with _hub_lock:
        for hub in _hubs.values():
            hub.close()
        _hubs.clear()


def _subject(node_id: str, tool_name: Any) -> tuple[str, str]:
    """Return what an approval for the rest of a run is about: a tool wherever it is called, else a node."""
    return ("tool", str(tool_name)) if tool_name else ("node", node_id)


def wire_event(event: ExecutionEvent) -> dict[str, Any]:
    """Return an event for the page; a large file goes without its content, marked `content_omitted`, and a
    table with its first rows as `preview`."""
    content = event.metadata.get("content") if event.type is EventType.FILE else None
    record = event.to_dict()
    if not isinstance(content, str):
        return record
    given = record["metadata"]
    rows = preview(str(given.get("name") or ""), str(given.get("mime_type") or ""), content)
    if rows is not None:
        given["preview"] = rows
    if len(content) > FILE_CAP:
        given["content_omitted"] = True
        given.setdefault("size", len(content) * 3 // 4 - content[-2:].count("="))
        del given["content"]
    return record


class LiveView:
    """Feeds one widget from one run.

    Parameters: run, a Run; on_end, called on the run's loop after the last event was sent; edit, what
    changes an event before it is sent; on_again, called with the run that ended and the one that goes on,
    when a reader chose what `offer` offered; place, the mark of the output in which the page draws the run,
    empty when the widget is displayed.

    The first event of a burst is sent at once, later ones at most every INTERVAL seconds with the deltas of
    each block joined. Messages from the page may arrive on any thread.
    """

    def __init__(
        self,
        run: Any,
        on_end: Callable[[LiveView], None] | None = None,
        *,
        edit: Callable[[ExecutionEvent], ExecutionEvent] | None = None,
        on_again: Callable[[Any, Any], None] | None = None,
        place: str = "",
    ) -> None:
        if not in_marimo():
            # Not only when the page asks: most kernels would answer after the cell.
            several = len(getattr(run.graph, "nodes", ())) > 1
            open_hub("hub", *(["graph"] if several or place else []))
        self.run = run
        self.widget = RunWidget(run_id=run.id, status=str(run.status), place=place)
        self.snapshots = 0
        self.on_placed: Callable[[], None] | None = None
        self._on_end, self._on_again = on_end, on_again
        self._choosing = threading.Lock()
        self._wire = wire_event if edit is None else lambda event: wire_event(edit(event))
        self._pending = Coalescer()
        self._hushed = Hushed(self._pending.add, Scrubber())
        self._allowed: set[tuple[str, str]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = -INTERVAL
        self._sent_to = run.events[-1].seq if run.events else -1
        self._heard = self._sent_to
        # A run that is resumed has an ending among its past events, and goes on all the same.
        self._ended = run.done
        self.widget.on_msg(self._receive)
        self._unsubscribe: Callable[[], None] = (lambda: None) if self._ended else run.subscribe(self._event)
        if self._ended:
            self.finish()
        else:
            run.add_done_callback(lambda _: self._end())

    def _take(self, event: ExecutionEvent) -> None:
        self._heard = max(self._heard, event.seq)
        if marked:
            self._hushed(event)
        else:
            self._pending.add(event)

    def _event(self, event: ExecutionEvent) -> None:
        if event.seq > self._heard + 1:
            self._listen(event.seq)
        self._take(event)
        if event.type is EventType.INTERRUPT and self._allowed:
            self._approve_again(event)
        if event.type in ENDINGS:
            self._end()
            return
        if self._timer is not None:
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        wait = self._sent_at + INTERVAL - self._loop.time()
        if wait <= 0:
            self._flush()
        else:
            self._timer = self._loop.call_later(wait, self._flush)

    def _listen(self, to: float) -> None:
        """Take in what came before this view listened, up to a seq."""
        for event in [e for e in self.run.events if self._heard < e.seq < to]:
            self._take(event)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not len(self._pending):
            return
        last = max(self._pending.last, self._sent_to)
        events = [self._wire(e) for e in self._pending.drain()]
        self.widget.send({"kind": "events", "from": self._sent_to + 1, "to": last, "events": events})
        self._sent_to = last
        if self._loop is not None:
            self._sent_at = self._loop.time()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._listen(math.inf)
        self._flush()
        self._unsubscribe()
        if self._on_end is not None:
            self._on_end(self)

    def finish(self) -> None:
        """Set the widget's final traits, for a view that stays open after the run."""
        snapshot = self._snapshot()
        self.widget.final = {"to": snapshot["to"], "events": snapshot["events"]}
        self.widget.status = str(self.run.status)

    def offer(self, mark: str = "") -> bool:
        """Offer the reader what may be done with the run that has ended, and say whether there is anything.

        Parameters: mark, on the static output that stands for the run; empty when the widget stays.
        """
        verbs = offers(self.run)
        if verbs and not in_marimo():
            open_hub("graph")
        self.widget.offer = {"verbs": verbs, "mark": mark} if verbs else {}
        return bool(verbs)

    def _go_on(self, verb: str) -> None:
        # A second click, or one in a second page, finds the run going on.
        with self._choosing:
            ended = self.run
            if verb not in self.widget.offer.get("verbs", ()):
                return
            try:
                run = again(ended, verb)
            except (MeshError, OSError) as error:
                self.widget.send({"kind": "refused", "message": str(error)})
                return
            if run.id != ended.id:
                self._sent_to = self._heard = -1
                self._allowed = set()
            self.run, self._ended, self._loop, self._timer = run, False, None, None
            self.on_placed = None
            with self.widget.hold_sync():
                self.widget.offer, self.widget.final = {}, {}
                self.widget.run_id, self.widget.status = run.id, str(run.status)
        if self._on_again is not None:
            self._on_again(ended, run)
        private_loop().call_soon_threadsafe(self._listen_to, run)

    def _listen_to(self, run: Any) -> None:
        """Listen to a run of the loop that this is called on; what it has done already comes first."""
        if run is not self.run or self._ended:
            return
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = run.subscribe(self._event)
        self._listen(math.inf)
        self._flush()
        run.add_done_callback(lambda _: self._end())

    def close(self) -> None:
        """Close the widget; its view leaves the page."""
        self._ended = True
        self._unsubscribe()
        self.widget.close()

    def _snapshot(self) -> dict[str, Any]:
        events = self._hushed.passed(self.run.events)
        last = max((e.seq for e in events[-1:]), default=-1)
        return {"kind": "snapshot", "to": last, "events": [self._wire(e) for e in coalesce(events)]}

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "stop":
            self.run.cancel()
        elif kind == "bundle":
            asked = content.get("name")
            name = asked if asked in ("graph", "more") else "hub"
            self.widget.send({"kind": "bundle", "name": name}, [bundle(name).encode()])
        elif kind in VERBS:
            self._go_on(kind)
        elif kind == "placed" and self.on_placed is not None:
            self.on_placed()
        elif kind == "answer":
            self._answer(content)
        elif kind == "file":
            self._send_file(content.get("seq"))
        elif kind == "snapshot":
            self.snapshots += 1
            if self._loop is None or self._ended:
                self._send_snapshot()
            else:
                with contextlib.suppress(RuntimeError):  # the run's loop ended meanwhile: final is set
                    self._loop.call_soon_threadsafe(self._send_snapshot)

    def _answer(self, content: dict[str, Any]) -> None:
        id, decision = str(content.get("interrupt_id")), content.get("decision")
        try:
            if decision == "reject":
                self.run.reject(str(content.get("message") or ""), id)
            elif decision == "edit":
                self.run.edit(self._edited(id, content.get("value")), id)
            else:
                if decision == "approve_run":
                    asked = next((q for q in self.run.pending if q.id == id), None)
                    self._allowed |= {_subject(asked.node_id, asked.tool_name)} if asked else set()
                self.run.approve(id)
        except MeshError as error:
            self.widget.send({"kind": "refused", "interrupt_id": id, "message": str(error)})

    def _edited(self, id: str, value: Any) -> Any:
        """Return an edit with the secrets that the page had as *** and left alone."""
        for event in reversed(self.run.events) if marked else ():
            if event.type is EventType.INTERRUPT and event.metadata.get("interrupt_id") == id:
                given = event.metadata
                shown = (given.get("arguments"), event.output, given.get("data"))
                return restored(value, next((one for one in shown if one is not None), None))
        return value

    def _approve_again(self, event: ExecutionEvent) -> None:
        given = event.metadata
        # The question is open once the node waits for its answer, which is after this call.
        if _subject(event.node_id, given.get("tool_name")) in self._allowed and self._loop is not None:
            self._loop.call_soon(
                self._answer, {"interrupt_id": given.get("interrupt_id"), "decision": "approve"}
            )

    def _send_snapshot(self) -> None:
        # What is pending goes first, so that no batch overlaps the snapshot.
        self._flush()
        self.widget.send(self._snapshot())

    def _send_file(self, seq: Any) -> None:
        for event in list(self.run.events):
            if event.seq == seq and event.type is EventType.FILE and event.metadata.get("content"):
                data = base64.b64decode(event.metadata["content"])
                self.widget.send({"kind": "file", "seq": seq}, [data])
