"""What runs cells in a reader's browser: the kernel's part there, in Pyodide's Python.

It shows what the kernel of the build shows, in the same form, with stand-ins for those few things
that cells import and no browser has.
"""

import ast
import copy
import io
import json
import linecache
import re
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

MOST = 200_000  # characters that a cell may print: a page holds no more
PAUSE = 0.05  # seconds between two messages with what is printed
FIGURE = "application/vnd.llmbook.figure+json"
ATOMS = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType)  # never copied

Emit = Callable[[dict[str, Any]], None]


class _Shapes(types.ModuleType):
    """In place of jaxtyping, whose shapes nobody checks here: `Float[A, "n"]` is `A`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return type(name, (), {"__class_getitem__": lambda cls, item: item[0]})


class Markdown:
    """In place of IPython's: text to be set as Markdown."""

    def __init__(self, data: str) -> None:
        self.data = data

    def _repr_markdown_(self) -> str:
        return self.data

    def __repr__(self) -> str:
        return "<IPython.core.display.Markdown object>"


class Axes3D:
    """In place of mpl_toolkits': no page draws in three dimensions."""

    name = "3d"


class _Absent(type):
    """In place of what a missing library defines: it can be named, and does nothing."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{cls.__name__}.{name}", (), {})

    def __call__(cls, *_: Any, **__: Any) -> Any:
        if cls.__name__.endswith(("no_grad", "inference_mode")):  # of torch's, which decorate
            return lambda function: function
        raise ImportError(
            f"{cls.__name__} is not in this page: it needs a library that no browser has"
        )


class Missing(types.ModuleType):
    """In place of a library that no browser has, but that a module of the book imports."""

    __path__: list[str] = []  # noqa: RUF012 (modules have a list)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}", (), {})


class Finder(MetaPathFinder, Loader):
    """Finds missing libraries, for `sys.meta_path`.

    Args:
        names: Theirs.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """What is known of such a library, or of a module in one."""
        found = name.partition(".")[0] in self.names
        return ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        """A stand-in."""
        return Missing(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to execute."""


def kept(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """In place of weave's: there is no store, so it is computed, with the same way through JSON."""
    return json.loads(json.dumps(function(*args, **kwargs)))


def stand_in(display: Callable[..., None], missing: Iterable[str]) -> None:
    """Put the stand-ins where imports find them.

    Args:
        display: IPython's.
        missing: Names of libraries.
    """
    import IPython

    sys.meta_path.append(Finder(missing))

    vars(IPython).update(version_info=(9, 0, 0, ""), get_ipython=lambda: None)  # matplotlib asks
    modules: dict[str, dict[str, Any]] = {
        "IPython.display": {"display": display, "Markdown": Markdown},
        "mpl_toolkits.mplot3d": {"Axes3D": Axes3D},
        "llmbook.weave.store": {"kept": kept},
    }
    for name, content in modules.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    sys.modules["jaxtyping"] = _Shapes("jaxtyping")


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a cell."""

    def __init__(self, name: str, emit: Emit) -> None:
        self.name, self.emit = name, emit
        self.text, self.room, self.last = "", MOST, 0.0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Show text, soon."""
        self.room -= len(text)
        if self.room < 0:
            raise RuntimeError(f"a cell may print {MOST:,} characters here")
        self.text += text
        if time.monotonic() > self.last + PAUSE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Show it now."""
        if self.text:
            self.emit({"output_type": "stream", "name": self.name, "text": self.text})
        self.text, self.last = "", time.monotonic()


class Kernel:
    """The names of one page, and what its cells show.

    Args:
        send: Is told each output, as JSON in nbformat's form.
        palette: The module whose colours figures follow the page in; may be empty.
        missing: Names of libraries that the book's modules import and no browser has.
    """

    def __init__(
        self, send: Callable[[str], None], palette: str = "", missing: Iterable[str] = ()
    ) -> None:
        self.emit: Emit = lambda output: send(json.dumps(output))
        self.palette = palette
        self.saved: dict[str, Any] | None = None
        stand_in(self.display, missing)
        self.begin()

    def begin(self) -> None:
        """Forget every name."""
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        self.names = vars(main)

    def save(self) -> None:
        """Remember the names and what they stand for, unless something cannot be copied."""
        memo = {id(v): v for v in self.names.values() if isinstance(v, ATOMS)}
        try:
            self.saved = copy.deepcopy(dict(self.names), memo)
        except Exception:
            self.saved = None

    def restore(self) -> bool:
        """Go back to what was saved last, if it was."""
        saved, self.saved = self.saved, None
        if saved is None:
            return False
        self.names.clear()
        self.names.update(saved)
        return True

    def run(self, code: str, name: str) -> str:
        """Execute a cell.

        Args:
            code: Of the cell; its last expression is shown.
            name: Of the cell, for tracebacks.

        Returns:
            The error that stopped it, as JSON with its line in the cell, or `null`.
        """
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = Stream("stdout", self.emit), Stream("stderr", self.emit)
        try:
            self._execute(code, name)
        except BaseException as error:
            return json.dumps(failure(error, name))
        finally:
            self._flush()
            sys.stdout, sys.stderr = before
        return "null"

    def _execute(self, code: str, name: str) -> None:
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), self.names)  # noqa: S102 (a reader's own code)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), self.names)  # noqa: S307
            if value is not None and not re.search(r";\s*(#.*)?$", code.rstrip()):
                self.show(value, "execute_result")

    def display(self, *things: Any) -> None:
        """Show things, as IPython's function of that name."""
        for thing in things:
            self.show(thing, "display_data")

    def show(self, thing: Any, kind: str) -> None:
        """Show a value as a notebook would, after what was printed before it."""
        from IPython.lib.pretty import pretty

        self._flush()
        turning = sys.modules.get("llmbook.weave.turning")
        if turning and isinstance(thing, turning.Turned):
            thing = thing.figure  # the page has the others
        data: dict[str, Any] = {"text/plain": pretty(thing)}
        if hasattr(thing, "_repr_markdown_"):
            data["text/markdown"] = thing._repr_markdown_()
        drawing = sys.modules.get("matplotlib.figure")
        if drawing and isinstance(thing, drawing.Figure):
            from llmbook.weave.figures import themed_svgs
            from llmbook.weave.palette import colours_of

            drawings = themed_svgs(thing, colours_of(self.palette))
            data[FIGURE] = {"drawings": drawings, "table": getattr(thing, "table", None)}
        self.emit({"output_type": kind, "data": data, "metadata": {}})

    def _flush(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()


class Files:
    """Fetches files of the book when something opens them.

    Args:
        folder: Where they lie, each empty until then.
        names: Theirs, below the folder.
        fetch: Gives the content of one.
    """

    def __init__(self, folder: str, names: Iterable[str], fetch: Callable[[str], bytes]) -> None:
        self.places, self.fetch = {f"{folder}/{name}": name for name in names}, fetch
        for place in map(Path, self.places):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and (name := self.places.pop(arguments[0], "")):
            Path(arguments[0]).write_bytes(self.fetch(name))


def failure(error: BaseException, name: str) -> dict[str, Any]:
    """An error in nbformat's form, with its line in a cell.

    Args:
        error: What a cell has raised.
        name: The cell's, as `Kernel.run` was told.
    """
    frames = traceback.extract_tb(error.__traceback__)
    while frames and frames[0].filename == __file__:
        del frames[0]
    lines = [frame.lineno for frame in frames if frame.filename == name]
    if isinstance(error, SyntaxError) and error.filename == name:
        lines.append(error.lineno)
    text = traceback.format_list(frames) + traceback.format_exception_only(error)
    return {
        "output_type": "error",
        "ename": type(error).__name__,
        "evalue": str(error),
        "line": lines[-1] if lines else None,
        "traceback": "".join(text),
    }
