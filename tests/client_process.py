"""A fresh Python process, kept for several questions, for importing transformers takes seconds."""

import json
import subprocess
import textwrap
from typing import Any


# Runs each program that comes in as a line of JSON, and answers with what it put into `result`, or with its error.
SERVE = """
import contextlib
import io
import json
import sys
import traceback

replies = sys.stdout
for line in sys.stdin:
    names = {"result": None}
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            exec(compile(json.loads(line), "asked", "exec"), names)
        reply = {"result": names["result"], "error": None, "output": output.getvalue()}
    except Exception as error:
        reply = {"result": None, "error": f"{type(error).__name__}: {error}", "output": output.getvalue()}
        reply["traceback"] = traceback.format_exc()
    print(json.dumps(reply), file=replies, flush=True)
"""


class ClientProcess:
    """A process that runs the programs it is given, one after the other, each with names of its own.

    Args:
        python: Its interpreter.
        environment: Its environment variables.
        prologue: Program that runs first.
        cwd: Its folder.
    """

    def __init__(self, python: Any, environment: dict[str, str], prologue: str, cwd: Any):
        self._process = subprocess.Popen(
            [str(python), "-c", textwrap.dedent(prologue) + SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            text=True,
        )
        self.output = ""

    def ask(self, program: str, **names: Any) -> Any:
        """Runs a program with these names set, and returns its `result`.

        Raises:
            RuntimeError: If the program fails.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        assignments = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        self._process.stdin.write(json.dumps(assignments + textwrap.dedent(program)) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        self.output += reply["output"]
        if reply["error"] is not None:
            raise RuntimeError(f"{reply['error']}\n{reply['traceback']}")
        return reply["result"]

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()
