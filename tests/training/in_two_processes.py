"""What test_two_processes.py launches in two processes that talk by gloo: one launch, for starting takes seconds.

    accelerate launch --config_file training/accelerate/cpu_gloo.yaml in_two_processes.py RUNS.json

The file has the script and the flags of each run. A run is killed in all processes after the step `killed_at`; with
`fsdp`, its weights and those of all runs after it are in shards.
"""

import json
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import callbacks
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType


class Killed(BaseException):
    """Stands for SIGKILL: nothing that handles errors sees it."""


def main() -> None:
    on_step_end = callbacks.MetricsFile.on_step_end
    for run in json.loads(Path(sys.argv[1]).read_text()):
        if run.get("fsdp") and "ACCELERATE_USE_FSDP" not in os.environ:
            shard_on_a_cpu()
        callbacks.MetricsFile.on_step_end = killed_at(run["killed_at"]) if "killed_at" in run else on_step_end
        script = import_module(run["script"])
        sys.argv = [script.__file__, *run["flags"]]
        with suppress(Killed):
            script.main()
        torch.distributed.barrier()  # while the main process measures


def killed_at(step):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    return on_step_end


def shard_on_a_cpu() -> None:
    """From now on makes accelerate use FSDP2 with gloo, which it keeps for accelerators though torch does without."""
    os.environ.update(ACCELERATE_USE_FSDP="true", FSDP_VERSION="2", FSDP_STATE_DICT_TYPE="FULL_STATE_DICT")
    os.environ.update(FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP", FSDP_TRANSFORMER_CLS_TO_WRAP="LensMAELayer")
    start, gather = AcceleratorState.__init__, Accelerator.get_state_dict

    def start_as_with_gpus(self, *args, **kwargs):
        if PartialState._shared_state.get("distributed_type") == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        start(self, *args, **kwargs)

    def gather_and_wait(self, *args, **kwargs):
        # On their way from a GPU they would be waited for.
        return {name: value.clone() for name, value in gather(self, *args, **kwargs).items()}

    AcceleratorState.__init__, Accelerator.get_state_dict = start_as_with_gpus, gather_and_wait


if __name__ == "__main__":
    main()
