"""The command line of the training scripts: their arguments, from flags, a file, or a file and flags over it."""

import difflib
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
import transformers
import yaml
from accelerate.utils import parse_flag_from_env
from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations import is_tensorboard_available
from transformers.trainer_utils import SaveStrategy, SchedulerType

import lens_transformers
from lens_transformers import LensMAEConfig, LensMAEImageProcessor
from lens_transformers._hardware import has_fast_bfloat16
from lens_transformers.data.augmentation import AUGMENTATIONS
from lens_transformers.data.report import OnError
from lens_transformers.hub.files import from_json


# Where errors are raised in words that are meant for whoever launched a script.
WORDED = (*lens_transformers.__path__, *transformers.__path__, str(Path(__file__).parent))


def launch(main: Callable[[], None]) -> None:
    """Run a script: what whoever launched it can put right ends it with one sentence and the status 1.

    Anything else, such as a `ValueError` of numpy's, keeps its traceback.
    """
    try:
        main()
    except (FloatingPointError, OSError, ValueError) as error:
        *_, raised = traceback.extract_tb(error.__traceback__)
        worded = (raised.line or "").startswith("raise ") and any(map(Path(raised.filename).is_relative_to, WORDED))
        if not worded and not isinstance(error, OSError):
            raise
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def check_at_least(minimum: float, arguments: Any, *names: str) -> None:
    """Refuse arguments, where they are given, that are smaller, or no numbers.

    Raises:
        ValueError: If one is.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not minimum <= value < float("inf"):
            raise ValueError(f"--{name} must be at least {minimum:g}, got {value}.")


@dataclass
class DataArguments:
    """Which images to train and test on."""

    dataset: str = field(
        metadata={
            "help": "Whatever load_lensing_dataset reads: a folder (of simulate.py, official DeepLense, FITS, "
            "pictures), a catalogue, a name on the Hub, or a preset to simulate, such as simulate:lens_default."
        }
    )
    test_dataset: str | None = field(
        default=None,
        metadata={"help": "A set whose images, all of them, are tested on instead of the dataset's own test split."},
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Use at most so many training images, of all classes; of a stream, the first."}
    )
    max_test_samples: int | None = field(
        default=None, metadata={"help": "Use at most so many test images, of all classes."}
    )
    augmentation: str = field(
        default="none",
        metadata={
            "help": "Random changes: none, half_turn (of sets whose main lens never turns), dihedral (all eight "
            "symmetries), continuous (any rotation and small shifts as well).",
            "choices": list(AUGMENTATIONS),
        },
    )
    augmentation_settings: dict | str | None = field(
        default=None,
        metadata={"help": 'Settings of the augmentation as JSON, such as \'{"noise_std": 0.01, "max_psf_fwhm": 1}\'.'},
    )
    on_error: OnError = field(
        default="raise",
        metadata={"help": "Images that cannot be used: raise, or skip and report them."},
    )
    nan_fill: float | None = field(default=None, metadata={"help": "Flux that replaces NaN and infinite pixels."})
    fits_layout: dict | str | None = field(
        default=None,
        metadata={"help": 'How FITS files hold images, FitsLayout\'s arguments as JSON, such as \'{"hdu": "SCI"}\'.'},
    )
    split_fractions: dict | str | None = field(
        default=None,
        metadata={
            "help": 'Divide a set that has no splits, as JSON: \'{"train": 0.8, "test": 0.2}\'; null: though a recipe '
            "does, leave a set that has splits as it is."
        },
    )
    split_seed: int = field(
        default=0, metadata={"help": "Seed of that division, and of which images are held out or left out."}
    )
    validation_fraction: float = field(
        default=0.0,
        metadata={
            "help": "Hold out this share of the training images as validation images. By default those are the "
            "dataset's own, or 0.1 where it has none and training chooses by them, as with --load_best_model_at_end."
        },
    )
    num_workers: int | None = field(
        default=None, metadata={"help": "Processes that read files once, before training. Default: all cores."}
    )

    def __post_init__(self):
        self.augmentation_settings = from_json(self, "augmentation_settings")
        self.fits_layout = from_json(self, "fits_layout")
        self.split_fractions = from_json(self, "split_fractions")
        check_at_least(1, self, "max_train_samples", "max_test_samples", "num_workers")
        check_at_least(0, self, "split_seed")


@dataclass
class ModelArguments:
    """Which network to start from."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a Hub name or a folder. From scratch if not given."}
    )
    model_size: str = field(
        default="tiny",
        metadata={"help": "Size of a network from scratch.", "choices": list(LensMAEConfig.sizes)},
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": "Changes to the configuration, for instance 'mask_ratio=0.9,pooling=mean'."}
    )


@dataclass
class EncoderArguments(ModelArguments):
    """Which network to start from, and how it sees flux."""

    stretch: float = field(
        default=0.02,
        metadata={"help": "Flux at which the arcsinh stretch turns from linear to logarithmic, when from scratch."},
    )
    image_processor_overrides: dict | str | None = field(
        default=None,
        metadata={
            "help": 'Changes to the image processor as JSON, such as \'{"do_resize": true, "size": 224}\'. Mean and '
            "deviation, if not among them, are those of the checkpoint or of the training images."
        },
    )

    def __post_init__(self):
        self.image_processor_overrides = from_json(self, "image_processor_overrides") or {}
        known = LensMAEImageProcessor.valid_kwargs.__annotations__
        if unknown := sorted(set(self.image_processor_overrides) - set(known)):
            raise ValueError(
                f"--image_processor_overrides: the image processor has no {', '.join(unknown)}; it has "
                f"{', '.join(known)}."
            )


@dataclass
class LensTrainingArguments(TrainingArguments):
    """transformers' arguments, with defaults that suit lens images, and what the scripts add to them."""

    # Whether the loss of the script takes labels of classes, which can be smoothed.
    smooths_labels: ClassVar[bool] = False

    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the checkpoint, results and figures. Required."}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Start anew in the folder of an earlier run, which is removed just before training."},
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "Go on as if never interrupted: a checkpoint folder, or True for the last in output_dir."},
    )
    title: str | None = field(default=None, metadata={"help": "Name of this run in tables and reports."})
    group: str | None = field(default=None, metadata={"help": "Runs of one group share a table in reports."})
    max_train_seconds: float | None = field(
        default=None,
        metadata={"help": "Train for about so long: a short trial decides on the steps, in place of any --max_steps."},
    )
    base_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Sets the learning rate to this times the images of a step, on all devices, over 256."},
    )
    layer_decay: float = field(
        default=1.0,
        metadata={"help": "The learning rate of each layer, in parts of that of the layer above. 0.75 is usual."},
    )
    ema_decay: float = field(
        default=0.0,
        metadata={
            "help": "Evaluate and save the exponential moving average of the weights. 0.999 is usual; 0 is off."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop after so many evaluations without a better one. Needs --load_best_model_at_end."},
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Images are not arguments of a model."})
    use_cpu: bool = field(
        default=not torch.accelerator.is_available(),
        metadata={"help": "Train on the CPU. Default: if there is no accelerator."},
    )
    # None until the device is known. Of another type, the flag would need a value.
    bf16: bool = field(  # type: ignore[assignment]
        default=None,
        metadata={"help": "Compute in bfloat16 where that is safe. Default: if the hardware has it, without --fp16."},
    )
    dataloader_pin_memory: bool = field(
        default=torch.accelerator.is_available(),
        metadata={"help": "Pin memory of batches. Default: if there is an accelerator."},
    )
    report_to: None | str | list[str] = field(
        default="tensorboard" if is_tensorboard_available() else "none",
        metadata={"help": "Where to log besides console and metrics.jsonl. Default: TensorBoard, if installed."},
    )
    logging_steps: float = field(default=10, metadata={"help": "Log every so many steps."})
    logging_first_step: bool = field(default=True, metadata={"help": "Log the first step as well."})
    save_strategy: str = field(default="no", metadata={"help": "When to save checkpoints that can be resumed."})
    batch_eval_metrics: bool = field(
        default=True, metadata={"help": "Measure batch by batch, in memory that does not grow with the images."}
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of AdamW."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Batch size of evaluation, a device."})

    def __post_init__(self):
        if not self.output_dir:
            raise ValueError("--output_dir is missing: give the folder for the checkpoint, results and figures.")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"--layer_decay must be above 0 and at most 1, got {self.layer_decay}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema_decay must be at least 0 and below 1, got {self.ema_decay}.")
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise ValueError(
                "--early_stopping_patience needs --load_best_model_at_end True, with --eval_strategy and "
                "--save_strategy alike."
            )
        keeps_best = self.save_strategy == SaveStrategy.BEST
        if (self.load_best_model_at_end or keeps_best) and self.eval_strategy == "no":
            chooser = "--save_strategy best" if keeps_best else "--load_best_model_at_end True"
            raise ValueError(
                f"{chooser} chooses by what is measured while training, which is nothing: give --eval_strategy "
                f"{'' if keeps_best else 'and --save_strategy '}too, epoch or steps."
            )
        if keeps_best and self.metric_for_best_model is None:
            self.metric_for_best_model = "loss"
        if self.save_only_model:
            raise ValueError(
                "--save_only_model True leaves checkpoints that no run can go on from: leave it out, and keep fewer "
                "of them by --save_total_limit."
            )
        check_at_least(0, self, "seed", "base_learning_rate")
        check_at_least(1, self, "per_device_train_batch_size", "per_device_eval_batch_size")
        if self.label_smoothing_factor and not self.smooths_labels:
            raise ValueError("--label_smoothing_factor: only run_classification.py has labels of classes to smooth.")
        if self.max_train_seconds is not None and not 0 < self.max_train_seconds < float("inf"):
            raise ValueError(f"--max_train_seconds must be a time above 0, got {self.max_train_seconds}.")
        if self.max_train_seconds is not None and self.max_steps <= 0:
            self.max_steps = 1  # until a trial decides; to train on a stream Trainer needs one from the start
        if self.bf16 is None:
            is_on_cpu = self.use_cpu or parse_flag_from_env("ACCELERATE_USE_CPU")
            self.bf16 = not self.fp16 and has_fast_bfloat16("cpu" if is_on_cpu else None)
        super().__post_init__()
        if self.base_learning_rate is not None:
            self.learning_rate = self.base_learning_rate * self.images_per_step / 256

    @property
    def chooses(self) -> bool:
        """Whether what is evaluated while training decides on a checkpoint or the learning rate."""
        by_plateau = self.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU
        return self.load_best_model_at_end or self.save_strategy == SaveStrategy.BEST or by_plateau

    @property
    def images_per_step(self) -> int:
        """Images that one step of the optimizer sees, on all devices."""
        return self.train_batch_size * self.gradient_accumulation_steps * self.world_size


# The arguments of transformers that --help shows beside those above.
USED_OFTEN = (
    *("max_steps", "num_train_epochs", "learning_rate", "warmup_steps", "seed", "full_determinism"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "activation_checkpointing", "torch_compile"),
    *("eval_strategy", "eval_steps", "save_steps", "save_total_limit", "load_best_model_at_end"),
    *("metric_for_best_model", "dataloader_num_workers", "push_to_hub", "hub_model_id"),
)


class LensArgumentParser(HfArgumentParser):
    """transformers' parser, with help that is short enough to read, and errors that name the nearest flag."""

    def __init__(self, dataclass_types: Any):
        super().__init__(dataclass_types, allow_abbrev=False, add_help=False)

    def parse(self, flags: list[str]) -> tuple[Any, ...]:
        """Makes the dataclasses of the flags; leaves with a message if a flag is not known."""
        if {"-h", "--help", "--help_all"} & set(flags):
            print(self._describe(everything="--help_all" in flags))
            sys.exit()
        *parsed, unknown = self.parse_args_into_dataclasses(flags, return_remaining_strings=True)
        if unknown:
            self.error(self._name_nearest(unknown[0]))
        return tuple(parsed)

    def error(self, message: str) -> NoReturn:
        """Leaves with the message alone: the usage of two hundred flags would hide it."""
        sys.exit(f"{self.prog}: {message}")

    def _name_nearest(self, unknown: str) -> str:
        known = [f"--{each.name}" for kind in self.dataclass_types for each in fields(kind)]
        nearest = difflib.get_close_matches(unknown.partition("=")[0].replace("-", "_"), known, n=1, cutoff=0.5)
        return f"there is no option {unknown}. " + (f"Did you mean {nearest[0]}?" if nearest else "--help lists them.")

    def _describe(self, everything: bool) -> str:
        """All flags, or those used most, a group for each dataclass."""
        lines = [f"usage: {self.prog} [arguments.yaml | arguments.json] [--flag value ...]"]
        for kind in self.dataclass_types:
            declared = [
                vars(base).get("__annotations__", {}) for base in kind.__mro__ if base is not TrainingArguments
            ]
            own = set().union(*declared)
            lines.append(f"\n{(kind.__doc__ or '').splitlines()[0]}")
            for each in fields(kind):
                if everything or each.name in own or each.name in USED_OFTEN:
                    lines.append(f"  --{each.name}: {_describe_field(each)}")
        has_more = any(issubclass(kind, TrainingArguments) for kind in self.dataclass_types) and not everything
        return "\n".join([*lines, "\n--help_all shows every flag of transformers as well." if has_more else ""])


def _describe_field(argument: Field) -> str:
    words = argument.metadata.get("help", "")
    if argument.name in USED_OFTEN:
        words = words.split(". ")[0]  # transformers explains at length
    default = argument.default
    return " ".join(words.split()) + ("" if default in (MISSING, None, "") else f" [{default}]")


def parse_arguments(*dataclass_types: Any) -> tuple[Any, ...]:
    """Parse the command line: flags, or one YAML or JSON file, or the file first and flags that win over it."""
    flags = sys.argv[1:]
    if flags and flags[0].endswith((".yaml", ".yml", ".json")):
        flags = [*_flags_of_file(Path(flags[0])), *flags[1:]]
    return LensArgumentParser(dataclass_types).parse(flags)


def _flags_of_file(path: Path) -> list[str]:
    if not path.is_file():
        sys.exit(f"{path}: no such file of arguments.")
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        sys.exit(f"{path}: neither YAML nor JSON: {error}")
    if not isinstance(values, dict):
        sys.exit(f"{path} must map arguments to values, such as `learning_rate: 1e-3`.")
    flags: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict):
            flags += [f"--{name}", json.dumps(value)]
        elif isinstance(value, list):
            flags += [f"--{name}", *map(str, value)]
        elif value is not None:
            flags.append(f"--{name}={value}")  # in one, for -1e-3 alone would be taken for a flag
    return flags
