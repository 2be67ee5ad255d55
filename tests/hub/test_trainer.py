"""`--push_to_hub` of the training scripts' Trainer."""

import shutil

import numpy as np
import pytest
import torch
from transformers import TrainingArguments

from lens_transformers import LensMAEForClassification, LensMAEImageProcessor
from lens_transformers.data import LensDataCollator
from lens_transformers.hub.trainer import LensTrainer


@pytest.fixture
def make_trainer(finished_run, run):
    def make_trainer(train_dataset=None, data_collator=None, max_steps=2, **arguments):
        rows = [{"pixel_values": torch.rand(1, 64, 64), "labels": index % 3} for index in range(4)]
        return LensTrainer(
            model=LensMAEForClassification.from_pretrained(finished_run),
            data_collator=data_collator,
            args=TrainingArguments(
                output_dir=str(run),
                max_steps=max_steps,
                remove_unused_columns=False,
                per_device_train_batch_size=2,
                save_steps=1,
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
                push_to_hub=True,
                **arguments,
            ),
            train_dataset=train_dataset or rows,
        )

    return make_trainer


def test_the_hub_hears_of_a_run_when_it_is_measured_and_gets_our_card(hub, run, make_trainer):
    trainer = make_trainer(hub_model_id="org/dm", hub_private_repo=True, hub_strategy="end")
    trainer.train()
    trainer.save_model()
    assert hub.requests == []
    commit = trainer.push_to_hub()
    files = hub.files("org/dm")
    assert commit.oid == hub.repo("org/dm").branches["main"].oid and hub.repo("org/dm").private
    assert b"lens_transformers:begin" in files["README.md"] and b"PCA + logistic" in files["README.md"]
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert not [name for name in files if name.endswith((".bin", ".pt")) or name.startswith("checkpoint-")]


def test_the_name_is_that_of_the_folder_in_ones_own_namespace(hub, make_trainer):
    make_trainer().push_to_hub()
    assert set(hub.repos) == {("model", "writer/run")}


def test_without_a_network_nothing_is_lost_and_the_command_is_given(hub, run, make_trainer, caplog):
    hub.close()
    trainer = make_trainer(hub_model_id="org/dm", hub_token=hub.token)
    trainer.train()
    trainer.save_model()
    assert trainer.push_to_hub() is None
    assert f"python -m lens_transformers.hub push {run} org/dm" in caplog.text
    assert hub.token not in caplog.text
    assert (run / "model.safetensors").is_file()


def test_it_tells_its_collator_of_every_epoch(make_trainer, monkeypatch):
    rows = [{"image": np.eye(64, dtype=np.float32)[None], "label": index % 3} for index in range(4)]
    epochs = []
    monkeypatch.setattr(LensDataCollator, "set_epoch", lambda self, epoch: epochs.append(epoch))
    collator = LensDataCollator(LensMAEImageProcessor(num_bands=1), "classification")
    trainer = make_trainer(hub_model_id="org/dm", data_collator=collator, train_dataset=rows, max_steps=5)
    trainer.train()
    assert epochs == [0, 1, 2]


def test_its_card_is_ours(run, make_trainer):
    make_trainer(hub_model_id="org/dm").create_model_card()
    assert 'checkpoint = "org/dm"' in (run / "README.md").read_text()
    shutil.rmtree(run)
