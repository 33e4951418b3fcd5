"""The explorer: its file, and a browser that computes from it what the package computes."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from llmbook.book.blocks import Blocks
from llmbook.book.explorer import explorer, trainer
from llmbook.experiments import explored
from llmbook.experiments.explored import rhyme
from llmbook.explorer import (
    export,
    heads,
    load,
    next_probabilities,
    packed,
    unpacked,
    window,
)
from llmbook.generation import generate
from llmbook.gpt import GPT, GPTConfig
from llmbook.llama import Llama, LlamaConfig
from llmbook.numpy_gpt import Trainer
from llmbook.tokenizers import ByteLevelBPE
from llmbook.weave import live
from llmbook.weave.sources import Package, Sources, package_root
from llmbook.weave.store import RESULTS, storing
from tests.book import DOCS
from tests.test_access import AXE
from tests.test_browser import bare

TEXT = "It's 1984, isn't it? The people of the United States, über alles: naïve café, 東京. " * 3
SHOWN = 96  # tokens that the page reads at most


def tokenizer(
    size: int = 300, special: tuple[str, ...] = ("<end>",), **options: Any
) -> ByteLevelBPE:
    return ByteLevelBPE.train([TEXT], size, special, **options)


def model(seed: int = 0, **sizes: Any) -> GPT:
    """A GPT whose weights, biases and norms are all far from their first values."""
    settings = {"vocab_size": 300, "d_model": 16, "num_layers": 2, "num_heads": 4, "max_len": 24}
    torch.manual_seed(seed)
    made = GPT(GPTConfig(**{**settings, **sizes}))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


CONFIGS: dict[str, dict[str, Any]] = {
    "as GPT-2": {},
    "as GPT-1": {"norm_first": False, "activation": "gelu"},
    "without biases, untied": {"bias": False, "tied": False, "activation": "relu"},
    "gated": {"activation": "swiglu", "num_layers": 3, "num_heads": 1, "d_ff": 20},
    "as T5's gate": {"activation": "geglu", "norm_eps": 0.1, "num_heads": 8},
    "as CLIP": {"activation": "quick_gelu", "max_len": 5, "d_model": 12, "num_heads": 3},
}
TEXTS = [
    "The people of the United States",
    "",
    " ",
    "It's  1984,\n\n isn't\tit?",
    "naïve café 東京 𝔘𝔫𝔦 \u200d e\u0301",
    "👩‍🚀 <end> \x00\ufeff\ufffd",
    "x" * 40,
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_model_comes_back_as_it_was_but_for_the_rounding(
    config: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    ours, path = model(**config), tmp_path / "it.safetensors"
    assert export(ours, tokenizer(), path, begin="<end>", dtype=dtype) == path.stat().st_size
    again, text, begin = load(path)
    assert again.config == ours.config
    assert begin == "<end>"
    assert text.encode(TEXT) == tokenizer().encode(TEXT)
    for name, weight in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight.to(dtype).float())


def test_others_can_read_the_file(tmp_path: Path) -> None:
    """By the library of the format, which checks that the weights fill the file."""
    from safetensors import safe_open

    ours, path = model(), tmp_path / "it.safetensors"
    export(ours, tokenizer(), path)
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        sizes = json.loads(file.metadata()["config"])
    assert found.keys() == ours.state_dict().keys()
    assert all(torch.equal(found[name], weight) for name, weight in ours.state_dict().items())
    assert GPTConfig(**sizes) == ours.config


@pytest.mark.plain
def test_what_cannot_be_exported_is_refused_by_name() -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 300,
        "d_model": 8,
        "num_layers": 1,
        "num_heads": 2,
        "num_kv_heads": 2,
    }
    other = Llama(LlamaConfig(**sizes, d_ff=8, max_len=8))
    with pytest.raises(TypeError, match=r"need a llmbook\.gpt\.GPT, got Llama"):
        packed(other, tokenizer())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"need a llmbook\.tokenizers\.ByteLevelBPE, got dict"):
        packed(model(), {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the id 299, and the model vocab_size=280"):
        packed(model(vocab_size=280), tokenizer())
    with pytest.raises(ValueError, match=r"begin must be a special token \(<end>\), got 'the'"):
        packed(model(), tokenizer(), begin="the")
    with pytest.raises(ValueError, match=r"dtype must be torch.float16 or torch.float32, got"):
        packed(model(), tokenizer(), dtype=torch.float64)
    large = model()
    large.positions.weight.data[3, 5] = 1e5
    with pytest.raises(ValueError, match=r"positions.weight is not finite in float16"):
        packed(large, tokenizer(), dtype=torch.float16)
    huge = GPT(GPTConfig(vocab_size=300, d_model=1024, num_layers=1, num_heads=4, max_len=9))
    with pytest.raises(ValueError, match=r"would have \d+ MB, and a page opens 50"):
        packed(huge, tokenizer())


def test_a_file_that_is_none_or_not_whole_is_refused() -> None:
    whole = packed(model(), tokenizer())
    for wrong in (
        b"",
        b"\x00" * 20,
        b"\xff" * 20,
        whole[:100],
        whole.replace(b"explorer 1", b"explorer 9"),
    ):
        with pytest.raises(ValueError, match=r"none that llmbook\.explorer\.export has written"):
            unpacked(wrong)
    with pytest.raises(ValueError, match="the file is not whole"):
        unpacked(whole[:-4])


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("embedding.weight", {"dtype": "BF16"}),
        ("embedding.weight", {"shape": [7]}),
        ("embedding.weight", 3),
        ("positions.weight", None),
        ("__metadata__", {"config": '{"width": 1}'}),
        ("__metadata__", {"config": "[]"}),
        ("__metadata__", {"tokenizer": "{}"}),
    ],
    ids=lambda it: str(it)[:20],
)
def test_a_header_that_says_something_else_is_refused(part: str, wrong: Any) -> None:
    """And not met by an error from somewhere within."""
    whole = packed(model(), tokenizer())
    size = int.from_bytes(whole[:8], "little")
    header, weights = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    if isinstance(wrong, dict):
        header[part] |= wrong
    elif wrong is None:
        del header[part]
    else:
        header[part] = wrong
    text = json.dumps(header).encode()
    with pytest.raises(ValueError, match=r"none that llmbook\.explorer\.export has written"):
        unpacked(len(text).to_bytes(8, "little") + text + weights)


@pytest.mark.plain
def test_nothing_to_read_is_said() -> None:
    with pytest.raises(ValueError, match="text must hold at least one character"):
        window("", tokenizer(), None, 8)
    with pytest.raises(ValueError, match="temperature must be finite and not negative, got -1"):
        next_probabilities(torch.zeros(3), -1)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_weights_are_the_masked_softmax_of_the_scores_and_mix_the_values(
    config: dict[str, Any],
) -> None:
    ours = model(**config).double()
    scores, weights, mixed = heads(ours, torch.tensor([5, 6, 5, 7, 8]))
    ahead = torch.ones(5, 5).triu(1).bool()
    torch.testing.assert_close(weights, scores.masked_fill(ahead, -torch.inf).softmax(-1))
    assert torch.equal(weights[..., 0, 0], torch.ones(weights.shape[:2]).double())
    assert mixed.shape == (*weights.shape[:3], ours.config.d_model // ours.config.num_heads)


def test_drawing_by_these_probabilities_is_what_generate_does() -> None:
    """Of 800 tokens drawn by `generate`, each has its share, and none is outside of the nucleus."""
    ours, prompt = model(), [5, 6, 7]
    with torch.no_grad():
        logits = ours(torch.tensor([prompt]))[0, -1]
    expected = next_probabilities(logits, 1.7, 0.8)
    generator = torch.Generator().manual_seed(0)
    settings: dict[str, Any] = {"temperature": 1.7, "top_p": 0.8, "generator": generator}
    drawn = [next(generate(ours, prompt, 1, **settings)) for _ in range(800)]
    counts = torch.bincount(torch.tensor(drawn), minlength=300)
    assert not counts[expected == 0].any()
    error = (counts / 800 - expected).abs()
    assert (error < 5 * (expected * (1 - expected) / 800).sqrt() + 1e-9).all()


def test_the_site_has_the_model_that_the_page_has_trained(site: Path) -> None:
    """And names its size; a book whose page has not run has none."""
    file = site / "assets/explorer/model.safetensors"
    made, text, begin = load(file)
    assert made.config.max_len == explored.CONTEXT
    assert begin == explored.END
    assert text.vocab_size == explored.VOCAB_SIZE
    page = (site / "explorer/index.html").read_text(encoding="utf-8")
    (size,) = re.findall(r'<span id="explorer-size"><span[^>]*>([^<]*)</span> MB', page)
    assert size == f"{file.stat().st_size / 1e6:.1f}"
    parts = json.loads((site / live.FOLDER / "parts.json").read_text(encoding="utf-8"))["sizes"]
    (size,) = re.findall(r'<span id="trainer-size"><span[^>]*>([^<]*)</span> MB', page)
    assert int(size) == pytest.approx((parts["python"] + parts["numpy"]) / 1e6, abs=1)
    assert Blocks.files({"index.md"}, site) == {}


def test_a_store_is_named_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "elsewhere"):
        monkeypatch.delenv(RESULTS, raising=False)
        if before:
            monkeypatch.setenv(RESULTS, before)
        with storing(tmp_path):
            assert os.environ[RESULTS] == str(tmp_path)
        assert os.environ.get(RESULTS) == before


# --- in a browser ------------------------------------------------------------------------------


def _add_python(folder: Path) -> None:
    """What the site has for live cells: Pyodide, the package, and the worker."""
    shutil.copytree(DOCS / live.FOLDER, folder)
    book = live.packed("llmbook", folder)
    (folder / "book.zip").write_bytes(book)
    package = Package("llmbook", Sources(folder, {"llmbook": package_root("llmbook")}))
    parts = live.parts(folder, len(book), (), live.missing(package))
    for name, content in {**live.own_files(), "parts.json": parts}.items():
        (folder / name).write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The frame on a bare page with the book's own scripts and styles; no other host is reached."""
    folder: Path = tmp_path_factory.mktemp("explorer")
    _add_python(folder / "live")
    export(model(), tokenizer(), folder / "model.safetensors", begin="<end>", dtype=torch.float16)
    files = ["model.js", "explorer.js", "train.js", "explorer.css"]
    size = '<p>A file of <span id="explorer-size">0.1 MB</span>.</p>'
    body = f"<h2>Try</h2>{size}{explorer('The people')}{trainer('')}"
    with bare(folder, "explorer", files, body) as tab:
        yield tab


READ = """async ([bytes, texts, most]) => {
  const { Model } = await import("./model.js");
  const model = new Model(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)).buffer);
  return texts.map((text) => {
    const typed = model.tokenizer.encode(text), { ids, left } = model.window(typed, most ?? undefined);
    const shown = typed.map((id) => model.tokenizer.token(id)), back = model.tokenizer.decode(typed);
    if (!ids.length) return { ids, left, shown, back };
    const seen = model.read(ids), flat = (name) => seen.layers.map((heads) => heads.map((head) => [...head[name]]));
    return { ids, left, shown, back, scores: flat("scores"), weights: flat("weights"), mixed: flat("mixed"), logits: ids.map((_, at) => [...model.logits(seen, at)]) };
  });
}"""


def encoded(content: bytes) -> str:
    import base64

    return base64.b64encode(content).decode()


@pytest.mark.browser
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_browser_computes_what_the_package_does(
    page: Any, config: dict[str, Any], dtype: torch.dtype
) -> None:
    """Ids, scores, weights and mixed values of all heads, and logits at all positions."""
    begin = None if dtype == torch.float32 else "<end>"
    content = packed(model(**config), tokenizer(), begin=begin, dtype=dtype)
    ours, text, _ = unpacked(content)
    ours = ours.double()
    for typed, there in zip(
        TEXTS, page.evaluate(READ, [encoded(content), TEXTS, None]), strict=True
    ):
        ids = text.encode(typed)
        assert there["shown"] == text.tokens(ids)
        assert there["back"] == text.decode(ids) == typed
        if not typed and begin is None:
            assert there["ids"] == []
            continue
        read = window(typed, text, begin, ours.config.max_len)
        assert there["ids"] == read.tolist()
        assert there["left"] == len(ids) + (begin is not None) - len(read)
        for name, here in zip(("scores", "weights", "mixed"), heads(ours, read), strict=True):
            other = torch.tensor(there[name]).double().reshape(here.shape)
            torch.testing.assert_close(other, here, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            logits = ours(read[None])[0]
        torch.testing.assert_close(
            torch.tensor(there["logits"]).double(), logits, rtol=1e-5, atol=1e-5
        )


@pytest.mark.browser
def test_a_tokenizer_that_cuts_digits_and_knows_not_all_bytes_cuts_alike(page: Any) -> None:
    """And texts of every kind of character, also of those that are letters since Unicode 14."""
    odd = ["1984 12", "".join(map(chr, range(0x20, 0x600))), "\u1c89\ua7dc \U00031350 \U0001e5f1"]
    full = tokenizer(310, individual_digits=True)
    some = {name: n for n, name in enumerate(sorted(set("abcdehiloprstTuĠ")))}
    some["th"] = len(some)
    few = ByteLevelBPE(some, [("t", "h")], drop_unknown_bytes=True)
    for text in (full, few):
        content = packed(model(vocab_size=310, max_len=4), text)
        found = page.evaluate(READ, [encoded(content), [*odd, *TEXTS], None])
        for typed, there in zip([*odd, *TEXTS], found, strict=True):
            assert there["shown"] == text.tokens(text.encode(typed))


RANK = """async ([logits, temperature, topP]) => {
  const { ranked } = await import("./model.js");
  const { ids, kept, size } = ranked(logits, temperature, topP), p = Array(ids.length);
  if (topP === 1 && temperature && size < ids.length) throw new Error("1 keeps all");
  ids.forEach((id, i) => (p[id] = kept[i]));
  return p;
}"""


@pytest.mark.browser
def test_probabilities_after_temperature_and_top_p_are_those_of_generation(page: Any) -> None:
    """Also where a nucleus ends at equal tokens, and where rounding would add one."""
    rows = [torch.randn(300, generator=torch.Generator().manual_seed(n)) * 3 for n in range(3)]
    rows += [
        torch.zeros(7),
        torch.tensor([1.0, 1.0, 0.0, 0.0]),
        torch.tensor([0.5, 0.25, 0.25]).log(),
    ]
    for logits in rows:
        for temperature in (0, 0.05, 0.7, 1, 2):
            for top_p in (0.05, 0.3, 0.5, 0.75, 0.9, 1):
                here = next_probabilities(logits, temperature, top_p)
                there = page.evaluate(RANK, [logits.tolist(), temperature, top_p])
                torch.testing.assert_close(torch.tensor(there).float(), here, rtol=1e-5, atol=1e-5)


DRAW = """async ([logits, temperature, topP, seed, count]) => {
  const { ranked, randomly, drawn } = await import("./model.js");
  const from = ranked(logits, temperature, topP), uniform = randomly(seed);
  return Array.from({ length: count }, () => drawn(from, uniform()));
}"""


@pytest.mark.browser
def test_what_is_drawn_has_its_share_and_a_seed_gives_it_again(page: Any) -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(0))
    expected = next_probabilities(logits, 1.3, 0.9)
    drawn = page.evaluate(DRAW, [logits.tolist(), 1.3, 0.9, 5, 4000])
    counts = torch.bincount(torch.tensor(drawn), minlength=20)
    assert not counts[expected == 0].any()
    assert (
        (counts / 4000 - expected).abs() < 5 * (expected * (1 - expected) / 4000).sqrt() + 1e-9
    ).all()
    assert drawn == page.evaluate(DRAW, [logits.tolist(), 1.3, 0.9, 5, 4000])
    assert drawn != page.evaluate(DRAW, [logits.tolist(), 1.3, 0.9, 6, 4000])


def loaded(tab: Any) -> Any:
    """The page with its own model, as at first."""
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto(tab.url)
    tab.get_by_role("button", name="Load the model (0.1 MB)").press("Enter")
    tab.locator("#explorer .x-said", has_text="tokens.").wait_for()
    return tab


def said(tab: Any, text: str) -> None:
    tab.locator("#explorer .x-said", has_text=text).wait_for()


@pytest.mark.browser
def test_nothing_is_loaded_before_a_reader_asks(page: Any) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page.url)
    page.locator("#explorer").wait_for()
    assert page.locator(".x-room").is_hidden()
    assert not [url for url in requests if "safetensors" in url]
    loaded(page)
    assert [url for url in requests if "safetensors" in url]


@pytest.mark.browser
def test_greedy_in_the_page_is_greedy_in_the_package(page: Any) -> None:
    """By keyboard; beyond the context, the window slides as it does here."""
    tab = loaded(page)
    ours, text, begin = unpacked(packed(model(), tokenizer(), begin="<end>", dtype=torch.float16))
    prompt = window("The people", text, begin, 24).tolist()
    within = list(generate(ours.double(), prompt, 24 - len(prompt)))
    ids = prompt + within
    for _ in range(3):
        with torch.no_grad():
            ids.append(int(ours(torch.tensor([ids[-24:]]))[0, -1].argmax()))
    for _ in range(len(ids) - len(prompt)):
        tab.get_by_role("button", name="Add the likeliest").press("Enter")
    shown = tab.locator(".x-tokens small").all_inner_texts()
    assert [int(each) for each in shown] == ids[-24:]
    assert tab.locator(".x-written").inner_text() == "… " + text.decode(ids[len(prompt) :]).rstrip()
    tab.get_by_role("button", name="Take all back").press("Enter")
    assert [int(e) for e in tab.locator(".x-tokens small").all_inner_texts()] == prompt


@pytest.mark.browser
def test_the_same_seed_writes_the_same_text(page: Any) -> None:
    """Token by token until it has written forty; one of the keys in between stops it."""
    tab, written = loaded(page), []
    for seed in ("3", "3", "4"):
        tab.locator("#x-seed").fill(seed)
        for _ in range(8):
            tab.get_by_role("button", name="Draw one").press("Enter")
        written.append(tab.locator(".x-tokens small").all_inner_texts())
        tab.get_by_role("button", name="Take all back").press("Enter")
    assert written[0] == written[1] != written[2]
    tab.locator("#x-seed").fill("3")
    tab.get_by_role("button", name="Write on").press("Enter")
    tab.locator("#explorer .x-said", has_text="Forty tokens are written.").wait_for()
    assert tab.locator(".x-tokens small").count() == 24
    tab.get_by_role("button", name="Take all back").press("Enter")
    tab.get_by_role("button", name="Write on").press("Enter")
    tab.get_by_role("button", name="Stop").press("Enter")
    said(tab, "Stopped. The model has added: ")
    assert tab.locator(".x-tokens small").count() < 24
    tab.locator("#x-seed").fill("half")
    tab.get_by_role("button", name="Draw one").press("Enter")
    said(tab, "Seed must be a whole number below 2³¹, got “half”.")


@pytest.mark.browser
def test_the_map_is_walked_by_arrows_and_says_each_number(page: Any) -> None:
    tab = loaded(page)
    ours, text, begin = unpacked(packed(model(), tokenizer(), begin="<end>", dtype=torch.float16))
    ids = window("The people", text, begin, 24)
    names = text.tokens(ids)
    scores, weights, mixed = heads(ours, ids)
    tab.get_by_role("radio", name="Layer 2, head 3").press("Space")
    cell = tab.locator(".x-map td[tabindex='0']")
    cell.focus()
    for key in ("End", "ArrowUp", "ArrowLeft", "ArrowLeft"):
        tab.keyboard.press(key)
    row, column = len(ids) - 2, len(ids) - 3
    expected = f"“{names[row]}” looks at “{names[column]}”: {weights[1, 2, row, column]:.3f}"
    assert tab.locator(".x-cell").inner_text() == expected
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".x-cell").inner_text().endswith("masked")
    tab.get_by_role("radio", name="1 Scores").press("Space")
    tab.locator(".x-map td[tabindex='0']").focus()
    low = f"{scores[1, 2, -1, 0]:.3f}".replace("-", "−")
    assert tab.locator(".x-cell").inner_text() == f"“{names[-1]}” looks at “{names[0]}”: {low}"
    tab.get_by_role("radio", name="4 Mix").press("Space")
    tab.locator(".x-map td[tabindex='0']").focus()
    first = f"{mixed[1, 2, -1, 0]:.3f}".replace("-", "−")
    assert tab.locator(".x-cell").inner_text() == f"The sum, number 1 of 4: {first}"


@pytest.mark.browser
def test_the_cut_of_top_p_is_shown_and_a_token_is_added_from_its_bar(page: Any) -> None:
    tab = loaded(page)
    ours, text, begin = unpacked(packed(model(), tokenizer(), begin="<end>", dtype=torch.float16))
    ids = window("The people", text, begin, 24)
    with torch.no_grad():
        logits = ours(ids[None])[0, -1]
    for _ in range(14):  # in steps of 0.05
        tab.locator("#x-top-p").press("ArrowLeft")
    assert tab.locator("output[for=x-top-p]").inner_text() == "0.30"
    tab.locator("#x-temperature").press("Home")
    for _ in range(10):
        tab.locator("#x-temperature").press("ArrowRight")
    kept = next_probabilities(logits, 0.5, 0.3)
    count = int((kept > 0).sum())
    assert tab.locator(".x-bars tr.cut").count() == 10 - count > 0
    assert tab.locator(".x-bars tr.cut td:last-child").all_inner_texts() == ["cut"] * (10 - count)
    best = tab.locator(".x-bars tbody tr").first
    assert best.locator("td").last.inner_text() == f"{100 * float(kept.max()):.1f} %"
    best.get_by_role("button").press("Enter")
    said(tab, f"Added: “{text.tokens([int(kept.argmax())])[0]}”")
    assert tab.locator(".x-tokens small").last.inner_text() == str(int(kept.argmax()))


@pytest.mark.browser
def test_long_and_empty_texts_are_said(page: Any) -> None:
    tab = loaded(page)
    field = tab.locator("#x-text")
    field.fill("x" * 40)
    said(tab, "Of 41 tokens the model reads the last 24")
    field.fill("")
    said(tab, "1 token.")  # `<end>` alone
    tab.locator("#x-file").set_input_files(
        {"name": "mine.safetensors", "mimeType": "", "buffer": packed(model(), tokenizer())}
    )
    said(tab, "Type at least one character.")
    assert tab.locator(".x-tokens").is_hidden()
    assert tab.get_by_role("button", name="Draw one").is_disabled()
    field.fill("a")
    said(tab, "1 token.")


@pytest.mark.browser
def test_a_model_of_other_sizes_opens_from_a_file_and_bad_files_are_explained(page: Any) -> None:
    """Each message names the place and the remedy, and the model before it stays."""
    tab = loaded(page)
    whole = packed(model(num_layers=3, num_heads=2, vocab_size=310, max_len=200), tokenizer(310))

    def opened(content: bytes) -> None:
        tab.locator("#x-file").set_input_files(
            {"name": "mine.safetensors", "mimeType": "", "buffer": content}
        )

    def changed(change: Any) -> bytes:
        size = int.from_bytes(whole[:8], "little")
        header = json.loads(whole[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + whole[8 + size :]

    opened(whole)
    said(tab, "mine.safetensors: ")
    said(tab, "3 layers of 2 heads, width 16, reads 96 tokens.")
    assert tab.locator("#explorer canvas").count() == 6
    meta = "__metadata__"
    for content, message in (
        (b"", "mine.safetensors: The file has no header of a safetensors file."),
        (b"\x04" + b"\x00" * 7 + b"zip!", "The header of the file is no JSON."),
        (whole[:-4], "The file ends before norm.bias: it has not come whole."),
        (changed(lambda h: h.pop(meta)), "must have the format “llmbook.explorer 1”, and has none."),
        (changed(lambda h: h.pop("norm.weight")), "The file lacks the weight norm.weight."),
        (changed(lambda h: h["norm.weight"].update(shape=[8])), "norm.weight must have the shape (16), and has (8)."),
        (changed(lambda h: h["norm.weight"].update(dtype="BF16")), "norm.weight must be F16 or F32, and is BF16."),
        (changed(lambda h: h[meta].update(config="{}")), "vocab_size in the config must be a positive whole number"),
        (changed(lambda h: h[meta].update(tokenizer="{}")), "The tokenizer of the file cannot be used"),
        (whole[:-4] + b"\xff" * 4, "norm.bias holds a number that is not finite."),
    ):  # fmt: skip
        opened(content)
        said(tab, message)
        said(tab, "Write the file again with llmbook.explorer.export(model, tokenizer, path).")
        assert tab.locator("#explorer canvas").count() == 6


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["default", "slate"])
def test_the_explorer_is_whole_in_every_view(page: Any, scheme: str) -> None:
    """Axe finds nothing; nothing scrolls sideways on a phone; every control is large enough."""
    from axe_playwright_python.sync_playwright import Axe

    tab = loaded(page)
    tab.evaluate("s => document.body.setAttribute('data-md-color-scheme', s)", scheme)
    tab.locator("#explorer details summary").click()
    tab.locator("#x-top-p").fill("0.5")
    tab.evaluate(Axe().axe_script)
    for width in (1280, 390, 320):
        tab.set_viewport_size({"width": width, "height": 900})
        for step in ("1 Scores", "3 Softmax", "4 Mix"):
            tab.get_by_role("radio", name=step).press("Space")
            assert not tab.evaluate(AXE)
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert tab.evaluate(over) == 0
        sizes = tab.evaluate(
            "[...document.querySelectorAll('.explorer :is(button, textarea, input:not([type=radio]), .x-tokens span, .x-steps span, .x-heads label)')].map(e => e.getBoundingClientRect()).filter(b => b.width).map(b => Math.min(b.width, b.height))"
        )
        assert min(sizes) >= 24


@pytest.mark.plain
def test_the_scripts_are_small() -> None:
    import gzip

    files = [DOCS / "assets/explorer" / name for name in ("model.js", "explorer.js", "train.js")]
    assert len(gzip.compress(b"".join(file.read_bytes() for file in files))) < 15_000


def points(tab: Any) -> list[float]:
    """The losses that the curve shows, in the units of its highest."""
    pairs = tab.locator(".x-curve polyline").get_attribute("points").split()
    return [(145 - float(pair.split(",")[1])) / 132 for pair in pairs]


@pytest.mark.browser
def test_a_model_trained_in_the_tab_is_the_one_of_the_build_and_opens_in_the_explorer(
    page: Any,
) -> None:
    """Loss by loss as here with the same text and seed; stopped, continued, and opened."""
    tab = page
    tab.set_viewport_size({"width": 390, "height": 900})
    tab.goto(tab.url)
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    go = tab.get_by_role("button", name="Load Python and train")
    go.press("Enter")
    stop = tab.get_by_role("button", name="Stop")
    tab.locator(".x-count", has_text="Step").wait_for(timeout=60_000)
    tab.wait_for_timeout(1500)
    stop.press("Enter")
    status = tab.locator("#trainer .x-said")
    tab.locator("#trainer .x-said", has_text="Stopped at step").wait_for()
    steps = len(points(tab))
    ours = Trainer(rhyme(), seed=0)
    losses = ours.run(steps)
    assert steps > 5
    assert [max(losses) * p for p in points(tab)] == pytest.approx(losses, rel=1e-3, abs=2e-3)
    assert status.inner_text().startswith(f"Stopped at step {steps}, loss {losses[-1]:.3f}.")
    start = rhyme()[:24]
    back = ours.looks(start).diagonal(-1, 2, 3).mean(-1).ravel()
    shown = tab.locator("#trainer .x-look small").all_inner_texts()
    assert [float(each.removeprefix("one back ")) for each in shown] == pytest.approx(
        back, abs=0.006
    )

    tab.get_by_role("button", name="Go on").press("Enter")
    tab.wait_for_timeout(1000)
    stop.press("Enter")
    tab.locator("#trainer .x-said", has_text="Stopped at step").wait_for()
    again = len(points(tab))
    losses += ours.run(again - steps)
    assert again > steps
    assert f"step {again}, loss {losses[-1]:.3f}." in status.inner_text()

    del requests[:]
    tab.get_by_role("button", name="Open it in the explorer").press("Enter")
    said(tab, f"Your model, after {again} steps: 27,872 parameters, 2 layers of 4 heads")
    assert not requests
    read, text, _ = unpacked(ours.file())
    ids = torch.tensor(text.encode(start))
    assert [int(e) for e in tab.locator(".x-tokens small").all_inner_texts()] == ids.tolist()
    with torch.no_grad():
        p = next_probabilities(read(ids[None])[0, -1])
    first = tab.locator(".x-bars tbody tr").first.locator("td").last.inner_text()
    assert float(first.removesuffix(" %")) == pytest.approx(100 * float(p.max()), abs=0.2)

    seed = tab.locator("#x-train-seed")
    seed.fill("two")
    tab.get_by_role("button", name="Train", exact=True).press("Enter")
    tab.locator("#trainer .x-said", has_text="Seed must be a whole number from 0").wait_for()
    seed.fill("1")
    tab.locator("#x-learn").fill("too short")
    tab.get_by_role("button", name="Train", exact=True).press("Enter")
    tab.locator("#trainer .x-said", has_text="got 9: take a longer text").wait_for()
