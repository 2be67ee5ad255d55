"""A Hugging Face Hub on loopback: the protocol that huggingface_hub's own client speaks, in memory, on a free port.

Repositories have commits, branches, tags and pull requests; files of weights go through LFS; a commit is applied whole
or not at all. Everything the server sends is built from what a client sent before, and `LoopbackHub.fail_next` makes
it misbehave as a real one does: errors, resets, stalls, lost answers, corrupted uploads.
"""

import base64
import contextlib
import hashlib
import json
import re
import secrets
import socket
import struct
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml


DATE = "2026-01-01T00:00:00.000Z"
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".parquet", ".png", ".npy")


@dataclass(frozen=True)
class Blob:
    """The content of one file, in git or, for weights and the like, in LFS."""

    content: bytes
    is_lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """Name by which the client knows the content: its SHA-256 in LFS, its git hash otherwise."""
        return self.sha256 if self.is_lfs else self.git_oid

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    def as_json(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.git_oid}
        if self.is_lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass(frozen=True)
class Commit:
    """The files of a repository at one time."""

    oid: str
    parent: "Commit | None"
    title: str
    author: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """A repository: its refs, which point to commits, and its pull requests."""

    repo_id: str
    kind: str
    private: bool
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a pull request or a commit's own name."""
        if revision in self.branches:
            return self.branches[revision]
        if revision in self.tags:
            return self.tags[revision]
        heads = [*self.branches.values(), *self.tags.values(), *(pull["commit"] for pull in self.pulls.values())]
        if match := re.fullmatch(r"refs/pr/(\d+)", revision):
            pull = self.pulls.get(int(match[1]))
            return pull["commit"] if pull else None
        for commit in heads:
            while commit is not None:
                if commit.oid == revision:
                    return commit
                commit = commit.parent
        return None

    def history(self, revision: str = "main") -> list[Commit]:
        """Commits of a revision, the newest first."""
        commits, commit = [], self.find(revision)
        while commit is not None:
            commits.append(commit)
            commit = commit.parent
        return commits


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose method and path match."""

    method: str
    path: str
    action: str
    times: int
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class LoopbackHub:
    """The server: its state, and the address and tokens that a client needs.

    Attributes:
        endpoint: What `HF_ENDPOINT` has to be.
        token: A token that may write.
        read_token: A token that may read private repositories and write none.
        requests: Every request so far, as "METHOD path".
    """

    def __init__(self) -> None:
        self.token, self.read_token = f"hf_{secrets.token_hex(17)}", f"hf_{secrets.token_hex(17)}"
        self.users = {self.token: "writer", self.read_token: "reader"}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.upload_keys: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.lock = threading.RLock()
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop; clients that are kept waiting are let go."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Any, token: str | None = "") -> dict[str, str]:
        """Environment variables for a client process; with `token=None` it is not logged in."""
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        if token is not None:
            variables["HF_TOKEN"] = token or self.token
        return variables

    def fail_next(
        self, method: str, path: str, action: str, times: int = 1, status: int = 500, **headers: str
    ) -> None:
        """Makes matching requests fail.

        Args:
            method: `"PUT"` and so on.
            path: Pattern that is searched in the path.
            action: `"status"` answers with `status` and `headers`; `"reset"` cuts the connection in the middle of the
                body; `"stall"` never answers; `"lose_reply"` does what was asked and then cuts the connection;
                `"corrupt"` changes a byte of the body.
            times: How many requests.
            status: Of the answer.
            **headers: Of the answer, with `_` for `-`.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(method, path, action, times, status, named))

    def repo(self, repo_id: str, kind: str = "model") -> Repo:
        """The repository of that name."""
        return self.repos[(kind, repo_id)]

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Contents of a repository's files at a revision."""
        commit = self.repo(repo_id, kind).find(revision)
        assert commit is not None
        return {path: blob.content for path, blob in commit.files.items()}

    def edit(self, repo_id: str, path: str, content: bytes, branch: str = "main", kind: str = "model") -> None:
        """Changes a file as a person does on the web page."""
        with self.lock:
            repo = self.repo(repo_id, kind)
            old = repo.branches[branch]
            repo.branches[branch] = new_commit(
                old, {**old.files, path: Blob(content, False)}, f"Edit {path}", "person"
            )


def new_commit(parent: Commit | None, files: dict[str, Blob], title: str, author: str) -> Commit:
    """A commit whose name is drawn, as two commits of the same content have two names."""
    return Commit(secrets.token_hex(20), parent, title, author, files)


@pytest.fixture
def loopback_hub() -> Iterator[LoopbackHub]:
    """A fresh Hub on loopback, not yet known to anybody."""
    hub = LoopbackHub()
    yield hub
    hub.close()


@contextlib.contextmanager
def client_of(hub: LoopbackHub, home: Any) -> Iterator[None]:
    """Points huggingface_hub, in this process, at a loopback Hub, by the settings that its environment variables set.

    They are read at import, so where it is imported already they are set on its module of constants. Functions and
    classes of the client stay as they are.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", hub.token)
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        if "transformers.utils.hub" in sys.modules:  # it keeps a client, which keeps the address of the time
            patch.setattr("transformers.utils.hub._hf_api", None, raising=False)
        close_session()
        yield
        close_session()


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    # Headers and body go out in two writes, between which the kernel would wait for the client's word.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def _serve(self) -> None:
        if self.hub.released.is_set():  # closed, but this connection was kept open
            self._reset()
            return
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {url.path}")
            fault = self._take_fault(url.path)
        try:
            if fault is not None and fault.action == "reset":
                self._reset_in_the_body()
                return
            self.body = self._read_body()
            if fault is not None and fault.action == "stall":
                self.hub.released.wait(60)
                self.close_connection = True
                return
            if fault is not None and fault.action == "status":
                raise _Misbehaviour(fault)
            if fault is not None and fault.action == "corrupt":
                self.body = bytes([self.body[0] ^ 255]) + self.body[1:]
            if fault is not None and fault.action == "lose_reply":
                with self.hub.lock:
                    self._find_route(url.path)
                self._reset()
                return
            with self.hub.lock:
                answer = self._find_route(url.path)
            self._send(*answer)
        except _Misbehaviour as error:
            self._send(
                error.fault.status,
                b"The server is made to fail.",
                {"Content-Type": "text/plain"} | error.fault.headers,
            )
        except HubError as error:
            # A header holds no line breaks.
            headers = {"X-Error-Message": " ".join(error.message.split())}
            if error.code:
                headers["X-Error-Code"] = error.code
            self._send(error.status, {"error": error.message}, headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _take_fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times > 0 and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) != length:
            raise ConnectionError("The client went away in the middle of its request.")
        return body

    def _reset_in_the_body(self) -> None:
        self.rfile.read(min(int(self.headers.get("Content-Length", 2)) // 2, 65536))
        self._reset()

    def _reset(self) -> None:
        # With a linger time of 0 the kernel sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        # The handler flushes and closes its files when it ends; there is nothing to send any more.
        self.wfile = _Nowhere()  # type: ignore[assignment]

    def _send(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        headers = dict(headers or {})
        if not isinstance(content, bytes):
            content, headers["Content-Type"] = json.dumps(content).encode(), "application/json"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _find_route(self, path: str) -> tuple:
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split("|"):
                groups = {name: urllib.parse.unquote(value or "") for name, value in match.groupdict().items()}
                return answer(self, **groups)
        raise HubError(404, f"This Hub has no {self.command} {path}.")

    # What the routes share.

    def json(self) -> Any:
        return json.loads(self.body)

    def user(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if token not in self.hub.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.users[token]

    def writer(self) -> str:
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user != "writer":
            raise HubError(403, "You don't have the rights to write to this repository")
        return user

    def find_repo(self, kind: str, repo_id: str) -> Repo:
        repo = self.hub.repos.get((kind, repo_id))
        if repo is None or (self.user() is None and repo.private):
            raise HubError(404 if self.user() else 401, "Repository not found", "RepoNotFound")
        return repo

    def find_commit(self, repo: Repo, revision: str) -> Commit:
        commit = repo.find(revision)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


class _Misbehaviour(Exception):
    def __init__(self, fault: Fault):
        super().__init__(fault.action)
        self.fault = fault


class _Nowhere:
    closed = False

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def whoami(request: _Handler) -> tuple:
    """GET /api/whoami-v2"""
    user = request.user()
    if user is None:
        raise HubError(401, "Invalid username or password.")
    return 200, {"type": "user", "name": user, "orgs": [{"name": "org"}], "auth": {"type": "access_token"}}


def validate_yaml(request: _Handler) -> tuple:
    """POST /api/validate-yaml: what the Hub says of a card's metadata."""
    content = request.json()["content"]
    errors: list[str] = []
    match = re.match(r"---\r?\n(.*?)\r?\n---", content, flags=re.DOTALL)
    if match is None:
        return 200, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
    try:
        metadata = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return 400, {"errors": [{"message": f"YAML cannot be read: {error}"}], "warnings": []}
    for name in ("license", "library_name", "pipeline_tag"):
        if name in metadata and not isinstance(metadata[name], str):
            errors.append(f'"{name}" must be a string')
    for name in ("tags", "metrics", "datasets"):
        if not all(isinstance(value, str) for value in metadata.get(name) or []):
            errors.append(f'"{name}" must be an array of strings')
    for index, model in enumerate(metadata.get("model-index") or []):
        if not isinstance(model.get("name"), str):
            errors.append(f'"model-index[{index}].name" is required')
        for result in model.get("results", []):
            if not result.get("task", {}).get("type"):
                errors.append(f'"model-index[{index}].results.task.type" is required')
            dataset = result.get("dataset", {})
            if not (isinstance(dataset.get("type"), str) and isinstance(dataset.get("name"), str)):
                errors.append(f'"model-index[{index}].results.dataset" must have a type and a name')
            for metric in result.get("metrics", []):
                if not metric.get("type") or not isinstance(metric.get("value"), int | float):
                    errors.append(f'"model-index[{index}].results.metrics" must have a type and a number')
    status = 400 if errors else 200
    return status, {"errors": [{"message": error} for error in errors], "warnings": []}


def create_repo(request: _Handler) -> tuple:
    """POST /api/repos/create"""
    user, wanted = request.writer(), request.json()
    kind, repo_id = wanted.get("type") or "model", f"{wanted.get('organization') or user}/{wanted['name']}"
    url = {"url": f"{request.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"}
    if (kind, repo_id) in request.hub.repos:
        return 409, {**url, "error": "You already created this model repo"}
    attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
    first = new_commit(None, {".gitattributes": Blob(attributes.encode(), False)}, "initial commit", user)
    private = wanted.get("visibility") == "private"
    request.hub.repos[(kind, repo_id)] = Repo(repo_id, kind, private, branches={"main": first})
    return 200, url


def repo_info(request: _Handler, kind: str, repo_id: str, revision: str = "") -> tuple:
    """GET /api/models/{id}[/revision/{rev}]"""
    repo = request.find_repo(kind, repo_id)
    commit = request.find_commit(repo, revision or "main")
    siblings = [{"rfilename": path, "size": len(blob.content)} for path, blob in sorted(commit.files.items())]
    return 200, {
        "_id": hashlib.sha1(repo_id.encode()).hexdigest()[:24],
        "id": repo_id,
        "modelId": repo_id,
        "author": repo_id.partition("/")[0],
        "sha": commit.oid,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": repo.private,
        "disabled": False,
        "gated": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
    }


def tree(request: _Handler, kind: str, repo_id: str, revision: str, folder: str = "") -> tuple:
    """GET /api/models/{id}/tree/{rev}[/{folder}]"""
    files = request.find_commit(request.find_repo(kind, repo_id), revision).files
    prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
    inside = {path: blob for path, blob in sorted(files.items()) if path.startswith(prefix)}
    if prefix and not inside:
        raise HubError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    folders = sorted({path[: path.index("/", len(prefix))] for path in inside if "/" in path[len(prefix) :]})
    entries: list[dict[str, Any]] = [
        {"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders
    ]
    recursive = request.query.get("recursive", "").lower() in ("1", "true")
    entries += [blob.as_json(path) for path, blob in inside.items() if recursive or "/" not in path[len(prefix) :]]
    return 200, entries


def paths_info(request: _Handler, kind: str, repo_id: str, revision: str) -> tuple:
    """POST /api/models/{id}/paths-info/{rev}"""
    files = request.find_commit(request.find_repo(kind, repo_id), revision).files
    paths = urllib.parse.parse_qs(request.body.decode())["paths"]
    return 200, [files[path].as_json(path) for path in paths if path in files]


def preupload(request: _Handler, kind: str, repo_id: str, revision: str) -> tuple:
    """POST /api/models/{id}/preupload/{rev}: which files go to LFS, and which are there already."""
    request.writer()
    files = request.find_commit(request.find_repo(kind, repo_id), revision).files
    answer = []
    for entry in request.json()["files"]:
        path = entry["path"]
        mode = "lfs" if path.endswith(LFS_SUFFIXES) or entry["size"] > 10_000_000 else "regular"
        oid = files[path].oid if path in files else None
        answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return 200, {"files": answer}


def lfs_batch(request: _Handler, kind: str, repo_id: str) -> tuple:
    """POST /{id}.git/info/lfs/objects/batch"""
    request.writer()
    request.find_repo(kind, repo_id)
    objects: list[dict[str, Any]] = []
    for entry in request.json()["objects"]:
        answer = {"oid": entry["oid"], "size": entry["size"]}
        if entry["oid"] not in request.hub.lfs:
            key = request.hub.upload_keys.setdefault(entry["oid"], secrets.token_hex(8))
            answer["actions"] = {
                "upload": {"href": f"{request.hub.endpoint}/lfs/{entry['oid']}?key={key}"},
                "verify": {"href": f"{request.hub.endpoint}/lfs-verify"},
            }
        objects.append(answer)
    return 200, {"transfer": "basic", "objects": objects}


def lfs_put(request: _Handler, oid: str) -> tuple:
    """PUT of an LFS object, to the address that the batch gave; kept only if it is what it says it is."""
    if request.query.get("key") != request.hub.upload_keys.get(oid):
        raise HubError(403, "SignatureDoesNotMatch")
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HubError(400, "BadDigest: The sha256 you specified did not match the calculated checksum.")
    request.hub.lfs[oid] = request.body
    return 200, b""


def lfs_verify(request: _Handler) -> tuple:
    """POST after an upload: is all of it there?"""
    request.writer()
    wanted = request.json()
    if len(request.hub.lfs.get(wanted["oid"], b"")) != wanted["size"]:
        raise HubError(422, "The uploaded LFS object is not complete.")
    return 200, {}


def commit(request: _Handler, kind: str, repo_id: str, revision: str) -> tuple:
    """POST /api/models/{id}/commit/{rev}: all operations, or none."""
    user, repo = request.writer(), request.find_repo(kind, repo_id)
    head = request.find_commit(repo, revision)
    lines = [json.loads(line) for line in request.body.splitlines() if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit", head.oid) != head.oid:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
        elif line["key"] == "lfsFile":
            if value["oid"] not in request.hub.lfs:
                raise HubError(400, f"LFS object {value['oid']} of {value['path']} was not uploaded.")
            files[value["path"]] = Blob(request.hub.lfs[value["oid"]], True)
        elif line["key"] == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        elif line["key"] == "deletedFolder":
            files = {
                path: blob for path, blob in files.items() if not path.startswith(value["path"].rstrip("/") + "/")
            }
    new = new_commit(head, files, header["summary"], user)
    address = f"{request.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}/commit/{new.oid}"
    answer = {"success": True, "commitOid": new.oid, "commitUrl": address}
    if request.query.get("create_pr"):
        number = len(repo.pulls) + 1
        repo.pulls[number] = {"title": header["summary"], "author": user, "commit": new, "status": "open"}
        answer["pullRequestUrl"] = f"{request.hub.endpoint}/{repo_id}/discussions/{number}"
    elif match := re.fullmatch(r"refs/pr/(\d+)", revision):
        repo.pulls[int(match[1])]["commit"] = new
    else:
        repo.branches[revision] = new
    return 200, answer


def commits(request: _Handler, kind: str, repo_id: str, revision: str) -> tuple:
    """GET /api/models/{id}/commits/{rev}"""
    repo = request.find_repo(kind, repo_id)
    request.find_commit(repo, revision)
    return 200, [
        {"id": one.oid, "title": one.title, "message": "", "authors": [{"user": one.author}], "date": DATE}
        for one in repo.history(revision)
    ]


def refs(request: _Handler, kind: str, repo_id: str) -> tuple:
    """GET /api/models/{id}/refs"""
    repo = request.find_repo(kind, repo_id)

    def entries(prefix: str, commits: dict[Any, Commit]) -> list[dict[str, str]]:
        return [
            {"name": str(name), "ref": f"{prefix}/{name}", "targetCommit": one.oid} for name, one in commits.items()
        ]

    pulls = {number: pull["commit"] for number, pull in repo.pulls.items()}
    return 200, {
        "branches": entries("refs/heads", repo.branches),
        "tags": entries("refs/tags", repo.tags),
        "converts": [],
        "pullRequests": entries("refs/pr", pulls),
    }


def create_branch(request: _Handler, kind: str, repo_id: str, name: str) -> tuple:
    """POST /api/models/{id}/branch/{name}"""
    request.writer()
    repo = request.find_repo(kind, repo_id)
    if name in repo.branches:
        raise HubError(409, f"Reference already exists: {name}")
    start = json.loads(request.body or b"{}").get("startingPoint") or "main"
    repo.branches[name] = request.find_commit(repo, start)
    return 200, b"OK"


def create_tag(request: _Handler, kind: str, repo_id: str, revision: str) -> tuple:
    """POST /api/models/{id}/tag/{rev}"""
    request.writer()
    repo, name = request.find_repo(kind, repo_id), request.json()["tag"]
    if name in repo.tags:
        raise HubError(409, f"Tag reference exists already: {name}")
    repo.tags[name] = request.find_commit(repo, revision)
    return 200, b"OK"


def discussions(request: _Handler, kind: str, repo_id: str) -> tuple:
    """GET /api/models/{id}/discussions: its pull requests."""
    repo = request.find_repo(kind, repo_id)
    listed = [
        {
            "title": pull["title"],
            "num": number,
            "author": {"name": pull["author"]},
            "createdAt": DATE,
            "status": pull["status"],
            "repo": {"name": repo_id, "type": kind},
            "isPullRequest": True,
        }
        for number, pull in repo.pulls.items()
    ]
    return 200, {"count": len(listed), "start": 0, "discussions": listed}


def merge(request: _Handler, kind: str, repo_id: str, number: str) -> tuple:
    """POST /api/models/{id}/discussions/{number}/merge: the files of the pull request become those of main."""
    user, repo = request.writer(), request.find_repo(kind, repo_id)
    pull = repo.pulls.get(int(number))
    if pull is None or pull["status"] != "open":
        raise HubError(404, f"There is no open pull request {number}.")
    main = repo.branches["main"]
    repo.branches["main"] = new_commit(main, {**main.files, **pull["commit"].files}, pull["title"], user)
    pull["status"] = "merged"
    return 200, {}


def resolve(request: _Handler, kind: str, repo_id: str, revision: str, path: str) -> tuple:
    """HEAD or GET /{id}/resolve/{rev}/{path}"""
    found = request.find_commit(request.find_repo(kind, repo_id), revision)
    # Clients read the commit even off the answer that a file is not there.
    if path not in found.files:
        error = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": found.oid}
        return 404, {"error": "Entry not found"}, error
    blob = found.files[path]
    headers = {"X-Repo-Commit": found.oid, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
    if blob.is_lfs:
        headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.content))}
    if request.command == "HEAD":
        return 200, b"", headers | {"Content-Length": str(len(blob.content))}
    if match := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
        start, stop = int(match[1]), int(match[2] or len(blob.content) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob.content)}"
        return 206, blob.content[start:stop], headers
    return 200, blob.content, headers


def _for_kind(answer: Callable, kind: str) -> Callable:
    return lambda request, **groups: answer(request, kind=kind, **groups)


_ID = r"(?P<repo_id>[\w.-]+/[\w.-]+)"
_REVISION = r"(?P<revision>[^/]+)"
_REPO_ROUTES: list[tuple[str, str, Callable]] = [
    ("GET", "{api}", repo_info),
    ("GET", "{api}/revision/" + _REVISION, repo_info),
    ("GET", "{api}/tree/" + _REVISION + "(?P<folder>/.*)?", tree),
    ("POST", "{api}/paths-info/" + _REVISION, paths_info),
    ("POST", "{api}/preupload/" + _REVISION, preupload),
    ("POST", "{api}/commit/" + _REVISION, commit),
    ("GET", "{api}/commits/" + _REVISION, commits),
    ("GET", "{api}/refs", refs),
    ("POST", "{api}/branch/(?P<name>[^/]+)", create_branch),
    ("POST", "{api}/tag/" + _REVISION, create_tag),
    ("GET", "{api}/discussions", discussions),
    (r"POST", r"{api}/discussions/(?P<number>\d+)/merge", merge),
    ("POST", "{git}.git/info/lfs/objects/batch", lfs_batch),
    ("GET|HEAD", "{git}/resolve/" + _REVISION + "/(?P<path>.+)", resolve),
]
ROUTES: list[tuple[str, str, Callable]] = [
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("POST", "/api/repos/create", create_repo),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("POST", "/lfs-verify", lfs_verify),
]
for _kind, _prefix in (("model", ""), ("dataset", "/datasets")):
    for _method, _pattern, _answer in _REPO_ROUTES:
        _path = _pattern.replace("{api}", f"/api/{_kind}s/{_ID}").replace("{git}", f"{_prefix}/{_ID}")
        ROUTES.append((_method, _path, _for_kind(_answer, _kind)))
