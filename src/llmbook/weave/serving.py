"""Under `mkdocs serve`: chapters run in the background, and a reader's page follows what changes.

A page is shown at once with its prose and code; an output that is still to come is a box that says
so. When a chapter has run, the book is built again, in which only its page is made anew.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmbook.weave.chapter import Chapter, WeaveError
from llmbook.weave.engine import KEPT, Basis, Engine, Outcome, Result
from llmbook.weave.sources import hash_of
from llmbook.weave.store import prune

TOGETHER = 1.0  # seconds in which chapters that have run are waited for, to be shown at once

RELOAD = Path(__file__).with_name("reload.js").read_text(encoding="utf-8")


def with_reload(html: str) -> str:
    """A page that is reloaded when it has changed."""
    name = hashlib.sha256(html.encode()).hexdigest()[:24]
    head = f'<meta name="weave-page" content="{name}"><script>{RELOAD}</script></head>'
    return html.replace("</head>", head, 1)


def _state(engine: Engine) -> str:
    """The files that a chapter may read: when one changes, what failed is tried again."""
    files = {file for root in engine.data_roots for file in root.rglob("*") if file.is_file()}
    own = sorted(file for file in files if file.suffix not in {".md", ".pyc"})
    return hash_of(json.dumps([(str(file), file.stat().st_mtime_ns) for file in own]))


class Background:
    """Executes chapters while the book is served.

    Args:
        cache: The store's folder.
        log: Is told what was executed.
    """

    def __init__(self, cache: Path, log: logging.LoggerAdapter[Any]) -> None:
        self.cache, self.log = cache, log
        self.finished = cache / "finished"  # is touched when a chapter has run
        cache.mkdir(parents=True, exist_ok=True)
        self.finished.touch()
        self.running: dict[str, Future[Outcome]] = {}
        self.pool: ThreadPoolExecutor | None = None
        self.processes: Any = None
        self.lock = threading.RLock()
        self.libraries: set[str] = set()
        self.closed = False
        self.may_begin = threading.Event()
        self.timer: threading.Timer | None = None

    def run(
        self,
        engine: Engine,
        chapters: list[Chapter],
        done: Callable[[Chapter, Result | WeaveError, Basis | None], None],
    ) -> None:
        """Begin to execute what does not run yet, stop what nobody wants, wait for none."""
        self.pool = self.pool or ThreadPoolExecutor(engine.jobs)
        self.processes = self.processes or engine.new_processes()
        state = _state(engine)
        wanted = {
            f"{chapter.path} {engine.key(chapter)[0]} {state}": chapter for chapter in chapters
        }
        with self.lock:
            self.libraries |= engine.libraries(chapters)
            for name in self.running.keys() - wanted:
                self.running.pop(name).cancel()
                self.processes.interrupt(name)
            for name, chapter in wanted.items():
                found = self.running.get(name)
                if found and found.done():
                    done(chapter, *found.result())
                elif not found:
                    future = self.pool.submit(self._execute, engine, chapter, name)
                    self.running[name] = future
                    future.add_done_callback(self._tell)

    def begin(self) -> None:
        """Execute what waits: the first build is done, and its server about to start."""
        self.may_begin.set()

    def _execute(self, engine: Engine, chapter: Chapter, name: str) -> Outcome:
        self.may_begin.wait()
        with self.lock:
            if self.closed:
                raise CancelledError
            self.processes.preload(self.libraries)
        if found := engine.find(chapter):  # one with the same cells has run since
            return found
        outcome, basis = engine.run_chapter(chapter, self.processes, name)
        took = f"{outcome.seconds:.1f} s" if isinstance(outcome, Result) else "failed"
        self.log.info(f"executed {chapter.path.name}: {took}")
        return outcome, basis

    def _tell(self, future: Future[Outcome]) -> None:
        """Have the book built again."""
        try:
            future.result()
        except CancelledError:
            return
        self.build_again()
        if all(other.done() for other in list(self.running.values())):
            prune(self.cache, KEPT)

    def build_again(self) -> None:
        """Let MkDocs, which watches a file, see a change; of several at once, one."""
        with self.lock:
            if self.timer is None or not self.timer.is_alive():
                self.timer = threading.Timer(TOGETHER, self._touch)
                self.timer.start()

    def _touch(self) -> None:
        self.finished.write_text(str(time.time()), encoding="utf-8")

    def close(self) -> None:
        """End what runs."""
        with self.lock:
            self.closed = True
            self.may_begin.set()
            if self.timer:
                self.timer.cancel()
        if self.pool:
            self.pool.shutdown(wait=False, cancel_futures=True)
        if self.processes:
            self.processes.interrupt()
            self.processes.close()
