import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

import lens_transformers


REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "lens_transformers"


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    # By way of the source distribution, as a release is built: what that forgets is missing here too.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY)
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_with_stubs_and_card_templates_and_nothing_else(wheel):
    expected = {path.relative_to(REPOSITORY).as_posix() for path in PACKAGE.rglob("*.py*") if path.suffix != ".pyc"}
    expected |= {"lens_transformers/py.typed", "lens_transformers/report/page.html.jinja"}
    expected |= {f"lens_transformers/hub_cards/{path.name}" for path in (REPOSITORY / "hub_cards").glob("*.md")}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_version_of_the_wheel_is_that_of_the_package(wheel):
    assert wheel.name.startswith(f"lens_transformers-{lens_transformers.__version__}-")


def test_the_installed_wheel_works_with_no_clone_beside_it(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    [site_packages] = (tmp_path / "env").glob("lib/python*/site-packages")
    # The dependencies are those of this environment. The .pth files that lie there are not read again, so an editable
    # install of the clone stays out.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    python = tmp_path / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    script = textwrap.dedent(
        """
        import sys
        from importlib.resources import files

        import lens_transformers
        import numpy as np
        from transformers import AutoModelForImageClassification

        assert lens_transformers.__file__.startswith(sys.prefix), lens_transformers.__file__
        config = lens_transformers.LensMAEConfig.from_size("tiny", num_labels=3)
        model = AutoModelForImageClassification.from_config(config).eval()
        images = lens_transformers.LensMAEImageProcessor()(np.zeros((64, 64)), return_tensors="pt")
        assert model(**images).logits.shape == (1, 3)
        assert (files("lens_transformers") / "hub_cards").is_dir()
        assert (files("lens_transformers") / "report" / "page.html.jinja").is_file()
        for room in ("data", "evaluation", "hub", "report", "simulation", "visualization"):
            getattr(lens_transformers, room)
        """
    )
    run(python, "-c", script, cwd=tmp_path)
