"""Pushing a finished training folder or a data set to the Hub: one commit with all of it, or none."""

import fnmatch
import json
import logging
import shlex
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import get_session, parse_ratelimit_headers, validate_repo_id

from .card import FIGURE_CAPTIONS, merge_model_card
from .checking import TOKEN, check, check_checkpoint
from .dataset_card import SIMULATION, is_dataset_folder, merge_dataset_card
from .files import write_text_atomically
from .results import without_paths


try:
    import httpx2 as httpx
except ImportError:  # huggingface_hub before 2.0
    import httpx  # type: ignore[no-redef]

logger = logging.getLogger(__name__)

# The client waits forever by default. This is the time without a single byte, not that of a whole upload.
TIMEOUT_S = 120.0
MAX_ATTEMPTS = 4
MAX_WAIT_S = 300.0
TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)


class PushError(RuntimeError):
    """A push that failed. Its message says why, what is on the Hub and on the disk now, and how to go on."""


def push(
    folder: str | Path,
    repo_id: str,
    *,
    revision: str = "main",
    private: bool | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    token: str | None = None,
) -> CommitInfo:
    """Pushes a finished training folder, or a data set.

    Of a training folder go weights, configuration, image processor, code, results, figures and card; of a data set
    that `training/simulate.py` or `write_lensing_dataset` wrote, the Parquet files, description, contact sheets and
    card.

    All of it becomes one commit, so whoever loads it meanwhile gets the old one or the new one. An error that
    may pass (a reset, a timeout, 429, 5xx) is tried again, as long as the Hub asks for; a push of another process in
    between is built upon. The card is renewed from the results or the images, and keeps what was written by hand into
    the one in the folder or the one on the Hub.

    Args:
        folder: A training run's output folder, or the data set's.
        repo_id: Name on the Hub, `"org/name"`, or `"name"` in one's own namespace. Made if there is none.
        revision: Branch to push to; made from `main` if there is none.
        private: Whether a new repository is private; by default as the organisation has it.
        create_pr: Whether to open a pull request instead of changing `main`.
        commit_message: First line of the commit.
        token: Access token; by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        The commit; as a string, its address.

    Raises:
        NotADirectoryError: If there is no such folder.
        ValueError: If the folder lacks something or the cards here and there contradict each other; nothing was sent.
        PushError: If the Hub cannot be reached, refuses, or keeps failing.
    """
    if create_pr and revision != "main":
        raise ValueError(f"A pull request is opened against main: leave out revision={revision!r} or create_pr.")
    found = check(folder)
    if found.problems:
        problems = "\n".join(f"- {problem}" for problem in found.problems)
        raise ValueError(f"{folder} cannot be pushed yet, and nothing was sent:\n{problems}")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository, such as 'org/lens-mae': {error}") from error
    target_type = _DatasetTarget if is_dataset_folder(folder) else _ModelTarget
    target = target_type(Path(folder), repo_id, revision, private, create_pr, commit_message, token)
    commit, card = _deliver(target, found.files)
    write_text_atomically(Path(folder) / "README.md", card)
    return commit


def push_checkpoint(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    commit_message: str | None = None,
    token: str | None = None,
) -> CommitInfo:
    """Pushes the network of a checkpoint while its run goes on, to the branch `in-progress`.

    It takes arguments of `push` and raises its errors. A checkpoint is not measured: `main` keeps what its card
    describes until the run itself is pushed, and the branch has no card.
    """
    found = check_checkpoint(folder)
    if found.problems:
        raise ValueError(f"{folder} cannot be pushed: {' '.join(found.problems)}")
    target = _CheckpointTarget(Path(folder), repo_id, "in-progress", private, False, commit_message, token)
    return _deliver(target, found.files)[0]


def _deliver(target: "_Target", files: dict[str, Path]) -> tuple[CommitInfo, str]:
    """Makes attempts until one succeeds or none will; returns the commit and the card in it."""
    attempt = 0
    while True:
        attempt += 1
        try:
            with _timeout():
                return target.push(files)
        except _FAILURES as error:
            wait = _seconds_to_wait(error, attempt)
            # A commit whose answer was lost is found on its branch later; a pull request would be opened twice.
            if wait is None or (target.create_pr and _response(error) is None):
                target.fail(error)
            logger.warning("Pushing: %s Trying again in %.0f s.", target.redact(_reason(error)), wait)
            time.sleep(wait)


class _Target(ABC):
    """Where a push goes, and what is known of it so far."""

    kind: Literal["model", "dataset"]
    what: str
    with_what: str
    # Of what an earlier push left, what matches these is replaced as a whole.
    replaced: tuple[str, ...]

    def __init__(
        self,
        folder: Path,
        repo_id: str,
        revision: str,
        private: bool | None,
        create_pr: bool,
        commit_message: str | None,
        token: str | None,
    ):
        self.folder = folder
        self.repo_id = repo_id
        self.revision = revision
        self.private = private
        self.create_pr = create_pr
        self.commit_message = commit_message or f"Push {folder.resolve().name} {self.with_what}"
        self.token = token
        self.api = HfApi(token=token, library_name="lens_transformers")
        self.head: str | None = None

    def push(self, files: dict[str, Path]) -> tuple[CommitInfo, str]:
        """Makes one attempt; returns the commit and the card in it."""
        self.repo_id = self.api.create_repo(
            self.repo_id, repo_type=self.kind, private=self.private, exist_ok=True
        ).repo_id
        if self.revision != "main" and not self.revision.startswith("refs/"):
            self.api.create_branch(self.repo_id, repo_type=self.kind, branch=self.revision, exist_ok=True)
        info: Any = self.api.repo_info(self.repo_id, repo_type=self.kind, revision=self.revision)
        self.head = info.sha
        present = {sibling.rfilename for sibling in info.siblings or []}
        contents, card = self.contents(files, present)
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(name, content) for name, content in contents.items()
        ]
        operations += [
            CommitOperationDelete(name)
            for name in sorted(present - set(files))
            if any(_matches(name, pattern) for pattern in self.replaced)
        ]
        commit = self.api.create_commit(
            self.repo_id,
            operations,
            commit_message=self.commit_message,
            repo_type=self.kind,
            revision=self.revision,
            create_pr=self.create_pr,
            parent_commit=self.head,
        )
        return commit, card

    @abstractmethod
    def contents(self, files: dict[str, Path], present: set[str]) -> tuple[dict[str, Path | bytes], str]:
        """What to commit by name, and the card in it; `present` are the names of what is there now."""

    def fail(self, error: Exception) -> NoReturn:
        """Says what happened, what is safe and how to go on."""
        at = "nothing has been changed there"
        if self.head is not None:
            at = f"{self.repo_id} is still whole, at commit {self.head[:8]}"
            if _response(error) is None:
                new = "there may be a new pull request" if self.create_pr else "at the new one"
                at += f" or, if only the answer was lost, {new}"
        message = (
            f"{self.folder} was not pushed to {self.repo_id}: {_reason(error)} On the Hub {at}; {self.what} lies "
            f"complete in {self.folder}. {self.how_to_go_on(error)}"
        )
        # The client's own error, which may quote the server, stays out of the traceback: what it says is said here.
        raise PushError(self.redact(message)) from None

    def how_to_go_on(self, error: Exception) -> str:
        """What to mend, and the command to push later."""
        command = ["python", "-m", "lens_transformers.hub", "push", str(self.folder), self.repo_id]
        command += ["--revision", self.revision] if self.revision != "main" else []
        command += ["--create_pr"] if self.create_pr else []
        command += ["--private"] if self.private else []
        return f"{_remedy(error)} push it with\n    {shlex.join(command)}"

    def redact(self, text: str) -> str:
        """The text without access tokens, ours and any other."""
        token = self.token or get_token()
        if token:
            text = text.replace(token, "hf_…")
        return TOKEN.sub("hf_…", text)

    def read(self, name: str, present: set[str]) -> str | None:
        """A text file as it is on the Hub now."""
        if name not in present:
            return None
        with tempfile.TemporaryDirectory() as cache:
            path = self.api.hf_hub_download(
                self.repo_id, name, repo_type=self.kind, revision=self.head, cache_dir=cache
            )
            return Path(path).read_bytes().decode("utf-8")


class _ModelTarget(_Target):
    kind = "model"
    replaced = (
        # An old model.safetensors beside new shards would win.
        *("model*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin"),
        # What else says something of the old weights. Figures by other names are a person's.
        "all_results.json",
        *(f"figures/{name}{epoch}.png" for name in FIGURE_CAPTIONS for epoch in ("", "_epoch_*")),
    )
    what, with_what = "the run", "with its measured results"

    def contents(self, files: dict[str, Path], present: set[str]) -> tuple[dict[str, Path | bytes], str]:
        self._refuse_another_model(files, present)
        card = merge_model_card(self.folder, self.repo_id, self.read("README.md", present))
        results = without_paths(json.loads(files["results.json"].read_text(encoding="utf-8")))
        results_text = json.dumps(results, indent=2) + "\n"
        return {**files, "README.md": card.encode(), "results.json": results_text.encode()}, card

    def _refuse_another_model(self, files: dict[str, Path], present: set[str]) -> None:
        own_type = json.loads(files["config.json"].read_text(encoding="utf-8"))["model_type"]
        try:
            config = json.loads(self.read("config.json", present) or "{}")
        except JSONDecodeError:  # of no model that anybody could load
            return
        model_type = config.get("model_type", own_type) if isinstance(config, dict) else None
        if model_type != own_type:
            raise ValueError(
                f"{self.repo_id} holds a {model_type!r} model already, which this push would replace. Choose "
                "another name, or delete that repository first."
            )


class _CheckpointTarget(_ModelTarget):
    # The branch starts as a copy of main, whose card and results are those of other weights.
    replaced = (*_ModelTarget.replaced, "README.md", "results.json")
    what, with_what = "the checkpoint", "before it is measured"

    def contents(self, files: dict[str, Path], present: set[str]) -> tuple[dict[str, Path | bytes], str]:
        self._refuse_another_model(files, present)
        return dict(files), ""

    def how_to_go_on(self, error: Exception) -> str:
        return "Training goes on, and pushes its next checkpoint."


class _DatasetTarget(_Target):
    kind = "dataset"
    replaced = ("data/*", "contact_sheet*.png", "dataset.yaml", "simulation.yaml")
    what, with_what = "the data set", "with its card"

    def contents(self, files: dict[str, Path], present: set[str]) -> tuple[dict[str, Path | bytes], str]:
        card = merge_dataset_card(self.folder, self.repo_id, self.read("README.md", present))
        contents: dict[str, Path | bytes] = {**files, "README.md": card.encode()}
        if SIMULATION in files:
            # A configuration may name files of this machine.
            description = without_paths(yaml.safe_load(files[SIMULATION].read_text(encoding="utf-8")))
            contents[SIMULATION] = yaml.safe_dump(description, sort_keys=False).encode()
        return contents, card


# JSONDecodeError: the client reads a body as JSON before it looks at the status.
_FAILURES = (HfHubHTTPError, httpx.HTTPError, JSONDecodeError, RuntimeError, OSError)


def _matches(name: str, pattern: str) -> bool:
    """Whether a file's name is one of a pattern, no `*` of which reaches into another folder."""
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


@contextmanager
def _timeout() -> Iterator[None]:
    """Lets the client give up on a server that has fallen silent."""
    session = get_session()
    before, session.timeout = session.timeout, TIMEOUT_S
    try:
        yield
    finally:
        session.timeout = before


def _response(error: BaseException | None) -> Any:
    """The answer behind an error, `None` if there was none; failed uploads hide it in their cause."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return response
        error = error.__cause__
    return None


def _silence(error: BaseException | None) -> BaseException | None:
    """The reason why no answer that can be read came back, `None` if one did."""
    while error is not None:
        if isinstance(error, (httpx.TransportError, ConnectionError, JSONDecodeError)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _seconds_to_wait(error: Exception, attempt: int) -> float | None:
    """How long to wait before another attempt, `None` if none would help or it is the Hub that says so."""
    response = _response(error)
    status = response.status_code if response is not None else None
    if status == 412:  # somebody else pushed in between: build upon that, at once
        return 0.1 * attempt if attempt < MAX_ATTEMPTS else None
    if isinstance(error, OfflineModeIsEnabled):
        return None
    if attempt == MAX_ATTEMPTS or not (status in TRANSIENT_STATUS or (status is None and _silence(error))):
        return None
    wait = 2.0 ** (attempt - 1)
    if response is not None:
        asked = response.headers.get("Retry-After", "")
        limit = parse_ratelimit_headers(response.headers)
        if asked.isdigit():
            wait = float(asked)
        elif status == 429 and limit is not None:
            wait = float(limit.reset_in_seconds)
    return wait if wait <= MAX_WAIT_S else None


def _reason(error: Exception) -> str:
    response = _response(error)
    if response is None:
        silence = _silence(error)
        if silence is None:
            return f"{error}."
        if isinstance(silence, JSONDecodeError):
            return "the Hub answered with something that is no JSON."
        if isinstance(silence, httpx.TimeoutException):
            return f"the Hub did not answer for {TIMEOUT_S:g} s."
        return f"the Hub cannot be reached ({type(silence).__name__}: {str(silence) or 'the connection broke'})."
    status = response.status_code
    said = getattr(error, "server_message", None) or getattr(error.__cause__, "server_message", None) or ""
    said = f" ({' '.join(said.split())})" if said else ""
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return f"the Hub does not accept the access token, or there is none{said}."
    if status == 403:
        return f"the access token may not write there{said}."
    if status == 412:
        return f"other pushes came in between {MAX_ATTEMPTS} times{said}."
    if status == 429:
        return f"the Hub asks to send less for a while{said}."
    return f"the Hub answered {status}{said}."


def _remedy(error: Exception) -> str:
    response = _response(error)
    status = response.status_code if response is not None else None
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return (
            "Log in with `hf auth login`, or set HF_TOKEN to a token of https://huggingface.co/settings/tokens, then"
        )
    if status == 403:
        return "Use a token with write access to that name, or another name, then"
    if status in (*TRANSIENT_STATUS, 412):
        return "Wait some minutes, then"
    if status is None and _silence(error):
        return "Once there is a network,"
    return "Mend that, then"
