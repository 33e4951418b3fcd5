// The explorer: reads a sentence with a small GPT in the page, and shows what happens inside. Nothing that is typed or opened leaves it.
import { drawn, FileError, Model, randomly, ranked } from "./model.js";

const MOST = 96; // tokens that a page shows
const BARS = 10; // tokens whose bars are shown
const SIZE = 50_000_000; // bytes that a file may have
const TEXTS = {
  scores: "How well each token fits what a token looks for: the dot product of its key and the query, over the root of their width. Blue is below zero, amber above.",
  masked: "The same, after the mask: what comes later is forbidden (a dot), whatever its score.",
  weights: "What is left, by softmax, as weights: each row sums to 1. Darker is stronger in the light scheme, lighter in the dark one.",
  mixed: "What the chosen token takes along: each token’s value times its weight, number by number, and in the last row their sum, the head’s result.",
};

const start = (root) => {
  const find = (selector) => root.querySelector(selector);
  const all = (selector) => [...root.querySelectorAll(selector)];
  const make = (tag, content = "", attributes = {}) => {
    const made = document.createElement(tag);
    made.append(...[content].flat());
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const text = find("#x-text"), said = find(".x-said"), load = find(".x-load"), file = find("#x-file");
  const size = document.getElementById("explorer-size")?.textContent.trim();
  let model, added = [], seen, at = 0, layer = 0, head = 0, random, timer;

  const say = (what, wrong = false) => {
    said.textContent = what;
    said.classList.toggle("wrong", wrong);
  };
  const shown = (id) => model.tokenizer.token(id).replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "→") || "(nothing)";
  const quoted = (id) => `“${model.tokenizer.token(id)}”`;
  const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
  const share = (p) => (p === 0 ? "0 %" : p < 0.001 ? "under 0.1 %" : `${(100 * p).toFixed(1)} %`);
  const step = () => find("[name=x-step]:checked").value;
  const settings = () => [+find("#x-temperature").value, +find("#x-top-p").value];

  // --- loading -------------------------------------------------------------------------------

  const opened = (buffer, name) => {
    model = new Model(buffer);
    added = [], layer = 0, head = 0;
    find(".x-room").hidden = false;
    const { num_layers, num_heads, max_len, d_model } = model.config;
    build();
    read();
    const missed = seen ? "" : " Type at least one character.";
    say(`${name}: ${model.parameters.toLocaleString("en")} parameters, ${num_layers} layers of ${num_heads} heads, width ${d_model}, reads ${Math.min(max_len, MOST)} tokens.${missed}`);
  };
  const attempt = async (button, work) => {
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      say(error instanceof FileError ? error.message : `That did not work: ${error.message}`, true);
    }
    button.disabled = false;
  };
  load.addEventListener("click", () =>
    attempt(load, async () => {
      say("Loading …");
      const answer = await fetch(new URL("model.safetensors", import.meta.url));
      if (!answer.ok) throw new Error(`the server answers ${answer.status} for the model. Reload the page, or open a file of your own.`);
      opened(await answer.arrayBuffer(), "The book’s model");
      file.value = "";
    }),
  );
  file.addEventListener("change", () =>
    attempt(file, async () => {
      const [chosen] = file.files;
      if (!chosen) return;
      if (chosen.size > SIZE) throw new FileError(`${chosen.name} has ${(chosen.size / 1e6).toFixed(0)} MB, and a page opens ${SIZE / 1e6}. Take a smaller model.`);
      try {
        opened(await chosen.arrayBuffer(), chosen.name);
      } catch (error) {
        file.value = "";
        throw error instanceof FileError ? new FileError(`${chosen.name}: ${error.message}`) : error;
      }
    }),
  );

  root.addEventListener("model", ({ detail }) => {
    text.value = detail.text;
    opened(detail.buffer, detail.name);
    root.scrollIntoView();
    text.focus();
  });

  // --- reading -------------------------------------------------------------------------------

  const read = () => {
    const whole = [...model.tokenizer.encode(text.value), ...added], most = Math.min(MOST, model.config.max_len);
    const { ids, left } = model.window(whole, most);
    const written = find(".x-written");
    written.hidden = !added.length;
    written.textContent = `… ${model.tokenizer.decode(added)}`;
    for (const button of all("[data-do]")) button.disabled = !ids.length || (/back|clear/.test(button.dataset.do) && !added.length);
    for (const part of all(".x-tokens, .x-next, .x-attention")) part.hidden = !ids.length;
    seen = ids.length ? { ...model.read(ids), T: ids.length } : undefined;
    if (!seen) return say("There is nothing to read. Type at least one character.", true);
    at = ids.length - 1;
    tokens(ids);
    if (timer) return void bars(); // the rest when it has stopped
    look();
    say(left ? `Of ${ids.length + left} tokens the model reads the last ${ids.length}: its window slides along, and what has left it is forgotten.` : `${ids.length} token${ids.length > 1 ? "s" : ""}.`);
  };

  const tokens = (ids) => {
    const fresh = ids.length - added.length;
    find(".x-tokens div").replaceChildren(
      ...ids.map((id, i) => {
        const input = make("input", "", { type: "radio", name: "x-at", value: i, "aria-label": `Token ${i + 1}, ${quoted(id)}, id ${id}` });
        input.checked = i === at;
        const kind = model.tokenizer.special.has(id) ? "special" : i >= fresh ? "added" : "";
        return make("label", [input, make("span", [make("b", shown(id)), make("small", String(id))])], { class: kind });
      }),
    );
  };

  // --- heads and the map ---------------------------------------------------------------------

  const build = () => {
    const { num_layers, num_heads } = model.config, rows = [];
    for (let l = 0; l < num_layers; l++) {
      const row = make("div", make("span", `Layer ${l + 1}`), { class: "x-layer" });
      for (let h = 0; h < num_heads; h++) {
        const input = make("input", "", { type: "radio", name: "x-head", value: `${l} ${h}`, "aria-label": `Layer ${l + 1}, head ${h + 1}` });
        input.checked = !l && !h;
        row.append(make("label", [input, make("span", [make("canvas", "", { width: 64, height: 64, "aria-hidden": "true" }), make("small", `head ${h + 1}`)])]));
      }
      rows.push(row);
    }
    find(".x-heads div").replaceChildren(...rows);
  };

  const colours = (kind) => {
    const style = getComputedStyle(root);
    return Array.from({ length: 11 }, (_, i) => style.getPropertyValue(`--${kind}-${i}`));
  };
  const paint = () => {
    const ramp = colours("seq");
    all(".x-heads canvas").forEach((canvas, i) => {
      const { weights } = seen.layers[Math.floor(i / model.config.num_heads)][i % model.config.num_heads], { T } = seen;
      const pen = canvas.getContext("2d"), side = 64 / T;
      pen.clearRect(0, 0, 64, 64);
      for (let t = 0; t < T; t++)
        for (let s = 0; s <= t; s++) {
          pen.fillStyle = ramp[Math.round(10 * weights[t * T + s])];
          pen.fillRect(s * side, t * side, side + 0.3, side + 0.3);
        }
    });
  };

  const look = () => {
    paint();
    map();
    rows();
    bars();
  };

  // The cell of the map that can be reached by Tab; arrows move it.
  const cells = (values, columns, kind, describe, allowed = () => true) => {
    const most = Math.max(1e-9, ...values.map(Math.abs));
    const rows = [];
    for (let r = 0; r < values.length / columns; r++) {
      const row = [];
      for (let c = 0; c < columns; c++) {
        const value = values[r * columns + c], open = allowed(r, c);
        const tint = kind === "seq" ? Math.round(10 * value) : 5 + Math.round((5 * value) / most);
        const cell = make("td", make("span", open ? number(value) : "·"), { role: "gridcell", tabindex: -1, class: open ? `${kind}-${tint}` : "masked", "data-says": describe(r, c, open ? number(value, 3) : "masked") });
        row.push(cell);
      }
      rows.push(row);
    }
    return rows;
  };

  const map = () => {
    const { T, ids, layers } = seen, kind = step(), { scores, weights, values, mixed, width } = layers[layer][head];
    const table = find(".x-map"), names = ids.map(shown), upTo = at + 1;
    let grid, left, above;
    if (kind === "mixed") {
      const product = Array.from({ length: upTo * width }, (_, i) => weights[at * T + Math.floor(i / width)] * values[i]);
      product.push(...mixed.subarray(at * width, upTo * width));
      left = [...names.slice(0, upTo), "sum"], above = Array.from({ length: width }, (_, i) => String(i + 1));
      grid = cells(product, width, "div", (r, c, value) => `${r < upTo ? quoted(ids[r]) : "The sum"}, number ${c + 1} of ${width}: ${value}`);
    } else {
      const allowed = kind === "scores" ? () => true : (r, c) => c <= r;
      left = above = names;
      grid = cells([...(kind === "weights" ? weights : scores)], T, kind === "weights" ? "seq" : "div", (r, c, value) => `${quoted(ids[r])} looks at ${quoted(ids[c])}: ${value}`, allowed);
    }
    table.querySelector("caption").textContent = `Layer ${layer + 1}, head ${head + 1}: ${{ scores: "scores", masked: "scores after the mask", weights: "weights", mixed: `what ${quoted(ids[at])} takes along` }[kind]}`;
    table.querySelector("thead").replaceChildren(make("tr", [make("td", kind === "mixed" ? "" : "looks at"), ...above.map((name) => make("th", make("span", name), { scope: "col" }))]));
    table.querySelector("tbody").replaceChildren(...grid.map((row, r) => make("tr", [make("th", left[r], { scope: "row" }), ...row], kind !== "mixed" && r === at ? { class: "at" } : {})));
    table.classList.toggle("numbers", grid[0].length <= 12);
    table.style.setProperty("--side", `${Math.min(24, Math.max(14, 560 / grid[0].length))}px`);
    grid[grid.length - 1][0].tabIndex = 0;
    find(".x-says").textContent = TEXTS[kind];
    find(".x-cell").textContent = "";
  };

  const tell = ({ target }) => {
    const cell = target.closest("td[data-says]");
    if (cell) find(".x-cell").textContent = cell.dataset.says;
  };
  find(".x-map").addEventListener("pointerover", tell);
  find(".x-map").addEventListener("focusin", (event) => {
    for (const cell of all(".x-map td[tabindex='0']")) cell.tabIndex = -1;
    event.target.tabIndex = 0;
    tell(event);
  });
  find(".x-map").addEventListener("keydown", (event) => {
    const row = event.target.parentElement, column = [...row.cells].indexOf(event.target), rows = row.parentElement.rows;
    const r = row.sectionRowIndex, last = row.cells.length - 1;
    const [down, right] = { ArrowUp: [r - 1, column], ArrowDown: [r + 1, column], ArrowLeft: [r, column - 1], ArrowRight: [r, column + 1], Home: [r, 1], End: [r, last] }[event.key] ?? [];
    const next = right > 0 ? rows[down]?.cells[right] : undefined;
    if (down === undefined) return;
    event.preventDefault();
    next?.focus();
  });

  const rows = () => {
    const { T, ids, layers } = seen, { scores, weights, values, width } = layers[layer][head];
    find(".x-rows caption").textContent = `From ${quoted(ids[at])}, layer ${layer + 1}, head ${head + 1}`;
    find(".x-rows tbody").replaceChildren(
      ...ids.map((id, s) => {
        const score = scores[at * T + s], weight = weights[at * T + s], open = s <= at;
        const length = weight * Math.hypot(...values.subarray(s * width, (s + 1) * width));
        const bar = make("i");
        bar.style.setProperty("--p", weight);
        const parts = [number(score, 3), open ? number(score, 3) : "−∞", make("span", [bar, number(weight, 3)], { class: "x-bar" }), number(length, 3)];
        return make("tr", [make("th", shown(id), { scope: "row" }), ...parts.map((part) => make("td", part))]);
      }),
    );
  };

  // --- the next token ------------------------------------------------------------------------

  const bars = () => {
    const [temperature, topP] = settings();
    for (const id of ["x-temperature", "x-top-p"]) find(`output[for=${id}]`).textContent = (+find(`#${id}`).value).toFixed(2);
    const { ids, all: before, size, kept } = ranked(model.logits(seen, at), temperature, topP);
    const bar = (p, name) => {
      const inner = make("i");
      inner.style.setProperty("--p", p);
      return make("span", [inner, name], { class: "x-bar" });
    };
    const end = at === seen.T - 1, next = seen.ids[at + 1];
    const cut = size < ids.length ? `${size === 1 ? "One token is" : `${size} tokens are`} kept, and ${ids.length - size} are cut.` : `All ${size} tokens can be drawn.`;
    find(".x-bars caption").textContent = `After ${quoted(seen.ids[at])}: the ${Math.min(BARS, ids.length)} likeliest of ${ids.length}. ${cut}${end ? "" : ` What came was ${quoted(next)}, with ${share(before[ids.indexOf(next)])}.`}`;
    find(".x-bars tbody").replaceChildren(
      ...ids.slice(0, BARS).map((id, i) => {
        const name = end ? make("button", shown(id), { type: "button", "aria-label": `Add ${quoted(id)}`, "data-id": id }) : shown(id) + (id === next ? " (came)" : "");
        return make("tr", [make("th", name, { scope: "row" }), make("td", bar(before[i], share(before[i]))), make("td", i < size ? bar(kept[i], share(kept[i])) : "cut")], i < size ? {} : { class: i === size ? "cut first" : "cut" });
      }),
    );
  };

  const seeded = () => {
    const field = find("#x-seed"), seed = Number(field.value.trim() || NaN), right = Number.isInteger(seed) && Math.abs(seed) < 2 ** 31;
    field.setAttribute("aria-invalid", String(!right));
    if (!right) say(`Seed must be a whole number below 2³¹, got “${field.value}”.`, true);
    return right ? (random ??= randomly(seed)) : undefined;
  };
  const add = (id, how) => {
    added.push(id);
    read();
    if (!timer) say(`${how}: ${quoted(id)}.`);
  };
  const choose = () => {
    const uniform = seeded();
    if (!uniform) return undefined;
    const [temperature, topP] = settings();
    return drawn(ranked(model.logits(seen, seen.T - 1), temperature, topP), uniform());
  };
  const stop = (what) => {
    clearTimeout(timer);
    if (timer) look();
    timer = undefined;
    find("[data-do=write]").textContent = "Write on";
    if (what && added.length) say(`${what} The model has added: ${model.tokenizer.decode(added)}`);
  };
  const write = (left) => {
    const id = choose();
    if (id === undefined) return stop();
    timer = setTimeout(write, 120, left - 1);
    add(id, "Drawn");
    if (model.tokenizer.special.has(id)) stop("The text has come to its end.");
    else if (left <= 1) stop("Forty tokens are written.");
  };
  const actions = {
    best: () => add(ranked(model.logits(seen, seen.T - 1), 0, 1).ids[0], "The likeliest"),
    draw: () => {
      const id = choose();
      if (id !== undefined) add(id, "Drawn");
    },
    write: () => {
      find("[data-do=write]").textContent = "Stop";
      write(40);
    },
    back: () => {
      const id = added.pop();
      read();
      say(`Taken back: ${quoted(id)}.`);
    },
    clear: () => {
      added = [], random = undefined;
      read();
    },
  };
  root.addEventListener("click", ({ target }) => {
    const id = target.closest("[data-id]")?.dataset.id, action = target.closest("[data-do]")?.dataset.do;
    if (id !== undefined) {
      add(+id, "Added");
      find(".x-bars button")?.focus();
    } else if (action) {
      const running = timer;
      if (running) stop("Stopped.");
      if (!(running && action === "write")) actions[action]();
      if (target.disabled) find("[data-do=draw]").focus();
    }
  });

  let later;
  root.addEventListener("input", ({ target }) => {
    if (!model) return;
    if (target === text) {
      stop();
      clearTimeout(later); // read when the reader pauses, not at each key
      later = setTimeout(() => {
        added = [], random = undefined;
        read();
      }, 200);
    } else if (target.id === "x-seed") random = undefined;
    else if (target.name === "x-at") at = +target.value;
    else if (target.name === "x-head") [layer, head] = target.value.split(" ").map(Number);
    if (!seen) return;
    if (target.type === "range") bars();
    else if (target.type === "radio") look();
  });
  new MutationObserver(() => seen && paint()).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  if (size) load.textContent = `Load the model (${size})`;
  root.hidden = false;
};

const root = document.getElementById("explorer");
if (root?.hidden) start(root);
