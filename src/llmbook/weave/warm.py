"""A process that has imported what chapters need, and forks one for each: on Linux alone.

A fork has in a millisecond what imports take seconds for, and shares nothing that it changes.
`python -m llmbook.weave.warm DESCRIPTOR MODULE...` waits on a socket for chapters.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import random
import signal
import socket
import sys
import time

from llmbook.weave import kernel

DEATH = 1  # PR_SET_PDEATHSIG: the signal that comes when the parent ends


def preload(modules: list[str]) -> None:
    """Import modules, those of IPython too; what cannot be imported, a chapter will report."""
    for name in ["IPython.core.interactiveshell", "IPython.core.completer", *modules]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def child(request: int, answers: int, log: int) -> None:
    """Be the process of one chapter, as a new one would be, and end with the parent."""
    ctypes.CDLL(None).prctl(DEATH, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(log, 2)
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    kernel.serve(request, answers)


def reap(*_: object) -> None:
    """Let no child that has ended stay, and count its time as this process's own."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main(descriptor: int, modules: list[str]) -> None:
    """Fork a process for each chapter that comes, until the other end of the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine hears it, and ends this
    signal.signal(signal.SIGCHLD, reap)
    preload(modules)
    gc.freeze()  # so that no collection touches, and so copies, what is shared
    with socket.socket(fileno=descriptor) as chapters:
        while True:
            _, files, *_ = socket.recv_fds(chapters, 1, 3)
            if not files:
                break
            if os.fork() == 0:
                chapters.close()
                try:
                    child(*files)
                finally:
                    os._exit(0)
            for file in files:
                os.close(file)
    with contextlib.suppress(ChildProcessError):  # one may be about to end; others die with us
        for _ in range(50):
            os.waitpid(-1, os.WNOHANG)
            time.sleep(0.01)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
