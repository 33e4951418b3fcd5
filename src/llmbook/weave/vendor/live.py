"""The Python that live cells run in: Pyodide, NumPy and matplotlib, as small as pages need them.

Pyodide is npm's. Its wheels are in no registry of their own; one distribution of PyPI carries
them, and each must have the SHA-256 that the lock of npm's Pyodide gives.
"""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = {
    "pyodide": "314.0.3",
    "esbuild": "0.28.2",
    "@codemirror/commands": "6.11.1",
    "@codemirror/lang-python": "6.2.1",
    "@codemirror/language": "6.13.1",
    "@codemirror/state": "6.7.6",
    "@codemirror/view": "6.43.15",
    "@lezer/highlight": "1.2.5",
}
CARRIER = "open-webui", "0.12.4"
LICENCES = """What live cells load, made by `python -m llmbook.weave.vendor live`: unchanged but for files left
out and sources compiled to bytecode. Each wheel holds its own licence.

pyodide.*          Pyodide {pyodide}, MPL-2.0; its source: https://github.com/pyodide/pyodide/tree/{pyodide}
python_stdlib.zip  the standard library of Python, PSF-2.0; its source: https://github.com/python/cpython
*.whl              as built for Pyodide {pyodide}: https://github.com/pyodide/pyodide-recipes
editor.js          CodeMirror 6, MIT, Marijn Haverbeke and others: https://codemirror.net
"""
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
DRAWS = "cycler kiwisolver matplotlib packaging pillow pyparsing python-dateutil six".split()
WHEELS = ("numpy", *DRAWS)
LEFT_OUT = re.compile(  # what no page imports: tests, headers, other fonts, screens, other formats
    r"(^|/)(tests?|testing/(?!__init__|overrides|_private)|include|sample_data|sphinxext|f2py|_pyinstaller)/"
    r"|\.(pyi|a|lib|h|hpp|pxd|pyx)$|/fonts/(?!ttf/DejaVuSans\.ttf)|mpl-data/(images|plot_directive)/"
    r"|^mpl_toolkits/|_qhull|_tkagg|/_tri\.|backend_(gtk|qt|wx|tk|mac|web|nbagg)|qt_editor|web_backend"
    r"|_imagingft|_webp|_avif|_imagingcms|^(idlelib|lib2to3|pydoc_data|turtledemo|ensurepip|_pyrepl)/"
)


def make(node: Path, folder: Path, target: Path) -> None:
    """Write all that live cells load, with the licences.

    Args:
        node: Where npm has installed `PACKAGES`.
        folder: For what is only needed meanwhile.
        target: Where the files go; what is there is forgotten.

    Raises:
        ValueError: If a wheel is not the one of the lock.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in CORE:
        shutil.copyfile(node / "pyodide" / name, target / name)
    lock = json.loads((node / "pyodide/pyodide-lock.json").read_text(encoding="utf-8"))
    packages = {name: lock["packages"][name] for name in WHEELS}
    with zipfile.ZipFile(_carrier(folder)) as carrier:
        for package in packages.values():
            data = carrier.read(f"open_webui/frontend/pyodide/{package['file_name']}")
            if hashlib.sha256(data).hexdigest() != package["sha256"]:
                raise ValueError(f"{package['file_name']} is not the one of Pyodide's lock")
            (target / package["file_name"]).write_bytes(data)
    zips = [*target.glob("*.zip"), *target.glob("*.whl")]
    for packed in zips:
        _slim(packed)
    _lock(target, lock, packages)
    paths = [HERE / "compile.mjs", *(path.resolve() for path in (target, *zips))]
    subprocess.run(["node", *map(str, paths)], check=True)
    _lock(target, lock, packages)
    said = LICENCES.format(**PACKAGES)
    (target / "licences.txt").write_text(said, encoding="utf-8")
    shutil.copyfile(HERE / "editor.mjs", node.parent / "editor.mjs")
    bundle = ["node_modules/.bin/esbuild", "editor.mjs", "--bundle", "--minify", "--format=esm"]
    editor = f"--outfile={target.resolve() / 'editor.js'}"
    subprocess.run([*bundle, editor, "--log-level=error"], cwd=node.parent, check=True)


def _carrier(folder: Path) -> Path:
    """The distribution that carries the wheels."""
    wanted = "==".join(CARRIER)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    subprocess.run([*command, wanted], check=True)
    (found,) = folder.glob("open_webui-*.whl")
    return found


def _slim(file: Path) -> None:
    """Take out of a zip what no page imports."""
    made = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as kept:
        for entry in source.infolist():
            if not entry.is_dir() and not LEFT_OUT.search(entry.filename):
                kept.writestr(entry.filename, source.read(entry))
    file.write_bytes(made.getvalue())


def _lock(target: Path, lock: dict[str, Any], packages: dict[str, dict[str, Any]]) -> None:
    """Write a lock that knows no other packages, and these as they are now."""
    for package in packages.values():
        made = (target / package["file_name"]).read_bytes()
        package["sha256"] = hashlib.sha256(made).hexdigest()
        package["depends"] = [name for name in package["depends"] if name in WHEELS]
    text = json.dumps({"info": lock["info"], "packages": packages}, separators=(",", ":"))
    (target / "pyodide-lock.json").write_text(f"{text}\n", encoding="utf-8")
