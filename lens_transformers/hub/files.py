"""Reading JSON, and writing a text file whole or not at all."""

import json
from pathlib import Path
from typing import Any

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
