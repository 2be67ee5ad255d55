"""The folder of a run, and the checkpoint in it that a run goes on from."""

import json
import logging
import re
import shlex
import shutil
import sys
from pathlib import Path

from command_line import LensTrainingArguments


logger = logging.getLogger(__name__)

STATE = "trainer_state.json"
# What a run leaves when its training has ended, whether or not it was measured.
ENDED = ("results.json", STATE, "model*.safetensors*")


def prepare_output_folder(arguments: LensTrainingArguments) -> None:
    """Find the checkpoint to resume from, or see to it that the folder holds no other run.

    Raises:
        ValueError: If it does, or there is no such checkpoint, or it is of another number of processes.
    """
    folder = Path(str(arguments.output_dir))
    resume = arguments.resume_from_checkpoint
    if resume is not None and resume.lower() == "true":
        checkpoint = last_checkpoint(folder, arguments.world_size)
        if checkpoint is None:
            for state in folder.glob(f"checkpoint-*/{STATE}"):
                _check_number_of_processes(state.parent, arguments.world_size)
        if checkpoint is None and _existing(folder, *ENDED):
            raise ValueError(
                f"--output_dir {folder} holds a run that has ended and left no checkpoint to go on from. Give "
                "another folder, or train it anew by --overwrite_output_dir True in place of "
                "--resume_from_checkpoint True."
            )
        logger.info("Going on from %s.", checkpoint or "the start: there is no checkpoint yet")
        arguments.resume_from_checkpoint = None if checkpoint is None else str(checkpoint)
    elif resume is not None and not (Path(resume) / STATE).is_file():
        raise ValueError(f"--resume_from_checkpoint {resume}: no checkpoint of a run, which has a {STATE}.")
    elif resume is not None:
        _check_number_of_processes(Path(resume), arguments.world_size)
    if resume is not None:
        return
    others = _existing(folder, "checkpoint-*", *ENDED)
    if others and not arguments.overwrite_output_dir:
        raise ValueError(
            f"--output_dir {folder} holds another run ({others[0].name}). Give another folder, or go on with that run "
            "by --resume_from_checkpoint True, or replace it by --overwrite_output_dir True."
        )


def last_checkpoint(folder: Path, world_size: int = 1) -> Path | None:
    """The latest checkpoint of a run that was written to its end; `None` if there is none.

    A run that is killed while it writes one leaves it without its state, or without that of some process.
    """
    found = {
        int(match[1]): path for path in folder.glob("checkpoint-*") if (match := re.search(r"-(\d+)$", path.name))
    }
    return next((found[step] for step in sorted(found, reverse=True) if _is_whole(found[step], world_size)), None)


def how_to_resume(checkpoint: Path, world_size: int) -> str:
    """Words with the command of this process that goes on from a checkpoint."""
    flags, skip = [], False
    for flag in sys.argv:
        if not skip and flag != "--resume_from_checkpoint":
            flags.append(flag)
        skip = flag == "--resume_from_checkpoint"
    launcher = ["python"] if world_size <= 1 else ["accelerate", "launch", "--num_processes", str(world_size)]
    command = shlex.join([*launcher, *flags, "--resume_from_checkpoint", str(checkpoint)])
    return f"Go on with: {command}"


def remove_run(folder: Path) -> None:
    """Remove of a run what another one would not write over."""
    outputs = ("figures", "super_resolved", "predictions.parquet")
    for path in _existing(folder, "checkpoint-*", *ENDED, *outputs):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_whole(checkpoint: Path, world_size: int) -> bool:
    states = ["rng_state.pth"] if world_size <= 1 else [f"rng_state_{index}.pth" for index in range(world_size)]
    if not all((checkpoint / name).is_file() for name in states):
        return False
    try:
        return "global_step" in json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def _check_number_of_processes(checkpoint: Path, world_size: int) -> None:
    """Refuse a checkpoint of another number of processes, each of which kept its random state.

    Raises:
        ValueError: If it is one.
    """
    found = len(list(checkpoint.glob("rng_state*.pth")))
    if found not in (0, world_size):
        raise ValueError(
            f"--resume_from_checkpoint {checkpoint}: the number of processes was {found}, as its random states say, "
            f"and is {world_size} now, with which steps would see other images. Go on with accelerate launch "
            f"--num_processes {found}."
        )


def _existing(folder: Path, *patterns: str) -> list[Path]:
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]
