"""Keep what takes long to make: results by a key that changes when they would.

Chapters' results lie here, and what a cell computes through `kept`. Docstrings and comments are in
no key; see `llmbook.weave.engine` for a chapter's.
"""

import contextlib
import json
import operator
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from llmbook.weave.sources import KNOWN, Package, Sources, hash_of, is_own, package_root

P = ParamSpec("P")
T = TypeVar("T")

RESULTS = "LLMBOOK_RESULTS"  # the environment variable that tells a kernel where the store is
TAG = "CACHEDIR.TAG"  # by which backups, too, know a store, if it begins with the signature
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
VARIANTS = 8  # of what a result depended on, when it was made lately
KEPT = 10_000  # values, of some hundred bytes each: 20 for each chapter's result in a full store
NO_ROOM = "make room there, or give the right to write"  # what mends an OSError
STARTED = time.time()  # what has been edited since may not be what this process has imported
MODULES: set[str] = set()  # the files that what was kept depends on, for the chapter that asks
DATA: set[str] = set()


def version_of(name: str) -> str | None:
    """The version of an installed distribution, if it is one."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees all of it or none of it.

    Raises:
        OSError: If there is no room or no right to write; nothing is left of the attempt.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None


def changed_at(file: Path) -> float:
    """When a file came to be as it is; where the system knows, not what was written on it."""
    stat = file.stat()
    return stat.st_mtime if os.name == "nt" else stat.st_ctime


def save(path: Path, **fields: Any) -> None:
    """Store a result under a seal, by which `load` knows one that was damaged or moved."""
    text = json.dumps(fields)
    write_atomically(path, f"{hash_of(path.stem + text)}\n{text}")


def load(path: Path, *fields: str) -> list[Any] | None:
    """Some fields of a stored result, which counts as used; `None` if it is absent or damaged."""
    try:
        seal, text = path.read_text(encoding="utf-8").split("\n", 1)
        stored = json.loads(text) if seal == hash_of(path.stem + text) else {}
        found = [stored[field] for field in fields]
    except (OSError, ValueError, KeyError):
        return None
    with contextlib.suppress(OSError):  # the store may be read-only
        os.utime(path)
    return found


def turn(lock: Path, report: Callable[[str], None]) -> contextlib.AbstractContextManager[Any]:
    """A lock that one build holds at a time, once it is held; who has to wait for it says so."""
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        return held.acquire(timeout=1)
    except Timeout:
        report(f"waiting for another build to end, which holds {lock}")
        return held.acquire()


def check_store(folder: Path, docs: Path) -> None:
    """Mark a folder as a store; one in which somebody else's files may be is refused.

    Raises:
        ValueError: If it holds the chapters, would be published with them, or has other files and
            is no store.
    """
    place, book = folder.resolve(), docs.resolve()
    if book.is_relative_to(place):
        raise ValueError(f"cache: {folder} holds the chapters: name a folder for the store alone")
    if place.is_relative_to(book) and is_own(place.relative_to(book)):
        raise ValueError(f"cache: {folder} would be published: name a folder outside of {docs}")
    with contextlib.suppress(FileNotFoundError):
        held = {file.name for file in place.iterdir()}
        if held and not held & {TAG, KNOWN}:
            raise ValueError(f"cache: {folder} has files and is no store: name a new folder")
    with contextlib.suppress(OSError):  # it may be read-only
        place.mkdir(parents=True, exist_ok=True)
        if not (place / TAG).exists():
            (place / TAG).write_text(f"{SIGNATURE}\n# What llmbook.weave keeps.\n", "utf-8")


def prune(folder: Path, limit: int) -> None:
    """Leave a folder's `limit` last used results, and nothing of killed attempts to write one."""
    for part in folder.glob("*.part"):
        if changed_at(part) < STARTED:
            part.unlink(missing_ok=True)
    for file in sorted(folder.glob("*.json"), key=lambda f: f.stat().st_mtime)[:-limit]:
        file.unlink()
        file.with_suffix(".lock").unlink(missing_ok=True)


def kept(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function once; from then on give what it returned then.

    What it returned is used again in every process until the code of the function's module changes,
    or of a module of its package that it imported, directly or not, or a data file that these name,
    an argument, or the version of Python, NumPy or PyTorch. If several processes ask for the same,
    one computes and the others wait. Randomness must come from a seed among the arguments.

    Nothing is kept from a process older than the source, of which it may have imported an earlier
    state.

    Args:
        function: Defined at the top level of a module of a package.
        args: What JSON can hold, tuples, bytes and NumPy arrays; of a `Path`, the file's content
            counts.
        kwargs: The same, by name.

    Returns:
        What the function returns, after a way through JSON also the first time.

    Raises:
        ValueError: If the function is defined elsewhere: its source could not be followed.
        TypeError: If JSON cannot hold what it returns, or an argument has no content to go by.

    Examples:
        ```python
        from llmbook.experiments.copying import copy_accuracy
        from llmbook.weave.store import kept

        kept(copy_accuracy, "lstm", length=16, steps=400, seed=0)
        ```
    """
    module, name = _place(function)
    folder = _folder()
    package = module.partition(".")[0]
    sources = Sources(folder, {package: package_root(package)})
    code = Package(package, sources)
    closure = code.closure([module])
    versions = [sys.version_info[:3], version_of("numpy"), version_of("torch")]
    called = [f"{module}.{name}", _content(list(args)), _content(kwargs)]
    listed = hash_of(json.dumps([called, versions]))
    variants = folder / "kept" / KNOWN / f"{listed}.json"

    def place(modules: Iterable[str]) -> tuple[Path, list[Path], list[Path]]:
        """Where a value is that was made with some modules; their files, and the data they name."""
        files = [code.files[m] for m in sorted(modules) if m in code.files]
        data = code.data(m for m in modules if m in code.files)
        names = [f"module {sources.name(file)}" for file in files]
        names += [f"file {sources.name(file)}" for file in data]
        state = hash_of(json.dumps([listed, sources.state(names)]))
        return folder / "kept" / f"{state}.json", files, data

    def depend(files: list[Path], data: list[Path]) -> None:
        MODULES.update(map(str, files))
        DATA.update(map(str, data))

    def find() -> list[Any] | None:
        for modules in (load(variants, "variants") or [[]])[0]:
            path, *made_from = place(modules)
            if found := load(path, "value"):
                depend(*made_from)
                return found
        return None

    if found := find():
        return found[0]  # type: ignore[no-any-return]
    from filelock import FileLock

    edited = any(changed_at(code.files[m]) >= STARTED for m in closure)
    variants.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(variants.with_suffix(".lock")):
        if found := find():  # another process has made it while we waited
            return found[0]  # type: ignore[no-any-return]
        value = function(*args, **kwargs)
        _check(value, f"{module}.{name}")
        modules = sorted(closure & set(sys.modules))  # of those that it could import
        path, *made_from = place(modules)
        depend(*made_from)
        if not edited:
            save(path, function=f"{module}.{name}", value=value)
            before = (load(variants, "variants") or [[]])[0]
            others = [variant for variant in before if variant != modules]
            save(variants, variants=[modules, *others][:VARIANTS])
    with FileLock(folder / "kept" / "lock"):
        prune(folder / "kept", KEPT)
        prune(variants.parent, KEPT)
    return json.loads(json.dumps(value))  # type: ignore[no-any-return]


@contextlib.contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Let `kept` find, for a while, what chapters whose store is a folder have kept there."""
    before = os.environ.get(RESULTS)
    os.environ[RESULTS] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[RESULTS]
        else:
            os.environ[RESULTS] = before


def _folder() -> Path:
    """Where the engine tells its kernels; for everyone else, in the user's cache."""
    if folder := os.environ.get(RESULTS):
        return Path(folder)
    import platformdirs

    cache = os.environ.get("LLMBOOK_CACHE") or platformdirs.user_cache_path("llmbook", False)
    return Path(cache).expanduser() / "results"


def _place(function: Callable[..., Any]) -> tuple[str, str]:
    """The module that a function is found in, and its name there."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):  # a lambda, a function within another, an object
        found = None
    if found != function or "." not in module:
        raise ValueError(
            f"function must be at the top level of a module of the package, got {name} of "
            f"{module or 'no module'}: move it to src/llmbook/, where its source can be followed"
        )
    return module, name


def _content(argument: Any) -> Any:
    """An argument as JSON in which different ones differ."""
    if argument is None or type(argument) in (bool, int, float, str):
        return argument
    if isinstance(argument, (list, tuple)):
        return [type(argument).__name__, *map(_content, argument)]
    if isinstance(argument, dict):
        return ["dict", *([_content(k), _content(v)] for k, v in argument.items())]
    if isinstance(argument, Path):
        return ["file", hash_of(argument.read_bytes())]
    try:
        view = memoryview(argument)
    except TypeError:
        view = None
    if view is None or "O" in view.format:  # addresses of objects
        raise TypeError(
            "arguments must be what JSON can hold, tuples, bytes, NumPy arrays or paths, "
            f"got {type(argument).__name__}"
        )
    return ["bytes", view.format, view.shape, hash_of(view.tobytes())]


def _check(value: Any, name: str) -> None:
    """Refuse what would not come back from JSON as it was."""
    if type(value) is list:
        inside: Iterable[Any] = value
    elif type(value) is dict and all(type(key) is str for key in value):
        inside = value.values()
    elif value is None or type(value) in (bool, int, float, str):
        inside = ()
    else:
        what = "dict with keys that are no str" if type(value) is dict else type(value).__name__
        raise TypeError(
            f"{name} must return what JSON can hold (numbers, str, list, dict, None), got {what}"
        )
    for part in inside:
        _check(part, name)
