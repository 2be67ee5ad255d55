"""The three tasks that rows are loaded and collated for."""

from typing import Literal, get_args


__all__ = ["Task", "check_task"]

Task = Literal["pretraining", "classification", "super_resolution"]


def check_task(task: str) -> None:
    """Raises ValueError if `task` is none of the three."""
    if task not in get_args(Task):
        raise ValueError(f"task must be one of {', '.join(get_args(Task))}, got {task!r}.")
