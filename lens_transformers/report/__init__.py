"""One self-contained page, and the same as JSON, about checkpoints evaluated on data."""

from .checkpoints import evaluate_checkpoint
from .evaluated import Evaluation
from .writing import write_report


__all__ = ["Evaluation", "evaluate_checkpoint", "write_report"]
