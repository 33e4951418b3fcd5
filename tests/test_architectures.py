"""`llmbook.architectures`: every count against its own measures, every source against the book."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.architectures import (
    ARCHITECTURES,
    Architecture,
    attention_share,
    block_flops,
    block_parameters,
)
from llmbook.transformer import TransformerBlock

MODELS = pytest.mark.parametrize("model", ARCHITECTURES.values(), ids=ARCHITECTURES)
BIBLIOGRAPHY = Path(__file__).parents[1] / "docs" / "references.bib"
LESSON = ["Word2Vec", "GPT-1", "BERT-Large", "GPT-2 XL", "T5-11B", "GPT-3", "PaLM 540B", "GPT-4"]


def measures(model: Architecture) -> tuple[int, ...]:
    """V, P, d, L, h, kv, d_h, f: the letters of the formulas below; 0 where there is none."""
    heads = (model.num_heads, model.num_kv_heads, model.d_head)
    sizes = (model.vocab_size, model.max_len, model.d_model, model.num_layers, *heads, model.d_ff)
    return tuple(size or 0 for size in sizes)


def bert(model: Architecture) -> int:
    """Embeddings of tokens, positions and two segments with a norm; blocks; a pooler."""
    v, p, d, layers, *_, f = measures(model)
    return (v + p + 2) * d + 2 * d + layers * block_parameters(d, f) + d * d + d


def gpt(model: Architecture, final_norm: bool = True) -> int:
    """Embeddings of tokens (tied to the output) and positions; blocks; a last norm since GPT-2."""
    v, p, d, layers, *_, f = measures(model)
    return v * d + p * d + layers * block_parameters(d, f) + 2 * d * final_norm


def t5(model: Architecture) -> int:
    """One embedding; encoder and decoder without biases, each with its table of distances."""
    v, _, d, layers, h, _, d_head, f = measures(model)
    encoder_layer = 4 * d * h * d_head + 2 * d * f + 2 * d
    decoder_layer = 8 * d * h * d_head + 2 * d * f + 3 * d
    return v * d + layers * (encoder_layer + decoder_layer) + 2 * (32 * h + d)


def chinchilla(model: Architecture) -> int:
    """Five attention matrices per layer, the fifth for relative positions."""
    v, _, d, layers, *_, f = measures(model)
    return v * d + layers * (5 * d * d + 2 * d * f)


def palm(model: Architecture) -> int:
    """One key and value head for all queries, a gated feed-forward, no biases."""
    v, _, d, layers, h, kv, d_head, f = measures(model)
    return v * d + layers * (2 * d * d_head * (h + kv) + 3 * d * f)


def llama(model: Architecture, *, tied: bool = False, experts: int = 1) -> int:
    """Grouped heads, gated feed-forward (and a router), two gains per layer and one at the end."""
    v, _, d, layers, h, kv, d_head, f = measures(model)
    router = d * model.num_experts if model.num_experts > 1 else 0
    layer = 2 * d * d_head * (h + kv) + experts * 3 * d * f + router + 2 * d
    return (1 if tied else 2) * v * d + layers * layer + d


def clip(model: Architecture) -> int:
    """The text encoder from its measures, and a ViT-L/14 beside it."""
    v, p, d, layers, *_, f = measures(model)
    text = v * d + p * d + layers * block_parameters(d, f) + 2 * d
    width, patches = 1024, (224 // 14) ** 2
    vision = width + 3 * 14**2 * width + (patches + 1) * width
    vision += 24 * block_parameters(width, 4 * width) + 4 * width
    return text + vision + (d + width) * 768 + 1


@pytest.mark.parametrize(
    ("name", "formula", "options"),
    [
        ("BERT-Large", bert, {}),
        ("GPT-1", gpt, {"final_norm": False}),
        ("GPT-2 XL", gpt, {}),
        ("GPT-3", gpt, {}),
        ("T5-11B", t5, {}),
        ("CLIP ViT-L/14", clip, {}),
        ("Chinchilla", chinchilla, {}),
        ("PaLM 540B", palm, {}),
        ("Llama-2-70B", llama, {}),
        ("Llama-3.1-405B", llama, {}),
        ("SmolLM2-135M", llama, {"tied": True}),
        ("Mixtral 8x7B", llama, {"experts": 8}),
    ],
)
def test_counts_follow_from_the_measures(name: str, formula: Any, options: dict[str, Any]) -> None:
    """The number of parameters and the sizes beside it are of one model, to the last weight."""
    assert ARCHITECTURES[name].parameters == formula(ARCHITECTURES[name], **options)


def test_a_mixture_of_experts_uses_a_part_of_itself() -> None:
    """Mixtral computes with two of eight experts; DeepSeek-V3 with an eighteenth of its weights."""
    mixtral, deepseek = ARCHITECTURES["Mixtral 8x7B"], ARCHITECTURES["DeepSeek-V3"]
    assert mixtral.active_parameters == llama(mixtral, experts=2)
    assert mixtral.parameters and mixtral.active_parameters  # noqa: PT018
    assert round(mixtral.parameters / 1e9, 1) == 46.7
    assert round(mixtral.active_parameters / 1e9, 1) == 12.9
    assert (deepseek.parameters, deepseek.active_parameters) == (671 * 10**9, 37 * 10**9)


def test_rounded_figures_fit_their_measures() -> None:
    """Where only the paper's rounded figure stands, the blocks alone come close to it."""
    dall_e = ARCHITECTURES["DALL-E"]
    *_, d, layers, _, _, _, f = measures(dall_e)
    assert layers * block_parameters(d, f) == pytest.approx(dall_e.parameters, rel=0.01)
    word2vec = ARCHITECTURES["Word2Vec"]
    assert word2vec.vocab_size and word2vec.d_model  # noqa: PT018
    assert word2vec.vocab_size * word2vec.d_model == word2vec.parameters


@MODELS
def test_records_are_consistent(model: Architecture) -> None:
    """Sizes are positive, dense models use all they have, and what is missing has a reason."""
    assert 1 <= model.month <= 12
    assert model.year <= model.decimal_year < model.year + 1
    if model.parameters is None:
        assert model.undisclosed_reason
        assert model.active_parameters is None
        assert model.basis is None
    else:
        assert model.active_parameters is not None
        assert model.undisclosed_reason is None
        assert model.basis is not None
        dense = model.num_experts == 1
        assert (model.active_parameters == model.parameters) is dense
        assert 0 < model.active_parameters <= model.parameters
    assert 1 <= model.active_experts <= model.num_experts
    if model.num_kv_heads is not None:
        assert model.num_heads is not None
        assert model.num_heads % model.num_kv_heads == 0


@MODELS
def test_records_are_frozen_and_sourced(model: Architecture) -> None:
    """Nobody changes a published number by accident, and each has its place in the bibliography."""
    with pytest.raises(AttributeError):
        model.parameters = 0  # type: ignore[misc]
    assert f"{{{model.source}," in BIBLIOGRAPHY.read_text()


def test_the_table_tells_the_lessons_story_in_order() -> None:
    """The lesson's eight models are there, oldest first, and GPT came before BERT."""
    assert set(LESSON) <= set(ARCHITECTURES)
    years = [model.decimal_year for model in ARCHITECTURES.values()]
    assert years == sorted(years)
    assert ARCHITECTURES["GPT-1"].decimal_year < ARCHITECTURES["BERT-Large"].decimal_year
    with pytest.raises(TypeError):
        ARCHITECTURES["GPT-5"] = ARCHITECTURES["GPT-4"]  # type: ignore[index]


def test_only_gpt4_is_undisclosed() -> None:
    """Where a size was never published there is none, rather than a rumour."""
    undisclosed = [name for name, model in ARCHITECTURES.items() if model.parameters is None]
    assert undisclosed == ["GPT-4"]


def test_t5_has_berts_depth_and_width_and_34_times_its_parameters() -> None:
    """Layers and width alone, as the lesson lists them, do not tell a model's size."""
    bert_large, t5_11b = ARCHITECTURES["BERT-Large"], ARCHITECTURES["T5-11B"]
    assert (bert_large.num_layers, bert_large.d_model) == (t5_11b.num_layers, t5_11b.d_model)
    assert bert_large.parameters and t5_11b.parameters  # noqa: PT018
    assert round(t5_11b.parameters / bert_large.parameters, 1) == 33.7


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
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

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
