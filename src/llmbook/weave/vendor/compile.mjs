// `node compile.mjs FOLDER FILE...`: in zips of Python, put bytecode in place of what is imported at the start, by the Python that runs it.
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

const [home, ...files] = process.argv.slice(2);
const { loadPyodide } = await import(`${home}/pyodide.mjs`);
const python = await loadPyodide({ indexURL: home, env: { MPLBACKEND: "svg", PYTHONHASHSEED: "0" } });
await python.loadPackage("matplotlib", { messageCallback() {} });
const compiled = python.runPython(`
import io, sys, warnings, zipfile
from importlib._bootstrap_external import _code_to_hash_pyc

warnings.simplefilter("ignore")
import decimal, html, http.client, inspect, json, statistics, textwrap, xml.etree.ElementTree
import matplotlib.pyplot, numpy, PIL.Image
matplotlib.pyplot.figure().savefig(io.BytesIO())
started = {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}

def compiled(data, where):
    source, made = zipfile.ZipFile(io.BytesIO(bytes(data))), io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name in sorted(source.namelist()):
            body = source.read(name)
            if where + name in started and name.endswith(".py"):
                code = compile(body, where + name, "exec", dont_inherit=True, optimize=0)
                body, name = _code_to_hash_pyc(code, bytes(8), False), name + "c"  # nothing is compared
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), body, zipfile.ZIP_DEFLATED, 9)
    return made.getvalue()

compiled`);
for (const file of files) {
  const where = basename(file) === "python_stdlib.zip" ? "/lib/python314.zip/" : "/lib/python3.14/site-packages/";
  writeFileSync(file, compiled(python.toPy(new Uint8Array(readFileSync(file))), where).toJs());
}
process.exit(0); // Pyodide keeps the process alive
