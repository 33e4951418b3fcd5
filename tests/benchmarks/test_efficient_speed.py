"""What fewer pairs, fewer bits and fewer steps save in time, beside what does all of them."""

from typing import Any

import torch
import torch.nn.functional as F

from llmbook.generation import generate
from llmbook.llama import Llama
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


def test_a_draft_from_the_text_itself_where_a_list_repeats(
    compare: Compare, smollm2: tuple[Llama, Any]
) -> None:
    model, tokenizer = smollm2
    prompt = tokenizer.encode("red, green, blue, white, red, green, blue, white, red, green, blue,")
    compare(
        lambda: list(speculate(model, NgramDraft(), prompt, NEW)),
        lambda: list(generate(model, prompt, NEW)),
    )
