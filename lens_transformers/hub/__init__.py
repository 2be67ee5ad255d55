"""What checkpoints and data sets need to travel: cards that a program wrote from what it measured, a check, a push.

python -m lens_transformers.hub check runs/dm
python -m lens_transformers.hub push runs/dm org/lens-mae
python -m lens_transformers.hub push lenses org/lenses
"""

from .card import write_model_card
from .checking import Check, check
from .dataset_card import write_dataset_card
from .pushing import PushError, push
from .results import read_results
from .sharing import push_lensing_dataset, write_lensing_dataset


__all__ = [
    "Check",
    "PushError",
    "check",
    "push",
    "push_lensing_dataset",
    "read_results",
    "write_dataset_card",
    "write_lensing_dataset",
    "write_model_card",
]
