"""Pushing through the real client to a Hub on loopback."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard
from safetensors.numpy import load_file

from lens_transformers.hub import PushError, push, write_model_card
from lens_transformers.hub.pushing import push_checkpoint


REPO = "org/lens-mae"
PUSHED = {
    ".gitattributes",
    "README.md",
    "config.json",
    "configuration_lens_mae.py",
    "figures/roc.png",
    "image_processing_lens_mae.py",
    "model.safetensors",
    "modeling_lens_mae.py",
    "preprocessor_config.json",
    "results.json",
}


def titles(hub):
    return [commit.title for commit in hub.repo(REPO).history()]


def test_all_that_makes_a_checkpoint_travels_in_one_commit_and_nothing_else_does(hub, run):
    commit = push(run, REPO)
    files = hub.files(REPO)
    assert set(files) == PUSHED
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert titles(hub) == ["Push run with its measured results", "initial commit"]
    assert str(commit) == f"{hub.endpoint}/{REPO}/commit/{hub.repo(REPO).branches['main'].oid}"


def test_the_card_on_the_hub_validates_and_reads_back_to_the_same_numbers(hub, run):
    push(run, REPO)
    card = ModelCard.load(REPO)
    card.validate()
    own = json.loads((run / "results.json").read_text())["rows"][0]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        "accuracy": own["accuracy"],
        "auc_macro": own["auc_macro"],
    }
    assert f'checkpoint = "{REPO}"' in card.text
    assert (run / "README.md").read_bytes() == hub.files(REPO)["README.md"]


def test_every_picture_of_the_card_travels_with_it(hub, run):
    push(run, REPO)
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", hub.files(REPO)["README.md"].decode())
    assert pictures == ["figures/roc.png"]
    assert hub.files(REPO)[pictures[0]] == (run / pictures[0]).read_bytes()


def test_a_second_push_keeps_the_history_and_what_was_written_by_hand_on_the_hub(hub, run):
    push(run, REPO)
    card = hub.files(REPO)["README.md"].decode()
    edited = card.replace("license: apache-2.0", "license: mit") + "\n## Thanks\n\nTo my group.\n"
    hub.edit(REPO, "README.md", edited.encode())
    results = json.loads((run / "results.json").read_text())
    results["rows"][0]["accuracy"] = 0.5
    (run / "results.json").write_text(json.dumps(results))
    push(run, REPO)
    renewed = ModelCard(hub.files(REPO)["README.md"].decode())
    assert renewed.text.endswith("## Thanks\n\nTo my group.\n")
    assert renewed.data.license == "mit"
    assert renewed.data.eval_results[0].metric_value == 0.5
    assert [title.split()[0] for title in titles(hub)] == ["Push", "Edit", "Push", "initial"]


def test_what_was_written_by_hand_at_home_is_pushed_and_pushed_again(hub, run):
    for words in ("First thoughts.", "Second thoughts."):
        card = write_model_card(run, REPO)
        card.write_text(card.read_text().replace("First thoughts.", "") + f"\n{words}\n")
        push(run, REPO)
        assert hub.files(REPO)["README.md"].decode().endswith(f"{words}\n")


def test_cards_edited_here_and_there_are_refused_and_neither_is_lost(hub, run):
    push(run, REPO)
    for_the_hub = hub.files(REPO)["README.md"] + b"\nThere.\n"
    hub.edit(REPO, "README.md", for_the_hub)
    here = (run / "README.md").read_text() + "\nHere.\n"
    (run / "README.md").write_text(here)
    with pytest.raises(ValueError, match=r"both edited by hand. Put what you want of both into the one on the Hub"):
        push(run, REPO)
    assert hub.files(REPO)["README.md"] == for_the_hub
    assert (run / "README.md").read_text() == here
    (run / "README.md").unlink()  # as the message says
    push(run, REPO)
    assert hub.files(REPO)["README.md"].endswith(b"\nThere.\n")


def test_pushing_the_same_again_makes_no_commit(hub, run):
    push(run, REPO)
    push(run, REPO)
    assert len(titles(hub)) == 2


def test_weights_of_an_earlier_push_do_not_stay_beside_new_shards(hub, run):
    push(run, REPO)
    weights, index = run / "model.safetensors", run / "model.safetensors.index.json"
    names = list(load_file(weights))
    weights.rename(run / "model-00001-of-00001.safetensors")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}))
    push(run, REPO)
    assert {name for name in hub.files(REPO) if name.startswith("model.") or name.startswith("model-")} == {
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
    }


def test_what_lies_in_other_folders_on_the_hub_stays(hub, run):
    push(run, REPO)
    for name in ("model_v1/model.safetensors", "models/small/a.safetensors", "figures/of/roc.png"):
        hub.edit(REPO, name, b"somebody's")
    (run / "figures/roc.png").write_bytes(b"\x89PNG another")
    push(run, REPO)
    assert set(hub.files(REPO)) - PUSHED == {
        "figures/of/roc.png",
        "model_v1/model.safetensors",
        "models/small/a.safetensors",
    }


def test_figures_and_metrics_of_an_earlier_run_make_way_and_a_persons_figures_stay(hub, run):
    for name in ("figures/confusion.png", "figures/reconstructions_epoch_0010.png", "all_results.json"):
        (run / name).write_text("{}")
    push(run, REPO)
    hub.edit(REPO, "figures/scheme.png", b"\x89PNG by hand")
    for name in ("figures/confusion.png", "figures/reconstructions_epoch_0010.png", "all_results.json"):
        (run / name).unlink()
    push(run, REPO)
    assert set(hub.files(REPO)) == PUSHED | {"figures/scheme.png"}


def test_a_checkpoint_does_not_stand_beside_the_results_of_other_weights(hub, run):
    (run / "all_results.json").write_text("{}")
    push(run, REPO)
    push_checkpoint(run, REPO)
    assert PUSHED - set(hub.files(REPO, "in-progress")) == {"README.md", "figures/roc.png", "results.json"}
    assert "all_results.json" not in hub.files(REPO, "in-progress")
    assert set(hub.files(REPO)) == PUSHED | {"all_results.json"}


def test_a_checkpoint_does_not_replace_another_model(hub, run):
    HfApi().create_repo(REPO)
    hub.edit(REPO, "config.json", b'{"model_type": "bert"}')
    with pytest.raises(ValueError, match="holds a 'bert' model already"):
        push_checkpoint(run, REPO)
    assert set(hub.files(REPO, "in-progress")) == {".gitattributes", "config.json"}


def test_a_branch_a_pull_request_a_private_repository(hub, run):
    push(run, REPO, private=True)
    (run / "all_results.json").write_text("{}")
    push(run, REPO, revision="v2")
    assert "all_results.json" in hub.files(REPO, "v2") and "all_results.json" not in hub.files(REPO)
    commit = push(run, REPO, create_pr=True)
    assert commit.pr_url.endswith("/discussions/1")
    assert "all_results.json" not in hub.files(REPO)
    assert hub.repo(REPO).private
    HfApi().merge_pull_request(REPO, 1)
    assert "all_results.json" in hub.files(REPO)


def test_the_hubs_other_answers_agree_with_what_was_pushed(hub, run, tmp_path):
    push(run, REPO)
    api = HfApi()
    api.create_tag(REPO, tag="v1")
    (run / "all_results.json").write_text("{}")
    push(run, REPO, create_pr=True)

    assert api.whoami()["name"] == "writer"
    assert [commit.title for commit in api.list_repo_commits(REPO)] == titles(hub)
    refs = api.list_repo_refs(REPO, include_pull_requests=True)
    assert [[ref.name for ref in kind] for kind in (refs.branches, refs.tags, refs.pull_requests)] == [
        ["main"],
        ["v1"],
        ["1"],
    ]
    assert [discussion.status for discussion in api.get_repo_discussions(REPO)] == ["open"]
    assert {entry.path for entry in api.list_repo_tree(REPO)} == (PUSHED - {"figures/roc.png"}) | {"figures"}
    [weights] = api.get_paths_info(REPO, "model.safetensors")
    assert weights.lfs.sha256 == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    folder = Path(api.snapshot_download(REPO, revision="refs/pr/1", local_dir=tmp_path / "snapshot"))
    for name, content in hub.files(REPO, "refs/pr/1").items():
        assert (folder / name).read_bytes() == content, name


def test_a_stock_classifier_is_replaced_by_its_like_alone(hub, run):
    (run / "config.json").write_text('{"model_type": "resnet"}')
    HfApi().create_repo(REPO)
    hub.edit(REPO, "config.json", b'{"model_type": "lens_mae"}')
    with pytest.raises(ValueError, match="holds a 'lens_mae' model already"):
        push(run, REPO)
    hub.edit(REPO, "config.json", b'{"model_type": "resnet"}')
    push(run, REPO)
    assert "model.safetensors" in hub.files(REPO)


def test_a_repository_of_another_model_is_not_replaced(hub, run):
    HfApi().create_repo(REPO)
    hub.edit(REPO, "config.json", b'{"model_type": "bert"}')
    with pytest.raises(ValueError, match="holds a 'bert' model already"):
        push(run, REPO)
    assert set(hub.files(REPO)) == {".gitattributes", "config.json"}


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("PUT", "/lfs/", {"action": "reset"}),
        ("PUT", "/lfs/", {"action": "status", "status": 503}),
        ("POST", "/preupload/", {"action": "status", "status": 500}),
        ("POST", "/commit/", {"action": "reset"}),
        ("POST", "/commit/", {"action": "status", "status": 502}),
        ("POST", "/commit/", {"action": "status", "status": 412}),
        ("POST", "/commit/", {"action": "lose_reply"}),
        ("POST", "/repos/create", {"action": "lose_reply"}),
        ("POST", "/validate-yaml", {"action": "status", "status": 503}),
        ("GET", "/resolve/", {"action": "status", "status": 500}),
    ],
)
def test_what_fails_once_is_tried_again_and_makes_one_commit(hub, run, method, path, fault):
    push(run, REPO)
    (run / "figures/roc.png").write_bytes(b"\x89PNG another")
    hub.edit(REPO, "README.md", hub.files(REPO)["README.md"] + b"\nBy hand.\n")
    hub.fail_next(method, path, **fault)
    push(run, REPO)
    assert sum(fault.times for fault in hub.faults) == 0
    assert len(titles(hub)) == 4
    assert hub.files(REPO)["figures/roc.png"] == b"\x89PNG another"
    assert hub.files(REPO)["README.md"].endswith(b"\nBy hand.\n")


def test_it_waits_as_long_as_the_hub_asks_for(hub, run, waits):
    hub.fail_next("POST", "/commit/", "status", status=429, Retry_After="17")
    push(run, REPO)
    assert waits == [17.0]
    hub.fail_next("PUT", "/lfs/", "status", status=429, Retry_After="5")
    (run / "figures/roc.png").write_bytes(b"\x89PNG another")
    push(run, REPO)
    assert waits == [17.0, 6.0]  # the client itself waits here, and adds a second


def test_it_waits_until_its_rate_limit_is_reset(hub, run, waits):
    hub.fail_next("POST", "/commit/", "status", status=429, RateLimit='"api";r=0;t=55')
    push(run, REPO)
    assert waits == [55.0]


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(hub, run):
    hub.fail_next("POST", "/commit/", "status", status=429, Retry_After="3600")
    with pytest.raises(PushError, match="the Hub asks to send less for a while"):
        push(run, REPO)


FOR_EVER = 1000


@pytest.mark.parametrize(
    ("method", "path", "fault", "reason"),
    [
        ("PUT", "/lfs/", {"action": "reset"}, "the Hub cannot be reached"),
        ("PUT", "/lfs/", {"action": "corrupt"}, "the Hub answered 400 .*did not match the calculated checksum"),
        ("POST", "/commit/", {"action": "status", "status": 500}, "the Hub answered 500"),
        ("POST", "/commit/", {"action": "reset"}, "the Hub cannot be reached"),
        ("POST", "/lfs-verify", {"action": "status", "status": 422}, "the Hub answered 422"),
        ("POST", "/commit/", {"action": "status", "status": 412}, "other pushes came in between"),
    ],
)
def test_a_push_that_keeps_failing_says_why_what_is_safe_and_how_to_go_on(hub, run, method, path, fault, reason):
    push(run, REPO)
    before, card = hub.files(REPO), (run / "README.md").read_bytes()
    head = hub.repo(REPO).branches["main"].oid
    (run / "figures/roc.png").write_bytes(b"\x89PNG another")
    hub.fail_next(method, path, times=FOR_EVER, **fault)
    with pytest.raises(PushError, match=reason) as failure:
        push(run, REPO)
    message = str(failure.value)
    assert f"{REPO} is still whole, at commit {head[:8]}" in message
    assert ("if only the answer was lost, at the new one" in message) == ("cannot be reached" in message)
    assert f"; the run lies complete in {run}" in message
    assert message.endswith(f"python -m lens_transformers.hub push {run} {REPO}")
    assert hub.files(REPO) == before
    assert (run / "README.md").read_bytes() == card
    hub.faults.clear()
    push(run, REPO)
    assert hub.files(REPO)["figures/roc.png"] == b"\x89PNG another"


def test_a_first_push_that_is_cut_leaves_no_part_of_a_model(hub, run):
    hub.fail_next("PUT", "/lfs/", "reset", times=FOR_EVER)
    with pytest.raises(PushError):
        push(run, REPO)
    assert set(hub.files(REPO)) == {".gitattributes"}


@pytest.mark.parametrize(("method", "path"), [("POST", "/commit/"), ("PUT", "/lfs/")])
def test_a_hub_that_falls_silent_is_given_up(hub, run, monkeypatch, method, path):
    monkeypatch.setattr("lens_transformers.hub.pushing.TIMEOUT_S", 0.2)
    monkeypatch.setattr("lens_transformers.hub.pushing.MAX_ATTEMPTS", 1)
    hub.fail_next(method, path, "stall", times=FOR_EVER)
    with pytest.raises(PushError, match="the Hub did not answer for 0.2 s"):
        push(run, REPO)
    assert set(hub.files(REPO)) == {".gitattributes"}


def test_an_offline_client_is_not_kept_waiting(hub, run, waits, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PushError, match="offline mode is enabled. To disable it, please unset the `HF_HUB_OFFLINE`"):
        push(run, REPO)
    assert waits == []


def test_a_pull_request_whose_answer_was_lost_is_not_opened_twice(hub, run):
    push(run, REPO)
    (run / "figures/roc.png").write_bytes(b"\x89PNG another")
    hub.fail_next("POST", "/commit/", "lose_reply")
    with pytest.raises(PushError, match="if only the answer was lost, there may be a new pull request"):
        push(run, REPO, create_pr=True)
    assert list(hub.repo(REPO).pulls) == [1]


def test_a_pull_request_against_a_branch_is_refused(hub, run):
    with pytest.raises(ValueError, match="leave out revision='v2' or create_pr"):
        push(run, REPO, revision="v2", create_pr=True)
    assert hub.requests == []


def test_no_network_at_all(hub, run):
    hub.close()
    with pytest.raises(PushError, match="the Hub cannot be reached.* nothing has been changed there") as failure:
        push(run, REPO, revision="v2", private=True)
    assert str(failure.value).endswith(f"hub push {run} {REPO} --revision v2 --private")


@pytest.mark.parametrize(
    ("token", "reason"), [("wrong", "does not accept the access token"), ("read", "may not write")]
)
def test_a_token_that_is_wrong_or_may_not_write(hub, run, token, reason, caplog):
    token = hub.read_token if token == "read" else "hf_" + "Zz9" * 10
    with pytest.raises(PushError, match=reason) as failure:
        push(run, REPO, token=token)
    assert token not in str(failure.value) + caplog.text
    assert not hub.repos


def test_a_token_that_the_server_sends_back_is_in_no_error_and_no_log(hub, run, caplog, capfd):
    hub.fail_next("POST", "/commit/", "status", times=FOR_EVER, X_Error_Message=f"Bad Bearer {hub.token}")
    with pytest.raises(PushError, match="Bad Bearer hf_…") as failure:
        push(run, REPO)
    caplog.set_level("DEBUG")
    push_log = caplog.text + "".join(capfd.readouterr())
    assert hub.token not in str(failure.value) + push_log
    assert failure.value.__cause__ is None and failure.value.__suppress_context__


def test_nothing_that_was_pushed_or_left_behind_holds_the_token(hub, run):
    push(run, REPO)
    for content in hub.files(REPO).values():
        assert hub.token.encode() not in content and b"hf_aTokenThatMustNeverTravel" not in content
    assert hub.token not in "".join(path.read_text(errors="ignore") for path in run.glob("*") if path.is_file())


def test_no_path_of_the_machine_is_pushed(hub, run):
    push(run, REPO)
    assert json.loads(hub.files(REPO)["results.json"])["data"]["source"] == "data"
    for content in hub.files(REPO).values():
        assert b"/home/someone" not in content and str(run.parent).encode() not in content


def test_a_folder_that_lacks_something_is_refused_before_anything_is_sent(hub, run):
    (run / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"nothing was sent:\n- preprocessor_config.json is missing"):
        push(run, REPO)
    assert hub.requests == []


@pytest.mark.parametrize("repo_id", ["a/b/c", "org/..", "-x"])
def test_what_is_no_name_on_the_hub_is_refused(hub, run, repo_id):
    with pytest.raises(ValueError, match="is no name of a repository, such as 'org/lens-mae'"):
        push(run, repo_id)
    assert hub.requests == []


def test_two_processes_push_at_once_and_both_arrive_whole(hub, run, finished_run, tmp_path):
    """Different runs: whichever comes second builds upon the first, and the files of one commit are of one run."""
    other, first = tmp_path / "other", tmp_path / "first"
    shutil.copytree(finished_run, first)
    shutil.copytree(finished_run, other)
    for folder, accuracy in ((run, 0.25), (other, 0.75)):
        results = json.loads((folder / "results.json").read_text())
        results["rows"][0]["accuracy"] = accuracy
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "figures/roc.png").write_bytes(f"{accuracy}".encode())
    push(first, REPO)
    environment = {**os.environ, **hub.environment(tmp_path / "home")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lens_transformers.hub", "push", str(folder), REPO],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder in (run, other)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    history = hub.repo(REPO).history()
    assert len(history) == 4
    for commit in history[:2]:
        accuracy = json.loads(commit.files["results.json"].content)["rows"][0]["accuracy"]
        assert commit.files["figures/roc.png"].content == f"{accuracy}".encode()
        assert f"| {accuracy:.4f} |" in commit.files["README.md"].content.decode()


def test_what_somebody_else_pushed_meanwhile_is_built_upon(hub, run, monkeypatch):
    push(run, REPO)
    (run / "figures/roc.png").write_bytes(b"\x89PNG another")
    create_commit = HfApi.create_commit

    def edit_then_commit(*arguments, **options):
        monkeypatch.setattr(HfApi, "create_commit", create_commit)
        hub.edit(REPO, "README.md", hub.files(REPO)["README.md"] + b"\nMeanwhile.\n")
        return create_commit(*arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", edit_then_commit)
    push(run, REPO)
    assert [title.split()[0] for title in titles(hub)] == ["Push", "Edit", "Push", "initial"]
    assert hub.files(REPO)["README.md"].endswith(b"\nMeanwhile.\n")
