// The book's Python, in a thread of its own. All that it loads lies beside this file.
import { loadPyodide } from "./pyodide.mjs";

const here = new URL(".", import.meta.url).href;
const say = (kind, rest) => postMessage({ kind, ...rest });
let python, kernel;

// Say how much has come. A compiled module stays as it is: the browser keeps what it made of its own answer.
const { fetch } = self;
self.fetch = async (...request) => {
  const answer = await fetch(...request);
  if (!answer.body || !answer.ok || answer.url.endsWith(".wasm")) return answer;
  const counted = new TransformStream({
    transform(chunk, out) {
      say("came", { bytes: chunk.byteLength });
      out.enqueue(chunk);
    },
  });
  return new Response(answer.body.pipeThrough(counted), answer);
};

const start = async ({ palette, files, missing }) => {
  try {
    new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])); // Pyodide would wait for ever
  } catch {
    throw new Error("this browser, or the policy of this site’s server, does not allow WebAssembly");
  }
  const env = { PYTHONHASHSEED: "0", SOURCE_DATE_EPOCH: "0", MPLBACKEND: "svg" };
  const book = fetch(here + "book.zip").then((answer) => answer.arrayBuffer());
  python = await loadPyodide({ indexURL: here, lockFileURL: here + "pyodide-lock.json", env });
  const site = python.runPython("import site; site.getsitepackages()[0]");
  python.unpackArchive(await book, "zip", { extractDir: site });
  const browser = python.pyimport("llmbook.weave.browser"), send = (text) => say("output", { output: JSON.parse(text) });
  browser.Files(site, files, (name) => python.toPy(content(here + name)).tobytes());
  kernel = browser.Kernel(send, palette, missing);
};

// Python waits for a file that it opens.
const content = (address) => {
  const request = new XMLHttpRequest();
  request.open("GET", address, false);
  request.responseType = "arraybuffer";
  request.send();
  if (request.status !== 200) throw new Error(`${address} does not come`);
  return new Uint8Array(request.response);
};

const run = async ({ code, name, needs }) => {
  await python.loadPackage(needs, { messageCallback() {}, errorCallback: (text) => say("trouble", { text }) });
  return { failure: JSON.parse(kernel.run(code, name)) };
};

const jobs = {
  start,
  begin: () => kernel.begin(),
  run,
  save: () => kernel.save(),
  restore: () => ({ restored: kernel.restore() }),
  size: () => ({ bytes: python._module.HEAPU8.length }),
};
self.onmessage = async ({ data }) => {
  try {
    say("done", await jobs[data.job](data));
  } catch (error) {
    say("broken", { text: error.message });
  }
};
