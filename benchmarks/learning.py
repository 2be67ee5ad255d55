"""Loops of the pretraining protocol: a network learns rows of tensors in memory, and its cost is kept."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from lens_transformers._hardware import has_fast_bfloat16
from lens_transformers.data import LensAugmentation

from .timing import count_operations


__all__ = ["NUM_MEASURED", "PRECISION", "Cost", "Schedule", "count_flops", "embed", "learn", "predict"]

WEIGHT_DECAY = 0.05
WARMUP_FRACTION = 0.05
# Training images that batch norms are measured on anew, and images of a batch that is only looked at.
NUM_MEASURED, EVAL_BATCH_SIZE = 2000, 250
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PRECISION = "bfloat16" if has_fast_bfloat16(DEVICE) else "float32"
# What others do on a shared machine is not counted.
CLOCK = time.process_time if DEVICE == "cpu" else time.perf_counter


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns."""

    num_steps: int
    batch_size: int
    learning_rate: float
    adam_beta2: float


@dataclass(frozen=True)
class Cost:
    """What learning took.

    Attributes:
        steps: Steps of the optimizer.
        images: Images shown, repeats included.
        petaflop: Floating-point operations of the matrix products and convolutions, forwards and backwards, in 10^15.
        minutes: Of a core, or of the clock where a GPU does the work.
    """

    steps: int
    images: int
    petaflop: float
    minutes: float

    def as_dict(self) -> dict[str, float]:
        """The numbers by name."""
        return asdict(self)


def learn(
    model: nn.Module,
    schedule: Schedule,
    columns: tuple[torch.Tensor, ...],
    loss_of: Callable[..., torch.Tensor],
    seed: int,
    augmentation: LensAugmentation | None = None,
    description: str = "",
) -> Cost:
    """Trains a network by AdamW, with warm-up and a cosine, in bfloat16 autocast where the hardware has it.

    Args:
        model: The network.
        schedule: How long and how fast.
        columns: Tensors of as many rows: the first, and with an augmentation the second if it is of images too, are
            images `(rows, bands, height, width)`.
        loss_of: The loss of a model and a batch of each column.
        seed: Of the rows of each batch and of the augmentation.
        augmentation: Changes each image, and a second one alike.
        description: Words beside the progress bar.

    Returns:
        What it took.
    """
    model.to(DEVICE).train()
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    betas = (0.9, schedule.adam_beta2)
    optimizer = torch.optim.AdamW(groups, schedule.learning_rate, betas=betas)
    warmup = int(WARMUP_FRACTION * schedule.num_steps)
    scheduler = get_cosine_schedule_with_warmup(optimizer, warmup, schedule.num_steps)
    generator = torch.Generator().manual_seed(seed)
    flops = 0
    start = CLOCK()
    for step in tqdm(range(schedule.num_steps), desc=description, unit="step"):
        rows = torch.randint(len(columns[0]), (schedule.batch_size,), generator=generator)
        batch = [column[rows] for column in columns]
        if augmentation is not None:
            keys = torch.randint(2**62, (schedule.batch_size,), generator=generator).tolist()
            pair = batch[1] if len(batch) > 1 and batch[1].ndim == 4 else None
            batch[0], pair = augmentation(batch[0], pair, keys=keys)
            if pair is not None:
                batch[1] = pair
        with FlopCounterMode(display=False) if step == 0 else torch.enable_grad() as counter:
            with torch.autocast(DEVICE, torch.bfloat16, enabled=PRECISION == "bfloat16"):
                loss = loss_of(model, *(part.to(DEVICE) for part in batch))
            loss.backward()
        if isinstance(counter, FlopCounterMode):
            flops = counter.get_total_flops()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    minutes = (CLOCK() - start) / 60
    images = schedule.num_steps * schedule.batch_size
    return Cost(schedule.num_steps, images, schedule.num_steps * flops / 1e15, minutes)


def count_flops(model: nn.Module, loss: Callable[[], torch.Tensor]) -> int:
    """Floating-point operations of a loss and its gradients."""
    operations = count_operations(lambda: loss().backward())
    model.zero_grad()
    return operations


def predict(model: nn.Module, train_images: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Logits `(images, outputs)` in full precision, once batch norms, learned in another one, are measured anew."""
    measured = train_images[:NUM_MEASURED]
    update_bn([part.to(DEVICE) for part in measured.split(EVAL_BATCH_SIZE)], model)
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(part.to(DEVICE)).logits.float().cpu() for part in images.split(EVAL_BATCH_SIZE)])


def embed(encoder: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled vectors `(images, features)`, and tokens `(images, patches, hidden_size)` in half precision."""
    encoder.to(DEVICE).eval()
    pooled, tokens = [], []
    with torch.inference_mode():
        for part in images.split(EVAL_BATCH_SIZE):
            outputs = encoder(part.to(DEVICE))
            pooled.append(outputs.pooler_output.cpu())
            tokens.append(outputs.last_hidden_state.to("cpu", torch.float16))
    return torch.cat(pooled), torch.cat(tokens)
