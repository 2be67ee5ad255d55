"""What is done at every step of a run beside training."""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch.optim.swa_utils import AveragedModel
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import SaveStrategy

from lens_transformers.hub.files import write_text_atomically


logger = logging.getLogger(__name__)


class Averaging(TrainerCallback):
    """Brings an average of the weights up to date after every step."""

    def __init__(self, averaged: AveragedModel):
        self.averaged = averaged

    def on_step_end(self, args, state, control, model, **kwargs):
        """Adds the weights of this step."""
        self.averaged.update_parameters(model)


def decaying_average(
    decay: float, averaged: list[torch.Tensor], trained: list[torch.Tensor], num_averaged: torch.Tensor
):
    """Brings weights or statistics of an `AveragedModel` up to date, in place."""
    if not averaged[0].is_floating_point():  # batches that a norm has counted
        torch._foreach_copy_(averaged, trained)
        return
    # The first weights, which are random, are forgotten sooner than the decay alone would.
    step = float(num_averaged)
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(averaged, trained, weight)


class SeedOfProcess(TrainerCallback):
    """Lets each of several processes draw numbers of its own: blocks to hide, shares of mixup, dropout."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Seeds this process, once the order of the images, which all share, has its seed."""
        # The random state of a checkpoint is loaded later.
        if args.world_size > 1:
            set_seed(args.seed, device_specific=True)


class Duration(TrainerCallback, ExportableState):
    """Counts the seconds of a run in its checkpoints, so that one that goes on knows of those before.

    Attributes:
        before: Seconds of training up to the checkpoint that this session goes on from.
    """

    def __init__(self):
        self.before = 0.0
        self._start = time.monotonic()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {"before": self.before + time.monotonic() - self._start}}

    def on_train_begin(self, args, state, control, **kwargs):
        """Takes over the seconds of the checkpoint."""
        # Checkpoints of an earlier version have no such entry, which Trainer fills when it saves one.
        stored = state.stateful_callbacks.setdefault(type(self).__name__, {})
        if args.resume_from_checkpoint is not None:
            self.before = stored.get("attributes", {}).get("before", 0.0)
        self._start = time.monotonic()


class MetricsFile(TrainerCallback):
    """Writes what is logged to `metrics.jsonl`, a line each; a run that goes on begins where its checkpoint was."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Writes what the checkpoint logged."""
        if state.is_world_process_zero:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(entry) + "\n" for entry in state.log_history]
            write_text_atomically(Path(args.output_dir) / "metrics.jsonl", "".join(lines))

    def on_log(self, args, state, control, **kwargs):
        """Writes one line."""
        if state.is_world_process_zero and Path(args.output_dir).is_dir():
            with (Path(args.output_dir) / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(state.log_history[-1]) + "\n")


class StopOnSignal(TrainerCallback):
    """Stops with a checkpoint after the step in which Ctrl-C or SIGTERM came, in all processes at the same step."""

    # A launcher passes on to its processes a signal that SLURM sends to all of them itself.
    SECONDS_OF_ONE_SIGNAL = 1.0

    def __init__(self, accelerator):
        self.accelerator = accelerator
        self.received = self.stopped = False
        self._received_at = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals, while the loop runs."""
        previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number, frame):
        if not self.received:
            self._receive()
            logger.warning("Stopping with a checkpoint after this step; once more stops at once, without.")
        elif time.monotonic() - self._received_at > self.SECONDS_OF_ONE_SIGNAL:
            raise KeyboardInterrupt

    def _receive(self):
        self.received, self._received_at = True, time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        """Asks for a checkpoint and the end."""
        if args.world_size > 1:
            if self.received:
                self.accelerator.set_trigger()
            if self.accelerator.check_trigger() and not self.received:
                self._receive()
        if self.received and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True
            # What the run goes on from is saved and kept whether or not it is the best.
            args.save_strategy, args.save_total_limit = SaveStrategy.STEPS, None

    def on_epoch_end(self, args, state, control, **kwargs):
        """Measures nothing that an unbroken run would not."""
        if self.stopped and state.epoch % 1:
            control.should_save = control.should_evaluate = control.should_log = False


class SaveAfterEpoch(TrainerCallback):
    """Saves a checkpoint of an epoch's last step after what is measured then, of which it would know nothing."""

    def __init__(self):
        self._is_due = False

    def on_step_end(self, args, state, control, **kwargs):
        """Puts it off."""
        if control.should_save and state.epoch % 1 == 0:
            self._is_due, control.should_save = True, False

    def on_epoch_end(self, args, state, control, **kwargs):
        """Asks for it."""
        control.should_save |= self._is_due
        self._is_due = False


class ResumableEarlyStopping(EarlyStoppingCallback):
    """Early stopping that goes on counting where a checkpoint was."""

    def on_train_begin(self, args, state, control, **kwargs):
        """Takes over the count of the checkpoint."""
        super().on_train_begin(args, state, control, **kwargs)
        stored = state.stateful_callbacks.get(type(self).__name__, {})
        for name, value in stored.get("attributes", {}).items():
            setattr(self, name, value)
