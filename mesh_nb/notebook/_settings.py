"""Which model a `%%mesh` cell uses when it does not say."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from ..core.errors import ConfigurationError

HINT = (
    "Say which model: `%%mesh -m gpt-5`, or set the environment variable MESH_MODEL, or `model` under"
    " [tool.mesh_nb] in pyproject.toml. `-m demo` needs no key."
)


def default_model() -> str | None:
    """Return MESH_MODEL, else `[tool.mesh_nb] model` of the nearest pyproject.toml from the working directory
    up, else None. Raises ConfigurationError for a pyproject.toml that says something unusable."""
    named = os.environ.get("MESH_MODEL", "").strip()
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
    model = settings.get("model")
    if model is None:
        return None
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(f"{path}: model under [tool.mesh_nb] is not a name. {HINT}")
    return model.strip()


def required_model() -> str:
    """Return the default model. Raises ConfigurationError, which says what to set, when there is none."""
    model = default_model()
    if model is None:
        raise ConfigurationError(f"No model is set. {HINT}")
    return model


def _pyproject() -> Path | None:
    here = Path.cwd()
    return next((p for f in (here, *here.parents) if (p := f / "pyproject.toml").is_file()), None)
