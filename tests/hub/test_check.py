import json

import pytest

from lens_transformers.hub import check
from lens_transformers.hub.__main__ import main


def test_a_finished_run_is_ready(run):
    found = check(run)
    assert found.problems == []
    assert set(found.files) == {
        "config.json",
        "configuration_lens_mae.py",
        "figures/roc.png",
        "image_processing_lens_mae.py",
        "model.safetensors",
        "modeling_lens_mae.py",
        "preprocessor_config.json",
        "results.json",
    }
    assert found.num_bytes == sum(path.stat().st_size for path in found.files.values())


def remove(name):
    return lambda run: (run / name).unlink()


def write(name, text):
    return lambda run: (run / name).write_text(text)


def change(name, **changes):
    def change(run):
        (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | changes))

    return change


def append(name, text):
    return lambda run: (run / name).write_text((run / name).read_text() + text)


def pickle_instead(run):
    (run / "model.safetensors").rename(run / "pytorch_model.bin")


def cut(run):
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-100])


def missing_shard(run):
    (run / "model.safetensors").unlink()
    (run / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')


def shard_elsewhere(run):
    (run / "model.safetensors").unlink()
    (run.parent / "secret.safetensors").touch()
    (run / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (remove("config.json"), "config.json is missing: save the model with `save_pretrained`."),
        (write("config.json", "{"), "config.json is not JSON"),
        (write("config.json", "[]"), "config.json must hold an object, not list."),
        (change("config.json", model_type="bert"), "config.json is that of a 'bert' model, not of 'lens_mae' or an"),
        (change("config.json", auto_map={}), "config.json has no auto_map, so the checkpoint would only load where"),
        (remove("model.safetensors"), "model.safetensors is missing: save the model"),
        (pickle_instead, "The weights are in pytorch_model.bin, a pickle, which can run any code when it is loaded."),
        (cut, "model.safetensors cannot be read, it may be cut off"),
        (
            missing_shard,
            "model-00001-of-00002.safetensors, named by model.safetensors.index.json, is not in the folder.",
        ),
        (shard_elsewhere, "../secret.safetensors, named by model.safetensors.index.json, is not in the folder."),
        (remove("preprocessor_config.json"), "preprocessor_config.json is missing: save the image processor"),
        (remove("results.json"), "results.json is missing, so the card would have no numbers"),
        (write("results.json", '{"task": "x"}'), "task is 'x'; it must be one of pretraining"),
        (write("README.md", "---\nlicense: [mit\n---\n"), "README.md: the metadata between the two --- lines"),
        (remove("modeling_lens_mae.py"), "modeling_lens_mae.py, which the checkpoint loads its code from, is not in"),
        (remove("configuration_lens_mae.py"), "configuration_lens_mae.py, which the checkpoint loads its code from"),
        (
            append("modeling_lens_mae.py", "\nimport timm.layers\n"),
            "modeling_lens_mae.py imports timm.layers, which is",
        ),
        (
            append("modeling_lens_mae.py", "\nfrom ..data import x\n"),
            "modeling_lens_mae.py imports ..data, which is not",
        ),
        (
            append("modeling_lens_mae.py", "\nfrom .helpers import x\n"),
            "helpers.py, which the checkpoint loads its code",
        ),
        (append("modeling_lens_mae.py", "\ndef f(:\n"), "modeling_lens_mae.py is no Python"),
        (
            append("README.md", "My token is hf_abcdefghijABCDEFGHIJ0123"),
            "README.md contains what looks like an access token",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said(run, spoil, problem):
    (run / "README.md").touch()
    spoil(run)
    problems = check(run).problems
    assert any(problem in found for found in problems), problems


def test_an_import_that_may_fail_is_no_problem(run):
    append("modeling_lens_mae.py", "\ntry:\n    import timm\nexcept ImportError:\n    timm = None\n")(run)
    assert check(run).problems == []


@pytest.mark.parametrize(
    "reference", ["../evil.Model", "/tmp/evil.Model", "evil", "a.b.Model", "org/x--evil.Model", 3]
)
def test_an_auto_map_that_leads_out_of_the_folder_is_refused(run, reference):
    auto_map = json.loads((run / "config.json").read_text())["auto_map"]
    change("config.json", auto_map={**auto_map, "AutoModel": reference})(run)
    [problem] = check(run).problems
    assert f"auto_map['AutoModel'] is {reference!r}; it must be `module.Class`" in problem


def test_a_file_too_large_for_the_hub_is_refused(run, monkeypatch):
    monkeypatch.setattr("lens_transformers.hub.checking.MAX_FILE_BYTES", 10_000)
    assert any(problem.startswith("model.safetensors has 0 GB, more than") for problem in check(run).problems)


def test_the_command_lists_what_would_be_pushed(run, capsys):
    assert main(["check", str(run)]) == 0
    output = capsys.readouterr().out
    assert "model.safetensors" in output and output.endswith("Ready to be pushed.\n")
    assert "training_args.bin" not in output


def test_the_command_fails_where_the_check_does(run, capsys):
    (run / "results.json").unlink()
    assert main(["check", str(run)]) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("Not ready to be pushed.\n")
    assert "- results.json is missing" in captured.err


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["check", str(tmp_path / "nowhere")]) == 1
    assert (
        "nowhere is not a folder; pass the output folder of a training run, or a data set." in capsys.readouterr().err
    )


def test_the_commands_write_the_card_and_push(hub, run, capsys):
    assert main(["card", str(run), "org/lens-mae"]) == 0
    assert 'checkpoint = "org/lens-mae"' in (run / "README.md").read_text()
    assert main(["push", str(run), "org/lens-mae", "--message", "Weights of today"]) == 0
    assert hub.repo("org/lens-mae").history()[0].title == "Weights of today"
    assert main(["push", str(run), "org/lens-mae", "--create_pr"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.endpoint}/org/lens-mae/commit/" + (
        hub.repo("org/lens-mae").branches["main"].oid
    )
    hub.close()
    assert main(["push", str(run), "org/lens-mae"]) == 1
    assert "the Hub cannot be reached" in capsys.readouterr().err
