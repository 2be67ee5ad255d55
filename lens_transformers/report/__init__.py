"""One self-contained page, and the same as JSON, about checkpoints evaluated on data."""

from .checkpoints import evaluate_checkpoint
from .evaluated import Evaluation
from .predictions import evaluate_predictions
from .writing import write_report


__all__ = ["Evaluation", "evaluate_checkpoint", "evaluate_predictions", "write_report"]
