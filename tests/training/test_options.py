"""Options of transformers' Trainer that change how a run computes, and not what."""

import json
import sys

import pytest
import run_classification
import run_mae
import run_sr
import torch
from safetensors.torch import load_file


SCRIPTS = {
    "mae": (run_mae, []),
    "classification": (run_classification, ["--baselines", False]),
    "sr": (run_sr, ["--filter_size", 3]),
}
# Without batch norms, which see other batches when those are divided.
QUICK = [
    "--config_overrides",
    "num_hidden_layers=1,decoder_num_hidden_layers=1,sr_num_blocks=1,stem_type=patch,pooling=mean",
]
QUICK += ["--max_steps", 2, "--per_device_train_batch_size", 8, "--bf16", False]


@pytest.fixture(scope="module")
def launch(labelled_pairs, tmp_path_factory):
    def launch(name, *flags):
        script, own = SCRIPTS[name]
        folder = tmp_path_factory.mktemp(name)
        arguments = ["--dataset", labelled_pairs, "--output_dir", folder, *QUICK, *own, *flags]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [script.__file__, *map(str, arguments)])
            script.main()
        return folder

    return launch


@pytest.fixture(scope="module")
def plain(launch):
    """A run of each script, in which an operation that is not deterministic would raise."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "CUDA_LAUNCH_BLOCKING",
            "CUBLAS_WORKSPACE_CONFIG",
            "ASCEND_LAUNCH_BLOCKING",
            "HCCL_DETERMINISTIC",
        ):
            patch.setenv(name, "")
        try:
            runs = {name: launch(name, "--full_determinism", True) for name in SCRIPTS}
            assert torch.are_deterministic_algorithms_enabled()
        finally:
            torch.use_deterministic_algorithms(False)
    return runs


def read_first_step(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("name", SCRIPTS)
def test_accumulated_batches_are_one_large_batch_and_determinism_has_all_that_it_needs(launch, plain, name):
    whole = read_first_step(plain[name])
    parts = read_first_step(launch(name, "--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 4))
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-4)
    assert parts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)


@pytest.mark.parametrize(
    "flags",
    [["--activation_checkpointing", True], ["--torch_compile", True, "--torch_compile_backend", "aot_eager"]],
    ids=["activation checkpointing", "compiled"],
)
def test_less_memory_or_time_comes_to_the_same_weights(launch, plain, flags):
    one, other = (load_file(run / "model.safetensors") for run in (plain["mae"], launch("mae", *flags)))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)


def test_tensorboard_is_written_to_where_it_is_installed(launch):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed, and is no dependency.")
    assert list(launch("mae", "--max_steps", 1).rglob("events.out.tfevents*"))
