"""What a `%%mesh` cell uses when it does not say: its model and its system prompt."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from ..core.errors import ConfigurationError

HINT = (
    "Say which model: `%%mesh -m gpt-5`, or `%mesh config model gpt-5`, or set the environment variable"
    " MESH_MODEL, or `model` under [tool.mesh_nb] in pyproject.toml. `-m demo` needs no key."
)

NAMES = ("model", "system")

_configured: dict[str, str] = {}


def configure(name: str, value: str | None) -> None:
    """Set what the cells of this kernel use, None for what the environment and the project say."""
    if value is None:
        _configured.pop(name, None)
    else:
        _configured[name] = value


def default_model() -> str | None:
    """Return the model of `%mesh config`, else MESH_MODEL, else that of pyproject.toml; as `setting` does."""
    return setting("model")


def setting(name: str) -> str | None:
    """Return what `%mesh config` set, else the environment variable MESH_<NAME>, else `[tool.mesh_nb]` of the
    nearest pyproject.toml from the working directory up, else None. Raises ConfigurationError for a
    pyproject.toml that says something unusable."""
    named = _configured.get(name) or os.environ.get(f"MESH_{name.upper()}", "").strip()
    if named:
        return named
    path = _pyproject()
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            settings: dict[str, Any] = tomllib.load(file).get("tool", {}).get("mesh_nb", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. {HINT}") from None
    value = settings.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{path}: {name} under [tool.mesh_nb] is no text. {HINT}")
    return value.strip()


def required_model() -> str:
    """Return the default model. Raises ConfigurationError, which says what to set, when there is none."""
    model = default_model()
    if model is None:
        raise ConfigurationError(f"No model is set. {HINT}")
    return model


def _pyproject() -> Path | None:
    here = Path.cwd()
    return next((p for f in (here, *here.parents) if (p := f / "pyproject.toml").is_file()), None)
