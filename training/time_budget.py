"""As many steps as fit into `--max_train_seconds`."""

import copy
import json
import logging
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from command_line import LensTrainingArguments
from output_folder import STATE
from torch.utils.data import DataLoader
from transformers import Trainer


logger = logging.getLogger(__name__)

# Fraction of a time budget that is planned: the rest is for what a trial of a few seconds does not see.
PLANNED_FRACTION = 0.92
# Steps of a trial that pay for memory and kernels, and do not count; and the fewest that do.
WARM_UP_STEPS, FEWEST_TIMED_STEPS = 2, 8


def limit_steps(trainer: Trainer) -> None:
    """Set `max_steps` to what fits into `max_train_seconds`, after a trial on a copy of the model.

    The trial draws from a forked random state, so that the run is the same as one given this `max_steps`.
    """
    arguments: LensTrainingArguments = trainer.args  # type: ignore[assignment]
    if arguments.max_train_seconds is None:
        return
    if arguments.resume_from_checkpoint is not None:
        # Another trial would find another number, and the learning rate another course.
        state = json.loads((Path(arguments.resume_from_checkpoint) / STATE).read_text(encoding="utf-8"))
        arguments.max_steps = state["max_steps"]
        return
    with torch.random.fork_rng():
        rate = _steps_per_second(trainer, trial_seconds=min(4.0, 0.05 * arguments.max_train_seconds))
    # All processes take as many steps, as the slowest can.
    rate = min(gather_object([rate]))
    arguments.max_steps = max(int(PLANNED_FRACTION * arguments.max_train_seconds * rate), 1)
    logger.info("max_steps = %d: %.0f s at %.2f steps/s.", arguments.max_steps, arguments.max_train_seconds, rate)


def _steps_per_second(trainer: Any, trial_seconds: float) -> float:
    arguments = trainer.args
    model = copy.deepcopy(trainer.model).to(arguments.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    # Not the trainer's own, at which all processes would have to take as many batches.
    loader = DataLoader(
        trainer.train_dataset,
        arguments.train_batch_size,
        shuffle=hasattr(trainer.train_dataset, "__len__"),
        collate_fn=trainer.data_collator,
        num_workers=arguments.dataloader_num_workers,
        prefetch_factor=arguments.dataloader_prefetch_factor,
        persistent_workers=arguments.dataloader_persistent_workers,
        pin_memory=arguments.dataloader_pin_memory,
        multiprocessing_context=arguments.dataloader_multiprocessing_context,
    )
    batches = _endless(loader)

    def step() -> None:
        for _ in range(arguments.gradient_accumulation_steps):
            batch = next(batches)
            with trainer.accelerator.autocast():
                loss = model(**{name: value.to(arguments.device) for name, value in batch.items()}).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    durations: list[float] = []
    while len(durations) < WARM_UP_STEPS + FEWEST_TIMED_STEPS or sum(durations[WARM_UP_STEPS:]) <= trial_seconds:
        start = time.perf_counter()
        step()
        durations.append(time.perf_counter() - start)
    # The lower quartile: on a shared machine some steps take many times as long, for seconds on end.
    return 1 / statistics.quantiles(durations[WARM_UP_STEPS:], n=4)[0]


def _endless(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from loader
