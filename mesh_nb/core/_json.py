"""JSON of any value: what JSON cannot say becomes text rather than an error."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections import deque
from collections.abc import KeysView, Mapping, ValuesView
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any, cast

import orjson

from .errors import told


def as_json(value: Any) -> Any:
    """Return a JSON-able stand-in for a foreign object: the `default` of the codec."""
    if isinstance(value, (set, frozenset, tuple, deque, KeysView, ValuesView)):
        return list(cast("set[Any]", value))
    if isinstance(value, Mapping):
        return dict(cast("Mapping[Any, Any]", value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        brief = getattr(value, "brief", None)  # an attachment: no event repeats its bytes
        if isinstance(brief, str):
            return brief
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, BaseException):
        return told(value)
    if isinstance(value, (Decimal, PurePath, timedelta)):
        return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which is not imported for this
        return None
    if isinstance(value, (date, time)):
        return value.isoformat()
    for method in ("model_dump", "to_dicts", "to_pylist", "to_dict", "to_list", "tolist", "item"):
        call = getattr(value, method, None)
        if callable(call) and not isinstance(value, type):
            try:
                return call(orient="records") if method == "to_dict" and hasattr(value, "columns") else call()
            except Exception:  # noqa: BLE001  a foreign object's own failure must not end a run
                continue
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  see above
        return f"<{type(value).__name__}>"


_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_ORJSON_DEPTH = 200
_INTEGER_BITS = 14_000
"""Python writes no decimal integer of more than 4300 digits."""


def dumps(value: Any) -> bytes:
    """Encode any value as JSON in UTF-8; what JSON cannot say becomes text rather than an error."""
    try:
        return orjson.dumps(value, default=as_json, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_plain(value, ()), ensure_ascii=False)
        return text.encode("utf-8", "replace")


def canonical(value: Any) -> bytes:
    """Encode a value as JSON in which equal values are equal bytes: keys sorted, bytes by their sha256."""
    try:
        return orjson.dumps(value, default=_content, option=_OPTIONS | orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_plain(value, ()), sort_keys=True).encode()


def _content(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        known = getattr(value, "sha256", None)  # an attachment is hashed once
        return {"sha256": known if isinstance(known, str) else hashlib.sha256(value).hexdigest()}
    return as_json(value)


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """Make JSON of what orjson refuses: lone surrogates, huge integers, odd keys, and cycles, which end where
    they meet one of the objects `above` them."""
    if len(above) > _ORJSON_DEPTH or id(value) in above:
        return repr(type(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < _INTEGER_BITS else hex(value)
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    inside = (*above, id(value))
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {str(_plain(k, inside)): _plain(v, inside) for k, v in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v, inside) for v in cast("list[Any]", value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (f.name for f in dataclasses.fields(value))
        return {n: _plain(getattr(value, n), inside) for n in names}
    return _plain(as_json(value), inside)


def loads(data: bytes | str) -> Any:
    """Parse JSON with orjson, and with the standard library where orjson refuses (lone surrogates).

    Raises ValueError for what is no JSON, or is nested too deeply.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None
