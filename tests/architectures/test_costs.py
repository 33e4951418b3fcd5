"""`llmbook.architectures`: operations against PyTorch's own counter, bytes by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from llmbook.architectures.configs import CONFIGS
from llmbook.architectures.costs import (
    BITS,
    attention_share,
    block_flops,
    block_parameters,
    forward_flops,
    kv_cache_bytes,
    training_flops,
    weight_bytes,
)
from llmbook.architectures.counting import count_parameters, parameter_parts
from llmbook.architectures.history import ARCHITECTURES
from llmbook.transformer import TransformerBlock


@given(heads=st.integers(1, 4), d_head=st.integers(1, 8), d_ff=st.integers(1, 32))
def test_block_parameters_counts_the_block(heads: int, d_head: int, d_ff: int) -> None:
    """The formula and the tensors of `TransformerBlock` agree, for any number of heads."""
    block = TransformerBlock(heads * d_head, heads, d_ff)
    counted = sum(parameter.numel() for parameter in block.parameters())
    assert block_parameters(heads * d_head, d_ff) == counted


@pytest.mark.parametrize("sizes", [(0, 8), (8, 0), (-8, 8)])
def test_block_parameters_refuses_no_size(sizes: tuple[int, int]) -> None:
    """A block of no width has no parameters to count."""
    with pytest.raises(ValueError, match=f"must be positive, got {sizes[0]} and {sizes[1]}"):
        block_parameters(*sizes)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("BERT-Large", 1 / 3),
        ("GPT-3", 1 / 3),
        ("T5-11B", 1 / 3),
        ("Llama-2-70B", 0.176),
        ("PaLM 540B", 0.102),
    ],
)
def test_attention_shares(name: str, share: float) -> None:
    """A third in the classical block, less with shared heads and a gate."""
    assert attention_share(ARCHITECTURES[name]) == pytest.approx(share, abs=0.0005)


def test_attention_share_counts_every_stored_expert() -> None:
    """Eight feed-forward networks beside one attention leave it a thirty-fourth."""
    assert attention_share(ARCHITECTURES["Mixtral 8x7B"]) == pytest.approx(1 / 34.6, abs=0.001)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("GPT-4", "GPT-4 has no d_model, num_heads, num_kv_heads, d_head, d_ff in the table"),
        ("Word2Vec", "Word2Vec has no num_heads, num_kv_heads, d_head, d_ff in the table"),
        ("DeepSeek-V3", "DeepSeek-V3 has no num_kv_heads in the table"),
    ],
)
def test_attention_share_names_what_is_missing(name: str, missing: str) -> None:
    """No share is made up for a model without the measures."""
    with pytest.raises(ValueError, match=missing):
        attention_share(ARCHITECTURES[name])


@pytest.mark.parametrize(("d_model", "d_ff", "seq"), [(16, 64, 5), (32, 48, 40), (64, 256, 1)])
def test_block_flops_are_those_that_pytorch_counts(d_model: int, d_ff: int, seq: int) -> None:
    """Every matrix product of our own block, counted while it runs."""
    block, counter = TransformerBlock(d_model, 2, d_ff), FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        block(torch.zeros(1, seq, d_model))
    assert counter.get_total_flops() == sum(block_flops(d_model, d_ff, seq).values())


def test_pairs_overtake_the_rest_at_the_length_of_the_formula() -> None:
    """At n = 2d + f the quadratic term is half of all."""
    for d, f in ((512, 2048), (576, 1536)):
        flops = block_flops(d, f, 2 * d + f)
        assert flops["pairs"] == flops["projections"] + flops["feed-forward"]


def test_block_flops_refuses_impossible_sizes() -> None:
    """The error names all three."""
    with pytest.raises(ValueError, match="must be positive, got 4, 8 and 0"):
        block_flops(4, 8, 0)


@pytest.mark.parametrize(("seq", "kv_heads"), [(1, 4), (7, 2), (40, 1)])
def test_a_decoders_flops_are_those_that_pytorch_counts(seq: int, kv_heads: int) -> None:
    """Every matrix product of transformers' Llama; its scores beyond the mask are computed too."""
    config = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=kv_heads, head_dim=10, vocab_size=19,
    )  # fmt: skip
    model, counter = LlamaForCausalLM(config), FlopCounterMode(display=False)
    model.set_attn_implementation("eager")
    with counter:
        model(torch.zeros(1, seq, dtype=torch.int64), use_cache=False)
    ours = forward_flops(config, seq)
    ours["pairs"] *= 2 * seq / (seq + 1)
    assert counter.get_total_flops() == seq * sum(ours.values())


@pytest.mark.parametrize("seq", [1, 9])
def test_an_encoders_flops_are_those_that_pytorch_counts(seq: int) -> None:
    """Each token sees all, and there is no product with the vocabulary."""
    config = BertConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        vocab_size=19,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    model.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(1, seq, dtype=torch.int64))
    ours = forward_flops(config, seq)
    assert counter.get_total_flops() == seq * sum(ours.values())


def test_a_mixtures_flops_are_those_of_its_active_experts() -> None:
    """Two of eight experts and the router: the feed-forward parameters in use, twice."""
    used = parameter_parts("mixtral-8x7b", active=True)["feed-forward"]
    assert forward_flops("mixtral-8x7b", 100)["feed-forward"] == 2 * used


@pytest.mark.parametrize(
    ("name", "seq", "share"),
    [("gpt3-175b", 2048, 0.014), ("llama-3-8b", 8192, 0.133), ("llama-3-8b", 131_072, 0.711)],
)
def test_the_share_of_pairs_grows_with_the_text(name: str, seq: int, share: float) -> None:
    """Worked out by hand, of the layers' operations, without the output."""
    flops = forward_flops(name, seq)
    layers = sum(flops.values()) - flops["output"]
    assert flops["pairs"] / layers == pytest.approx(share, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "tokens", "published", "tolerance"),
    [
        ("gpt3-175b", 300e9, 3.14e23, 0.002),
        ("palm-540b", 780e9, 2.527e24, 0.002),
        ("t5-11b", 1e12, 3.30e22, 0.03),
        ("llama-3.1-405b", 15.6e12, 3.8e25, 0.001),
        ("bert-base", 250e9, 1.64e20, 0.002),
    ],
)
def test_training_flops_are_the_published_ones(
    name: str, tokens: float, published: float, tolerance: float
) -> None:
    """By GPT-3's appendix D (with 11 for T5's 11.3 billion), PaLM's and Llama 3's papers."""
    assert training_flops(name, tokens) == pytest.approx(published, rel=tolerance)


def test_training_flops_are_three_forward_passes_of_a_large_decoder() -> None:
    """The rule of thumb leaves the pairs out and counts the lookup as a product: 2 % in GPT-3."""
    forward = sum(forward_flops("gpt3-175b", 2048).values())
    assert training_flops("gpt3-175b", 1) == pytest.approx(3 * forward, rel=0.02)


def test_training_flops_count_the_experts_in_use() -> None:
    """A mixture costs as much as its active parameters."""
    active = count_parameters("mixtral-8x7b", active=True)
    assert training_flops("mixtral-8x7b", 5) == 30 * active


@pytest.mark.parametrize(
    ("name", "bytes_per_token"),
    [
        ("gpt2", 36_864),
        ("gpt3-175b", 4_718_592),
        ("palm-540b", 120_832),
        ("llama-2-7b", 524_288),
        ("llama-2-70b", 327_680),
        ("llama-3-8b", 131_072),
        ("mixtral-8x7b", 131_072),
        ("smollm2-135m", 23_040),
    ],
)
def test_the_cache_is_two_vectors_per_layer_and_head(name: str, bytes_per_token: int) -> None:
    """By hand, at two bytes a number; it grows with the texts, their length and the precision."""
    assert kv_cache_bytes(name, 1) == bytes_per_token
    assert kv_cache_bytes(name, 100, batch=3, dtype="float32") == 600 * bytes_per_token


def test_a_t5_keeps_keys_of_its_decoder_only() -> None:
    """24 layers of 128 heads of 128, for a token of either text."""
    assert kv_cache_bytes("t5-11b", 1) == 2 * 24 * 128 * 128 * 2


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [("gpt3-175b", 349.2), ("palm-540b", 1080.7), ("mixtral-8x7b", 93.4), ("smollm2-135m", 0.269)],
)
def test_weights_take_two_bytes_each(name: str, gigabytes: float) -> None:
    """Also the experts that a token leaves out."""
    assert weight_bytes(name) / 1e9 == pytest.approx(gigabytes, abs=0.05)
    assert weight_bytes(name, "bfloat16") == weight_bytes(name)


@given(name=st.sampled_from(sorted(CONFIGS)))
def test_a_precision_is_a_ratio_of_bytes(name: str) -> None:
    """Four bytes, one, and half a byte, rounded up."""
    n = count_parameters(name)
    assert [weight_bytes(name, dtype) for dtype in BITS] == [4 * n, 2 * n, 2 * n, n, (n + 1) // 2]


@pytest.mark.plain
def test_costs_refuse_what_they_cannot_count() -> None:
    """The error names the argument and what was expected."""
    with pytest.raises(ValueError, match="float32, float16, bfloat16, int8, int4, got 'fp8'"):
        weight_bytes("gpt2", "fp8")
    with pytest.raises(ValueError, match="float32, float16, bfloat16, int8, int4, got 'fp8'"):
        kv_cache_bytes("gpt2", 5, dtype="fp8")
    with pytest.raises(ValueError, match="seq and batch must be at least 1, got 0 and 1"):
        kv_cache_bytes("gpt2", 0)
    with pytest.raises(ValueError, match="seq and batch must be at least 1, got 3 and -1"):
        kv_cache_bytes("gpt2", 3, batch=-1)
    with pytest.raises(ValueError, match="a bert writes no text"):
        kv_cache_bytes("bert-base", 5)
    for tokens in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=f"tokens must be positive, got {tokens}"):
            training_flops("gpt2", tokens)
    with pytest.raises(ValueError, match="seq must be at least 1, got 0"):
        forward_flops("gpt2", 0)
    with pytest.raises(ValueError, match="takes an encoder or a decoder, got a t5"):
        forward_flops("t5-small", 5)


def test_windows_and_latent_vectors_bound_the_cache_as_counted_by_hand() -> None:
    """Layer by layer, token by token."""
    assert kv_cache_bytes("deepseek-v3", 10) == 61 * (512 + 64) * 10 * 2
    for seq in (1, 128, 129, 5000):
        kept = sum(min(seq, 128 if layer % 2 else seq) for layer in range(36))
        assert kv_cache_bytes("gpt-oss-120b", seq) == kept * 2 * 8 * 64 * 2
    kept = 10 * 131_072 + 52 * 1024
    assert kv_cache_bytes("gemma-3-27b", 131_072) == kept * 2 * 16 * 128 * 2


@pytest.mark.parametrize("seq", [1, 7, 128, 1000])
def test_pairs_within_windows_are_counted_one_by_one(seq: int) -> None:
    """Half of gpt-oss's layers look back 128 tokens; latent keys are wider than values."""
    seen = sum(min(place, 128) + place for place in range(1, seq + 1)) / seq / 2
    flops = forward_flops("gpt-oss-120b", seq)
    assert flops["pairs"] == pytest.approx(36 * 4 * 64 * 64 * seen)
    flops = forward_flops("deepseek-v3", seq)
    assert flops["pairs"] == pytest.approx(61 * 128 * (2 * 192 + 2 * 128) * (seq + 1) / 2)
    every = sum(flops.values()) - flops["pairs"]
    used = count_parameters("deepseek-v3", active=True) - 129_280 * 7168
    assert every == pytest.approx(2 * used, rel=1e-4)  # but for the gains of norms
