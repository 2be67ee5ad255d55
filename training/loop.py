"""The training loop of the scripts: a Trainer whose runs can be measured, stopped and gone on with."""

import errno
import logging
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from callbacks import (
    Averaging,
    Duration,
    MetricsFile,
    ResumableEarlyStopping,
    SaveAfterEpoch,
    SeedOfProcess,
    StopOnSignal,
    decaying_average,
)
from command_line import LensTrainingArguments, ModelArguments
from layer_decay import group_by_rate, learning_rate_scales
from output_folder import STATE, how_to_resume, last_checkpoint, prepare_output_folder, remove_run
from torch.optim.swa_utils import AveragedModel
from transformers import EvalPrediction
from transformers.trainer_callback import TrainerState

from lens_transformers.hub.files import check_path
from lens_transformers.hub.trainer import LensTrainer
from lens_transformers.models.lens_mae.modeling_lens_mae import LensMAEPreTrainedModel


logger = logging.getLogger(__name__)

# With an average of the weights, a checkpoint's model is the average, and this file what training goes on from.
TRAINED_WEIGHTS = "trained_weights.pt"
NUM_NAMED = 5


def set_up(arguments: LensTrainingArguments, model_arguments: ModelArguments) -> None:
    """Log to the console, seed everything, and see that the output folder holds no other run.

    Raises:
        ValueError: If it does, or the checkpoint to go on from is none.
        FileNotFoundError: If the checkpoint to start from is a folder that is not there.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO if arguments.should_log else logging.WARNING)
    for noisy in ("httpx", "httpx2", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers.utils.logging.set_verbosity_warning()
    if arguments.full_determinism:
        transformers.enable_full_determinism(arguments.seed)
    else:
        transformers.set_seed(arguments.seed)
    prepare_output_folder(arguments)
    if model_arguments.model_name_or_path is not None:
        check_path(model_arguments.model_name_or_path)


class RunTrainer(LensTrainer):
    """A Trainer that measures each image once, can average weights, and can be stopped at any step.

    - Evaluation is a mean over images of what `score_images` says, in one batch's memory, whatever the number of
      processes; it draws nothing from the random state of training, and sees images without augmentation.
    - With `--ema_decay` the average of the weights is what is evaluated, saved and left in `model`.
    - A loss that is not finite, and a full disk, stop the run in words and leave its last checkpoint alone. Ctrl-C, or
      SIGTERM, stops it after the step with a checkpoint from which it goes on as if nothing had been.

    Args:
        *args: As `Trainer` takes them.
        eval_collator: Makes batches to evaluate on; by default as those to train on.
        name_rows: Gives names of training images, for messages; by default their rows.
        **kwargs: As `Trainer` takes them.

    Raises:
        ValueError: If a step takes more images than there are, weights are to be averaged that are in shards, or a
            checkpoint is to be chosen by what is not measured.
    """

    args: LensTrainingArguments
    model: Any
    # What `score_images` gives, the loss first.
    scores: tuple[str, ...] = ("loss",)

    def __init__(
        self,
        *args: Any,
        eval_collator: Callable | None = None,
        name_rows: Callable[[Sequence[int]], list[str]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self._network = type(self.model)  # which FSDP changes
        _check_number_of_images(self.train_dataset, self.args)
        chosen_by = (self.args.metric_for_best_model or "loss").removeprefix("eval_")
        if chosen_by not in self.scores:
            raise ValueError(
                f"--metric_for_best_model {chosen_by}: what is measured while training is {', '.join(self.scores)}."
            )
        self.eval_collator = eval_collator or self.data_collator
        self.name_rows = name_rows or (lambda rows: [f"row {row}" for row in rows])
        self.compute_metrics = MeanOfScores(self.scores)
        self.averaged: AveragedModel | None = None
        if self.args.ema_decay:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError("--ema_decay needs whole weights in each process; FSDP and DeepSpeed keep shards.")
            # With the statistics of its batch norms: those of the last weights would not be its own.
            average = partial(decaying_average, self.args.ema_decay)
            self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
            self.add_callback(Averaging(self.averaged))
        self._stop = StopOnSignal(self.accelerator)
        self._micro_step = 0
        self._duration = Duration()
        self.add_callback(self._duration)
        self.add_callback(SeedOfProcess())
        self.add_callback(MetricsFile())
        self.add_callback(self._stop)
        self.add_callback(SaveAfterEpoch())
        if self.args.early_stopping_patience is not None:
            self.add_callback(ResumableEarlyStopping(self.args.early_stopping_patience))

    def _build_accelerator_args(self, **kwargs: Any) -> dict[str, Any]:
        # All weights of LensMAE take part in every step: looking for those that do not would cost each step time.
        if self.args.ddp_find_unused_parameters is None and isinstance(self.model, LensMAEPreTrainedModel):
            self.args.ddp_find_unused_parameters = False
        return super()._build_accelerator_args(**kwargs)

    def score_images(self, inputs: dict[str, torch.Tensor], outputs: Any) -> dict[str, torch.Tensor]:
        """What to average over the images of an evaluation: numbers `(batch,)` by the names of `scores`."""
        raise NotImplementedError

    def train(self, *args: Any, **kwargs: Any):
        """Trains, and saves the model; leaves the program with words how to go on if a signal stopped it.

        Whatever held the weights in shards, the main process has all of them in `model` afterwards.
        """
        if self.args.overwrite_output_dir and self.args.resume_from_checkpoint is None:
            if self.is_world_process_zero():
                remove_run(Path(str(self.args.output_dir)))
            self.accelerator.wait_for_everyone()
        with self._stop.listening():
            output = super().train(*args, **kwargs)
        if self._stop.stopped:
            sys.exit(f"Stopped after step {self.state.global_step}. {self._describe_last_checkpoint()}")
        seconds = output.metrics["train_runtime"]
        output.metrics["train_runtime"] += self._duration.before
        # Trainer divides all that was trained on by the seconds since the run was resumed.
        for speed in ("train_samples_per_second", "train_steps_per_second"):
            output.metrics[speed] *= seconds / output.metrics["train_runtime"]
        if self._stop.received:
            logger.warning("All steps were done: the run is saved and measured.")
        best_is_loaded = self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None
        if self.averaged is not None and not best_is_loaded:
            self.model.load_state_dict(self.averaged.module.state_dict())
        self.averaged = None
        self.save_model()  # by all processes, each of which may hold but a shard
        self.save_state()
        if (self.is_fsdp_enabled or self.is_deepspeed_enabled) and self.is_world_process_zero():
            self.model = self._network.from_pretrained(str(self.args.output_dir)).to(self.args.device)
        return output

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """Neither biases nor norms; Trainer, which goes by names, would let the weights of some batch norms decay."""
        norms = {
            name for name, module in model.named_modules() if isinstance(module, torch.nn.modules.batchnorm._NormBase)
        }
        return [name for name in super().get_decay_parameter_names(model) if name.rpartition(".")[0] not in norms]

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW as ever, with a learning rate for each layer if asked for."""
        if self.optimizer is None and self.args.layer_decay < 1:
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            decayed = self.get_decay_parameter_names(self.model)
            scales = learning_rate_scales(self.model, self.args.layer_decay)
            self.optimizer = kind(group_by_rate(self.model, self.args, scales, decayed), **settings)
        return super().create_optimizer(model)

    def training_step(self, model, inputs, num_items_in_batch=None):
        """Makes a step, and stops in words where the loss is not finite."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite():
            raise FloatingPointError(self._describe_non_finite(f"the loss is {loss.item():g}", inputs))
        self._micro_step = (self._micro_step + 1) % self.current_gradient_accumulation_steps
        return loss

    def get_eval_dataloader(self, eval_dataset=None):
        """Loads images as they are."""
        augmenting, self.data_collator = self.data_collator, self.eval_collator
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = augmenting

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates the average of the weights where there is one, and leaves the random state as it was."""
        with self._averaged_weights(), torch.random.fork_rng():
            return super().evaluate(*args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Scores each image; the mean of a batch would count the images that fill up a last batch twice."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            scores = self.score_images(inputs, model(**inputs))
        numbers = torch.stack([scores[name] for name in self.scores], dim=1).float()
        return None, numbers, numbers[:, 0]

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the average of the weights where there is one."""
        folder = Path(output_dir or str(self.args.output_dir))
        with self._averaged_weights(), self._full_disk_in_words(f"the model in {folder}"):
            super().save_model(output_dir, _internal_call)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.is_fsdp_enabled:
            return super()._save(output_dir, state_dict)
        # The class that FSDP made of the network's has no code that could travel with the checkpoint.
        sharded = self.model
        with torch.device("meta"):
            self.model = self._network(sharded.config)
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.model = sharded

    def evaluated_model(self) -> Any:
        """The network as it is evaluated and saved: with the average of the weights where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        trained, self.model = self.model, self.evaluated_model()
        try:
            yield
        finally:
            self.model = trained

    @contextmanager
    def _full_disk_in_words(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not _is_full_disk(error):
                raise
            raise OSError(
                errno.ENOSPC,
                f"Step {self.state.global_step}: no space left on the disk for {what}. "
                f"{self._describe_last_checkpoint()} --save_total_limit keeps fewer of them",
            ) from error

    def _save_checkpoint(self, model, trial) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with self._full_disk_in_words(f"a checkpoint in {folder.parent}"):
            self._check_free_space()
            try:
                if self.averaged is not None and self.args.should_save:
                    folder.mkdir(parents=True, exist_ok=True)
                    torch.save(self.model.state_dict(), folder / TRAINED_WEIGHTS)
                super()._save_checkpoint(model, trial)
            except Exception as error:
                if _is_full_disk(error):
                    shutil.rmtree(folder, ignore_errors=True)
                raise

    def _check_free_space(self) -> None:
        """Weights, both moments of AdamW and an average of the weights: a write that fails half-way helps nobody."""
        weights = sum(value.numel() * value.element_size() for value in self.model.state_dict().values())
        needed = (4 if self.averaged is not None else 3) * weights
        free = (
            shutil.disk_usage(str(self.args.output_dir)).free if Path(str(self.args.output_dir)).exists() else needed
        )
        if free < needed:
            raise OSError(errno.ENOSPC, f"{needed} bytes are needed, {free} are free")

    def _load_weights(self, folder: str) -> None:
        # transformers saves many networks, ViT among them, under the names that older versions gave their weights.
        # Trainer looks for the new ones, and goes on where it finds none (huggingface/transformers issue 48805).
        self.model.load_state_dict(self._network.from_pretrained(folder).state_dict())

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            self._load_weights(str(self.state.best_model_checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self._load_weights(resume_from_checkpoint)
        if self.averaged is None:
            return
        trained = Path(resume_from_checkpoint) / TRAINED_WEIGHTS
        if not trained.is_file():
            raise ValueError(f"{resume_from_checkpoint} was saved without --ema_decay: go on without it.")
        self.averaged.module.load_state_dict(self.model.state_dict())
        self.averaged.n_averaged.fill_(TrainerState.load_from_json(str(trained.with_name(STATE))).global_step)
        self.model.load_state_dict(torch.load(trained, map_location=self.args.device, weights_only=True))

    def _get_grad_norm(self, model, grad_norm=None):
        # Here, before the optimizer would write it into all weights. (A scaler of float16 leaves such steps out.)
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is not None and not math.isfinite(norm) and self.accelerator.scaler is None:
            raise FloatingPointError(self._describe_non_finite(f"the gradient's norm is {float(norm):g}", None))
        return norm

    def _describe_non_finite(self, what: str, inputs: dict[str, torch.Tensor] | None) -> str:
        words = f"Step {self.state.global_step + 1}: {what}"
        rows = self._rows_of_batch()
        # With FSDP a process alone cannot run the network again.
        if inputs is not None and rows and not self.is_fsdp_enabled:
            guilty = [row for row, is_guilty in zip(rows, self._find_guilty(inputs), strict=False) if is_guilty]
            if len(guilty) == len(rows):
                words += ", of every image of the batch: the weights have diverged"
            rows = guilty or rows
        named = ", ".join(self.name_rows(rows[:NUM_NAMED])) + (", …" if len(rows) > NUM_NAMED else "")
        words += f". The images: {named}." if rows else "."
        return f"{words} A lower --learning_rate may help, or a longer warm-up. {self._describe_last_checkpoint()}"

    def _find_guilty(self, inputs: dict[str, torch.Tensor]) -> list[bool]:
        """Whether each image of a batch alone has a loss that is not finite."""
        inputs, model = self._prepare_inputs(inputs), self.model.eval()
        size = len(inputs["pixel_values"])
        with torch.no_grad():
            losses: list[Any] = [
                self.compute_loss(model, {name: value[index : index + 1] for name, value in inputs.items()})
                for index in range(size)
            ]
        return [not loss.isfinite() for loss in losses]

    def _rows_of_batch(self) -> list[int]:
        """The rows of the training set in the batch of this process; none are known of a stream."""
        loader = self.callback_handler.train_dataloader
        sampler = getattr(loader, "batch_sampler", None)
        if sampler is None or not hasattr(self.train_dataset, "__len__"):
            return []
        accumulation = self.args.gradient_accumulation_steps
        epoch, step = divmod(self.state.global_step, -(-len(loader) // accumulation))
        loader.set_epoch(epoch)
        batch = step * accumulation + self._micro_step
        return next(islice(iter(sampler), batch, None), [])

    def _describe_last_checkpoint(self) -> str:
        checkpoint = last_checkpoint(Path(str(self.args.output_dir)), self.args.world_size)
        if checkpoint is None:
            return "There is no checkpoint: --save_strategy steps keeps some."
        return how_to_resume(checkpoint, self.args.world_size)


class MeanOfScores:
    """Means over images, batch by batch, as `batch_eval_metrics` has it: a sum and a count are all it keeps."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self._start()

    def _start(self) -> None:
        self._sum, self._count = torch.zeros((), dtype=torch.float64), 0

    def __call__(self, evaluated: EvalPrediction, compute_result: bool = True) -> dict[str, float]:
        """Adds a batch of numbers `(batch, scores)`; returns the means after the last."""
        numbers = torch.as_tensor(evaluated.predictions).double().cpu()
        self._sum = self._sum + numbers.sum(dim=0)
        self._count += len(numbers)
        if not compute_result:
            return {}
        means = dict(zip(self.names, (self._sum / self._count).tolist(), strict=True))
        self._start()
        return means


def _check_number_of_images(train, arguments: LensTrainingArguments) -> None:
    if not hasattr(train, "__len__") or len(train) >= arguments.images_per_step:
        return
    batches = arguments.images_per_step // arguments.train_batch_size
    raise ValueError(
        f"A step takes {arguments.images_per_step} images, and there are {len(train)} to train on: give "
        f"--per_device_train_batch_size {max(len(train) // batches, 1)}, or more images."
    )


def _is_full_disk(error: BaseException) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
