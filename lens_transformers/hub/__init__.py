"""What a checkpoint needs to travel: cards whose numbers a program wrote from measured results, a check, a push.

python -m lens_transformers.hub check runs/dm
python -m lens_transformers.hub push runs/dm org/lens-mae
"""

from .card import write_model_card
from .checking import Check, check
from .dataset_card import write_dataset_card
from .pushing import PushError, push
from .results import read_results


__all__ = ["Check", "PushError", "check", "push", "read_results", "write_dataset_card", "write_model_card"]
