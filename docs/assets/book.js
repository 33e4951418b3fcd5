// What the theme writes as script into each page, where the page's policy forbids it: where the book is, and what it remembers.
var __md_scope = new URL("..", document.currentScript.src);
var __md_hash = (text) => [...text].reduce((sum, letter) => (sum << 5) - sum + letter.charCodeAt(0), 0);
var __md_get = (key, store = localStorage, scope = __md_scope) => JSON.parse(store.getItem(scope.pathname + "." + key));
var __md_set = (key, value, store = localStorage, scope = __md_scope) => {
  try {
    store.setItem(scope.pathname + "." + key, JSON.stringify(value));
  } catch {} // a reader may forbid it
};

// The scheme, before anything is painted: the one last chosen, else the one of the reader's system.
new MutationObserver((_, observer) => {
  if (!document.body) return;
  observer.disconnect();
  const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "slate" : "default";
  for (const [key, value] of Object.entries(__md_get("__palette")?.color ?? { scheme })) {
    document.body.setAttribute("data-md-color-" + key, value);
  }
}).observe(document.documentElement, { childList: true });

// The search index weighs more than a chapter. Ask for it when the reader turns to the search, not on every page.
{
  const { open, send } = XMLHttpRequest.prototype;
  const wanted = new Promise((resolve) => {
    const turn = (event) => event.target.matches(".md-search__input") && resolve();
    document.addEventListener("focusin", turn);
    document.addEventListener("input", turn);
    if (/[?&][qh]=/.test(location.search)) resolve(); // a search in the address, or words to mark that it found
  });
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    this.late = String(url).endsWith("search/search_index.json");
    return open.call(this, method, url, ...rest);
  };
  XMLHttpRequest.prototype.send = function (...body) {
    if (this.late) wanted.then(() => send.apply(this, body));
    else send.apply(this, body);
  };
}

// Instant navigation writes out each address of a new page, and would stop at those in a drawing, which have no setter.
for (const { prototype } of [SVGUseElement, SVGImageElement, SVGAElement]) {
  const { get } = Object.getOwnPropertyDescriptor(prototype, "href");
  Object.defineProperty(prototype, "href", { get, set() {}, configurable: true });
}

// Content tabs: those that were chosen before, or the one the address names.
const openTabs = () => {
  const chosen = __md_get("__tabs") ?? [], target = document.getElementById(location.hash.slice(1));
  for (const label of document.querySelectorAll(".tabbed-labels > label")) {
    const input = document.getElementById(label.htmlFor);
    if (chosen.includes(label.innerText.trim()) || input === target) input.checked = true;
  }
};

// A table in a box of class `sortable`: each head becomes a button that sorts by its column, first upwards.
const makeSortable = (table) => {
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim(); // `8 × 14,336` counts as the product, `–` as nothing
    return /^\d/.test(text) ? text.replaceAll(",", "").split("×").reduce((product, factor) => product * parseFloat(factor), 1) : text;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b, "en", { numeric: true }));
  const heads = [...table.tHead.rows[0].cells], [body] = table.tBodies;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort((a, b) => (down ? -1 : 1) * order(key(a, column), key(b, column))));
    });
  });
};

// The theme wraps code buttons in landmarks without names, and wide tables in boxes no key can scroll.
const mend = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, n) => {
    const name = `Code block ${n + 1}`;
    if (nav.getAttribute("aria-label") !== name) nav.setAttribute("aria-label", name);
  });
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) {
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Table " + document.querySelectorAll(".md-typeset__scrollwrap[tabindex]").length);
  }
};

// A citation, an abbreviation, a word of the glossary: what it means opens beside the text where there is room, else below its paragraph.
const beside = { of: null, box: null, glossary: null };
const SAID = "main article :is(a.cite, abbr, a[href*='glossary/#'])";
const meaning = async (anchor) => {
  if (anchor.title) (anchor.dataset.said = anchor.title), anchor.removeAttribute("title");
  if (anchor.dataset.said) return anchor.dataset.said;
  const address = new URL(anchor.href);
  beside.glossary ??= fetch(address.pathname).then((answer) => answer.text()).then((text) => new DOMParser().parseFromString(text, "text/html"));
  const head = (await beside.glossary).getElementById(address.hash.slice(1));
  return head ? head.nextElementSibling.textContent : "";
};
const shut = () => {
  beside.of?.removeAttribute("aria-describedby");
  beside.box?.remove();
  beside.of = beside.box = null;
};
const openBeside = async (anchor) => {
  if (beside.of === anchor) return;
  shut();
  beside.of = anchor;
  const said = await meaning(anchor).catch(() => "");
  if (!said || beside.of !== anchor) return;
  const article = anchor.closest("article"), box = document.createElement("div");
  Object.assign(box, { className: "beside", id: "beside", textContent: said });
  box.setAttribute("role", "note");
  const block = anchor.closest("p, li, table, figure, .admonition, details") ?? anchor.parentElement;
  if (wide.matches) {
    article.append(box);
    box.style.top = anchor.getBoundingClientRect().top - article.getBoundingClientRect().top + "px";
  } else block.after(box);
  anchor.setAttribute("aria-describedby", "beside");
  beside.box = box;
};
const wide = matchMedia("(min-width: 61em)");
document.addEventListener("mouseover", ({ target }) => {
  const anchor = wide.matches && target.closest(SAID);
  if (anchor) openBeside(anchor);
  else if (wide.matches && beside.box && !target.closest(".beside") && document.activeElement !== beside.of) shut();
});
document.addEventListener("focusin", ({ target }) => (target.matches(SAID) && wide.matches ? openBeside(target) : target.closest(".beside") || shut()));
document.addEventListener("keydown", (event) => event.key === "Escape" && shut());
document.addEventListener("click", (event) => {
  const anchor = event.target.closest(SAID);
  if (!anchor || wide.matches || beside.of === anchor) return; // a second tap follows the link
  event.preventDefault();
  event.stopPropagation();
  openBeside(anchor);
}, true);

// What a question to predict needs comes when a reader turns to one, or to the list of them.
let asked = null;
const predict = () => {
  const article = document.querySelector("main article");
  if (asked !== (asked = article)) import(new URL("assets/predict.js", __md_scope)).then(({ start }) => start(article));
};
for (const kind of ["pointerover", "focusin", "toggle"]) document.addEventListener(kind, ({ target }) => target.closest?.("details.predict") && predict(), true);

// With instant navigation a page comes as a new article in the old document.
document.addEventListener("DOMContentLoaded", () => {
  let article = null;
  const look = () => {
    mend();
    if (article === (article = document.querySelector("main article"))) return;
    openTabs();
    shut();
    document.querySelectorAll("article abbr").forEach((word) => (word.tabIndex = 0));
    document.querySelectorAll(".sortable table").forEach(makeSortable);
    if (article?.querySelector("#predictions") || location.hash.startsWith("#predict-")) predict();
  };
  look();
  new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
});
