"""http: a request to a web server, with templates in its parts."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import quote, urlsplit

from ..core import tape, templates
from ..core.context import ExecutionContext, as_text
from ..core.errors import GraphValidationError, MeshError, shown
from ..core.events import EventType, ExecutionEvent, canonical, loads
from ..core.node import BaseNode
from ..core.secret import secret
from ..providers import _clients
from ._kinds import DICT, NAMES, SWITCH, TEXT, WHOLE, Kind, check_kinds, names
from ._taped import on_tape

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
REDIRECTS = 5
_TEXT = re.compile(r"^text/|[/+]json\b|[/+]xml\b|x-www-form-urlencoded|javascript|yaml", re.IGNORECASE)
_PRIVATE = ("set-cookie", "www-authenticate", "proxy-authenticate")
_HIDDEN = "***"
_SECRET = re.compile(
    r"key$|token$|secret|passw|credential|signature|^sig$|^auth|authorization$|cookie|^appid$", re.IGNORECASE
)
"""Names whose values are not written."""

_KEY = re.compile(
    r"(api|access|subscription)[-_]?key$|^(x-)?(api|access|auth|id|refresh)[-_]?token$|authorization$|cookie"
    r"|client[-_]?secret|passw",
    re.IGNORECASE,
)
"""Names whose values do not tell requests apart; the token of a page, or the key of a record, does."""

_SHORTEST = 8
"""Characters of the shortest value with such a name that is taken for a key."""

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("headers", "params"), DICT),
    **dict.fromkeys(("raise_for_status", "live"), SWITCH),
    "data": TEXT,
    "max_bytes": WHOLE,
    "allowed_hosts": NAMES,
}
_NEEDED = ("raise_for_status", "live", "max_bytes")


class HTTPNode(BaseNode):
    """Sends one request.

    Parameters
    ----------
    url : http or https. What templates put into it is percent-encoded, unless the url is one reference alone.
    method : GET, POST, PUT, PATCH, DELETE or HEAD.
    headers, params : dicts of templates; params become the query.
    json : the body, templates in its texts; data : the body as text, a template.
    timeout : seconds for the whole exchange. max_bytes : of the response; a longer one fails the node.
    allowed_hosts : the only hosts that may be asked, redirects included; None allows all.
    raise_for_status : False returns answers of status 400 and above as they are.
    live : True sends the request even where a tape has the answer, see `mesh_nb.record`.

    The output is `{"status_code", "url", "headers", "content_type", "content": text, "data": parsed JSON}`;
    what is not text becomes a file event. Nothing that was sent is in an event, but for the url, in which
    parameters with names like `key` or `token` have `***`. A tape keeps answers; a request is the same when
    method, url, headers and body are, apart from what has such a name. Keys by their names, in the request
    and in JSON that comes back, are secrets as `mesh_nb.secret` makes them. Raises MeshError for a failed
    request.
    """

    kind = "http"

    def __init__(
        self,
        id: str,
        *,
        url: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: str | None = None,
        timeout: float = 30.0,
        max_bytes: int = 5_000_000,
        allowed_hosts: Iterable[str] | None = None,
        raise_for_status: bool = True,
        live: bool = False,
    ) -> None:
        check_kinds(id, _KINDS, locals(), _NEEDED)
        super().__init__(id)
        if not isinstance(url, str) or not (url.startswith(("http://", "https://")) or _lone(url)):
            raise GraphValidationError(f"HTTP node {id!r}: url={shown(url)} is no http or https address.")
        if "{{" not in url and (problem := _problem(url)):
            raise GraphValidationError(f"HTTP node {id!r}: url= {problem}.")
        if not isinstance(cast("Any", method), str) or method.upper() not in METHODS:
            raise GraphValidationError(
                f"HTTP node {id!r}: method={shown(method)} is not one of {', '.join(METHODS)}."
            )
        if json is not None and data is not None:
            raise GraphValidationError(f"HTTP node {id!r} has two bodies: pass json= or data=.")
        for name, value in (("timeout", timeout), ("max_bytes", max_bytes)):
            if isinstance(value, bool) or not isinstance(cast("Any", value), (int, float)) or not value > 0:
                raise GraphValidationError(f"HTTP node {id!r}: {name}={shown(value)} is not above 0.")
        self.url, self.method = url, method.upper()
        self.headers, self.params = dict(headers or {}), dict(params or {})
        self.json, self.data = json, data
        self.timeout, self.max_bytes, self.raise_for_status = timeout, max_bytes, raise_for_status
        self.live = live
        hosts = None if allowed_hosts is None else names(id, "allowed_hosts", allowed_hosts)
        self.allowed_hosts = None if hosts is None else {host.lower() for host in hosts}
        self.templates = tuple(_texts([url, self.headers, self.params, json, data]))

    async def run(self, input: Any, context: ExecutionContext) -> AsyncIterator[ExecutionEvent]:
        """Send the request and read the response, or take it from the tape that is on."""
        address = self._address(context)
        params = {k: v for k, v in _filled(self.params, context).items() if v is not None}
        options: dict[str, Any] = {
            "headers": {k: _header(self.id, k, v) for k, v in _filled(self.headers, context).items()},
        }
        if self.json is not None:
            options["json"] = _filled(self.json, context)
        elif self.data is not None:
            options["content"] = templates.resolve(self.data, context).encode()
        async with aclosing(self._answer(address, params, options, context.run_id)) as events:
            answer = [event async for event in events]
        output = answer[-1].output
        output["data"] = _json(output["content"]) if "json" in output["content_type"] else None
        if output["status_code"] >= 400 and self.raise_for_status:
            host, said = urlsplit(output["url"]).hostname, output["content"] or output["content_type"]
            raise MeshError(f"{host} answered HTTP {output['status_code']}: {shown(said)}")
        for event in answer:
            yield event

    def _answer(
        self, address: str, params: dict[str, Any], options: dict[str, Any], run_id: str
    ) -> AsyncGenerator[ExecutionEvent, None]:
        """Return the events of an answer: a file where it is no text, then node_complete."""

        def live() -> AsyncGenerator[ExecutionEvent, None]:
            return self._asked(address, params, options)

        on = None if self.live else tape.current()
        if on is None:
            return live()
        self._allow(urlsplit(address).hostname or "")
        asked = _told(self.method, address, params, options, _SECRET)
        key = on.key(canonical(_told(self.method, address, params, options, _KEY)))
        where = f"{self.method} {asked['url']}"
        # A server that cannot be reached has given no answer.
        return on_tape(live, key, lambda: loads(canonical(asked)), where, on, run_id, failures=False)

    async def _asked(
        self, address: str, params: dict[str, Any], options: dict[str, Any]
    ) -> AsyncGenerator[ExecutionEvent, None]:
        try:
            async with asyncio.timeout(self.timeout):
                response, body = await self._exchange(address, params, options)
        except TimeoutError:
            host = urlsplit(address).hostname or "the server"
            raise MeshError(f"No answer from {host} within {self.timeout:g} s.") from None
        kind = response.headers.get("content-type", "")
        _mark({"params": params, **options})
        is_text = bool(_TEXT.search(kind)) or not body
        text = body.decode(response.encoding or "utf-8", "replace") if is_text else ""
        output: dict[str, Any] = {
            "status_code": response.status_code,
            "url": _open_url(str(response.url)),
            "headers": {k: v for k, v in response.headers.items() if k.lower() not in _PRIVATE},
            "content_type": kind,
            "content": text,
            "data": None,  # the text says it, and a tape need not say it twice
        }
        if "json" in kind:
            _mark(_json(text))
        if not is_text:
            name = urlsplit(output["url"]).path.rpartition("/")[2] or "response"
            metadata = {"name": name, "mime_type": kind.partition(";")[0], "size": len(body)}
            metadata["content"] = base64.b64encode(body).decode("ascii")
            yield ExecutionEvent(EventType.FILE, self.id, metadata=metadata)
        yield ExecutionEvent(EventType.NODE_COMPLETE, self.id, output=output)

    async def _exchange(self, url: str, params: dict[str, Any], options: dict[str, Any]) -> tuple[Any, bytes]:
        """Return the response, redirects followed, and its body. Raises MeshError."""
        await _clients.ensure_imported("httpx2")
        httpx2 = _clients.module("httpx2")
        client = _clients.client("httpx2")
        try:
            # Given as params= they would replace the query that the url has.
            address = httpx2.URL(url).copy_merge_params(params) if params else httpx2.URL(url)
            request = client.build_request(self.method, address, **options)
            for _ in range(REDIRECTS + 1):
                self._allow(request.url.host)
                response = await client.send(request, stream=True, follow_redirects=False)
                try:
                    if response.next_request is None:
                        return response, await self._read(response)
                finally:
                    await response.aclose()
                request = response.next_request
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            host = urlsplit(url).hostname or "the server"
            raise MeshError(f"The request to {host} failed: {type(error).__name__}: {error}") from error
        raise MeshError(f"{request.url.host} redirects more than {REDIRECTS} times.")

    async def _read(self, response: Any) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self.max_bytes:
                raise MeshError(
                    f"The answer of {response.url.host} is longer than max_bytes={self.max_bytes}."
                )
        return bytes(body)

    def _allow(self, host: str) -> None:
        if self.allowed_hosts is not None and host.lower() not in self.allowed_hosts:
            raise MeshError(f"{shown(host)} is not one of allowed_hosts= of node {self.id!r}.")

    def _address(self, context: ExecutionContext) -> str:
        if _lone(self.url):
            url = templates.resolve(self.url, context).strip()
        else:
            url = templates.substitute(
                self.url, lambda name: quote(as_text(templates.value_of(name, context)), safe="")
            )
        if problem := _problem(url):
            raise MeshError(f"Its url {problem}.")
        return url


def _problem(url: str) -> str:
    """Return what is wrong with an address, "" when nothing is; it may hold a password, and is not shown."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"cannot be read: {error}"
    if parts.scheme.lower() not in ("http", "https"):
        return f"has the scheme {shown(parts.scheme)}, and is no http or https address"
    return "" if host else "names no host"


def _lone(url: str) -> bool:
    return url.strip().startswith("{{") and url.strip().endswith("}}") and len(templates.references(url)) == 1


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if "{{" in value else []
    if isinstance(value, Mapping):
        return [t for v in cast("Mapping[Any, Any]", value).values() for t in _texts(v)]
    return (
        [t for v in cast("list[Any]", value) for t in _texts(v)] if isinstance(value, (list, tuple)) else []
    )


def _filled(value: Any, context: ExecutionContext) -> Any:
    if isinstance(value, str):
        return templates.fill(value, context)
    if isinstance(value, Mapping):
        return {k: _filled(v, context) for k, v in cast("Mapping[Any, Any]", value).items()}
    return (
        [_filled(v, context) for v in cast("list[Any]", value)] if isinstance(value, (list, tuple)) else value
    )


def _header(node_id: str, name: str, value: Any) -> str:
    text = as_text(value)
    if not text.isprintable():
        raise MeshError(f"Header {name!r} of node {node_id!r} would have more than one line.")
    return text


def _told(
    method: str, url: str, params: dict[str, Any], options: dict[str, Any], hidden: re.Pattern[str]
) -> dict[str, Any]:
    """Return a request as JSON values, those with hidden names as ***."""
    headers = {name.lower(): value for name, value in options["headers"].items()}
    body = {"json": options.get("json"), "data": options.get("content", b"").decode()}
    sent = {"params": params, "headers": headers, **body}
    told = {name: _open(value, hidden) for name, value in sent.items() if value not in (None, "", {})}
    return {"method": method, "url": _open_url(url, hidden), **told}


def _mark(value: Any, held: bool = False) -> None:
    """Mark the keys of a request or an answer as secrets: what has the name of one and the looks."""
    if isinstance(value, dict):
        for name, inside in cast("dict[Any, Any]", value).items():
            _mark(inside, held or _KEY.search(str(name)) is not None)
    elif isinstance(value, list):
        for inside in cast("list[Any]", value):
            _mark(inside, held)
    elif held and isinstance(value, str):
        key = value.rpartition(" ")[2]  # "Bearer ..."
        if len(key) >= _SHORTEST and any(c.isdigit() for c in key):
            secret(key)


def _open(value: Any, hidden: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {k: _HIDDEN if hidden.search(str(k)) else _open(v, hidden) for k, v in items}
    if isinstance(value, list):
        return [_open(v, hidden) for v in cast("list[Any]", value)]
    return value


def _open_url(url: str, hidden: re.Pattern[str] = _SECRET) -> str:
    """Return a url without a password, and without the values of parameters with hidden names."""
    address, mark, query = url.partition("?")
    address = re.sub(r"//[^/@]*@", f"//{_HIDDEN}@", address)
    pairs = (pair.partition("=") for pair in query.split("&"))
    kept = (f"{n}={_HIDDEN}" if equals and hidden.search(n) else n + equals + v for n, equals, v in pairs)
    return address + mark + "&".join(kept)


def _json(text: str) -> Any:
    try:
        return loads(text.encode())
    except ValueError:
        return None


plugin = HTTPNode
