"""Execute what is stale, keep what is not: the part of weave that runs chapters.

The engine knows nothing of MkDocs. A chapter's result is stored under a key made of its code,
the source of every package module that the code imports, directly or not, the data files named
there, and the versions of the libraries; prose is not in the key.
"""

import ast
import contextlib
import functools
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbook.weave.chapter import Chapter, Part, WeaveError
from llmbook.weave.store import RESULTS, Sources, hash_of, load, prune, save, turn, version_of

SETUP = "from llmbook.weave import kernel as _weave\n_weave.setup()\n"
VERSIONED = ("numpy", "torch", "matplotlib", "ipykernel", "ipython")
KEPT = 500  # results in the store; the oldest go first
TIMEOUT = 600  # seconds for one cell
ANSI = re.compile(r"\x1b\[[0-9;]*m")

Outputs = list[list[dict[str, Any]]]  # of each cell, in nbformat's form


@dataclass
class Result:
    """What a chapter's kernel gave: the outputs of each cell, and how long it took."""

    outputs: Outputs
    seconds: float


def _imports(code: str, package: str) -> tuple[set[str], set[str]]:
    """Modules of the package that some code imports, and the roots of all others."""
    inside: set[str] = set()
    roots: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            (inside if name.split(".")[0] == package else roots).add(name)
    return inside, {name.split(".")[0] for name in roots}


def key(
    chapter: Chapter, sources: Sources, version: Callable[[str], str | None] = version_of
) -> str:
    """The name under which a chapter's result is stored."""
    cells = [(part.kind, part.text, part.options.get("raises-exception")) for part in chapter.cells]
    modules = {f"{sources.package}.weave.kernel", f"{sources.package}.weave.figures"}
    roots: set[str] = set()
    files = {}
    for part in chapter.cells:
        try:
            inside, others = _imports(part.text, sources.package)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # which depends on Python
            continue  # the kernel reports it, with its line
        modules, roots = modules | inside, roots | others
        for text in re.findall(r"[\"']([\w./-]+\.\w+)[\"']", part.text):
            if os.path.isfile(file := chapter.path.parent / text):  # noqa: PTH113 (never raises)
                files[text] = hash_of(file.read_bytes())
    versions = {name: version(name) for name in sorted({*VERSIONED, *roots})}
    state = sources.state(sources.closure(modules))
    return hash_of(json.dumps([cells, state, files, versions, sys.version_info[:3]]))


# --- execution -------------------------------------------------------------------------------


def run(
    chapters: Sequence[Chapter],
    cache: Path,
    *,
    package: str = "llmbook",
    jobs: int | None = None,
    report: Callable[[str], None] = print,
) -> dict[Path, Result | WeaveError]:
    """Give each chapter's result, executing in parallel those that the store lacks.

    Args:
        chapters: Parsed chapters.
        cache: The store's folder; made if absent.
        package: The package whose source decides whether a result is still good.
        jobs: Kernels at a time; one a core when left out.
        report: Is told a line for each executed chapter, unless a terminal shows a bar.

    Returns:
        For each chapter's path its result, or the error that stopped it.
    """
    todo = [chapter for chapter in chapters if chapter.cells]
    if not todo:
        return {}

    def place(chapter: Chapter, *state: Any) -> Path:
        return cache / f"{key(chapter, *state)}.json"

    try:
        state = Sources(package, cache), functools.cache(version_of)
        paths = {chapter.path: place(chapter, *state) for chapter in todo}
    except SyntaxError as error:
        message = f"{error.msg}: no cell runs until this module is mended"
        failed = WeaveError(Path(str(error.filename)), error.lineno or 1, message)
        return {chapter.path: failed for chapter in todo}
    results: dict[Path, Result | WeaveError] = {}

    def missing() -> list[Chapter]:
        for chapter in todo:
            if chapter.path not in results and (
                found := load(paths[chapter.path], "outputs", "seconds")
            ):
                results[chapter.path] = Result(*found)
        return [chapter for chapter in todo if chapter.path not in results]

    def done(chapter: Chapter, outcome: Result | WeaveError) -> None:
        results[chapter.path] = outcome
        with contextlib.suppress(SyntaxError):  # of a module, which may be edited meanwhile
            path = place(chapter, Sources(package, cache))
            if isinstance(outcome, Result) and path == paths[chapter.path]:
                save(path, outputs=outcome.outputs, seconds=outcome.seconds)

    if not missing():
        return results
    import asyncio  # only when something is executed, as what else takes long to import

    with turn(cache / "lock", report):  # a second build waits, then finds the results
        asyncio.run(_run_all(missing(), cache, jobs or os.cpu_count() or 1, report, done))
        prune(cache, KEPT)
    return results


async def _run_all(
    chapters: list[Chapter],
    cache: Path,
    jobs: int,
    report: Callable[[str], None],
    done: Callable[[Chapter, Result | WeaveError], None],
) -> None:
    import asyncio

    from tqdm import tqdm

    bar = tqdm(total=len(chapters), desc="executing chapters", disable=not sys.stderr.isatty())
    gate = asyncio.Semaphore(jobs)

    async def one(chapter: Chapter) -> None:
        async with gate:
            try:
                outcome: Result | WeaveError = await _run_chapter(chapter, cache)
            except WeaveError as error:
                outcome = error
        done(chapter, outcome)
        bar.update()
        if bar.disable:
            took = f"{outcome.seconds:.1f} s" if isinstance(outcome, Result) else "failed"
            report(f"executed {chapter.path.name}: {took}")

    await asyncio.gather(*(one(chapter) for chapter in chapters))
    bar.close()


async def _run_chapter(chapter: Chapter, cache: Path) -> Result:
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    parts = [Part("cell", SETUP, 1), *chapter.cells]
    cells = []
    for part in parts:
        code = f"print({part.text})" if part.kind == "inline" else part.text
        tags = ["raises-exception"] if "raises-exception" in part.options else []
        cells.append(nbformat.v4.new_code_cell(code, metadata={"tags": tags}))
    notebook = nbformat.v4.new_notebook(cells=cells)
    # One thread a kernel: several run at once, and sums then come out the same every time.
    environment = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment |= {
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        RESULTS: str(cache.resolve()),
    }
    with (
        tempfile.TemporaryDirectory(prefix="w", ignore_cleanup_errors=True) as sockets,
        tempfile.TemporaryFile() as log,
    ):
        manager = AsyncKernelManager(connection_file=str(Path(sockets) / "k.json"))
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        manager._kernel_spec = KernelSpec(argv=command, language="python", display_name="Python 3")
        if os.name != "nt":
            manager.transport, manager.ip = "ipc", str(Path(sockets) / "k")
        client = NotebookClient(notebook, km=manager, timeout=TIMEOUT)
        started = time.perf_counter()
        where = str(chapter.path.parent.resolve())
        await manager.start_kernel(
            cwd=where, env={**os.environ, **environment}, stdout=log, stderr=log
        )
        part = parts[0]
        try:
            await client.async_start_new_kernel_client()
            for index, (part, cell) in enumerate(zip(parts, cells, strict=True)):
                with contextlib.suppress(CellExecutionError):  # the output says it
                    await client.async_execute_cell(cell, index)
                _check(chapter, part, cell.outputs)
        except CellTimeoutError:
            why = f"this cell ran over {TIMEOUT} s: let it do less, or keep what takes long"
            raise WeaveError(chapter.path, part.line, f"{why}\n{part.text}") from None
        except RuntimeError as error:  # of a kernel that does not start, or dies
            log.seek(0)
            said = ANSI.sub("", log.read().decode(errors="replace")[-2000:])
            why = f"{error} (killed, or out of memory?): let this cell need less"
            raise WeaveError(chapter.path, part.line, f"{why}\n{part.text}\n{said}") from None
        finally:
            if client.kc:
                client.kc.stop_channels()
            if await manager.is_alive():
                await manager.shutdown_kernel()
            await manager.cleanup_resources()
        seconds = time.perf_counter() - started
    return Result([_tidy(cell.outputs) for cell in cells[1:]], seconds)


def _check(chapter: Chapter, part: Any, outputs: list[Any]) -> None:
    errors = [output for output in outputs if output.output_type == "error"]
    expected = "raises-exception" in part.options
    if errors and not expected:
        trace = ANSI.sub("", "\n".join(errors[0].traceback))
        said = f"{errors[0].ename}: {errors[0].evalue}"
        found = re.search(r"Cell In\[\d+\], line (\d+)", trace) if part.kind == "cell" else None
        line = part.line + (int(found[1]) if found else 0)
        raise WeaveError(chapter.path, line, f"{said}\nin the cell\n{part.text}\n{trace}")
    warned = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
    if warned:
        message = f"the cell writes to stderr, which no reader should see:\n{ANSI.sub('', warned)}"
        raise WeaveError(chapter.path, part.line, message)
    if expected and not errors:
        raise WeaveError(
            chapter.path, part.line, "this cell must raise (raises-exception) and did not"
        )


def _tidy(outputs: list[Any]) -> list[dict[str, Any]]:
    """Outputs as plain data: streams joined, escape codes and counters taken out."""
    tidy: list[dict[str, Any]] = []
    for output in json.loads(json.dumps(outputs)):
        output.pop("execution_count", None)
        if output["output_type"] == "stream":
            output["text"] = ANSI.sub("", output["text"])
            if tidy and tidy[-1].get("name") == output["name"]:
                tidy[-1]["text"] += output["text"]
                continue
        if output["output_type"] == "error":
            output["traceback"] = [ANSI.sub("", line) for line in output["traceback"]]
        tidy.append(output)
    return tidy
