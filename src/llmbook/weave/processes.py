"""Processes for chapters: forked from one that is warm on Linux, new ones elsewhere."""

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from llmbook.weave.sources import ELSEWHERE
from llmbook.weave.store import RESULTS

ALONE = "import os; from llmbook.weave import kernel; kernel.serve(os.dup(0), os.dup(1))"
CAN_FORK = sys.platform == "linux"


class DeadProcessError(RuntimeError):
    """A chapter's process has ended before its last cell; the message is what it said."""


class SlowCellError(RuntimeError):
    """A cell has not ended in time."""


def environment(cache: Path, package: Path | None = None) -> dict[str, str]:
    """What a chapter's process finds in its environment: nothing that is an author's own.

    Args:
        cache: The store's folder.
        package: Where the book's package lies, if it is not installed among others.
    """
    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if package and str(package.parent) not in path and not ELSEWHERE & set(package.parts):
        path.append(str(package.parent))
    one = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # several run at once,
    return {  # and with one thread each, sums come out the same every time
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        **dict.fromkeys(one, "1"),
        "IPYTHONDIR": str(cache / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as Jupyter has it
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "PAGER": "cat",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        RESULTS: str(cache),
    }


class Running:
    """A chapter's process, and what it answers."""

    def __init__(self, answers: int, logs: Sequence[IO[bytes]], process: Any = None) -> None:
        self.logs, self.process = logs, process
        self.pid: int | None = None
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, args=(answers,), daemon=True)
        self.reader.start()

    def _read(self, answers: int) -> None:
        with os.fdopen(answers, encoding="utf-8") as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put("")

    def begin(self, timeout: float | int) -> None:
        """Wait until it has begun."""
        self.pid = self.answer(timeout)["pid"]

    def answer(self, timeout: float | int) -> dict[str, Any]:
        """The next answer.

        Raises:
            SlowCellError: If none comes in so many seconds.
            DeadProcessError: If none will come.
        """
        try:
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            raise SlowCellError from None
        if not line.endswith("\n"):
            raise DeadProcessError("".join(map(_tail, self.logs)))
        found: dict[str, Any] = json.loads(line)
        return found

    def kill(self) -> None:
        """End the process, if it has not ended."""
        if self.process is not None:
            self.process.kill()
        elif self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End the process, and hear no more of it."""
        self.kill()
        if self.process is not None:
            self.process.wait()
        self.reader.join(1)
        self.logs[0].close()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-2000:].decode(errors="replace")


class Processes:
    """Starts chapters' processes.

    Args:
        cache: The store's folder.
        fork: Whether to fork them from a warm one, where the system can.
        palette: The module with the colours of figures, if there is one.
        package: Where the book's package lies.
    """

    def __init__(
        self, cache: Path, *, fork: bool = True, palette: str = "", package: Path | None = None
    ) -> None:
        self.palette = palette
        self.environment = environment(cache.resolve(), package)
        self.fork = fork and CAN_FORK
        self.warm: subprocess.Popen[bytes] | None = None
        self.socket: socket.socket | None = None
        self.loaded: set[str] = set()
        self.running: dict[Running, str] = {}

    def preload(self, modules: set[str]) -> None:
        """Have these modules imported before chapters start; not while some run."""
        lives = self.warm is not None and self.warm.poll() is None
        if not self.fork or (lives and (modules <= self.loaded or self.running)):
            return
        self.close()
        self.loaded |= modules
        self.socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "llmbook.weave.warm", str(theirs.fileno())]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.warm = subprocess.Popen(  # noqa: S603
            [*command, *sorted(self.loaded)],
            pass_fds=[theirs.fileno()],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        theirs.close()

    @contextlib.contextmanager
    def run(
        self, cells: Iterable[str], folder: Path, roots: Iterable[Path], name: str = ""
    ) -> Iterator[Running]:
        """Start the process of a chapter, which ends with this context."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 (`Running` closes it)
        mine, theirs = os.pipe()
        with tempfile.TemporaryFile() as request:
            asked = {
                "cells": list(cells),
                "folder": str(folder),
                "roots": list(map(str, roots)),
                "palette": self.palette,
            }
            request.write(json.dumps(asked).encode())
            request.seek(0)
            process = None
            try:
                if self.socket is None:
                    process = subprocess.Popen(  # noqa: S603
                        [sys.executable, "-c", ALONE],
                        env=self.environment,
                        stdin=request,
                        stdout=theirs,
                        stderr=log,
                    )
                else:
                    files = [request.fileno(), theirs, log.fileno()]
                    with contextlib.suppress(BrokenPipeError):  # its log says why, below
                        socket.send_fds(self.socket, [b"+"], files)
            finally:
                os.close(theirs)
        logs = [log] if self.socket is None else [log, self.log]
        running = Running(mine, logs, process)
        self.running[running] = name
        try:
            yield running
        finally:
            del self.running[running]
            running.end()

    def interrupt(self, name: str = "") -> None:
        """Kill the chapters' processes that run, or those of one name."""
        for running, its in tuple(self.running.items()):
            if name in ("", its):
                running.kill()

    def close(self) -> None:
        """End all."""
        if self.socket is not None and self.warm is not None:
            self.socket.close()  # which ends it
            try:
                self.warm.wait(1)
            except subprocess.TimeoutExpired:  # it still imports
                self.warm.kill()
                self.warm.wait()
            self.log.close()
        self.warm = self.socket = None
