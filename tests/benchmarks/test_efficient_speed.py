"""What fewer pairs, fewer bits and fewer steps save in time, beside what does all of them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from llmbook.experiments.llamacpp import in_common, ours, theirs, to_q8_0
from llmbook.generation import generate
from llmbook.llama import Llama
from llmbook.pretrained import fetch
from llmbook.quantization import to_int8
from llmbook.sparse import local_attention, local_mask
from llmbook.speculative import NgramDraft, speculate
from tests.benchmarks.conftest import Compare

NEW = 32


def test_a_window_by_blocks_beside_full_attention_at_2048_tokens(compare: Compare) -> None:
    x = torch.randn(1, 4, 2048, 32)
    with torch.no_grad():
        compare(
            lambda: local_attention(x, x, x, 64),
            lambda: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        )


def test_a_window_by_blocks_beside_the_same_window_as_a_mask(compare: Compare) -> None:
    x, mask = torch.randn(1, 4, 2048, 32), local_mask(2048, 64)
    with torch.no_grad():
        compare(
            lambda: local_attention(x, x, x, 64),
            lambda: F.scaled_dot_product_attention(x, x, x, mask),
        )


def test_generation_with_weights_in_8_bits(compare: Compare, smollm2: tuple[Llama, Any]) -> None:
    """At least 1.5 times as fast as in float32 on two cores."""
    model, tokenizer = smollm2
    rounded, prompt = to_int8(model), tokenizer.encode("Once upon a time, there was")
    compare(
        lambda: list(generate(rounded, prompt, NEW)), lambda: list(generate(model, prompt, NEW))
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_layers_of_bytes_beside_llamacpp_with_as_many_bits(
    compare: Compare, smollm2: tuple[Llama, Any], tmp_path: Path, threads: int
) -> None:
    """Both write the same beginning, and ours shall be at least half as fast.

    On two cores in December 2026 it has 0.59 of llama.cpp's speed in one thread, and 0.49 in two.
    """
    pytest.importorskip(
        "llama_cpp",
        reason="llama-cpp-python is not installed: pip compiles it, with a C++ compiler",
    )
    to_q8_0(fetch("smollm2"), tmp_path / "smollm2.gguf")
    model, tokenizer = smollm2
    text = tokenizer.encode("Once upon a time, there was")
    write = partial(theirs(tmp_path / "smollm2.gguf", threads), text, 2 * NEW)
    rounded = to_int8(model)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert in_common(ours(rounded, text, 2 * NEW), write()) >= 12  # in 8 bits they part later
        assert compare(partial(ours, rounded, text, 2 * NEW), write) >= 0.5
    finally:
        torch.set_num_threads(before)


def test_a_draft_from_the_text_itself_where_a_list_repeats(
    compare: Compare, smollm2: tuple[Llama, Any]
) -> None:
    model, tokenizer = smollm2
    prompt = tokenizer.encode("red, green, blue, white, red, green, blue, white, red, green, blue,")
    compare(
        lambda: list(speculate(model, NgramDraft(), prompt, NEW)),
        lambda: list(generate(model, prompt, NEW)),
    )
