// The search index weighs more than a chapter. Ask for it when the reader turns to the search, not on every page.
{
  const { open, send } = XMLHttpRequest.prototype;
  const wanted = new Promise((resolve) => {
    const turn = (event) => event.target.matches(".md-search__input") && resolve();
    document.addEventListener("focusin", turn);
    document.addEventListener("input", turn);
    if (new URLSearchParams(location.search).has("q")) resolve();
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

// The theme wraps code buttons in landmarks without names, and wide tables in boxes no key can scroll.
new MutationObserver(() => {
  document.querySelectorAll(".md-code__nav").forEach((nav, n) => {
    const name = `Code block ${n + 1}`;
    if (nav.getAttribute("aria-label") !== name) nav.setAttribute("aria-label", name);
  });
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) {
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Table " + document.querySelectorAll(".md-typeset__scrollwrap[tabindex]").length);
  }
}).observe(document.documentElement, { childList: true, subtree: true });

// A table in a box of class `sortable`: each head becomes a button that sorts by its column, first upwards.
document.addEventListener("DOMContentLoaded", () => {
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim(); // `8 × 14,336` counts as the product, `–` as nothing
    return /^\d/.test(text) ? text.replaceAll(",", "").split("×").reduce((product, factor) => product * parseFloat(factor), 1) : text;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b, "en", { numeric: true }));
  for (const table of document.querySelectorAll(".sortable table")) {
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
  }
});
