// The forms that compute in the page. The formulas are those of llmbook.emissions and llmbook.architectures; a test compares them.
{
  const shown = (value, digits = 3) => value.toLocaleString("en", value >= 1e15 ? { notation: "scientific", maximumSignificantDigits: digits } : value >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: digits });

  // A field's number, or an error that names the field, what is in it and what was expected.
  const amount = (form, name, least = 0, most = Infinity, whole = false) => {
    const field = form.elements[name], text = field.value.trim(), value = text === "" ? NaN : Number(text);
    const right = value >= least && value < Infinity && value <= most && (!whole || Number.isInteger(value));
    field.setAttribute("aria-invalid", String(!right));
    if (!right) throw new RangeError(`${name} must be a ${whole ? "whole" : "finite"} number, at least ${least}${most < Infinity ? ` and at most ${most}` : ""}, got “${text}”`);
    return value;
  };

  const calculators = {
    footprint(form) {
      const hours = amount(form, "hours") * amount(form, "accelerators", 0, Infinity, true), watts = amount(form, "watts_per_accel");
      const utilisation = amount(form, "utilisation", 0, 1);
      if (utilisation === 0) {
        form.elements.utilisation.setAttribute("aria-invalid", "true");
        throw new RangeError("utilisation must be above 0 and at most 1, got “0”");
      }
      const factor = ["host", "idle", "pue"].reduce((product, name) => product * amount(form, name, 1), 1) / utilisation;
      const embodied_kg = ((hours / utilisation) * amount(form, "embodied_g_per_hour")) / 1000;
      const kwh = ((hours * watts) / 1000) * factor, operation_kg = (kwh * amount(form, "g_per_kwh")) / 1000;
      const kg = operation_kg + embodied_kg;
      return [{ kwh, kg }, `${shown(kwh)} kWh, ${shown(kg)} kg CO₂e` + (embodied_kg ? `, ${shown(embodied_kg)} kg of it for making the hardware` : "")];
    },

    architecture(form) {
      const of = (name) => amount(form, name, 1, Infinity, true);
      const [L, d, h, kv, f, V, P] = ["num_layers", "d_model", "num_heads", "num_kv_heads", "d_ff", "vocab_size", "max_len"].map(of);
      if (d % h) throw new RangeError(`${h} heads do not divide d_model=${d}`);
      if (h % kv) throw new RangeError(`num_kv_heads=${kv} does not divide num_heads=${h}`);
      const classical = form.elements.kind.value === "gpt-2", keys = (kv * d) / h, matrices = classical ? 2 : 3;
      const attention = 2 * d * (d + keys), network = matrices * d * f;
      const biases = classical ? d + 2 * keys + d + f + d : 0;
      const embeddings = V * d * (form.elements.tied.checked ? 1 : 2) + (classical ? P * d : 0);
      const parameters = embeddings + L * (attention + network + biases) + (2 * L + 1) * d * (classical ? 2 : 1);
      const bits = of("bits"), seq = of("seq"), batch = of("batch");
      const weights = Math.ceil((parameters * bits) / 8), cache = Math.ceil((2 * L * keys * seq * batch * bits) / 8);
      const forward = 2 * L * (attention + network) + (4 * d * L * (seq + 1)) / 2 + 2 * d * V;
      const training = 6 * parameters * amount(form, "tokens", 1);
      const text = `${shown(parameters)} parameters; ${shown(weights / 1e9)} GB of weights, ${shown(cache / 1e9)} GB of keys and values; ` +
        `${shown(forward / 1e9)} billion operations a token, ${training.toExponential(2)} for training`;
      return [{ parameters, weights, cache, forward, training }, text];
    },
  };

  const compute = (form) => {
    const output = form.querySelector("output");
    for (const field of form.elements) field.removeAttribute("aria-invalid");
    for (const name of Object.keys(output.dataset)) delete output.dataset[name];
    try {
      const [values, text] = calculators[form.id.replace("-calculator", "")](form);
      Object.assign(output.dataset, values);
      output.textContent = text;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      output.textContent = error.message;
    }
    output.classList.toggle("wrong", !("kwh" in output.dataset || "parameters" in output.dataset));
  };

  const fill = (form, { fills }, value) => {
    const values = fills === "*" ? JSON.parse(value) : { [fills]: value };
    for (const [name, part] of Object.entries(values)) {
      if (typeof part === "boolean") form.elements[name].checked = part;
      else form.elements[name].value = part;
    }
  };

  const start = () => {
    for (const form of document.querySelectorAll("form.calculator[hidden]")) {
      let later;
      form.hidden = false;
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("input", ({ target }) => {
        if (target.dataset.fills) fill(form, target.dataset, target.value);
        clearTimeout(later); // said when the reader pauses, not at each key
        later = setTimeout(compute, 250, form);
      });
      compute(form);
    }
  };
  start();
}
