import subprocess
import sys
import textwrap

import pytest

import lens_transformers
from lens_transformers import (
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEImageProcessor,
    LensMAEModel,
)


def run(script, **options):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = LensMAEConfig.from_size("tiny", num_hidden_layers=1, decoder_num_hidden_layers=1)
    LensMAEForPreTraining(config).save_pretrained(folder)
    LensMAEImageProcessor().save_pretrained(folder)
    return folder


def test_importing_the_package_imports_nothing_heavy():
    output = run(
        """
        import sys
        before = set(sys.modules)
        import lens_transformers
        print(*{name.partition(".")[0] for name in set(sys.modules) - before})
        """
    )
    heavy = {"torch", "numpy", "transformers", "datasets", "caustics", "matplotlib", "sklearn", "skimage", "astropy"}
    assert not heavy & set(output.split())


def test_importing_the_package_costs_little_more_than_importing_transformers():
    script = """
        import time
        import transformers
        start = time.perf_counter()
        import lens_transformers
        print(time.perf_counter() - start)
        """
    assert min(float(run(script)) for _ in range(3)) < 0.1


def test_every_public_name_loads():
    for name in lens_transformers.__all__:
        assert getattr(lens_transformers, name) is not None
        assert name in dir(lens_transformers)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="LensMAP"):
        lens_transformers.LensMAP  # noqa: B018


@pytest.mark.parametrize(
    "imports",
    [
        "import lens_transformers; from transformers import AutoModel",
        "from transformers import AutoConfig, AutoImageProcessor, AutoModel; import lens_transformers",
        # This imports the module of AutoModel from the middle of another that the network imports as well.
        "import lens_transformers; import transformers.modeling_layers",
    ],
)
def test_the_auto_classes_know_lens_mae_whatever_was_imported_first(checkpoint, imports):
    output = run(
        f"""
        {imports}
        import sys
        from transformers import (
            AutoConfig,
            AutoImageProcessor,
            AutoModel,
            AutoModelForImageClassification,
            AutoModelForImageToImage,
            AutoModelForPreTraining,
        )

        folder = sys.stdin.read()
        for auto_class in (
            AutoConfig,
            AutoImageProcessor,
            AutoModel,
            AutoModelForImageClassification,
            AutoModelForImageToImage,
            AutoModelForPreTraining,
        ):
            print(type(auto_class.from_pretrained(folder)).__name__)
        """,
        input=str(checkpoint),
    )
    assert output.split() == [
        own.__name__
        for own in (
            LensMAEConfig,
            LensMAEImageProcessor,
            LensMAEModel,
            LensMAEForClassification,
            LensMAEForSuperResolution,
            LensMAEForPreTraining,
        )
    ]


def test_the_auto_config_does_not_import_the_network():
    output = run(
        """
        import lens_transformers
        from transformers import AutoConfig
        import sys
        print(type(AutoConfig.for_model("lens_mae")).__name__, "transformers.modeling_utils" in sys.modules)
        """
    )
    assert output.split() == ["LensMAEConfig", "False"]
