"""A checkpoint that travelled to where transformers is installed and lens_transformers is not."""

import subprocess
import sys

import pytest
import torch

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
)


MODELS = {
    "AutoModel": LensMAEModel,
    "AutoModelForPreTraining": LensMAEForPreTraining,
    "AutoModelForImageClassification": LensMAEForClassification,
    "AutoModelForImageToImage": LensMAEForSuperResolution,
}

# Loads each checkpoint that is named, compares what it makes of the images with what it made at home, saves it again.
ELSEWHERE = """
import sys

sys.modules["lens_transformers"] = None  # importing it fails, as where it is not installed

import torch
import transformers

home, *arguments = sys.argv[1:]
images, noise, expected = torch.load(f"{home}/expected.pt")
for argument in arguments:
    auto_class, folder, copy = argument.split("=")
    model = getattr(transformers, auto_class).from_pretrained(folder, trust_remote_code=True).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
    for loaded in (model, processor):
        assert type(loaded).__module__.startswith("transformers_modules."), type(loaded)
    inputs = {"noise": noise} if auto_class == "AutoModelForPreTraining" else {}
    with torch.no_grad():
        output = model(processor(images, return_tensors="pt").pixel_values, **inputs, return_dict=False)
    torch.testing.assert_close(output[-1 if "ImageToImage" in auto_class else 0], expected[auto_class])
    model.save_pretrained(copy)
    processor.save_pretrained(copy)
"""


def load_elsewhere(home, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(home), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a checkpoint of every model, each named after its Auto class, and with what they give."""
    folder = tmp_path_factory.mktemp("home")
    config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, decoder_num_hidden_layers=1, num_labels=3)
    images, noise = torch.rand(2, 1, 64, 64), torch.rand(2, 16)
    processor = LensMAEImageProcessor()
    pixel_values = processor(images, return_tensors="pt").pixel_values
    expected = {}
    for auto_class, model_class in MODELS.items():
        model = model_class(config).eval()
        inputs = {"noise": noise} if model_class is LensMAEForPreTraining else {}
        with torch.no_grad():
            output = model(pixel_values, **inputs, return_dict=False)
        expected[auto_class] = output[-1 if model_class is LensMAEForSuperResolution else 0]
        model.save_pretrained(folder / auto_class)
        processor.save_pretrained(folder / auto_class)
    torch.save((images, noise, expected), folder / "expected.pt")
    return folder


def test_every_model_loads_and_loads_again_after_it_was_saved_there(home, tmp_path):
    load_elsewhere(home, *(f"{auto}={home / auto}={tmp_path / auto}" for auto in MODELS), cwd=tmp_path)
    load_elsewhere(home, *(f"{auto}={tmp_path / auto}={tmp_path / 'third'}" for auto in MODELS), cwd=tmp_path)


def test_it_loads_from_a_folder_whose_name_has_a_dot(home, tmp_path):
    auto_class = "AutoModelForImageClassification"
    folder = (home / auto_class).rename(tmp_path / "lens-mae-v1.0")
    load_elsewhere(home, f"{auto_class}=lens-mae-v1.0=again.2", f"{auto_class}=again.2=third", cwd=tmp_path)
    folder.rename(home / auto_class)


def test_it_loads_from_the_folder_one_is_in(home, tmp_path):
    auto_class = "AutoModelForPreTraining"
    load_elsewhere(home, f"{auto_class}=.={tmp_path / 'again'}", cwd=home / auto_class)
