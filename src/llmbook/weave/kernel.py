"""What executes a chapter's cells: an IPython shell in a process of the chapter's own.

It shows what a notebook would show, in nbformat's form, and tells which of the book's files it has
read and which of its modules it has imported.
"""

import base64
import builtins
import functools
import getpass
import io
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from llmbook.weave.sources import content_of, is_own

FIGURE = "application/vnd.llmbook.figure+json"
Output = dict[str, Any]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LISTS = {"os.listdir", "os.scandir"}
WEAVE = os.path.dirname(__file__) + os.sep  # noqa: PTH120


class Outputs:
    """The outputs of one cell, as they come."""

    def __init__(self) -> None:
        self.shown: list[Output] = []
        self.displays: dict[str, Output] = {}
        self.clears = False

    def add(self, output: Output, display_id: str | None = None, update: bool = False) -> None:
        """Show something; text joins the text before it, an update takes its place."""
        if update:
            for name in ("data", "metadata"):
                self.displays.get(display_id or "", {})[name] = output[name]
            return
        if self.clears:
            self.shown, self.clears = [], False
        if display_id:
            self.displays[display_id] = output
        last = self.shown[-1] if self.shown else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            self.shown.append(output)

    def text(self, name: str, text: str) -> None:
        """Show text of `stdout` or `stderr`."""
        if text:
            self.add({"output_type": "stream", "name": name, "text": text})

    def clear(self, wait: bool = False) -> None:
        """Show nothing; if it waits, from the next output on."""
        self.clears = wait
        if not wait:
            self.shown = []

    def take(self) -> list[Output]:
        """What the cell has shown; the next begins."""
        shown, self.shown, self.clears = self.shown, [], False
        return shown


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a cell."""

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, name: str, outputs: Outputs) -> None:
        self.name, self.outputs, self.descriptor = name, outputs, 1 + (name == "stderr")

    def write(self, text: str) -> int:
        """Show text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.outputs.text(self.name, text)
        return len(text)

    def fileno(self) -> int:
        """Where processes that a cell starts write to."""
        return self.descriptor

    def writable(self) -> bool:
        """It is."""
        return True


class Recorder:
    """Hears which of the book's files are read, and which folders are listed.

    A file counts with the content that it had when it was read first. One that the chapter writes
    is none of its sources, and neither is what Python reads to import a module or to show a
    traceback, or weave for a kept value.
    """

    def __init__(self, roots: list[str]) -> None:
        self.roots = tuple(sorted((root + os.sep for root in roots), key=len, reverse=True))
        self.read: dict[str, str | None] = {}
        self.written: set[str] = set()
        self.deaf = threading.local()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if (event != "open" and event not in LISTS) or getattr(self.deaf, "now", False):
            return
        with self.paused():
            try:
                self._note(event, arguments)
            except (OSError, TypeError, ValueError):  # of a path that cannot be one
                return

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        given = "." if arguments[0] is None else arguments[0]
        if isinstance(given, int):
            return
        path = os.path.abspath(os.fsdecode(given))  # noqa: PTH100 (a Path is slower, for each file)
        if (inside := self._within(path)) is None or _is_machinery(sys._getframe(2)):
            return
        if event == "open":
            mode, flags = arguments[1] or "", arguments[2] or 0
            if flags & WRITES or any(letter in mode for letter in "wax+"):
                self.written.add(path)
                return
        if path not in self.read and is_own(inside):
            self.read[path] = content_of(Path(path))

    def _within(self, path: str) -> Path | None:
        """Where a file lies in the innermost root that it is in."""
        for root in self.roots:
            if f"{path}{os.sep}".startswith(root):
                return Path(path[len(root) :])
        return None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hear nothing meanwhile."""
        before, self.deaf.now = getattr(self.deaf, "now", False), True
        try:
            yield
        finally:
            self.deaf.now = before

    def heard(self) -> dict[str, Any]:
        """The files that were read, with their contents' hashes, and the modules' files."""
        files = {path: state for path, state in self.read.items() if path not in self.written}
        modules = set()
        for name, module in list(sys.modules.items()):
            path = getattr(module, "__file__", None) or ""
            if name == "llmbook.weave.warm":  # which a new process does without
                continue
            if (inside := self._within(path)) is not None and is_own(inside):
                modules.add(path)
        if store := sys.modules.get("llmbook.weave.store"):  # what is kept depends on more
            modules |= store.MODULES
            files |= {path: content_of(Path(path)) for path in store.DATA}
        return {"files": files, "modules": sorted(modules)}


def _is_machinery(frame: FrameType | None) -> bool:
    """Whether a file is opened for an import, a traceback, or by weave for a kept value."""
    if frame and frame.f_code.co_filename.startswith("<frozen importlib"):
        return True
    while frame:
        path = frame.f_code.co_filename
        if path == __file__:  # which has called the cell
            return False
        if path.startswith(WEAVE) or path == traceback.__file__:  # which shows lines of code
            return True
        frame = frame.f_back
    return False


def _show(figure: Any, palette: str) -> dict[str, Any]:
    """One drawing for the page, in the book's colours, and a plain one for the notebook.

    With the first goes what the figure shows as a table, where it has one: rows of texts, the
    names of the columns first.
    """
    from llmbook.weave.figures import plain_svg, themed_svgs
    from llmbook.weave.palette import colours_of

    drawings = themed_svgs(figure, colours_of(palette))
    shown = {"drawings": drawings, "table": getattr(figure, "table", None)}
    return {FIGURE: shown, "image/svg+xml": plain_svg(figure)}


def make_shell(outputs: Outputs, recorder: Recorder, palette: str = "") -> Any:
    """An IPython shell whose outputs are collected, its figures in the palette's colours."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

    class Publisher(DisplayPublisher):
        """Takes what `display` shows."""

        def publish(
            self,
            data: Any,
            metadata: Any = None,
            *rest: Any,
            transient: Any = None,
            update: bool = False,
            **more: Any,
        ) -> None:
            """Show it."""
            shown = {"output_type": "display_data", "data": _text(data), "metadata": metadata or {}}
            outputs.add(shown, (transient or {}).get("display_id"), update)

        def clear_output(self, wait: bool = False) -> None:
            """Forget what the cell has shown."""
            outputs.clear(wait)

    class Hook(DisplayHook):
        """Takes the value of a cell."""

        def write_output_prompt(self) -> None:
            """None is shown."""

        def write_format_data(self, format_dict: Any, md_dict: Any = None) -> None:
            """Show the value."""
            data = {"data": _text(format_dict), "metadata": md_dict or {}}
            outputs.add({"output_type": "execute_result", **data})

        def finish_displayhook(self) -> None:
            """Nothing is left to do."""

    class Shell(InteractiveShell):
        """Shows errors as outputs."""

        def showtraceback(self, *args: Any, **kwargs: Any) -> None:
            """Show an error; the sources in its traceback are none of the chapter's."""
            with recorder.paused():
                super().showtraceback(*args, **kwargs)

        def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
            error = {"ename": etype.__name__, "evalue": str(evalue), "traceback": list(stb)}
            outputs.add({"output_type": "error", **error})

        def enable_gui(self, gui: Any = None) -> None:
            """There is no screen."""

    HistoryManager.enabled = False  # type: ignore[assignment]  # a trait
    shell: Any = Shell.instance(display_pub_class=Publisher, displayhook_class=Hook)
    formatter = shell.display_formatter.mimebundle_formatter
    show = functools.partial(_show, palette=palette)
    formatter.for_type_by_name("matplotlib.figure", "Figure", show)
    return shell


def _text(data: Mapping[str, Any]) -> dict[str, Any]:
    """Data of several types as JSON can hold them: pictures as base64."""
    return {
        kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for kind, value in data.items()
    }


def execute(request: Mapping[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Execute the cells of a chapter in this process.

    Args:
        request: "cells", "folder" to run in, "roots", the folders of the book, and "palette".
        send: Is told the "outputs" of each cell, then the "files", "modules" and "seconds", those
            of a processor.
    """
    started = time.process_time()  # waiting for another chapter costs nothing
    os.chdir(request["folder"])
    sys.path[:] = ["", *(entry for entry in sys.path if entry)]
    outputs = Outputs()
    sys.stdin = io.StringIO()
    builtins.input = getpass.getpass = _nobody_answers
    sys.stdout, sys.stderr = Stream("stdout", outputs), Stream("stderr", outputs)
    recorder = Recorder(request["roots"])
    shell = make_shell(outputs, recorder, request.get("palette", ""))
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        at = {1: 0, 2: os.lseek(2, 0, os.SEEK_END) if _is_file(2) else 0}
        for code in request["cells"]:
            shell.run_cell(code, store_history=True)
            for descriptor, name in ((1, "stdout"), (2, "stderr")):
                if _is_file(descriptor) and (size := os.fstat(descriptor).st_size) > at[descriptor]:
                    written = os.pread(descriptor, size - at[descriptor], at[descriptor])
                    outputs.text(name, written.decode(errors="replace"))  # by other processes, or C
                    at[descriptor] = size
            send({"outputs": outputs.take()})
    with recorder.paused():
        send({**recorder.heard(), "seconds": time.process_time() - started})


def _nobody_answers(*_: Any, **__: Any) -> str:
    from IPython.core.error import StdinNotImplementedError

    raise StdinNotImplementedError("no reader can answer: give the cell its input")


def _is_file(descriptor: int) -> bool:
    """Whether what other processes write there can be read back."""
    import stat

    return hasattr(os, "pread") and stat.S_ISREG(os.fstat(descriptor).st_mode)


def serve(request: int, answers: int) -> None:
    """Execute what a file asks for; answers are lines of JSON."""
    with os.fdopen(request, encoding="utf-8") as file, os.fdopen(answers, "w") as out:

        def send(answer: dict[str, Any]) -> None:
            print(json.dumps(answer), file=out, flush=True)

        send({"pid": os.getpid()})
        execute(json.load(file), send)
