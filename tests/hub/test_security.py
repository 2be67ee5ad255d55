"""What a stranger's checkpoint cannot do."""

import json
import pickle
import resource

import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification

from lens_transformers import LensMAEConfig, LensMAEForClassification, LensMAEModel


class Attack:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('attacked').touch()",)


@pytest.fixture
def pickled(run):
    """A checkpoint whose only weights are a pickle that runs code."""
    (run / "model.safetensors").unlink()
    (run / "pytorch_model.bin").write_bytes(pickle.dumps(Attack()))
    return run


def change_config(run, **changes):
    config = run / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return run


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForImageClassification])
def test_a_pickle_is_refused_with_the_reason(pickled, auto_class, monkeypatch):
    monkeypatch.chdir(pickled)
    with pytest.raises(OSError, match=r"has no model.safetensors. If its weights are in a pickle, such as pytorch"):
        auto_class.from_pretrained(pickled)
    assert not (pickled / "attacked").exists()


def test_a_pickle_on_the_hub_is_refused_and_not_even_downloaded(hub, pickled):
    from huggingface_hub import HfApi

    HfApi().create_repo("org/evil")
    HfApi().upload_folder(repo_id="org/evil", folder_path=pickled, allow_patterns=["*.json", "*.py", "*.bin"])
    with pytest.raises(OSError, match="org/evil has no model.safetensors"):
        LensMAEForClassification.from_pretrained("org/evil")
    assert not [request for request in hub.requests if request.startswith("GET") and request.endswith(".bin")]


def test_a_pickle_that_an_index_of_shards_names_is_refused(pickled, monkeypatch):
    monkeypatch.chdir(pickled)
    with torch.device("meta"):
        names = LensMAEForClassification(LensMAEConfig.from_pretrained(pickled)).state_dict()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "pytorch_model.bin")}
    (pickled / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(OSError, match="index of the weights names pytorch_model.bin: LensMAE loads safetensors alone"):
        LensMAEForClassification.from_pretrained(pickled)
    # Where the configuration keeps it from them, transformers asks the weights for their dtype, without running code.
    change_config(pickled, dtype=None)
    with pytest.raises((OSError, pickle.UnpicklingError)):
        LensMAEForClassification.from_pretrained(pickled)
    assert not (pickled / "attacked").exists()


@pytest.mark.parametrize("arguments", [{"use_safetensors": False}, {"weights_only": False}])
def test_nobody_can_ask_for_a_pickle(pickled, arguments):
    with pytest.raises(ValueError, match="LensMAE loads no pickles"):
        LensMAEModel.from_pretrained(pickled, **arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_map": {"AutoModel": "../../evil.Model"}}, "`auto_map` must map to `module.Class` of the checkpoint's"),
        ({"auto_map": {"AutoModel": "/tmp/evil.Model"}}, "`auto_map` must map to `module.Class`"),
        ({"auto_map": {"AutoModel": "org/..--evil.Model"}}, "`auto_map` must map to `module.Class`"),
        ({"transformers_weights": "adapter_model.bin"}, "`transformers_weights` must name a safetensors file"),
        ({"transformers_weights": "../other.safetensors"}, "`transformers_weights` must reference a file inside"),
        ({"hidden_size": 10**9}, r"about \de\+\d\d numbers in memory, above the limit of 1e\+10"),
        ({"image_size": 10**8}, "numbers in memory"),
        ({"num_channels": 10**9}, "numbers in memory"),
        ({"stem_hidden_size": 10**6}, "numbers in memory"),
        ({"sr_hidden_size": 10**6}, "numbers in memory"),
        ({"num_hidden_layers": 10**9}, "asks for 1000000000 layers"),
        ({"sr_num_blocks": 10**9}, "asks for 1000000000 layers"),
    ],
)
def test_a_hostile_configuration_is_refused_before_memory_is_taken(run, changes, message):
    change_config(run, **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message):
        LensMAEForClassification.from_pretrained(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_resize": True, "size": {"height": 10**6, "width": 10**6}}, "whole numbers from 1 to 8192"),
        ({"do_resize": True, "size": {"height": 10**400, "width": 1}}, "whole numbers from 1 to 8192"),
        ({"do_resize": True, "size": {"height": "64", "width": "64"}}, "whole numbers from 1 to 8192"),
        ({"do_resize": "true"}, "do_resize must be True or False"),
        ({"stretch": 10**400}, "stretch must be a positive flux"),
        ({"image_mean": {"bright": 1}}, "image_mean must be one number"),
        ({"num_bands": 1.5}, "num_bands must be a positive whole number"),
    ],
)
def test_a_hostile_image_processor_is_refused_before_memory_is_taken(run, changes, message):
    config = run / "preprocessor_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message):
        AutoImageProcessor.from_pretrained(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("changes", [{"hidden_size": "768"}, {"image_size": [64]}, {"num_hidden_layers": 1.5}])
def test_wrong_types_are_refused(run, changes):
    from huggingface_hub.errors import StrictDataclassError

    with pytest.raises((StrictDataclassError, ValueError)):
        AutoConfig.from_pretrained(change_config(run, **changes))


def test_every_named_size_is_far_from_the_limits():
    for size in LensMAEConfig.sizes:
        with torch.device("meta"):
            LensMAEModel(LensMAEConfig.from_size(size, image_size=1024))
