"""What was pushed loads by name in other processes: with the package, and with transformers alone."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi

from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
)
from lens_transformers.hub import push, write_model_card
from tests.client_process import ClientProcess
from tests.loopback_hub import LoopbackHub, client_of


REPOSITORY = Path(__file__).parents[2]
REPO = "org/lens-mae"
WITH_PACKAGE = "import lens_transformers, torch, transformers"
WITHOUT_PACKAGE = """
import importlib.util
assert importlib.util.find_spec("lens_transformers") is None
import torch, transformers
"""
SMALL = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "stem_hidden_size": 4,
    "sr_hidden_size": 8,
}


@pytest.fixture(scope="module")
def published(finished_run, tmp_path_factory):
    """A Hub with checkpoints of every way to lay one out, and what they make of some images."""
    home = tmp_path_factory.mktemp("publisher")
    hub = LoopbackHub()
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    pixel_values = LensMAEImageProcessor()(images, return_tensors="pt").pixel_values
    expected = {"images": images.tolist()}
    with client_of(hub, home), torch.no_grad():
        api = HfApi()
        model = LensMAEForClassification.from_pretrained(finished_run)
        expected["main"] = model.eval()(pixel_values).logits.tolist()
        expected["pooled"] = LensMAEModel.from_pretrained(finished_run).eval()(pixel_values).pooler_output.tolist()
        push(finished_run, REPO)
        api.create_tag(REPO, tag="v1")
        push(finished_run, "org/private", private=True)
        push(finished_run, "org/secret", private=True)

        changed = shutil.copytree(finished_run, home / "changed")
        model.classifier.bias += 1.0
        model.save_pretrained(changed)
        expected["v2"] = model(pixel_values).logits.tolist()
        push(changed, REPO, revision="v2")

        shards = shutil.copytree(finished_run, home / "shards", ignore=shutil.ignore_patterns("model*.safetensors"))
        LensMAEForClassification.from_pretrained(finished_run).save_pretrained(shards, max_shard_size="10KB")
        assert len(list(shards.glob("model-*.safetensors"))) > 2
        push(shards, "org/shards")

        api.upload_folder(
            repo_id=REPO, folder_path=changed, path_in_repo="better", allow_patterns=["*.json", "model.safetensors"]
        )
    yield hub, expected
    hub.close()


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A virtual environment with all that is installed here but the package."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False)
    [site_packages] = folder.glob("lib/python*/site-packages")
    # A path in a .pth file does not bring along the .pth files that lie there, by which an editable install is found.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def clients(published, bare_python, tmp_path_factory):
    """A process with the package and one without, each with a cache of its own."""
    hub, _ = published
    processes = {}
    for name, python, prologue in (
        ("with", sys.executable, WITH_PACKAGE),
        ("without", bare_python, WITHOUT_PACKAGE),
    ):
        home = tmp_path_factory.mktemp(name)
        environment = {**os.environ, **hub.environment(home), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(REPOSITORY) if name == "with" else ""
        processes[name] = ClientProcess(python, environment, prologue, home)
    yield processes
    for process in processes.values():
        process.close()


@pytest.fixture(params=["with", "without"])
def client(request, clients, published):
    """Asks a question about the images, with `load` and `images` at hand."""
    _, expected = published
    trust = request.param == "without"
    prologue = f"""
from functools import partial
import torch
import transformers

def load(auto_class, name={REPO!r}, **arguments):
    loaded = getattr(transformers, auto_class).from_pretrained(name, trust_remote_code={trust}, **arguments)
    own = "transformers_modules." if {trust} else "lens_transformers."
    assert type(loaded).__module__.startswith(own), type(loaded)
    return loaded.eval() if hasattr(loaded, "eval") else loaded

torch.set_grad_enabled(False)
images = torch.tensor({expected["images"]!r})
"""

    def ask(program, **names):
        return clients[request.param].ask(prologue + program, **names)

    ask.process = clients[request.param]
    ask.trust = trust
    return ask


LOGITS = """
pixel_values = load("AutoImageProcessor")(images, return_tensors="pt").pixel_values
result = load("AutoModelForImageClassification", **arguments)(pixel_values).logits.float().tolist()
"""


def close(numbers, expected, **tolerances):
    torch.testing.assert_close(torch.tensor(numbers), torch.tensor(expected), **tolerances)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "main"),
        ({"revision": "v1"}, "main"),
        ({"revision": "v2"}, "v2"),
        ({"subfolder": "better"}, "v2"),
        ({"name": "org/shards"}, "main"),
        ({"name": "org/private"}, "main"),
        ({"device_map": "auto"}, "main"),
    ],
)
def test_a_classifier_loads_from_its_name(client, published, arguments, expected):
    close(client(LOGITS, arguments=arguments), published[1][expected])


def test_a_classifier_loads_in_half_precision(client, published):
    numbers = client(
        """
pixel_values = load("AutoImageProcessor")(images, return_tensors="pt").pixel_values
model = load("AutoModelForImageClassification", dtype=torch.bfloat16)
result = [str(model.dtype), model(pixel_values.bfloat16()).logits.float().tolist()]
"""
    )
    assert numbers[0] == "torch.bfloat16"
    close(numbers[1], published[1]["main"], atol=0.05, rtol=0.05)


def test_the_encoder_loads_from_the_same_checkpoint(client, published):
    program = """
pixel_values = load("AutoImageProcessor")(images, return_tensors="pt").pixel_values
result = load("AutoModel")(pixel_values).pooler_output.tolist()
"""
    close(client(program), published[1]["pooled"])


@pytest.mark.parametrize(
    ("name", "arguments", "version"),
    [(REPO, {"revision": "v2"}, "v2"), (REPO, {"subfolder": "better"}, "v2"), ("org/private", {}, "main")],
)
def test_our_pipelines_take_a_name_and_where_to_look_for_it(clients, published, name, arguments, version):
    _, expected = published
    program = """
    import numpy as np
    classify = lens_transformers.pipeline("classification", model=name, device="cpu", **arguments)
    result = classify(np.array(images, dtype=np.float32)).probabilities.tolist()
    """
    numbers = clients["with"].ask(
        f"import lens_transformers\n{textwrap.dedent(program)}",
        name=name,
        arguments=arguments,
        images=expected["images"],
    )
    close(numbers, torch.tensor(expected[version]).softmax(1).tolist())


def test_a_private_repository_needs_a_token(client):
    with pytest.raises(RuntimeError, match="is not a local folder and is not a valid model identifier"):
        client('load("AutoModelForImageClassification", "org/secret", token=False)')


def test_a_checkpoint_of_pickles_is_refused_by_its_own_code_too(client, published, finished_run, tmp_path):
    hub, _ = published
    attack = b"cos\nsystem\n(S'touch attacked'\ntR."
    with client_of(hub, tmp_path):
        api = HfApi()
        api.create_repo("org/pickles", exist_ok=True)
        api.upload_folder(repo_id="org/pickles", folder_path=finished_run, allow_patterns=["*.json", "*.py"])
        api.upload_file(repo_id="org/pickles", path_or_fileobj=attack, path_in_repo="pytorch_model.bin")
    with pytest.raises(RuntimeError, match="org/pickles has no model.safetensors"):
        client('load("AutoModelForImageClassification", "org/pickles")')
    assert client('import os\nresult = os.path.exists("attacked")') is False


def test_transformers_own_push_brings_model_code_and_processor(client, published, tmp_path):
    hub, _ = published
    repo_id = f"org/by-transformers-{'without' if client.trust else 'with'}"
    config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, sr_num_blocks=1, **SMALL)
    with client_of(hub, tmp_path):
        LensMAEForSuperResolution(config).push_to_hub(repo_id)
        LensMAEImageProcessor(normalization="none").push_to_hub(repo_id)
    program = """
processor = load("AutoImageProcessor", repo_id)
model = load("AutoModelForImageToImage", repo_id)
sharp = model(processor(images, return_tensors="pt").pixel_values).reconstruction
bicubic = torch.nn.functional.interpolate(images, scale_factor=2.0, mode="bicubic")
result = [list(sharp.shape), bool((sharp == bicubic).all())]
"""
    assert client(program, repo_id=repo_id) == [[2, 1, 128, 128], True]


TRANSFORMERS_PIPELINES = """
import io
import logging

import numpy as np
from PIL import Image

def scores(answer):
    return [entry["score"] for name in names for entry in answer if entry["label"] == name]

names = ["no_sub", "cdm", "axion"]
said = io.StringIO()
logging.getLogger().addHandler(logging.StreamHandler(said))
transformers.utils.logging.warning_once.cache_clear()
array = images.numpy()[0]
picture = Image.fromarray(np.round(255 * array[0]).astype(np.uint8))
picture.save("lens.png")
classify = transformers.pipeline("image-classification", model=name, trust_remote_code=trust)
embed = transformers.pipeline("image-feature-extraction", model=name, trust_remote_code=trust)
result = {
    "flux": scores(classify(array)),
    "fluxes": [scores(answer) for answer in classify(list(images.numpy()))],
    "picture": scores(classify(picture)),
    "file": scores(classify("lens.png")),
    "tokens": embed(picture),
    "pooled": embed("lens.png", pool=True),
    "said": said.getvalue(),
}
"""


def test_transformers_pipelines_take_a_checkpoint_of_one_band(client, published, finished_run):
    """Arrays of flux as they are; of a picture they make 8-bit RGB, which is one band again, from black to white."""
    _, expected = published
    answer = client(TRANSFORMERS_PIPELINES, name=REPO, trust=client.trust)
    probabilities = torch.tensor(expected["main"]).softmax(1)
    close(answer["flux"], probabilities[0].tolist())
    close(answer["fluxes"], probabilities.tolist())

    quantized = torch.round(255 * torch.tensor(expected["images"][:1])) / 255
    pixel_values = LensMAEImageProcessor()(quantized, return_tensors="pt").pixel_values
    with torch.no_grad():
        logits = LensMAEForClassification.from_pretrained(finished_run).eval()(pixel_values).logits
        encoded = LensMAEModel.from_pretrained(finished_run).eval()(pixel_values)
    close([answer["picture"]], logits.softmax(1).tolist())
    close(answer["file"], answer["picture"])
    close(answer["picture"], answer["flux"], atol=0.02, rtol=0.0)
    close(answer["tokens"], encoded.last_hidden_state.tolist(), atol=1e-4, rtol=1e-4)
    close(answer["pooled"], encoded.pooler_output.tolist(), atol=1e-4, rtol=1e-4)
    assert "A picture of 8 bits is taken as flux from 0 to 1 in 255 steps" in answer["said"]


def test_transformers_pipelines_take_a_checkpoint_of_three_bands(client, published, tmp_path):
    hub, _ = published
    name = "org/three-bands"
    if ("model", name) not in hub.repos:
        config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, num_channels=3, num_labels=3, **SMALL)
        with client_of(hub, tmp_path):
            LensMAEForClassification(config).push_to_hub(name)
            LensMAEImageProcessor(num_bands=3, do_rescale=True).push_to_hub(name)
    program = """
import numpy as np
from PIL import Image
picture = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
classify = transformers.pipeline("image-classification", model=name, trust_remote_code=trust)
embed = transformers.pipeline("image-feature-extraction", model=name, trust_remote_code=trust)
result = [len(classify(picture)), list(np.shape(embed(picture)))]
"""
    assert client(program, name=name, trust=client.trust) == [3, [1, 64, 16]]
    # A checkpoint of one band sees no grey in a colour picture.
    with pytest.raises(RuntimeError, match="num_bands=1 is not its number of bands"):
        client(program, name=REPO, trust=client.trust)


OFFLINE = f"""
import json
import sys

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

processor = AutoImageProcessor.from_pretrained({REPO!r}, trust_remote_code=True)
model = AutoModelForImageClassification.from_pretrained({REPO!r}, trust_remote_code=True).eval()
pixel_values = processor(torch.tensor(json.load(sys.stdin)), return_tensors="pt").pixel_values
print(json.dumps(model(pixel_values).logits.tolist()))
"""


def test_what_was_loaded_once_loads_without_a_network(published, clients, bare_python, tmp_path):
    """In a fresh process, with the cache of one that loaded it."""
    _, expected = published
    home = clients["without"].ask(
        """
        import os
        import transformers
        for auto_class in (transformers.AutoImageProcessor, transformers.AutoModelForImageClassification):
            auto_class.from_pretrained(name, trust_remote_code=True)
        result = os.environ["HF_HOME"]
        """,
        name=REPO,
    )
    environment = {**os.environ, "HF_HOME": home, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [str(bare_python), "-c", OFFLINE],
        input=json.dumps(expected["images"]),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    close(json.loads(done.stdout), expected["main"])


def test_no_client_ever_said_its_token(clients, published):
    hub, _ = published
    for process in clients.values():
        assert hub.token not in process.output


def test_transformers_own_push_of_an_unchanged_run_brings_processor_figures_results_and_card(
    finished_run, published, tmp_path
):
    hub, _ = published
    run = shutil.copytree(finished_run, tmp_path / "run")
    write_model_card(run, "org/whole")
    with client_of(hub, tmp_path):
        model = LensMAEForClassification.from_pretrained(run)
        model.push_to_hub("org/whole")
        files = hub.files("org/whole")
        assert files["README.md"] == (run / "README.md").read_bytes()
        for name in ("preprocessor_config.json", "figures/roc.png", "image_processing_lens_mae.py"):
            assert files[name] == (run / name).read_bytes(), name
        assert not [name for name in files if name.endswith(".bin")]

        assert json.loads(files["results.json"])["data"]["source"] == "data"  # of a path only the name

        model.push_to_hub("org/fork")
        card = hub.files("org/fork")["README.md"].decode()
        assert 'checkpoint = "org/fork"' in card and 'model="org/fork"' in card and "org/whole" not in card
        assert card.count("org/fork") == (run / "README.md").read_text().count("org/whole")

        hub.edit("org/whole", "README.md", b"---\nlicense: mit\n---\n# By hand\n")
        model.push_to_hub("org/whole")
        assert b"# By hand" in hub.files("org/whole")["README.md"]


def test_a_model_that_was_trained_on_does_not_take_the_old_results_along(finished_run, published, tmp_path):
    hub, _ = published
    with client_of(hub, tmp_path):
        model = LensMAEForClassification.from_pretrained(finished_run)
        with torch.no_grad():
            model.classifier.bias += 1.0
        model.push_to_hub("org/trained-on")
    old = {"figures/roc.png", "preprocessor_config.json", "results.json"}
    assert not old & set(hub.files("org/trained-on"))
