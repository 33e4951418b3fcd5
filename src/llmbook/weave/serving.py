"""Under `mkdocs serve`: chapters run in the background, and a reader's page follows what changes.

A page is shown at once with its prose and code; an output that is still to come is a box that says
so. When a chapter has run, the book is built again, in which only its page is made anew.
"""

import functools
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llmbook.weave.chapter import Chapter, WeaveError
from llmbook.weave.engine import KEPT, Basis, Engine, Result, key
from llmbook.weave.sources import hash_of
from llmbook.weave.store import prune

Outcome = tuple[Result | WeaveError, Basis | None]

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
        self.lock = threading.Lock()

    def run(
        self,
        engine: Engine,
        chapters: list[Chapter],
        done: Callable[[Chapter, Result | WeaveError, Basis | None], None],
    ) -> None:
        """Begin to execute what does not run yet, stop what nobody wants, wait for none."""
        from llmbook.weave.processes import Processes

        self.pool = self.pool or ThreadPoolExecutor(engine.jobs)
        self.processes = self.processes or Processes(self.cache, fork=engine.fork)
        state = _state(engine)
        wanted = {
            f"{chapter.path} {key(chapter, engine.docs, engine.version)[0]} {state}": chapter
            for chapter in chapters
        }
        with self.lock:
            self.processes.preload(engine.libraries(chapters))
            for name in self.running.keys() - wanted:
                self.running.pop(name).cancel()
                self.processes.interrupt(name)
            for name, chapter in wanted.items():
                found = self.running.get(name)
                if found and found.done():
                    done(chapter, *found.result())
                elif not found:
                    future = self.pool.submit(engine.run_chapter, chapter, self.processes, name)
                    self.running[name] = future
                    future.add_done_callback(functools.partial(self._tell, chapter))

    def _tell(self, chapter: Chapter, future: Future[Outcome]) -> None:
        """Have the book built again."""
        if future.cancelled():
            return
        outcome, _ = future.result()
        took = f"{outcome.seconds:.1f} s" if isinstance(outcome, Result) else "failed"
        self.log.info(f"executed {chapter.path.name}: {took}")
        self.build_again()
        if all(other.done() for other in list(self.running.values())):
            prune(self.cache, KEPT)

    def build_again(self) -> None:
        """Let MkDocs, which watches a file, see a change."""
        self.finished.write_text(str(time.time()), encoding="utf-8")

    def close(self) -> None:
        """End what runs."""
        if self.pool:
            self.pool.shutdown(wait=False, cancel_futures=True)
        if self.processes:
            self.processes.interrupt()
            self.processes.close()
