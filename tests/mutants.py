"""Which test catches each of `llmbook.mutants`: `make mutants` prints the table.

Each mutant's module is put in a copy of the package, and the module's own tests run against that.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

import llmbook
from llmbook.mutants import Mutant, mutants, source_file
from tests.book import ROOT


def run_tests(module: str, source: str) -> tuple[int, str]:
    """Pytest's exit status against a copy of the package with this source, and what failed first."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "llmbook"
        ours = Path(llmbook.__file__).parent
        shutil.copytree(ours, package, ignore=shutil.ignore_patterns("vendor"))
        (package / source_file(module).relative_to(ours)).write_text(source, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            file_of_tests(module),
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
        ]
        environment = {**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    failed = re.search(r"(?m)^FAILED \S+?::(\S+)", done.stdout)
    return done.returncode, failed[1] if failed else done.stdout[-2000:] + done.stderr


def file_of_tests(module: str) -> str:
    """The tests of a module: where it lies in the package, they lie in `tests`."""
    room, _, name = module.rpartition(".")
    return f"tests/{room}/test_{name}.py" if room else f"tests/test_{name}.py"


def run_right(module: str) -> tuple[int, str]:
    """The same for the module as it is."""
    return run_tests(module, source_file(module).read_text("utf-8"))


def judge(mutant: Mutant, source: str) -> str | None:
    """The test that kills it; None if it lives."""
    status, first = run_tests(mutant.module, source)
    if status not in (0, 1):  # it did not run, which kills nothing
        raise RuntimeError(f"the tests of {mutant.module} did not run: {first}")
    return first if status else None


def main() -> None:
    """Judge all, or those of the modules named on the command line."""
    names = sys.argv[1:] or list(dict.fromkeys(mutant.module for mutant in mutants()))
    todo = [mutant for name in names for mutant in mutants(name)]
    sources = [mutant.source for mutant in todo]  # now, so that an edit meanwhile changes nothing
    bar = tqdm(total=len(names) + len(todo), disable=not sys.stderr.isatty())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sound = {}
        for name, result in zip(names, pool.map(run_right, names), strict=True):
            sound[name] = result
            bar.update()
        if broken := [f"{name} ({first})" for name, (status, first) in sound.items() if status]:
            sys.exit(f"without any mutant, tests fail already: {', '.join(broken)}")
        verdicts = []
        for verdict in pool.map(judge, todo, sources):
            verdicts.append(verdict)
            bar.update()
    bar.close()
    print(f"{'module':28}{'mistake':58}caught by")
    for mutant, verdict in zip(todo, verdicts, strict=True):
        print(f"{mutant.module:28}{mutant.mistake:58}{verdict or 'NOTHING'}")
    alive = verdicts.count(None)
    print(f"\n{len(todo) - alive} of {len(todo)} mutants caught")
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
