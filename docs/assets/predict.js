// Questions to predict: the answer shows when the reader has said something, and what was said stays, in this browser alone.
const KEPT = "predictions", NONE = "no idea", VERDICTS = { expected: "As I thought", surprised: "It surprised me" };
const make = (tag, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};
const styled = new Promise((done) => document.head.append(make("link", { rel: "stylesheet", href: new URL("predict.css", import.meta.url), onload: done, onerror: done })));
const button = (text, act, type = "button") => make("button", { type, textContent: text, onclick: act });
const kept = () => __md_get(KEPT) ?? {};
const keep = (key, value) => {
  const all = kept();
  if (value) all[key] = value;
  else delete all[key];
  __md_set(KEPT, all);
};

// One question of a page.
class Question {
  constructor(box, number) {
    const summary = box.querySelector("summary");
    Object.assign(this, { box, said: null, question: summary.textContent.trim(), choices: box.querySelector(".choices") });
    box.id ||= `predict-${number}`;
    this.key = `${location.pathname.slice(__md_scope.pathname.length)} ${this.question}`;
    this.place = make("div", { className: "prediction" });
    summary.after(this.place);
    this.show(kept()[this.key]);
  }

  show(said) {
    this.box.toggleAttribute("data-waits", !said);
    this.place.replaceChildren(...(said ? this.told(said) : [this.form()]));
  }

  form() {
    const name = this.box.id, options = this.choices?.textContent.split("|").map((text) => text.trim());
    const field = options ? [make("fieldset", {}, make("legend", { textContent: "Your prediction" }), ...options.map((value) => make("label", {}, make("input", { type: "radio", name, value, required: true }), ` ${value}`)))]
      : [make("label", { textContent: "Your prediction " }, make("input", { name, required: true, maxLength: 200, autocomplete: "off", placeholder: "a word or a number" }))];
    const form = make("form", {}, ...field, button("Show the answer", null, "submit"), button("No idea", () => this.say(NONE)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.say(String(new FormData(form).get(name)).trim() || NONE);
    });
    return form;
  }

  told(said) {
    const verdicts = Object.entries(VERDICTS).map(([verdict, text]) => {
      const made = button(text, () => (this.say(said.said, said.verdict === verdict ? "" : verdict), this.place.querySelector(`[value=${verdict}]`).focus()));
      made.value = verdict;
      made.ariaPressed = String(said.verdict === verdict);
      return made;
    });
    const back = button("Take it back", () => (keep(this.key), this.show(), this.place.querySelector("input").focus()));
    return [make("p", { tabIndex: -1, role: "status" }, "You predicted: ", make("strong", { textContent: said.said })), make("div", { role: "group", ariaLabel: "And the answer?" }, ...verdicts, back)];
  }

  say(said, verdict = "") {
    const title = document.querySelector("main h1").firstChild.textContent.trim();
    const entry = { said, verdict, question: this.question, title, page: `${this.key.split(" ")[0]}#${this.box.id}` };
    keep(this.key, entry);
    this.show(entry);
    this.place.firstChild.focus();
  }
}

// The page that lists them all.
const list = (place) => {
  const all = Object.entries(kept()), surprised = all.filter(([, { verdict }]) => verdict === "surprised");
  const rows = all.map(([, { question, said, verdict, title, page }]) =>
    make("tr", {}, make("td", {}, make("a", { href: new URL(page, __md_scope), textContent: question }), make("br"), title), make("td", { textContent: said }), make("td", { textContent: VERDICTS[verdict] ?? "" })));
  const forget = button("Forget all", () => (__md_set(KEPT, {}), list(place), place.focus()));
  const head = make("tr", {}, ...["question", "you said", "and it was"].map((text) => make("th", { scope: "col", textContent: text })));
  const text = all.length ? `You have predicted ${all.length} ${all.length > 1 ? "results" : "result"}; ${surprised.length || "none"} surprised you.` : "Nothing yet: open a box Predict first in a chapter.";
  place.replaceChildren(make("p", { role: "status", textContent: text }), ...(all.length ? [make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), forget] : []));
};

export const start = async (article) => {
  await styled;
  article.querySelectorAll("details.predict").forEach((box, number) => new Question(box, number + 1));
  const place = article.querySelector("#predictions");
  if (place) list(place);
  const target = location.hash.startsWith("#predict-") && document.getElementById(location.hash.slice(1));
  if (target) (target.open = true), target.scrollIntoView();
};
