// Live cells: each gets a button. What edits and runs them comes when one is pressed.
let article = null;
const look = () => {
  const script = document.querySelector("script[data-cells]");
  if (!script || script.parentElement === article) return; // with instant navigation a page comes as a new article
  article = script.parentElement;
  const here = article, found = {};
  for (const host of here.querySelectorAll(":is(.cell, figure)[data-cell]")) (found[host.dataset.cell] ??= []).push(host);
  const hosts = Object.values(found);
  let page = null;
  hosts.forEach(([host], n) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "live-edit", textContent: "Edit" });
    button.setAttribute("aria-label", `Edit cell ${n + 1}`);
    button.onclick = async () => {
      const { Page } = await import(new URL("cells.js", import.meta.url));
      page ??= new Page(here, new URL(script.dataset.cells, document.baseURI), hosts);
      page.cells[n].edit();
    };
    host.querySelector(":scope > .highlight, :scope > figcaption").append(button);
  });
};
look();
new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
