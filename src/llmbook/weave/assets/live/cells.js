// What edits a page's live cells and runs them, in Python of the browser's own.
const here = new URL(".", import.meta.url);
const json = async (address) => (await fetch(address)).json();
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// --- Python, in a worker that Stop ends

const python = { worker: null, ran: [], parts: null };
const end = () => {
  python.worker?.terminate();
  Object.assign(python, { worker: null, ran: [], saved: -1 });
};
const ask = (message, hear = () => {}) => new Promise((resolve, reject) => {
  const broken = (text) => (end(), reject(new Error(text)));
  python.worker.onmessage = ({ data }) => (data.kind === "done" ? resolve(data) : data.kind === "broken" ? broken(data.text) : hear(data));
  python.worker.onerror = () => broken("this browser starts no worker from a module");
  python.worker.postMessage(message);
});

// --- What a cell shows, as weave sets it

const text = (kind, shown) => make("div", { className: kind }, make("pre", { tabIndex: 0 }, shown));
const inline = (markdown) => markdown.replace(/\[([^\]]*)\](\[[^\]]*\]|\([^)]*\))/g, "$1").split("`").map((piece, n) => (n % 2 ? make("code", {}, piece) : piece.replaceAll("**", "")));
const table = (markdown) => {
  const lines = markdown.trim().split("\n").filter((line) => line.startsWith("|"));
  if (lines.length < 2) return make("p", {}, ...inline(markdown));
  const [head, rule, ...rows] = lines.map((line) => line.trim().slice(1, -1).split("|").map((cell) => cell.trim()));
  const row = (cells, name) => make("tr", {}, ...cells.map((cell, n) => {
    const made = make(name, {}, ...inline(cell));
    made.style.textAlign = rule[n]?.endsWith(":") ? "right" : "left";
    return made;
  }));
  const body = make("tbody", {}, ...rows.map((cells) => row(cells, "td")));
  return make("div", { className: "md-typeset__scrollwrap" }, make("table", {}, make("thead", {}, row(head, "th")), body));
};
const drawing = ({ width, svg }, prefix, name, size) => {
  const own = svg.replace(/( id="|url\(#|href="#)/g, `$1${prefix}-${width}-`).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"');
  const shown = document.importNode(new DOMParser().parseFromString(own, "image/svg+xml").documentElement, true);
  for (const [key, value] of Object.entries({ class: `drawing ${size}`, role: "img", "aria-label": name })) shown.setAttribute(key, value);
  return shown;
};

// --- A cell of the page: its code, and what it shows

class Cell {
  constructor(page, hosts) {
    Object.assign(this, { page, host: hosts[0], number: Number(hosts[0].dataset.cell) });
    this.name = `cell ${page.cells.length + 1}`;
    this.figure = hosts.find((host) => host.matches("figure"));
    this.shown = this.host.querySelector(":scope > .highlight");
    this.open = this.host.querySelector(".live-edit");
    this.book = [];
    this.drawn = this.figure && [...this.figure.querySelector(".drawings").childNodes];
  }

  async edit() {
    if (this.view) return;
    this.open.disabled = true;
    const [editor] = await Promise.all([import(new URL("editor.js", here)), this.page.known()]);
    this.open.disabled = false;
    this.open.hidden = true;
    const button = (name, act) => {
      const made = make("button", { type: "button", textContent: name, onclick: act });
      made.setAttribute("aria-label", `${name} ${this.name}`);
      return made;
    };
    this.run = button("Run", () => this.page.run(this));
    this.stop = button("Stop", () => this.page.stop());
    this.meter = make("progress", { max: 1, value: 0, hidden: true, ariaLabel: "Loading Python" });
    this.note = make("span", { className: "live-note" });
    this.stop.hidden = true;
    const help = make("p", { className: "live-help", id: `live-help-${this.number}`, textContent: "Control and Enter run the cell. Escape, then Tab, leaves the editor." });
    this.bar = make("div", { className: "live-bar" }, this.run, this.stop, button("Reset", () => this.page.reset(this)), this.meter, this.note);
    this.box = make("div", { className: "live-box highlight" }, help);
    this.view = writing(editor, this, help.id);
    if (this.shown) this.shown.replaceWith(this.box);
    else this.figure.querySelector("figcaption").after(this.box);
    this.box.after(this.bar);
    this.say(python.worker ? "" : `The first run loads Python into your browser: at most ${(this.page.cost(this) / 1e6).toFixed(1)} MB, once.`);
    this.view.focus();
  }

  // Nothing of a run is left.
  reset() {
    this.code = this.source;
    this.clear();
    this.outputs.replaceWith(...this.book);
    this.outputs = null;
    this.figure?.querySelector(".drawings").replaceChildren(...this.drawn);
    this.numbers(false);
    this.host.removeAttribute("data-live");
    if (!this.view) return;
    this.view.destroy();
    if (this.shown) this.box.replaceWith(this.shown);
    for (const part of [this.box, this.bar]) part.remove();
    this.view = this.bar = null;
    this.open.hidden = false;
    this.open.focus();
  }

  say(note) {
    this.note.textContent = note;
  }

  clear() {
    if (this.shown && !this.outputs) this.book = [...this.host.children].filter((part) => ![this.shown, this.box, this.bar].includes(part));
    this.book.forEach((part) => part.remove());
    this.outputs?.remove();
    this.outputs = make("div", { className: "live-out" });
    (this.bar ?? this.shown ?? this.host.lastElementChild).after(this.outputs);
    this.host.dataset.live = "";
    this.host.removeAttribute("data-before");
    this.figures = 0;
    this.view?.dispatch({ effects: this.mark.of(0) });
  }

  numbers(hidden) {
    const table = this.figure?.nextElementSibling;
    if (table?.matches("details.numbers")) table.hidden = hidden; // they are those of the book's own figure
  }

  add({ output_type, text: printed, data = {} }) {
    const figure = data["application/vnd.llmbook.figure+json"], markdown = data["text/markdown"], last = this.outputs.lastElementChild;
    if (figure) this.draw(figure.drawings);
    else if (markdown) this.outputs.append(table(markdown));
    else {
      if (last?.className !== "output") {
        this.outputs.append(text("output", ""));
        this.printed = "";
      }
      this.printed += output_type === "stream" || !this.printed || this.printed.endsWith("\n") ? "" : "\n";
      this.printed += printed ?? data["text/plain"];
      this.outputs.lastElementChild.firstChild.textContent = this.printed.trimEnd();
    }
  }

  draw(drawings) {
    this.figure ??= this.outputs;
    let box = this.figure.querySelector(".drawings");
    if (!box) this.outputs.append((box = make("div", { className: "drawings" })));
    if (!this.figures) box.replaceChildren();
    const prefix = `live-${this.number}-${this.figures++}`, sizes = drawings.length > 1 ? ["wide-only", "narrow-only"] : [""];
    box.append(...drawings.map((each, n) => drawing(each, prefix, `What ${this.name} draws as you have it`, sizes[n])));
    this.numbers(true);
  }

  fail({ ename, evalue, line, traceback }) {
    const expected = this.kinds.includes("raises-exception");
    this.outputs.append(text(expected ? "output fails" : "output error", `${line ? `Line ${line}: ` : ""}${ename}: ${evalue}`));
    if (traceback.split("\n").length > 5) this.outputs.append(make("details", { className: "live-trace" }, make("summary", {}, "Where it came from"), make("pre", { tabIndex: 0 }, traceback)));
    this.view?.dispatch({ effects: this.mark.of(line ?? 0) });
  }
}

// The editor of a cell. Its words have the classes that the page's own code has.
const writing = (editor, cell, help) => {
  const { EditorView, EditorState, StateEffect, StateField, Decoration, tags: t } = editor;
  const classes = { k: [t.keyword, t.operatorKeyword, t.definitionKeyword, t.moduleKeyword, t.controlKeyword], s: [t.string], mi: [t.number], kc: [t.bool, t.null], c1: [t.comment], o: [t.operator], p: [t.punctuation], nf: [t.function(t.definition(t.variableName))], nc: [t.definition(t.className)], n: [t.variableName] };
  const highlighter = editor.tagHighlighter(Object.entries(classes).flatMap(([name, kinds]) => kinds.map((tag) => ({ tag, class: name }))));
  cell.mark = StateEffect.define();
  const line = Decoration.line({ class: "live-wrong" });
  const wrong = StateField.define({
    create: () => Decoration.none,
    update: (marks, { effects, docChanged, state }) => {
      const found = effects.find((effect) => effect.is(cell.mark));
      if (found && found.value > 0 && found.value <= state.doc.lines) return Decoration.set(line.range(state.doc.line(found.value).from));
      return found || docChanged ? Decoration.none : marks;
    },
    provide: (field) => EditorView.decorations.from(field),
  });
  const run = () => (cell.page.run(cell), true);
  const keys = [{ key: "Mod-Enter", run }, editor.indentWithTab, ...editor.historyKeymap, ...editor.defaultKeymap];
  const extensions = [
    editor.keymap.of(keys), editor.history(), editor.indentUnit.of("    "), editor.pythonLanguage, editor.syntaxHighlighting(highlighter), wrong,
    EditorView.contentAttributes.of({ tabindex: "0", "aria-label": `Code of ${cell.name}`, "aria-describedby": help }),
    EditorView.updateListener.of(({ docChanged, state }) => docChanged && (cell.code = state.doc.toString())),
  ];
  return new EditorView({ parent: cell.box, state: EditorState.create({ doc: cell.code, extensions }) });
};

// --- A page: which of its cells run, and in which order

export class Page {
  constructor(article, address, hosts) {
    Object.assign(this, { article, address, cells: [], all: null, loading() {} });
    for (const each of hosts) this.cells.push(new Cell(this, each));
    this.values = [...article.querySelectorAll(".value[data-cell]")].map((span) => ({ span, after: Number(span.dataset.cell), book: span.textContent }));
    this.status = make("div", { className: "live-help", role: "status" });
    article.append(this.status);
  }

  // Fetch the code of all live cells, those too that the page does not show.
  async known() {
    if (this.all) return;
    const [{ palette, cells }] = await Promise.all([json(this.address), json(new URL("parts.json", here)).then((parts) => (python.parts = parts))]);
    const shown = new Map(this.cells.map((cell) => [cell.number, cell]));
    this.palette = palette;
    this.all = cells.map(({ code, ...rest }) => Object.assign(shown.get(rest.number) ?? {}, rest, { code, source: code }));
  }

  // What a run of a cell runs: all before it, and the hidden cells and checks after it. A solution only if it is open.
  upto(cell) {
    const at = this.all.indexOf(cell), is = (each, kind) => each.kinds.includes(kind);
    let last = at;
    while (this.all[last + 1] && (!this.all[last + 1].host || is(this.all[last + 1], "check") || is(this.all[last + 1], "solution"))) last++;
    return this.all.slice(0, last + 1).filter((each, n) => each === cell || (is(each, "solution") ? each.view : n > at || !is(each, "check")));
  }

  cost(cell) {
    const { sizes } = python.parts;
    return ["python", ...new Set(this.upto(cell).flatMap((each) => each.needs))].reduce((sum, name) => sum + sizes[name], 0);
  }

  say(cell, note) {
    cell.say(note);
    this.status.textContent = note;
  }

  stop() {
    end();
    this.stopped?.(new Error("Stopped. The next run starts Python again."));
  }

  async run(cell) {
    if (this.busy) return;
    this.busy = cell.run.disabled = true;
    cell.stop.hidden = false;
    try {
      await Promise.race([this.work(cell), new Promise((_, reject) => (this.stopped = reject))]);
    } catch (error) {
      end();
      this.say(cell, error.message.startsWith("Stopped") ? error.message : `Python cannot run here: ${error.message}.`);
    }
    cell.meter.hidden = cell.stop.hidden = true;
    this.busy = cell.run.disabled = false;
  }

  async start(cell) {
    const cost = this.cost(cell);
    let came = 0;
    cell.meter.hidden = false;
    this.say(cell, "Loading Python …");
    this.loading = ({ kind, bytes }) => {
      if (kind !== "came") return;
      cell.meter.value = (came += bytes) / cost;
      cell.say(`Loading Python: ${(came / 1e6).toFixed(1)} of at most ${(cost / 1e6).toFixed(1)} MB`);
    };
    python.worker = new Worker(new URL("worker.js", here), { type: "module", name: "Python" });
    await ask({ job: "start", palette: this.palette, ...python.parts }, this.loading);
  }

  // What has run and is unchanged is not run again: the run goes on where the last one ended, or from what was saved before this cell.
  async ready(cell, chain) {
    if (!python.worker) await this.start(cell);
    const at = chain.indexOf(cell), same = python.ran.findIndex((each, n) => chain[n] !== each.cell || chain[n].code !== each.code);
    const whole = same < 0 && python.page === this;
    if (whole && python.ran.length <= at) return chain.slice(python.ran.length);
    if (python.page === this && python.saved === at && (same < 0 || same >= at) && (await ask({ job: "restore" })).restored) {
      python.ran.length = at;
      return chain.slice(at);
    }
    await ask({ job: "begin" });
    Object.assign(python, { page: this, ran: [], saved: -1 });
    return chain;
  }

  async work(cell) {
    const chain = this.upto(cell), todo = await this.ready(cell, chain), changed = chain.findIndex((each) => each.code !== each.source), broken = [];
    cell.say("Running …");
    for (const each of todo) {
      const at = chain.indexOf(each), shown = each.host && (each === cell || each.kinds.includes("check") || (changed >= 0 && at >= changed));
      if (each === cell) python.saved = (await ask({ job: "save" }), at);
      if (shown) each.clear();
      const job = { job: "run", code: each.code, name: `Cell ${each.number + 1}`, needs: each.needs };
      const { failure } = await ask(job, (said) => (said.kind === "output" ? shown && each.add(said.output) : this.loading(said)));
      cell.meter.hidden = true;
      python.ran.push({ cell: each, code: each.code });
      if (failure && shown) each.fail(failure);
      if (failure && !each.kinds.includes("raises-exception")) broken.push(each);
      if (changed >= 0 && at >= changed) await this.follow(each);
    }
    const failed = broken.find((each) => each.host), checks = broken.filter((each) => !each.host).length;
    const last = chain.at(-1).number;
    if (changed >= 0) for (const each of this.cells) each.host.toggleAttribute("data-before", each.number > last);
    this.say(cell, failed ? `${failed.name[0].toUpperCase()}${failed.name.slice(1)} fails.` : checks ? "Run. A check of the book’s text no longer holds." : "Run.");
  }

  // Values in the prose after a cell follow it.
  async follow(cell) {
    for (const { span, after, book } of this.values) {
      if (after !== cell.number) continue;
      let value = "";
      const { failure } = await ask({ job: "run", code: `print(${span.title})`, name: "prose", needs: [] }, ({ kind, output }) => kind === "output" && (value += output.text));
      span.textContent = failure ? "?" : value.trim();
      span.toggleAttribute("data-live", span.textContent !== book);
    }
  }

  // The cell is the book's again, and so is all after it that followed it.
  reset(cell) {
    if (this.busy) this.stop();
    cell.reset();
    for (const each of this.cells) {
      each.host.removeAttribute("data-before");
      if (each.number > cell.number && each.code === each.source && "live" in each.host.dataset) each.reset();
    }
    for (const { span, after, book } of this.values) {
      if (after < cell.number) continue;
      span.textContent = book;
      span.removeAttribute("data-live");
    }
    this.status.textContent = "As in the book again.";
  }
}

document.head.append(make("link", { rel: "stylesheet", href: new URL("live.css", here) }));
