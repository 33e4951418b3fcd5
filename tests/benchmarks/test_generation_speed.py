"""Greedy generation by SmolLM2 against transformers, with the same weights in float32."""

from time import perf_counter
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmbook.generation import generate
from llmbook.llama import _HF_NAMES, Llama
from llmbook.weights import renamed
from tests.benchmarks.conftest import Compare

NEW = 48


def in_transformers(model: Llama) -> Any:
    """The same model in their code, with weights of its own in their own layout."""
    c = model.config
    config = LlamaConfig(
        vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads, max_position_embeddings=c.max_len,
        rms_norm_eps=c.norm_eps, tie_word_embeddings=True, eos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
    )  # fmt: skip
    theirs = LlamaForCausalLM(config).eval()
    weights = {renamed(k, "model.layers", _HF_NAMES): w for k, w in model.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied
    return theirs


def gigabytes_per_second() -> float:
    """What this machine reads from memory, by a sum over more than its caches hold."""
    block = torch.ones(2**27)  # half a gigabyte
    block.sum()
    best = 0.0
    for _ in range(5):
        start = perf_counter()
        block.sum()
        best = max(best, block.nbytes / (perf_counter() - start) / 1e9)
    return best


def test_greedy_generation(
    compare: Compare, smollm2: tuple[Llama, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step reads every weight once, so memory sets the limit: its share is printed."""
    model, tokenizer = smollm2
    theirs = in_transformers(model)
    prompt = tokenizer.encode("Once upon a time, there was")
    ids = torch.tensor([prompt])
    how: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}

    def ours() -> list[int]:
        return list(generate(model, prompt, NEW))

    def transformers() -> list[int]:
        with torch.inference_mode():
            tokens: list[int] = theirs.generate(ids, **how)[0, len(prompt) :].tolist()
            return tokens

    assert ours() == transformers()
    compare(ours, transformers)
    start = perf_counter()
    ours()
    speed = NEW / (perf_counter() - start)
    size = sum(weight.nbytes for weight in model.parameters()) / 1e9
    share = speed * size / gigabytes_per_second()
    with capsys.disabled():
        print(f"\n{speed:.1f} tokens a second, {share:.0%} of the memory's measured bandwidth")
