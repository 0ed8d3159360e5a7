"""A conversation in a cell: `chat(graph)`."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import importlib.resources
import uuid
import weakref
from typing import Any, cast

import anywidget
import ipywidgets as widgets
import traitlets

from ..core import plugins, runner
from ..core._named import named_options
from ..core.compiled import Runnable
from ..core.errors import InputError, MeshError, UnknownNameError, shown
from ..core.executor import Executor
from ..core.graph import StateGraph
from ..core.run import Run
from . import _html, _looks, _prose
from ._cell import Cell
from ._coalesce import coalesce
from ._fold import fold
from ._markup import escaped
from .freeze import whole_text
from .live import LiveView

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_open: weakref.WeakSet[Chat] = weakref.WeakSet()


@named_options
def chat(graph: Any = None, *, session_id: str | None = None, backend: Any = None, **options: Any) -> Chat:
    """Return a conversation with a graph or a model; as the value of a cell it is a chat.

    Parameters
    ----------
    graph : a graph, or a model's name; None takes the model of the cells (`MESH_MODEL`, `%mesh config`).
    session_id : the session whose history it goes on with; made up when None.
    backend : as for `graph.run`; every turn is a run.
    options : options of the llm node when `graph` is a model (system_prompt, tools, ...).

    Raises what the first turn would raise: an unknown model, a missing key.
    """
    if isinstance(graph, Runnable):
        if options:
            name = next(iter(options))
            raise InputError(f"chat({name}=...) is for a model; set it in the graph's own llm node.")
        compiled = graph.compile()
    elif graph is None or isinstance(graph, str):
        node = StateGraph("chat").add_node("llm", None, node_type="llm", model=graph or _model(), **options)
        compiled = node.set_entry_point("llm").compile()
    else:
        raise InputError(f"chat() takes a graph or a model's name, not {shown(graph)}.")
    Executor(compiled).start("")  # checks only: it begins when it is iterated
    return Chat(compiled, session_id or f"chat-{uuid.uuid4().hex[:8]}", backend)


def _model() -> str:
    from ._settings import required_model

    return required_model()


@dataclasses.dataclass(slots=True)
class Turn:
    """One message and its answer: text, the names of its attachments, the run, the length of the history
    before it."""

    text: str
    files: list[str]
    run: Run
    before: int


class Chat:
    """A conversation, made by `chat`: each turn is a run of the same session.

    turns : the turns so far. session_id : the session.
    """

    def __init__(self, graph: Runnable, session_id: str, backend: Any = None) -> None:
        self.graph, self.session_id = graph, session_id
        self.turns: list[Turn] = []
        self._backend = backend
        self._panel: _Panel | None = None

    @property
    def runs(self) -> list[Run]:
        """The runs of the turns, oldest first."""
        return [turn.run for turn in self.turns]

    @property
    def busy(self) -> bool:
        """Whether an answer is being written."""
        return bool(self.turns) and not self.turns[-1].run.done

    def send(self, text: str, files: Any = None, *, edit: int | None = None) -> Run:
        """Send a message and return its Run, started; `await` it, or `run.wait()`.

        Parameters: text; files, attachments as for `graph.run`; edit, the number of the turn, from 0, that
        this message replaces: that turn and those after it are taken out of the conversation (their runs stay
        in the log).
        Raises InputError while an answer is being written, or for an empty message, and what `graph.run`
        raises; nothing is taken out then.
        """
        if self.busy:
            raise InputError("An answer is being written; stop it, or wait for its end.")
        if not text.strip() and not files:
            raise InputError("The message is empty.")
        if edit is not None and not 0 <= edit < len(self.turns):
            raise UnknownNameError("turn", str(edit), map(str, range(len(self.turns))))
        Executor(self.graph.compile()).start(text, files=files)
        history = runner.session(self.session_id).chat_history
        if edit is not None:
            del history[self.turns[edit].before :]
            del self.turns[edit:]
        before = len(history)
        run = self.graph.run(
            text,
            session_id=self.session_id,
            files=files,
            backend=self._backend,
            display=False,
            background=True,
        )
        self.turns.append(Turn(text, _names(files), run, before))
        if self._panel is not None:
            self._panel.follow(run)
        return run

    def stop(self) -> None:
        """Stop the answer that is being written; what has come is kept."""
        if self.busy:
            self.turns[-1].run.cancel()

    def close(self) -> None:
        """Take the input box out of the cell; the transcript stays."""
        if self._panel is not None:
            self._panel.close()
            self._panel = None

    def to_pandas(self, frame: str = "calls") -> Any:
        """Return a DataFrame of all turns. Raises UnknownNameError with the frames there are."""
        return plugins.find("frame", frame)(self.runs)

    def transcript(self) -> dict[str, str]:
        """Return the conversation as a mime bundle: HTML that needs no kernel, Markdown and plain text."""
        pages, marked, plain = list[str](), list[str](), list[str]()
        for turn in self.turns:
            view = fold(coalesce(list(turn.run.events)))
            pages.append(_question(turn))
            pages.append(_html.render(view))
            quoted = "\n".join(f"> {line}" for line in turn.text.splitlines())
            marked += [quoted, _prose.markdown(view)]
            plain += [f"You: {turn.text}", _prose.plain(view)]
        bundle = {
            "text/html": "\n".join(pages),
            "text/markdown": "\n\n".join(marked),
            "text/plain": "\n\n".join(plain) or repr(self),
        }
        return whole_text(bundle)

    def _ipython_display_(self) -> None:
        cell = plugins.find("host", runner.host_name(None)).cell() if _notebook() else None
        if cell is None:
            raise NotImplementedError  # IPython then shows the repr
        if not cell.live:
            cell.publish(self.transcript())
            return
        self.close()
        self._panel = _Panel(self, cell)
        _open.add(self)

    def __repr__(self) -> str:
        return f"<Chat {self.session_id}: {len(self.turns)} turns>"


def _notebook() -> bool:
    return runner.host_name(None) == "notebook"


def _names(files: Any) -> list[str]:
    if files is None:
        return []
    many = files if isinstance(files, (list, tuple)) else [files]
    return [_name(file) for file in cast("list[Any]", many)]


def _name(file: Any) -> str:
    if isinstance(file, tuple) and file:
        return str(cast("tuple[Any, ...]", file)[0])
    return str(file) if isinstance(file, str) or hasattr(file, "__fspath__") else type(file).__name__


@functools.cache
def _source() -> str:
    return importlib.resources.files("mesh_nb").joinpath("static", "composer.js").read_text("utf-8")


class Composer(anywidget.AnyWidget):
    """The box in which the next message is written."""

    _esm = traitlets.Unicode().tag(sync=True)
    turns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    mark = traitlets.Unicode("").tag(sync=True)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return _source()

    def __repr__(self) -> str:
        return "Composer()"


class _Panel:
    """A chat in a cell: the transcript as static output, below it the answer that streams and the box.

    The page draws answer and box in a place that the kernel marked in the output, so that no notebook keeps
    them. Voila shows what widgets say after the cell has run, and nothing else: there all are widgets.
    """

    def __init__(self, chat: Chat, cell: Cell) -> None:
        self._chat, self._cell = chat, cell
        self._view: LiveView | None = None
        self._pages = 0
        self._ids = [f"mesh_nb-{uuid.uuid4().hex}" for _ in range(2)]
        self._mark = "" if cell.only_widgets else f"chat-{uuid.uuid4().hex[:12]}"
        self.composer = Composer(mark=self._mark)
        self.composer.on_msg(self._receive)
        self._page, self._box = widgets.HTML(), widgets.VBox([])
        self._update()
        if self._mark:
            cell.publish(chat.transcript() if chat.turns else {"text/plain": ""}, display_id=self._ids[0])
            cell.publish(self._place(), display_id=self._ids[1])
        else:
            model = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
            self._transcript(chat.turns)
            cell.publish({"text/plain": "mesh_nb chat", WIDGET_VIEW: model})
        if chat.busy:
            self.follow(chat.turns[-1].run)

    def _place(self) -> dict[str, Any]:
        """Return where answer and box are drawn; without this kernel, how to go on."""
        known = "Run this cell to go on with the chat."
        how = f'<p class="mesh-how"{_looks.of("last")}><small>{known}</small></p>'
        markup = f'<div data-mesh="{self._mark}-answer"></div><div data-mesh="{self._mark}">{how}</div>'
        return {"text/plain": known, "text/html": _looks.dressed(markup)}

    def follow(self, run: Run) -> None:
        """Show a run that has been started until it ends."""
        self._view = LiveView(run, place=f"{self._mark}-answer" if self._mark else "")
        self._transcript(self._chat.turns[:-1], self._chat.turns[-1])
        self._update(self._view.widget)
        run.add_done_callback(lambda _: self._ended(run))

    def _ended(self, run: Run) -> None:
        if self._chat.turns and self._chat.turns[-1].run is run:
            self._transcript(self._chat.turns)
            view, self._view = self._view, None
            self._update()
            if view is not None:
                # A page that was reloaded misses the transcript, and keeps what it has of the answer.
                (view.finish if self._pages > 1 else view.close)()

    def _transcript(self, turns: list[Turn], asked: Turn | None = None) -> None:
        shown = Chat(self._chat.graph, self._chat.session_id)
        shown.turns = list(turns)
        bundle = shown.transcript() if turns else {"text/plain": ""}
        if asked is not None:
            bundle["text/html"] = "\n".join(filter(None, (bundle.get("text/html"), _question(asked))))
        if self._mark:
            self._cell.publish(bundle, display_id=self._ids[0], update=True)
        else:
            self._page.value = bundle.get("text/html", "")

    def _update(self, *live: Any) -> None:
        if not self._mark:
            self._box.children = (self._page, *live, self.composer)
        self.composer.turns = [turn.text for turn in self._chat.turns]
        self.composer.busy = bool(live)

    def _receive(self, widget: Any, content: Any, buffers: Any) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind == "hello":
            self._pages += 1
        elif kind == "stop":
            self._chat.stop()
        if kind != "send":
            return
        named = content.get("files") or []
        files = [(str(f.get("name") or "file"), bytes(b)) for f, b in zip(named, buffers or [], strict=False)]
        try:
            self._chat.send(str(content.get("text") or ""), files or None, edit=content.get("edit"))
            self.composer.note = ""
        except MeshError as error:
            self.composer.note = str(error)

    def close(self) -> None:
        """Take the box out of the cell."""
        if self._view is not None:
            self._view.close()
        self._transcript(self._chat.turns)
        if self._mark:
            self._cell.publish({"text/plain": ""}, display_id=self._ids[1], update=True)
        for widget in (self.composer, self._page, self._box):
            widget.close()


def _question(turn: Turn) -> str:
    """Return what a person said, as HTML."""
    said = escaped(turn.text).replace("\n", "<br>")
    names = f"<br><small>{escaped(', '.join(turn.files))}</small>" if turn.files else ""
    return f"<blockquote{_looks.of('said')}><p{_looks.of('last')}>{said}{names}</p></blockquote>"


@atexit.register
def _close_all() -> None:
    """A saved notebook has the transcript; without its kernel the box would only be an error."""
    for found in list(_open):
        found.close()
