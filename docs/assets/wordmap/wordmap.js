// The word map: 20,000 vectors in the page, drawn on a plane and searched in all their dimensions. Nothing that is typed leaves it.
const FREQUENT = 5000; // words that a direction sorts: the first in the list, which is by frequency

// The words, their places and their vectors, from the file that the package writes.
export class Words {
  constructor(buffer) {
    const length = new DataView(buffer).getUint32(0, true), { words, dims } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    Object.assign(this, { words, dims, index: new Map(words.map((word, number) => [word, number])) });
    this.places = new Uint16Array(buffer, 4 + length, 2 * words.length);
    const numbers = new Int8Array(buffer, 4 + length + 4 * words.length, dims * words.length);
    this.vectors = Float64Array.from(numbers); // of length 1 from here on
    for (let row = 0; row < words.length; row++) {
      const vector = this.vector(row), size = Math.hypot(...vector);
      for (let d = 0; d < dims; d++) vector[d] /= size;
    }
  }

  vector(row) {
    return this.vectors.subarray(row * this.dims, (row + 1) * this.dims);
  }

  // A word's row, or an error that names it.
  row(word) {
    const found = this.index.get(word.trim().toLowerCase());
    if (found === undefined) throw new RangeError(word.trim() ? `“${word.trim()}” is not among the ${this.words.length.toLocaleString("en")} words.` : "A field is empty: type a word.");
    return found;
  }

  // The words whose vectors have the largest cosines with a vector.
  nearest(target, count, without = []) {
    const size = Math.hypot(...target), left = new Set(without), found = [];
    for (let row = 0; row < this.words.length; row++) {
      if (left.has(row)) continue;
      const vector = this.vector(row);
      let dot = 0;
      for (let d = 0; d < this.dims; d++) dot += vector[d] * target[d];
      found.push([row, dot / size]);
    }
    return found.sort((a, b) => b[1] - a[1]).slice(0, count);
  }

  neighbours(word, count = 10) {
    const row = this.row(word);
    return this.nearest(this.vector(row), count, [row]);
  }

  // b - a + c, with the words of the question among the answers and without them.
  analogy(a, b, c, count = 5) {
    const rows = [a, b, c].map((word) => this.row(word)), [first, second, third] = rows.map((row) => this.vector(row));
    const target = first.map((value, d) => second[d] - value + third[d]);
    return { without: this.nearest(target, count, rows), with: this.nearest(target, count) };
  }

  // Frequent words by their cosine with the difference of two.
  ends(from, to, count = 10) {
    const rows = [from, to].map((word) => this.row(word)), axis = this.vector(rows[0]).map((value, d) => this.vector(rows[1])[d] - value);
    if (rows[0] === rows[1]) throw new RangeError("The two words of a direction must differ.");
    const sorted = this.nearest(axis, this.words.length).filter(([row]) => row < FREQUENT);
    return { to: sorted.slice(0, count), from: sorted.slice(-count).reverse() };
  }

  // How many words are nearer on the map.
  rank(row, other) {
    const [x, y] = this.places.subarray(2 * row, 2 * row + 2), far = (n) => (this.places[2 * n] - x) ** 2 + (this.places[2 * n + 1] - y) ** 2;
    const limit = far(other);
    let nearer = 0;
    for (let n = 0; n < this.words.length; n++) nearer += n !== row && far(n) < limit;
    return nearer + 1;
  }
}

// The drawing: what part of the map is seen, and what is marked on it.
class Drawing {
  constructor(canvas, words, chosen) {
    Object.assign(this, { canvas, words, chosen, marked: [], over: -1, view: { x: 32768, y: 32768, span: 70000 } });
    new ResizeObserver(() => this.draw()).observe(canvas);
    new MutationObserver(() => this.draw()).observe(document.body, { attributes: true, attributeFilter: ["data-md-color-scheme"] });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => (event.ctrlKey || event.metaKey || document.activeElement === canvas) && (event.preventDefault(), this.zoom(Math.exp(event.deltaY / 400))), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.drag(event));
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => ((this.over = -1), this.draw()));
  }

  at(row) {
    const { width, height } = this.box, scale = width / this.view.span;
    return [(this.words.places[2 * row] - this.view.x) * scale + width / 2, (this.words.places[2 * row + 1] - this.view.y) * scale + height / 2];
  }

  zoom(factor) {
    this.view.span = Math.min(70000, Math.max(1500, this.view.span * factor));
    this.move(0, 0);
  }

  move(dx, dy) {
    for (const [axis, step] of [["x", dx], ["y", dy]]) this.view[axis] = Math.min(65535, Math.max(0, this.view[axis] + step * this.view.span));
    this.draw();
  }

  key(event) {
    const acts = { ArrowLeft: () => this.move(-0.15, 0), ArrowRight: () => this.move(0.15, 0), ArrowUp: () => this.move(0, -0.15), ArrowDown: () => this.move(0, 0.15), "+": () => this.zoom(0.7), "-": () => this.zoom(1 / 0.7) };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  drag(event) {
    let last = event, moved = 0;
    const move = (next) => {
      moved += Math.abs(next.clientX - last.clientX) + Math.abs(next.clientY - last.clientY);
      this.move((last.clientX - next.clientX) / this.box.width, (last.clientY - next.clientY) / this.box.width);
      last = next;
    };
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", () => {
      this.canvas.removeEventListener("pointermove", move);
      if (moved < 4 && this.over >= 0) this.chosen(this.words.words[this.over]);
    }, { once: true });
  }

  point({ offsetX, offsetY }) {
    let best = 144, over = -1;
    for (let row = 0; row < this.words.words.length; row++) {
      const [x, y] = this.at(row), far = (x - offsetX) ** 2 + (y - offsetY) ** 2;
      if (far < best) [best, over] = [far, row];
    }
    if (over !== this.over) (this.over = over), this.draw();
  }

  // Show a word with its neighbours, as near as they all fit.
  mark(row, near) {
    this.marked = [row, ...near];
    const of = (n, axis) => this.words.places[2 * n + axis], far = near.map((n) => Math.max(Math.abs(of(n, 0) - of(row, 0)), 1.6 * Math.abs(of(n, 1) - of(row, 1))));
    far.sort((a, b) => a - b);
    Object.assign(this.view, { x: of(row, 0), y: of(row, 1), span: Math.min(70000, Math.max(3000, 2.6 * far[Math.floor(far.length / 2)])) });
    this.draw();
  }

  draw() {
    const { canvas, words } = this, ratio = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    this.box = { width, height };
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas), colour = (name) => style.getPropertyValue(`--${name}`).trim();
    pen.scale(ratio, ratio);
    pen.fillStyle = colour("ink-3");
    const seen = [];
    for (let row = words.words.length - 1; row >= 0; row--) {
      const [x, y] = this.at(row);
      if (x < -40 || y < -10 || x > width + 40 || y > height + 10) continue;
      seen.push(row);
      pen.fillRect(x - 0.75, y - 0.75, 1.5, 1.5);
    }
    pen.textBaseline = "middle";
    const taken = [];
    const label = (row, weight, ink) => {
      const [x, y] = this.at(row), text = words.words[row];
      pen.font = `${weight} 12px "Source Sans 3", sans-serif`;
      const box = [x + 4, y - 8, x + 10 + pen.measureText(text).width, y + 8];
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) return;
      taken.push(box);
      pen.fillStyle = colour("page");
      pen.fillRect(box[0], box[1] + 1, box[2] - box[0], 14);
      pen.fillStyle = colour(ink);
      pen.fillText(text, x + 6, y);
    };
    const [centre, ...near] = this.marked;
    pen.strokeStyle = colour("blue");
    for (const row of near) {
      pen.beginPath();
      pen.moveTo(...this.at(centre));
      pen.lineTo(...this.at(row));
      pen.stroke();
    }
    if (this.over >= 0) label(this.over, 600, "rubric");
    this.marked.forEach((row, n) => label(row, n ? 400 : 600, "ink"));
    for (const row of seen.reverse().slice(0, 400)) if (taken.length < 45 && /\p{L}/u.test(words.words[row])) label(row, 400, "ink-2");
  }
}

const start = (root) => {
  const find = (selector) => root.querySelector(selector), said = find(".w-said"), load = find(".w-load");
  const size = document.getElementById("wordmap-size")?.textContent.trim();
  let words, map;
  const say = (text, wrong = false) => ((said.textContent = text), said.classList.toggle("wrong", wrong));
  const make = (tag, text, attributes = {}) => Object.assign(document.createElement(tag), { textContent: text }, attributes);
  const number = (value, digits = 3) => value.toFixed(digits).replace("-", "−");

  const table = (place, caption, heads, rows) => {
    const made = document.createElement("table"), head = made.createTHead().insertRow(), body = made.createTBody();
    made.className = "w-list";
    made.createCaption().textContent = caption;
    for (const text of heads) head.append(make("th", text, { scope: "col" }));
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((text, n) => line.append(n ? make("td", text) : make("th", text, { scope: "row" })));
    }
    find(place).replaceChildren(made);
  };
  const attempt = (work) => (event) => {
    event?.preventDefault();
    try {
      say(work());
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      say(error.message, true);
    }
  };

  const neighbours = () => {
    const word = find("#w-word").value, row = words.row(word), found = words.neighbours(word);
    map.mark(row, found.map(([other]) => other));
    table(".w-neighbours", `Nearest to “${words.words[row]}” in all ${words.dims} dimensions`, ["word", "cosine", "place among its neighbours on the map"], found.map(([other, cosine]) => [words.words[other], number(cosine), words.rank(row, other).toLocaleString("en")]));
    return `Nearest to ${words.words[row]}: ${found.slice(0, 5).map(([other]) => words.words[other]).join(", ")}.`;
  };
  const analogy = () => {
    const [a, b, c] = ["a", "b", "c"].map((name) => find(`#w-${name}`).value), answers = words.analogy(a, b, c);
    const shown = ([row, cosine]) => [words.words[row], number(cosine)];
    table(".w-answers", `${b} − ${a} + ${c}`, ["question’s words left out", "cosine", "with them", "cosine"], answers.without.map((pair, n) => [...shown(pair), ...shown(answers.with[n])]));
    return `Left out, the answer is ${words.words[answers.without[0][0]]}; with the question’s own words it is ${words.words[answers.with[0][0]]}.`;
  };
  const axis = () => {
    const [from, to] = [find("#w-from").value, find("#w-to").value], ends = words.ends(from, to), shown = ([row, cosine]) => [words.words[row], number(cosine)];
    table(".w-ends", `The ${FREQUENT.toLocaleString("en")} most frequent words by their cosine with ${to} − ${from}`, [`towards ${from}`, "cosine", `towards ${to}`, "cosine"], ends.from.map((pair, n) => [...shown(pair), ...shown(ends.to[n])]));
    return `At the end of ${from}: ${words.words[ends.from[0][0]]}; at that of ${to}: ${words.words[ends.to[0][0]]}.`;
  };

  if (size) load.textContent = `Load the words (${size})`;
  load.addEventListener("click", async () => {
    load.disabled = true;
    say("Loading …");
    try {
      const answer = await fetch(new URL("words.bin", import.meta.url));
      if (!answer.ok) throw new Error(`the file of the words does not come (${answer.status})`);
      words = new Words(await answer.arrayBuffer());
    } catch (error) {
      load.disabled = false;
      return say(`The map cannot be shown: ${error.message}.`, true);
    }
    load.hidden = true;
    find(".w-room").hidden = false;
    map = new Drawing(find("canvas"), words, (word) => ((find("#w-word").value = word), attempt(neighbours)()));
    for (const work of [axis, analogy, neighbours]) attempt(work)();
    find("#w-word").focus();
  });
  find(".w-near").addEventListener("submit", (event) => attempt(neighbours)(event));
  find(".w-analogy").addEventListener("submit", (event) => attempt(analogy)(event));
  find(".w-axis").addEventListener("submit", (event) => attempt(axis)(event));
  const zooms = { in: () => map.zoom(0.6), out: () => map.zoom(1 / 0.6), all: () => (Object.assign(map.view, { x: 32768, y: 32768, span: 70000 }), map.draw()) };
  for (const button of root.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => zooms[button.dataset.zoom]());
  root.hidden = false;
};
document.querySelectorAll("#wordmap[hidden]").forEach(start);
