"""What a checkpoint needs to travel: model cards whose numbers a program wrote from measured results."""

from .card import write_model_card
from .results import read_results


__all__ = ["read_results", "write_model_card"]
