"""Reading JSON, of files and of the command line, and writing a text file whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..data.writing import written_whole


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: If it is none; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error


def to_json(value: Any) -> str:
    """The text of a JSON file, which knows neither numpy's numbers nor what is not finite: that is null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def from_json(arguments: Any, name: str) -> Any:
    """Reads an argument that is JSON on the command line, where `null` is none, or that is read already.

    Raises:
        ValueError: If it is no JSON of an object; the message names the argument.
    """
    text = getattr(arguments, name)
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--{name} {text} is not JSON: {error}.") from error
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"--{name} {text} must map names to values, or be null.")
    return value


def check_path(name: str) -> None:
    """Refuses the path of a checkpoint that is not there; what may be a name on the Hub, such as `org/name`, passes.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if Path(name).exists():
        return
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise FileNotFoundError(
            f"{name}: there is no such folder, and it is no name on the Hub such as org/name."
        ) from error


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Writes `text` under a temporary name in the same folder, then renames it, so that no reader sees half of it.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; create it before {path.name} is written there.")
    with written_whole(path) as temporary:
        # newline="": a file with Windows line ends keeps them.
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
