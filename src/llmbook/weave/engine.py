"""Execute what is stale, keep what is not: the part of weave that runs chapters.

The engine knows nothing of MkDocs. A chapter's result is stored under a key made of its cells, of
the modules that these imported and the files that they read when they ran last, and of the versions
of the libraries. Prose is not in the key, nor is a docstring or a comment of a module, or a module
that the cells could import and did not.
"""

import ast
import contextlib
import functools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmbook.weave.chapter import Chapter, Part, WeaveError
from llmbook.weave.sources import ASKS, KNOWN, Package, Sources, content_of, hash_of, package_root
from llmbook.weave.store import VARIANTS, changed_at, load, prune, save, turn, version_of
from llmbook.weave.terminal import is_progress, settled

if TYPE_CHECKING:
    from llmbook.weave.processes import Processes

VERSIONED = ("numpy", "torch", "matplotlib", "ipython")
KEPT = 500  # results in the store, and lists of what they depend on; the oldest go first
TIMEOUT = 600  # seconds for one cell
LARGE = 5_000_000  # characters that the outputs of one cell may have
ANSI = re.compile(r"\x1b\[[0-9;]*m")

Outputs = list[list[dict[str, Any]]]  # of each cell, in nbformat's form


@dataclass
class Result:
    """What a chapter's process gave: the outputs of each cell, and a processor's seconds."""

    outputs: Outputs
    seconds: float


def roots_of(docs: Path, package: str | None) -> dict[str, Path]:
    """The folders whose files results may depend on: the book's, its package's, and weave's."""
    own = __name__.partition(".")[0]
    packages = {name: package_root(name) for name in (package, own) if name}
    return {"book": docs.resolve().parent, **packages}


def _code(part: Part) -> str:
    return f"print({part.text})" if part.kind == "inline" else part.text


def key(
    chapter: Chapter,
    docs: Path,
    version: Callable[[str], str | None] = version_of,
    palette: str = "",
) -> tuple[str, bool]:
    """The name under which a chapter's results are listed, and whether it asks for docstrings.

    Args:
        chapter: A parsed chapter.
        docs: The folder of the book, in which the chapter has its place.
        version: Gives the version of a distribution.
        palette: In which figures are drawn.
    """
    cells = [(part.kind, part.text, part.options.get("raises-exception")) for part in chapter.cells]
    code = "\n".join(_code(part) for part in chapter.cells)
    folder = chapter.path.parent
    place = folder.relative_to(docs).as_posix() if folder.is_relative_to(docs) else str(folder)
    names = {name.partition(".")[0] for part in chapter.cells for name in imports(part.text)}
    versions = {name: version(name) for name in sorted({*VERSIONED, *names})}
    asks = bool(ASKS.search(code))
    return hash_of(json.dumps([cells, place, versions, palette, sys.version_info[:3]])), asks


def imports(code: str) -> set[str]:
    """What some code imports, by full names; of what is no Python, nothing."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # which depends on Python
        return set()  # the process reports it, with its line
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@dataclass(frozen=True)
class Basis:
    """What a result was made from: enough to tell whether it would be made again.

    Attributes:
        listed: The chapter's key.
        asks: Whether its code asks for docstrings.
        names: The modules and files that it depends on.
        result: The name of the result in the store.
    """

    listed: str
    asks: bool
    names: list[str]
    result: str


Outcome = tuple[Result | WeaveError, Basis | None]


class Engine:
    """Executes the chapters of a book, and keeps their results.

    Args:
        docs: The folder of the book.
        cache: The store's folder; made if absent.
        package: The book's package; what is wrong in one of its modules stops all chapters.
        palette: The module whose colours figures follow the page in; any colours without one.
        jobs: Chapters at a time; one a core when left out.
        fork: Fork chapters' processes from a warm one, where the system can; else each is new.
        report: Is told a line for each executed chapter, unless a terminal shows a bar.
    """

    def __init__(
        self,
        docs: Path,
        cache: Path,
        *,
        package: str | None = None,
        palette: str = "",
        jobs: int | None = None,
        fork: bool = True,
        report: Callable[[str], None] = print,
    ) -> None:
        self.docs, self.cache, self.package, self.fork = docs, cache, package, fork
        self.palette = palette
        self.jobs, self.report = jobs or os.cpu_count() or 1, report
        self.roots = roots_of(docs, package)
        self.processes: Processes | None = None
        self.writing = threading.Lock()

    def read(self) -> WeaveError | None:
        """Read the sources as they are now; a module that is no Python is an error of all pages."""
        self.sources = Sources(self.cache, self.roots)
        self.version = functools.cache(version_of)
        self.code: Package | None = None
        self.texts: dict[Path, str | None] = {}  # of the package's modules, before anything runs
        try:
            if self.package:
                self.code = Package(self.package, self.sources)
                self.texts = {file: content_of(file) for file in self.code.files.values()}
        except SyntaxError as error:
            message = f"{error.msg}: no cell runs until this module is mended"
            return WeaveError(Path(str(error.filename)), error.lineno or 1, message)
        return None

    @property
    def data_roots(self) -> list[Path]:
        """The folders of chapters and of the package."""
        return [self.docs, *([self.code.root] if self.code else [])]

    def close(self) -> None:
        """End the warm process, if there is one."""
        if self.processes:
            self.processes.close()
            self.processes = None

    # --- what is kept

    def _variants(self, listed: str) -> Path:
        return self.cache / KNOWN / f"{listed}.json"

    def _name(self, listed: str, asks: bool, names: Sequence[str], sources: Sources) -> str:
        return hash_of(json.dumps([listed, sources.state(names, asks=asks)]))

    def still(self, basis: Basis) -> bool:
        """Whether what a result was made from is what it was, and the result is there."""
        name = self._name(basis.listed, basis.asks, basis.names, self.sources)
        return name == basis.result and (self.cache / f"{name}.json").exists()

    def key(self, chapter: Chapter) -> tuple[str, bool]:
        """As `key` says of this book."""
        return key(chapter, self.docs, self.version, self.palette)

    def find(self, chapter: Chapter) -> tuple[Result, Basis] | None:
        """A chapter's result, if it has run with the same modules and files."""
        listed, asks = self.key(chapter)
        for names in (load(self._variants(listed), "variants") or [[]])[0]:
            name = self._name(listed, asks, names, self.sources)
            if found := load(self.cache / f"{name}.json", "outputs", "seconds"):
                return Result(*found), Basis(listed, asks, names, name)
        return None

    def stale(self, chapters: Iterable[Chapter]) -> list[Chapter]:
        """The chapters whose results are not there."""
        return [chapter for chapter in chapters if chapter.cells and not self.find(chapter)]

    def _keep(
        self, chapter: Chapter, result: Result, heard: dict[str, Any], began: float
    ) -> Basis | None:
        """Store a result, unless something that it depends on has changed since it began."""
        sources = Sources(self.cache, self.roots)
        named = {
            f"{kind} {name}": Path(path)
            for kind in ("module", "file")
            for path in heard[f"{kind}s"]
            if (name := sources.name(Path(path)))
        }
        names = sorted(named)
        now = dict(sources.state(names, asks=True))
        for name, path in named.items():
            text = self.texts.get(path, now[name])
            if name.startswith("module ") and (text != now[name] or _changed_since(path, began)):
                return None
            if name.startswith("file ") and now[name] != heard["files"][str(path)]:
                return None
        listed, asks = self.key(chapter)
        found = self._name(listed, asks, names, sources)
        save(self.cache / f"{found}.json", outputs=result.outputs, seconds=result.seconds)
        before = (load(self._variants(listed), "variants") or [[]])[0]
        others = [variant for variant in before if variant != names]
        save(self._variants(listed), variants=[names, *others][:VARIANTS])
        sources.keep()
        return Basis(listed, asks, names, found)

    # --- execution

    def run(
        self,
        chapters: Sequence[Chapter],
        done: Callable[[Chapter, Result | WeaveError, Basis | None], None],
    ) -> None:
        """Execute chapters in parallel; what another build has made meanwhile is taken from it.

        Args:
            chapters: Parsed chapters, with cells.
            done: Is told each result, or the error that stopped it, and what it depends on.
        """
        with turn(self.cache / "lock", self.report):
            stale = []
            for chapter in chapters:
                if found := self.find(chapter):
                    done(chapter, *found)
                else:
                    stale.append(chapter)
            if stale:
                self._execute(stale, done)
            prune(self.cache, KEPT)
            prune(self.cache / KNOWN, KEPT)
        self.sources.keep()

    def libraries(self, chapters: Iterable[Chapter]) -> set[str]:
        """What chapters import that is neither theirs nor the package's, directly or through it."""
        cells = [part.text for chapter in chapters for part in chapter.cells]
        names = {name for text in cells for name in imports(text)}
        if self.code:
            for module in self.code.closure(names):
                names |= set(self.code.modules[module].imports)
        own = {self.package, __name__.partition(".")[0], "__future__"}
        beside = {p.stem for chapter in chapters for p in chapter.path.parent.glob("*.py")}
        return {name for name in names if name and name.partition(".")[0] not in own | beside}

    def new_processes(self) -> "Processes":
        """What starts processes for the chapters of this book."""
        from llmbook.weave.processes import Processes  # only when something is executed

        package = self.code.root if self.code else None
        return Processes(self.cache, fork=self.fork, palette=self.palette, package=package)

    def _execute(
        self,
        chapters: Sequence[Chapter],
        done: Callable[[Chapter, Result | WeaveError, Basis | None], None],
    ) -> None:
        from tqdm import tqdm

        def once(chapter: Chapter, processes: "Processes") -> tuple[bool, Outcome]:
            """Execute a chapter, unless one with the same cells has run since."""
            if found := self.find(chapter):
                return False, found
            return True, self.run_chapter(chapter, processes)

        self.processes = self.processes or self.new_processes()
        self.processes.preload(self.libraries(chapters))
        bar = tqdm(total=len(chapters), desc="executing chapters", disable=not sys.stderr.isatty())
        pool = ThreadPoolExecutor(self.jobs)
        try:
            waiting = {pool.submit(once, c, self.processes): c for c in chapters}
            for future in as_completed(waiting):
                chapter, (ran, (outcome, basis)) = waiting[future], future.result()
                done(chapter, outcome, basis)
                bar.update()
                if ran and bar.disable:
                    took = f"{outcome.seconds:.1f} s" if isinstance(outcome, Result) else "failed"
                    self.report(f"executed {chapter.path.name}: {took}")
        finally:  # also if we are interrupted: no other chapter begins, and those that run end
            pool.shutdown(wait=False, cancel_futures=True)
            self.processes.interrupt()
            pool.shutdown()
            bar.close()

    def run_chapter(self, chapter: Chapter, processes: "Processes", name: str = "") -> Outcome:
        """Execute a chapter in a process of this name, and keep its result."""
        from llmbook.weave.processes import DeadProcessError, SlowCellError

        began = time.time()
        folder = chapter.path.parent.resolve()
        if not folder.is_dir():  # of a page that is no file
            folder = self.docs.resolve()
        outputs: Outputs = []
        part = Part("cell", "", 1)
        cells = map(_code, chapter.cells)
        try:
            named = _named(chapter, folder, self.sources)
            with processes.run(cells, folder, self.roots.values(), name) as running:
                running.begin(TIMEOUT)
                for part in chapter.cells:
                    shown = running.answer(TIMEOUT)["outputs"]
                    _check(chapter, part, shown)
                    outputs.append(_tidy(shown))
                heard = running.answer(TIMEOUT)
        except WeaveError as error:
            return error, None
        except SlowCellError:
            why = f"this cell ran over {TIMEOUT} s: let it do less, or keep what takes long"
            return WeaveError(chapter.path, part.line, f"{why}\n{part.text}"), None
        except DeadProcessError as death:
            said = ANSI.sub("", str(death))
            why = "Kernel died (killed, or out of memory?): let this cell need less"
            return WeaveError(chapter.path, part.line, f"{why}\n{part.text}\n{said}"), None
        heard["files"] = {**named, **heard["files"]}
        result = Result(outputs, heard["seconds"])
        with self.writing, contextlib.suppress(SyntaxError):  # of a module edited meanwhile
            return result, self._keep(chapter, result, heard, began)
        return result, None


def _named(chapter: Chapter, folder: Path, sources: Sources) -> dict[str, str | None]:
    """What the option `depends` of cells names, and its folders, each with its content now."""
    found: set[Path] = set()
    for part in chapter.cells:
        for pattern in part.options.get("depends", "").split():
            places = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else []
            if not places:
                why = f"depends: no file is called {pattern!r}, from the folder of this chapter"
                raise WeaveError(chapter.path, part.line, why)
            for place in places:
                if sources.name(place.resolve()) is None:
                    why = f"depends: {place} is hidden, or lies outside of the book"
                    raise WeaveError(chapter.path, part.line, why)
                found |= {place.resolve(), place.resolve().parent}
    return {str(path): content_of(path) for path in found if sources.name(path)}


def _changed_since(path: Path, began: float) -> bool:
    try:
        return changed_at(path) >= began
    except OSError:
        return True


def _check(chapter: Chapter, part: Any, outputs: list[dict[str, Any]]) -> None:
    errors = [output for output in outputs if output["output_type"] == "error"]
    expected = "raises-exception" in part.options
    if errors and not expected:
        trace = ANSI.sub("", "\n".join(errors[0]["traceback"]))
        said = f"{errors[0]['ename']}: {errors[0]['evalue']}"
        found = re.search(r"Cell In\[\d+\], line (\d+)", trace) if part.kind == "cell" else None
        line = part.line + (int(found[1]) if found else 0)
        raise WeaveError(chapter.path, line, f"{said}\nin the cell\n{part.text}\n{trace}")
    lines = "".join(o["text"] for o in outputs if o.get("name") == "stderr").split("\n")
    if warned := "\n".join(line for line in lines if not is_progress(line)).strip():
        message = f"the cell writes to stderr, which no reader should see:\n{ANSI.sub('', warned)}"
        raise WeaveError(chapter.path, part.line, message)
    size = len(json.dumps(outputs))
    if size > LARGE:
        why = f"this cell shows {size / 1e6:.0f} MB, and a page {LARGE / 1e6:.0f} MB at most"
        raise WeaveError(chapter.path, part.line, f"{why}: let it print less, or draw pixels")
    if expected and not errors:
        raise WeaveError(
            chapter.path, part.line, "this cell must raise (raises-exception) and did not"
        )


def _tidy(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs as a terminal shows them in the end; of a traceback, what is the chapter's own.

    Other frames tell where the package lies on this machine, and change with each of its lines.
    """
    for output in outputs:
        if output["output_type"] == "stream":
            output["text"] = settled(output["text"])
        elif output["output_type"] == "error":
            lines = [ANSI.sub("", line) for line in output["traceback"]]
            output["evalue"] = settled(output["evalue"])
            output["traceback"] = [line for line in lines if not line.startswith("File ")]
        elif "text/plain" in output["data"]:
            output["data"]["text/plain"] = settled(output["data"]["text/plain"])
    return outputs
