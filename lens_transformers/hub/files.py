"""Writing a text file whole or not at all."""

import os
from pathlib import Path


def write_text_atomically(path: str | Path, text: str) -> Path:
    """Writes `text` under a temporary name in the same folder, then renames it, so that no reader sees half of it.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; create it before {path.name} is written there.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # newline="": a file with Windows line ends keeps them.
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
