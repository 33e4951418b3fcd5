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
