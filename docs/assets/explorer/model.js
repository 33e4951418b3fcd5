// A small GPT: llmbook.gpt and llmbook.tokenizers in plain arithmetic, read from a file that llmbook.explorer.export has written. A test compares them.
const FORMAT = "llmbook.explorer 1";
const EPS32 = 2 ** -22; // twice float32's, as llmbook.generation.keep_top_p allows for rounding

export class FileError extends Error {}
const refuse = (what) => {
  throw new FileError(`${what} Write the file again with llmbook.explorer.export(model, tokenizer, path).`);
};

// --- the tokenizer ---------------------------------------------------------------------------

const visible = (byte) => (byte >= 0x21 && byte < 0x7f) || (byte >= 0xa1 && byte < 0xad) || byte >= 0xae;
const CHARS = [];
for (let byte = 0, next = 0x100; byte < 256; byte++) CHARS.push(String.fromCharCode(visible(byte) ? byte : next++));
const BYTES = new Map(CHARS.map((char, byte) => [char, byte]));
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }), lenient = new TextDecoder("utf-8", { ignoreBOM: true });

// Bytes as text; one that is no character by itself is written as \xe2.
const spelled = (bytes) => {
  let text = "";
  for (let start = 0; start < bytes.length; ) {
    let size = Math.min(4, bytes.length - start), char;
    for (; size && char === undefined; size--) {
      try {
        const found = strict.decode(bytes.subarray(start, start + size));
        if ([...found].length === 1) char = found;
      } catch {}
    }
    text += char ?? "\\x" + bytes[start].toString(16).padStart(2, "0");
    start += char === undefined ? 1 : size + 1;
  }
  return text;
};

class Tokenizer {
  constructor({ pattern, vocabulary, merges, special_tokens, begin, drop_unknown_bytes }) {
    this.words = new RegExp(pattern, "gu");
    this.ids = new Map(Object.entries(vocabulary));
    this.ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
    this.drops = drop_unknown_bytes;
    this.begin = begin === null ? null : special_tokens[begin];
    this.bytes = new Map();
    for (const [token, id] of this.ids) if (!(token in special_tokens)) this.bytes.set(id, Uint8Array.from(token, (char) => BYTES.get(char)));
    for (const [token, id] of Object.entries(special_tokens)) this.bytes.set(id, new TextEncoder().encode(token));
    this.special = new Set(Object.values(special_tokens));
  }

  encode(text) {
    return (text.match(this.words) ?? []).flatMap((word) => this.#merged(word));
  }

  #merged(word) {
    let parts = Array.from(new TextEncoder().encode(word), (byte) => CHARS[byte]);
    if (this.drops) parts = parts.filter((part) => this.ids.has(part));
    for (;;) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) break;
      parts.splice(at, 2, parts[at] + parts[at + 1]);
    }
    return parts.map((part) => this.ids.get(part) ?? refuse(`The tokenizer has no token for a byte of “${word}”.`));
  }

  decode(ids) {
    return lenient.decode(Uint8Array.from(ids.flatMap((id) => [...(this.bytes.get(id) ?? [])])));
  }

  token(id) {
    return this.bytes.has(id) ? spelled(this.bytes.get(id)) : `no token ${id}`;
  }
}

// --- the arithmetic --------------------------------------------------------------------------

// Each row of x through a matrix (out, in), and a bias if there is one.
const linear = (x, rows, weight, bias, out) => {
  const width = x.length / rows, y = new Float64Array(rows * out);
  for (let row = 0; row < rows; row++) {
    const from = row * width;
    for (let o = 0, w = 0; o < out; o++) {
      let sum = bias ? bias[o] : 0;
      for (let i = 0; i < width; i++, w++) sum += x[from + i] * weight[w];
      y[row * out + o] = sum;
    }
  }
  return y;
};

const normed = (x, rows, weight, bias, eps) => {
  const width = x.length / rows, y = new Float64Array(x.length);
  for (let row = 0; row < rows; row++) {
    const part = x.subarray(row * width, (row + 1) * width);
    const mean = part.reduce((a, b) => a + b, 0) / width;
    const scale = 1 / Math.sqrt(part.reduce((a, b) => a + (b - mean) ** 2, 0) / width + eps);
    for (let i = 0; i < width; i++) y[row * width + i] = (part[i] - mean) * scale * weight[i] + (bias ? bias[i] : 0);
  }
  return y;
};

// The error function, by its series, and for large x by its continued fraction.
const erf = (x) => {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += (term *= (-x * x) / n) / (2 * n + 1);
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / fraction / Math.sqrt(Math.PI));
};
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanhGelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const ACTIVATIONS = {
  relu: [(x) => Math.max(x, 0), false],
  gelu: [(x) => 0.5 * x * (1 + erf(x / Math.SQRT2)), false],
  gelu_tanh: [tanhGelu, false],
  quick_gelu: [(x) => x * sigmoid(1.702 * x), false],
  swiglu: [(x) => x * sigmoid(x), true],
  geglu: [tanhGelu, true],
};

export const softmax = (scores) => {
  let highest = -Infinity, sum = 0;
  for (const score of scores) highest = Math.max(highest, score);
  const weights = Float64Array.from(scores, (score) => Math.exp(score - highest));
  for (const weight of weights) sum += weight;
  return weights.map((weight) => weight / sum);
};

// Tokens, likeliest first, with their probabilities at a temperature, and what is left of these in the nucleus.
export const ranked = (logits, temperature, topP) => {
  const ids = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  const highest = logits[ids[0]];
  const all = temperature > 0 ? softmax(ids.map((id) => (logits[id] - highest) / temperature)) : Float64Array.from(ids, (_, i) => +(i === 0));
  let before = 0, size = 0;
  while (size < ids.length && (topP >= 1 || size === 0 || before < topP - EPS32)) before += all[size++];
  while (size < ids.length && all[size] === all[size - 1] && all[size] > 0) before += all[size++]; // as likely as the last
  return { ids, all, size, kept: all.map((p, i) => (i < size ? p / before : 0)) };
};

// Numbers from 0 to 1 that look random, the same for the same seed (mulberry32).
export const randomly = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

export const drawn = ({ ids, kept, size }, uniform) => {
  for (let i = 0, sum = 0; i < size; i++) if (uniform < (sum += kept[i])) return ids[i];
  return ids[size - 1]; // what rounding has left
};

// --- the model -------------------------------------------------------------------------------

const half = (bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
};

// The shape that each weight of a config must have, by llmbook.gpt.GPT's names.
const shapes = ({ vocab_size: V, d_model: d, num_layers, max_len, d_ff: f, bias, norm_first, tied, activation }) => {
  const found = { "embedding.weight": [V, d], "positions.weight": [max_len, d] };
  const add = (name, shape, biased = bias) => {
    found[`${name}.weight`] = shape;
    if (biased) found[`${name}.bias`] = shape.slice(0, 1);
  };
  for (let layer = 0; layer < num_layers; layer++) {
    const at = `blocks.${layer}`;
    for (const part of ["query", "key", "value", "out"]) add(`${at}.attention.${part}`, [d, d]);
    for (const part of ["norm1", "norm2"]) add(`${at}.${part}`, [d]);
    add(`${at}.feed_forward.up`, [f, d]);
    if (ACTIVATIONS[activation][1]) add(`${at}.feed_forward.gate`, [f, d]);
    add(`${at}.feed_forward.down`, [d, f]);
  }
  if (norm_first) add("norm", [d]);
  if (!tied) add("head", [V, d], false);
  return found;
};

const parse = (buffer) => {
  const size = buffer.byteLength < 8 ? Infinity : Number(new DataView(buffer).getBigUint64(0, true));
  if (size > buffer.byteLength - 8) refuse("The file has no header of a safetensors file.");
  let header, made, config, text;
  try {
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  } catch {
    refuse("The header of the file is no JSON.");
  }
  made = header?.__metadata__ ?? {};
  if (made.format !== FORMAT) refuse(`The file’s __metadata__ must have the format “${FORMAT}”, and has ${made.format ? `“${made.format}”` : "none"}.`);
  try {
    [config, text] = [JSON.parse(made.config), JSON.parse(made.tokenizer)];
  } catch {
    refuse("The config or the tokenizer in the file’s __metadata__ is no JSON.");
  }
  return { header, config, text, start: 8 + size };
};

export class Model {
  constructor(buffer) {
    const { header, config, text, start } = parse(buffer);
    for (const name of ["vocab_size", "d_model", "num_layers", "num_heads", "max_len", "d_ff"]) {
      if (!(Number.isInteger(config[name]) && config[name] > 0)) refuse(`${name} in the config must be a positive whole number, and is ${JSON.stringify(config[name])}.`);
    }
    if (config.d_model % config.num_heads) refuse(`In the config, ${config.num_heads} heads do not divide d_model = ${config.d_model}.`);
    if (!Object.hasOwn(ACTIVATIONS, config.activation)) refuse(`The activation “${config.activation}” is none that this page knows.`);
    this.config = config;
    this.weights = {};
    for (const [name, shape] of Object.entries(shapes(config))) {
      const entry = header[name] ?? refuse(`The file lacks the weight ${name}.`);
      if (String(entry.shape) !== String(shape)) refuse(`${name} must have the shape (${shape.join(", ")}), and has (${[entry.shape].flat().join(", ")}).`);
      this.weights[name] = this.#read(buffer, name, entry, start, shape.reduce((a, b) => a * b));
    }
    try {
      this.tokenizer = new Tokenizer(text);
    } catch (error) {
      refuse(`The tokenizer of the file cannot be used (${error.message}).`);
    }
    for (const [id] of this.tokenizer.bytes) if (id >= config.vocab_size) refuse(`The tokenizer has the id ${id}, and the model ${config.vocab_size} tokens.`);
  }

  #read(buffer, name, { dtype, data_offsets: [from, to] = [] }, start, count) {
    const width = { F16: 2, F32: 4 }[dtype] ?? refuse(`${name} must be F16 or F32, and is ${dtype}.`);
    if (to - from !== count * width || !(from >= 0)) refuse(`${name} must have ${count * width} bytes, and has ${to - from}.`);
    if (start + to > buffer.byteLength) refuse(`The file ends before ${name}: it has not come whole.`);
    const view = new DataView(buffer, start + from, to - from), values = new Float32Array(count);
    for (let i = 0; i < count; i++) values[i] = width === 2 ? half(view.getUint16(2 * i, true)) : view.getFloat32(4 * i, true);
    if (!values.every(Number.isFinite)) refuse(`${name} holds a number that is not finite.`);
    return values;
  }

  get parameters() {
    return Object.values(this.weights).reduce((sum, { length }) => sum + length, 0);
  }

  // The token ids that are read of a text: of a long one the last; how many are left out.
  window(ids, most = this.config.max_len) {
    const whole = this.tokenizer.begin === null ? ids : [this.tokenizer.begin, ...ids];
    return { ids: whole.slice(-most), left: Math.max(0, whole.length - most) };
  }

  #linear(x, rows, name) {
    const weight = this.weights[`${name}.weight`];
    return linear(x, rows, weight, this.weights[`${name}.bias`], weight.length / (x.length / rows));
  }

  #normed(x, rows, name) {
    return normed(x, rows, this.weights[`${name}.weight`], this.weights[`${name}.bias`], this.config.norm_eps);
  }

  // For each layer and head of `layers`: dot products of all pairs, scores, weights, values, and these mixed; and the last hidden states.
  read(ids) {
    const { d_model: d, num_layers, norm_first } = this.config, T = ids.length, layers = [];
    let x = new Float64Array(T * d);
    for (let t = 0; t < T; t++) for (let i = 0; i < d; i++) x[t * d + i] = this.weights["embedding.weight"][ids[t] * d + i] + this.weights["positions.weight"][t * d + i];
    const added = (y) => y.map((value, i) => value + x[i]);
    for (let layer = 0; layer < num_layers; layer++) {
      const at = `blocks.${layer}`;
      const attend = (y) => {
        const { heads, out } = this.#attend(y, T, at);
        layers.push(heads);
        return out;
      };
      if (norm_first) {
        x = added(attend(this.#normed(x, T, `${at}.norm1`)));
        x = added(this.#fed(this.#normed(x, T, `${at}.norm2`), T, at));
      } else {
        x = this.#normed(added(attend(x)), T, `${at}.norm1`);
        x = this.#normed(added(this.#fed(x, T, at)), T, `${at}.norm2`);
      }
    }
    return { ids, layers, hidden: norm_first ? this.#normed(x, T, "norm") : x };
  }

  #attend(x, T, at) {
    const { d_model: d, num_heads } = this.config, width = d / num_heads;
    const [query, key, value] = ["query", "key", "value"].map((part) => this.#linear(x, T, `${at}.attention.${part}`));
    const joined = new Float64Array(T * d), heads = [];
    for (let head = 0; head < num_heads; head++) {
      const scores = new Float64Array(T * T), weights = new Float64Array(T * T), values = new Float64Array(T * width), mixed = new Float64Array(T * width);
      for (let t = 0; t < T; t++) {
        for (let i = 0; i < width; i++) values[t * width + i] = value[t * d + head * width + i];
        for (let s = 0; s < T; s++) {
          let dot = 0;
          for (let i = head * width; i < (head + 1) * width; i++) dot += query[t * d + i] * key[s * d + i];
          scores[t * T + s] = dot / Math.sqrt(width);
        }
        weights.set(softmax(scores.subarray(t * T, t * T + t + 1)), t * T); // what lies ahead keeps 0
        for (let s = 0; s <= t; s++) for (let i = 0; i < width; i++) mixed[t * width + i] += weights[t * T + s] * value[s * d + head * width + i];
        joined.set(mixed.subarray(t * width, (t + 1) * width), t * d + head * width);
      }
      heads.push({ scores, weights, values, mixed, width });
    }
    return { heads, out: this.#linear(joined, T, `${at}.attention.out`) };
  }

  #fed(x, T, at) {
    const [activation, gated] = ACTIVATIONS[this.config.activation], hidden = this.#linear(x, T, `${at}.feed_forward.up`);
    const gate = gated ? this.#linear(x, T, `${at}.feed_forward.gate`) : hidden;
    return this.#linear(gate.map((g, i) => (gated ? activation(g) * hidden[i] : activation(g))), T, `${at}.feed_forward.down`);
  }

  // The logits for the token after a position.
  logits({ hidden }, position) {
    const { d_model: d, vocab_size, tied } = this.config;
    return linear(hidden.subarray(position * d, (position + 1) * d), 1, this.weights[tied ? "embedding.weight" : "head.weight"], null, vocab_size);
  }
}
