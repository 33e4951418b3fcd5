// Trains llmbook.numpy_gpt in the page: the worker of live cells makes some steps at a time, and this script shows what has come of them.
const home = new URL("../live/", import.meta.url);
const ROUND = 300; // steps until the reader is asked whether to go on
const SAMPLE = 50; // steps between two samples
const CURVE = `<svg class="x-curve" viewBox="0 0 324 170" role="img" aria-label="Loss by step"><path class="x-axes" d="M30 8V145H316"/><text x="25" y="18" text-anchor="end" class="x-high"></text><text x="25" y="147" text-anchor="end">0</text><text x="30" y="164">1</text><text x="316" y="164" text-anchor="end" class="x-last"></text><polyline points=""/></svg>`;
const HELPERS = `
import base64, json
from llmbook.numpy_gpt import Trainer
def given(text):
    return base64.b64decode(text).decode()
def report(steps, sample):
    losses = trainer.run(steps)
    looks = trainer.looks(start)
    found = {"losses": losses, "looks": looks.round(3).tolist()}
    if sample:
        found["sample"] = start[:12] + trainer.write(start[:12], 60)
    print(json.dumps(found))
`;

const start = (root) => {
  const find = (selector) => root.querySelector(selector);
  const text = find("#x-learn"), seed = find("#x-train-seed"), go = find("[data-train=go]"), open = find("[data-train=open]"), said = find(".x-said"), bar = find(".x-load-bar");
  const size = document.getElementById("trainer-size")?.textContent.trim();
  let worker, losses = [], running = false, fresh = true, trained, looks;

  const say = (what, wrong = false) => {
    said.textContent = what;
    said.classList.toggle("wrong", wrong);
  };
  const number = (value) => value.toFixed(3);

  // --- the worker ----------------------------------------------------------------------------

  const ask = (message, hear = () => {}) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.kind === "done" ? resolve(data) : data.kind === "broken" ? reject(new Error(data.text)) : hear(data));
      worker.onerror = () => reject(new Error("this browser starts no worker from a module"));
      worker.postMessage(message);
    });
  const python = async (code) => {
    let printed = "";
    const { failure } = await ask({ job: "run", code, name: "trainer", needs: ["numpy"] }, ({ kind, output, bytes }) => (kind === "output" ? (printed += output.text ?? "") : kind === "came" && came(bytes)));
    if (failure) throw new Error(failure.evalue);
    return printed;
  };
  let total = 0, sum = 0;
  const came = (bytes) => (find("progress").value = Math.min(1, (sum += bytes) / total));
  const load = async () => {
    bar.hidden = false;
    say("Loading Python …");
    try {
      const { sizes, files, missing } = await (await fetch(new URL("parts.json", home))).json();
      [total, sum] = [sizes.python + sizes.numpy, 0];
      worker = new Worker(new URL("worker.js", home), { type: "module" });
      await ask({ job: "start", palette: "llmbook.plots.palette", files, missing }, ({ kind, bytes }) => kind === "came" && came(bytes));
      await python(HELPERS);
    } catch (error) {
      worker?.terminate();
      worker = undefined;
      throw new Error(`Python did not start: ${error.message}. Another browser, or a reload, may help.`);
    } finally {
      bar.hidden = true;
    }
  };
  const packed = (words) => btoa(String.fromCharCode(...new TextEncoder().encode(words)));
  const begin = async () => {
    const chosen = Number(seed.value.trim() || NaN), right = Number.isInteger(chosen) && chosen >= 0 && chosen < 2 ** 31;
    seed.setAttribute("aria-invalid", String(!right));
    if (!right) throw new Error(`Seed must be a whole number from 0 to 2³¹, got “${seed.value}”.`);
    await python(`trainer = Trainer(given("${packed(text.value)}"), seed=${chosen}); start = trainer.tokenizer.decode(trainer.token_ids[:24])`);
    [losses, fresh, trained] = [[], false, text.value];
    find(".x-sample").textContent = "";
  };

  // --- what is shown -------------------------------------------------------------------------

  const curve = () => {
    const highest = Math.max(...losses), last = Math.max(losses.length, 2);
    const points = losses.map((loss, i) => `${(30 + (286 * i) / (last - 1)).toFixed(1)},${(145 - (132 * loss) / highest).toFixed(1)}`);
    find(".x-curve polyline").setAttribute("points", points.join(" "));
    find(".x-high").textContent = highest.toFixed(1);
    find(".x-last").textContent = losses.length;
    find(".x-curve").setAttribute("aria-label", `Loss by step: from ${number(losses[0])} at step 1 to ${number(losses.at(-1))} at step ${losses.length}`);
    find(".x-count").textContent = `Step ${losses.length}, loss ${number(losses.at(-1))}`;
  };
  const heads = () => {
    const style = getComputedStyle(root), ramp = Array.from({ length: 11 }, (_, i) => style.getPropertyValue(`--seq-${i}`));
    const box = find(".x-heads div");
    if (!box.childElementCount)
      looks.forEach((layer, l) => {
        const row = box.appendChild(document.createElement("div"));
        row.className = "x-layer";
        row.append(Object.assign(document.createElement("span"), { textContent: `Layer ${l + 1}` }));
        layer.forEach(() => {
          const frame = row.appendChild(document.createElement("span"));
          frame.className = "x-look";
          frame.append(Object.assign(document.createElement("canvas"), { width: 72, height: 72, ariaHidden: "true" }), document.createElement("small"));
        });
      });
    looks.flat().forEach((weights, i) => {
      const frame = box.querySelectorAll(".x-look")[i], pen = frame.firstChild.getContext("2d"), side = 72 / weights.length;
      pen.clearRect(0, 0, 72, 72);
      weights.forEach((row, t) => row.slice(0, t + 1).forEach((weight, s) => {
        pen.fillStyle = ramp[Math.round(10 * weight)];
        pen.fillRect(s * side, t * side, side + 0.3, side + 0.3);
      }));
      const back = weights.slice(1).reduce((a, row, t) => a + row[t], 0) / Math.max(1, weights.length - 1);
      frame.lastChild.textContent = `one back ${back.toFixed(2)}`;
    });
  };

  // --- the course ----------------------------------------------------------------------------

  const train = async () => {
    find(".x-course").hidden = false;
    const goal = losses.length + ROUND;
    let steps = 2;
    while (running && losses.length < goal) {
      const before = performance.now();
      steps = Math.min(steps, goal - losses.length, SAMPLE - (losses.length % SAMPLE));
      const sampled = (losses.length + steps) % SAMPLE === 0;
      const found = JSON.parse(await python(`report(${steps}, ${sampled ? "True" : "False"})`));
      losses.push(...found.losses);
      looks = found.looks;
      curve();
      heads();
      if (found.sample) find(".x-sample").textContent = `It writes: ${found.sample}`;
      if (losses.length % 100 === 0) say(`Step ${losses.length}, loss ${number(losses.at(-1))}.`);
      if (!sampled) steps = Math.max(1, Math.min(20, Math.round((steps * 300) / (performance.now() - before)))); // a third of a second
    }
    say(`${running ? "Done for now" : "Stopped"} at step ${losses.length}, loss ${number(losses.at(-1))}. Go on, or open it in the explorer.`);
  };
  const idle = () => {
    running = false;
    go.textContent = fresh ? (worker ? "Train" : label) : "Go on";
    open.disabled = !losses.length;
  };
  const label = size ? `Load Python (${size}) and train` : go.textContent;
  go.addEventListener("click", async () => {
    if (running) return void (running = false); // after the steps that it makes
    running = true;
    go.textContent = "Stop";
    open.disabled = true;
    try {
      if (!worker) await load();
      if (fresh) await begin();
      if (running) say("Training …");
      await train();
    } catch (error) {
      say(error.message, true);
    }
    idle();
  });
  open.addEventListener("click", async () => {
    open.disabled = true;
    try {
      const file = atob((await python("print(base64.b64encode(trainer.file()).decode())")).trim());
      const buffer = Uint8Array.from(file, (char) => char.charCodeAt(0)).buffer, name = `Your model, after ${losses.length} steps`;
      document.getElementById("explorer").dispatchEvent(new CustomEvent("model", { detail: { buffer, name, text: trained.slice(0, 24) } }));
    } catch (error) {
      say(error.message, true);
    }
    open.disabled = false;
  });
  root.addEventListener("input", () => {
    fresh = true; // what is changed counts from the beginning
    running = false;
    if (go.textContent !== "Stop") idle();
  });
  new MutationObserver(() => looks && heads()).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  find(".x-count").insertAdjacentHTML("afterend", CURVE);
  go.textContent = label;
  root.hidden = false;
};

const root = document.getElementById("trainer");
if (root?.hidden) start(root);
