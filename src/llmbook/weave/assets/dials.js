// Figures that turn: each gets its dials. The table of what changes comes when one is touched.
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const tables = {};
const table = (address) => (tables[address] ??= fetch(address).then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status))));

// Set what changes in a copy of the drawing, or of the numbers, as the page came with it.
const turned = (base, elements, changes, own) => {
  const copy = base.cloneNode(true), parts = elements(copy);
  for (const [at, name, value] of changes) {
    if (name === "") parts[at].textContent = value;
    else if (name === "<") parts[at].innerHTML = own(value);
    else if (value === null) parts[at].removeAttribute(name);
    else parts[at].setAttribute(name, own(value));
  }
  return copy;
};
const ofSvg = (svg) => [svg, ...svg.querySelectorAll("*")].filter(({ tagName }) => tagName !== "title");
const ofNumbers = (box) => [box, ...box.querySelectorAll("caption, th, tbody td")];

const start = (figure, address) => {
  const known = JSON.parse(figure.dataset.dials), drawings = figure.querySelector(".drawings"), shown = drawings.firstElementChild;
  const folded = figure.nextElementSibling?.matches("details.numbers") ? figure.nextElementSibling.querySelector("table") : null;
  const roots = [...drawings.querySelectorAll("svg")].map((svg) => [svg, ofSvg, svg.cloneNode(true)]);
  if (folded) roots[-1] = [folded, ofNumbers, folded.cloneNode(true)];
  const said = make("div", { className: "dials-said" });
  said.setAttribute("role", "status");
  let later = null;

  const turn = async () => {
    const choice = dials.reduce((sum, { length, at }) => sum * length + at(), 0), first = known.reduce((sum, [, labels, at]) => sum * labels.length + at, 0);
    const { slots, words, turns, said: sentences } = (await table(address))[figure.id];
    const changing = new Set(slots.map(([root]) => root)); // another figure of the cell keeps its name
    for (const n in roots) {
      const [root, elements, base] = roots[n], prefix = base.getAttribute("aria-labelledby")?.slice(0, -1);
      const changes = slots.flatMap(([k, at, name], slot) => (k === Number(n) && turns[choice][slot] ? [[at, name, words[turns[choice][slot] - 1]]] : []));
      const made = turned(base, elements, changes, (text) => text.replace(/( id="|url\(#|href="#)/g, `$1${prefix}`));
      if (choice !== first && prefix && changing.has(Number(n))) made.querySelector("title").textContent = sentences[choice];
      for (const { name, value } of made.attributes) root.setAttribute(name, value);
      root.replaceChildren(...made.childNodes);
    }
    said.classList.remove("dials-failed");
    clearTimeout(later); // said when the reader pauses, not at each step
    later = setTimeout(() => (said.textContent = sentences[choice]), 400);
  };

  const dials = known.map(([name, labels, at, named], n) => {
    const id = `${figure.id}-dial-${n}`, value = make("output", { textContent: labels[at] });
    const input = named
      ? make("select", { id }, ...labels.map((label, k) => make("option", { value: k, textContent: label, selected: k === at })))
      : make("input", { id, type: "range", min: 0, max: labels.length - 1, value: at });
    value.setAttribute("aria-hidden", "true"); // a slider says its value itself
    const show = () => {
      value.textContent = labels[input.value];
      if (!named) input.setAttribute("aria-valuetext", labels[input.value]);
    };
    show();
    input.addEventListener("input", () => {
      show();
      turn().catch(() => {
        delete tables[address];
        said.classList.add("dials-failed");
        said.textContent = "The other drawings could not be loaded: this one stays.";
      });
    });
    const label = make("label", { htmlFor: id, textContent: name });
    return { length: labels.length, at: () => Number(input.value), row: make("div", {}, label, input, ...(named ? [] : [value])) };
  });
  const box = make("div", { className: "dials" }, ...dials.map(({ row }) => row), said);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `Turn ${figure.querySelector("figcaption a").textContent}`);
  drawings.after(box);
  // While a reader's own run has drawn something else, there is nothing to turn.
  new MutationObserver(() => (box.hidden = !shown.isConnected)).observe(drawings, { childList: true });
};

// With instant navigation a page comes as a new article.
const look = () => {
  const script = document.querySelector("script[data-turns]");
  if (!script) return;
  const address = new URL(script.dataset.turns, document.baseURI).href;
  for (const figure of document.querySelectorAll("figure[data-dials]:not(:has(.dials))")) start(figure, address);
};
look();
new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
