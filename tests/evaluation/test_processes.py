"""Two processes that gather their batches measure each image once, also those that fill up the last batch."""

import multiprocessing
import os
import socket
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils.data import DataLoader, TensorDataset

from lens_transformers.evaluation import (
    AnomalyMetric,
    ClassificationMetric,
    ReconstructionMetric,
    RepresentationMetric,
    SuperResolutionMetric,
)


NUM_IMAGES, BATCH_SIZE = 11, 4


def _columns():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(NUM_IMAGES, 1, 12, 12, generator=generator)
    return {
        "label": torch.arange(NUM_IMAGES) % 3,
        "probabilities": torch.randn(NUM_IMAGES, 3, generator=generator).softmax(dim=1),
        "image": images,
        "prediction": images + 0.1 * torch.randn(images.shape, generator=generator),
        "mask": torch.rand(NUM_IMAGES, 12, 12, generator=generator) < 0.5,
        "embedding": torch.randn(NUM_IMAGES, 5, generator=generator),
    }


class _Metrics:
    """All metrics of the room, which take a batch of `_columns`."""

    def __init__(self):
        known = np.random.default_rng(0).standard_normal((30, 5))
        self.metrics = {
            "classification": ClassificationMetric(),
            "super_resolution": SuperResolutionMetric(),
            "reconstruction": ReconstructionMetric(),
            "anomaly": AnomalyMetric(),
            "representation": RepresentationMetric(known, np.arange(30) % 3),
        }

    def add(self, label, probabilities, image, prediction, mask, embedding):
        metrics = self.metrics
        metrics["classification"].add_batch(predictions=probabilities, references=label)
        metrics["super_resolution"].add_batch(predictions=prediction, references=image)
        metrics["reconstruction"].add_batch(predictions=prediction, references=image, masks=mask)
        metrics["anomaly"].add_batch(predictions=embedding[:, 0], references=label == 1)
        metrics["representation"].add_batch(predictions=embedding, references=label)

    def compute(self):
        return {name: metric.compute() for name, metric in self.metrics.items()}


def _measure(rank, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2 and torch.distributed.get_backend() == "gloo"
    loader = accelerator.prepare(DataLoader(TensorDataset(*_columns().values()), BATCH_SIZE))
    metrics, num_seen = _Metrics(), 0
    for batch in loader:
        num_seen += len(accelerator.gather(batch[0]))
        metrics.add(*accelerator.gather_for_metrics(batch))
    torch.distributed.destroy_process_group()
    return num_seen, metrics.compute()


def test_two_processes_count_every_image_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        results = list(pool.map(_measure, range(2), [port] * 2))
    alone = _Metrics()
    alone.add(*_columns().values())
    expected = alone.compute()
    for num_seen, result in results:
        assert num_seen == 16  # five of them to fill up the last batches
        np.testing.assert_equal(result, expected)
