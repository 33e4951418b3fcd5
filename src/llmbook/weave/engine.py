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
from llmbook.weave.store import changed_at, load, prune, save, turn, version_of

if TYPE_CHECKING:
    from llmbook.weave.processes import Processes

VERSIONED = ("numpy", "torch", "matplotlib", "ipython")
KEPT = 500  # results in the store, and lists of what they depend on; the oldest go first
VARIANTS = 8  # of what a chapter depended on, when it ran lately
TIMEOUT = 600  # seconds for one cell
ANSI = re.compile(r"\x1b\[[0-9;]*m")

Outputs = list[list[dict[str, Any]]]  # of each cell, in nbformat's form


@dataclass
class Result:
    """What a chapter's process gave: the outputs of each cell, and how long it took."""

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
    chapter: Chapter, docs: Path, version: Callable[[str], str | None] = version_of
) -> tuple[str, bool]:
    """The name under which a chapter's results are listed, and whether it asks for docstrings.

    Args:
        chapter: A parsed chapter.
        docs: The folder of the book, in which the chapter has its place.
        version: Gives the version of a distribution.
    """
    cells = [(part.kind, part.text, part.options.get("raises-exception")) for part in chapter.cells]
    code = "\n".join(_code(part) for part in chapter.cells)
    folder = chapter.path.parent
    place = folder.relative_to(docs).as_posix() if folder.is_relative_to(docs) else str(folder)
    names = {name.partition(".")[0] for part in chapter.cells for name in imports(part.text)}
    versions = {name: version(name) for name in sorted({*VERSIONED, *names})}
    asks = bool(ASKS.search(code))
    return hash_of(json.dumps([cells, place, versions, sys.version_info[:3]])), asks


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


# --- execution -------------------------------------------------------------------------------


def run(
    chapters: Sequence[Chapter],
    cache: Path,
    *,
    docs: Path,
    package: str | None = "llmbook",
    jobs: int | None = None,
    fork: bool = True,
    report: Callable[[str], None] = print,
) -> dict[Path, Result | WeaveError]:
    """Give each chapter's result, executing in parallel those that the store lacks.

    Args:
        chapters: Parsed chapters.
        cache: The store's folder; made if absent.
        docs: The folder of the book.
        package: The book's package; what is wrong in one of its modules stops all chapters.
        jobs: Chapters at a time; one a core when left out.
        fork: Fork chapters' processes from a warm one, where the system can; else each is new.
        report: Is told a line for each executed chapter, unless a terminal shows a bar.

    Returns:
        For each chapter's path its result, or the error that stopped it.
    """
    todo = [chapter for chapter in chapters if chapter.cells]
    if not todo:
        return {}
    engine = _Engine(cache, docs, package)
    try:
        engine.read_package()
    except SyntaxError as error:
        message = f"{error.msg}: no cell runs until this module is mended"
        failed = WeaveError(Path(str(error.filename)), error.lineno or 1, message)
        return {chapter.path: failed for chapter in todo}
    results: dict[Path, Result | WeaveError] = {}

    def missing() -> list[Chapter]:
        for chapter in todo:
            if chapter.path not in results and (found := engine.find(chapter)):
                results[chapter.path] = found
        return [chapter for chapter in todo if chapter.path not in results]

    if not missing():
        engine.sources.keep()
        return results
    from llmbook.weave.processes import Processes  # only when something is executed

    with turn(cache / "lock", report):  # a second build waits, then finds the results
        stale = missing()
        processes = Processes(cache, fork=fork)
        try:
            if stale:
                processes.preload(engine.libraries(stale))
            results |= _run_all(stale, engine, processes, jobs or os.cpu_count() or 1, report)
        finally:
            processes.close()
        prune(cache, KEPT)
        prune(cache / KNOWN, KEPT)
    engine.sources.keep()
    return results


class _Engine:
    """Finds and keeps the results of one book."""

    def __init__(self, cache: Path, docs: Path, package: str | None) -> None:
        self.cache, self.docs, self.package = cache, docs, package
        self.roots = roots_of(docs, package)
        self.sources = Sources(cache, self.roots)
        self.code: Package | None = None
        self.texts: dict[Path, str | None] = {}  # of the package's modules, before anything runs
        self.version = functools.cache(version_of)
        self.writing = threading.Lock()

    def read_package(self) -> None:
        """Read all modules, so that one that is no Python is found before anything runs."""
        if self.package:
            self.code = Package(self.package, self.sources)
            self.texts = {file: content_of(file) for file in self.code.files.values()}

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

    def _variants(self, listed: str) -> Path:
        return self.cache / KNOWN / f"{listed}.json"

    def _result(self, listed: str, asks: bool, names: Sequence[str], sources: Sources) -> Path:
        state = sources.state(names, asks=asks)
        return self.cache / f"{hash_of(json.dumps([listed, state]))}.json"

    def find(self, chapter: Chapter) -> Result | None:
        """A chapter's result, if it has run with the same modules and files."""
        listed, asks = key(chapter, self.docs, self.version)
        for names in (load(self._variants(listed), "variants") or [[]])[0]:
            path = self._result(listed, asks, names, self.sources)
            if found := load(path, "outputs", "seconds"):
                return Result(*found)
        return None

    def keep(self, chapter: Chapter, result: Result, heard: dict[str, Any], began: float) -> None:
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
                return
            if name.startswith("file ") and now[name] != heard["files"][str(path)]:
                return
        listed, asks = key(chapter, self.docs, self.version)
        save(
            self._result(listed, asks, names, sources),
            outputs=result.outputs,
            seconds=result.seconds,
        )
        before = (load(self._variants(listed), "variants") or [[]])[0]
        others = [variant for variant in before if variant != names]
        save(self._variants(listed), variants=[names, *others][:VARIANTS])
        sources.keep()


def _changed_since(path: Path, began: float) -> bool:
    try:
        return changed_at(path) >= began
    except OSError:
        return True


def _run_all(
    chapters: Sequence[Chapter],
    engine: _Engine,
    processes: "Processes",
    jobs: int,
    report: Callable[[str], None],
) -> dict[Path, Result | WeaveError]:
    from tqdm import tqdm

    results: dict[Path, Result | WeaveError] = {}
    bar = tqdm(total=len(chapters), desc="executing chapters", disable=not sys.stderr.isatty())
    pool = ThreadPoolExecutor(jobs)
    try:
        waiting = {pool.submit(_run_chapter, c, engine, processes): c for c in chapters}
        for done in as_completed(waiting):
            chapter, outcome = waiting[done], done.result()
            results[chapter.path] = outcome
            bar.update()
            if bar.disable:
                took = f"{outcome.seconds:.1f} s" if isinstance(outcome, Result) else "failed"
                report(f"executed {chapter.path.name}: {took}")
    finally:  # also if we are interrupted: no other chapter begins, and those that run end
        pool.shutdown(wait=False, cancel_futures=True)
        processes.interrupt()
        pool.shutdown()
        bar.close()
    return results


def _run_chapter(chapter: Chapter, engine: _Engine, processes: "Processes") -> Result | WeaveError:
    """Execute a chapter and keep its result."""
    from llmbook.weave.processes import DeadProcessError, SlowCellError

    began = time.time()
    folder = chapter.path.parent.resolve()
    outputs: Outputs = []
    part = Part("cell", "", 1)
    try:
        with processes.run(map(_code, chapter.cells), folder, engine.roots.values()) as running:
            running.begin(TIMEOUT)
            for part in chapter.cells:
                shown = running.answer(TIMEOUT)["outputs"]
                _check(chapter, part, shown)
                outputs.append(_tidy(shown))
            heard = running.answer(TIMEOUT)
    except WeaveError as error:
        return error
    except SlowCellError:
        why = f"this cell ran over {TIMEOUT} s: let it do less, or keep what takes long"
        return WeaveError(chapter.path, part.line, f"{why}\n{part.text}")
    except DeadProcessError as death:
        said = ANSI.sub("", str(death))
        why = "Kernel died (killed, or out of memory?): let this cell need less"
        return WeaveError(chapter.path, part.line, f"{why}\n{part.text}\n{said}")
    result = Result(outputs, heard["seconds"])
    with engine.writing, contextlib.suppress(SyntaxError):  # of a module that is edited meanwhile
        engine.keep(chapter, result, heard, began)
    return result


def _check(chapter: Chapter, part: Any, outputs: list[dict[str, Any]]) -> None:
    errors = [output for output in outputs if output["output_type"] == "error"]
    expected = "raises-exception" in part.options
    if errors and not expected:
        trace = ANSI.sub("", "\n".join(errors[0]["traceback"]))
        said = f"{errors[0]['ename']}: {errors[0]['evalue']}"
        found = re.search(r"Cell In\[\d+\], line (\d+)", trace) if part.kind == "cell" else None
        line = part.line + (int(found[1]) if found else 0)
        raise WeaveError(chapter.path, line, f"{said}\nin the cell\n{part.text}\n{trace}")
    warned = "".join(o["text"] for o in outputs if o.get("name") == "stderr")
    if warned:
        message = f"the cell writes to stderr, which no reader should see:\n{ANSI.sub('', warned)}"
        raise WeaveError(chapter.path, part.line, message)
    if expected and not errors:
        raise WeaveError(
            chapter.path, part.line, "this cell must raise (raises-exception) and did not"
        )


def _tidy(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs without escape codes; of a traceback, what is the chapter's own.

    Other frames tell where the package lies on this machine, and change with each of its lines.
    """
    for output in outputs:
        if output["output_type"] == "stream":
            output["text"] = ANSI.sub("", output["text"])
        elif output["output_type"] == "error":
            lines = [ANSI.sub("", line) for line in output["traceback"]]
            output["traceback"] = [line for line in lines if not line.startswith("File ")]
    return outputs
