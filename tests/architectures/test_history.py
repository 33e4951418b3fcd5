"""`llmbook.architectures.history`: what stands beside the data sheets, and every source in the bibliography."""

from pathlib import Path

import pytest

from llmbook.architectures.configs import CONFIGS, UNDISCLOSED
from llmbook.architectures.costs import block_parameters
from llmbook.architectures.counting import count_parameters
from llmbook.architectures.history import ARCHITECTURES, Architecture

MODELS = pytest.mark.parametrize("model", ARCHITECTURES.values(), ids=ARCHITECTURES)
BIBLIOGRAPHY = Path(__file__).parents[2] / "docs" / "references.bib"
LESSON = ["Word2Vec", "GPT-1", "BERT-Large", "GPT-2 XL", "T5-11B", "GPT-3", "PaLM 540B", "GPT-4"]


def sizes(name: str) -> tuple[int, ...]:
    """V, P, d, L and f of a record: the letters of the formulas below."""
    model = ARCHITECTURES[name]
    values = (model.vocab_size, model.max_len, model.d_model, model.num_layers, model.d_ff)
    return tuple(size or 0 for size in values)


def test_chinchilla_has_five_attention_matrices_per_layer() -> None:
    """Its record follows from its measures, the fifth matrix being for relative positions."""
    v, _, d, layers, f = sizes("Chinchilla")
    count = v * d + layers * (5 * d * d + 2 * d * f)
    assert ARCHITECTURES["Chinchilla"].parameters == count


def test_clip_is_two_encoders_and_two_projections() -> None:
    """The text encoder from the record's measures, a ViT-L/14 beside it, and a temperature."""
    v, p, d, layers, f = sizes("CLIP ViT-L/14")
    text = v * d + p * d + layers * block_parameters(d, f) + 2 * d
    width, patches = 1024, (224 // 14) ** 2
    vision = width + 3 * 14**2 * width + (patches + 1) * width
    vision += 24 * block_parameters(width, 4 * width) + 4 * width
    assert ARCHITECTURES["CLIP ViT-L/14"].parameters == text + vision + (d + width) * 768 + 1


def test_switch_stores_what_its_measures_say_and_uses_a_thousandth() -> None:
    """The paper's 1,571 billion from its table of measures; a token passes through one expert."""
    switch = ARCHITECTURES["Switch-C"]
    v, _, d, layers, f = sizes("Switch-C")
    heads = (switch.num_heads or 0) * (switch.d_head or 0)
    attention = 3 * layers * 4 * d * heads  # one in the encoder, two in the decoder
    shared = v * d + attention
    assert switch.parameters == shared + 2 * layers * 2048 * 2 * d * f
    assert switch.active_parameters == shared + 2 * layers * (2 * d * f + 2048 * d)
    assert round(switch.parameters / 1e9) == 1571


def test_what_is_stored_grew_and_what_is_used_did_not() -> None:
    """After PaLM no model here uses as much for a token; since 2025 some store more than any before."""
    sizes = [
        (m.decimal_year, m.parameters, m.active_parameters)
        for m in ARCHITECTURES.values()
        if m.parameters and m.active_parameters
    ]
    palm = ARCHITECTURES["PaLM 540B"]
    used = [active for year, _, active in sizes if year > palm.decimal_year]
    assert palm.active_parameters is not None
    assert max(used) < palm.active_parameters
    assert max(stored for year, stored, _ in sizes if year > 2026) > 1.5 * max(
        stored for year, stored, _ in sizes if year < 2025
    )
    assert max(active for year, _, active in sizes if year >= 2025) == 104 * 10**9


def test_rounded_figures_fit_their_measures() -> None:
    """Where only the paper's rounded figure stands, the blocks alone come close to it."""
    *_, d, layers, f = sizes("DALL-E")
    published = ARCHITECTURES["DALL-E"].parameters
    assert layers * block_parameters(d, f) == pytest.approx(published, rel=0.01)
    v, _, d, *_ = sizes("Word2Vec")
    assert v * d == ARCHITECTURES["Word2Vec"].parameters


def test_a_record_has_the_sizes_of_its_data_sheet() -> None:
    """Nothing is lost on the way, nor does a default of the record stand for a measure."""
    sheet, record = CONFIGS["mixtral-8x7b"], ARCHITECTURES["Mixtral 8x7B"]
    assert record.parameters == count_parameters(sheet)
    assert record.active_parameters == count_parameters(sheet, active=True)
    same = ("num_layers", "d_model", "num_heads", "num_kv_heads", "d_ff", "gated", "num_experts")
    for name in (*same, "active_experts", "vocab_size", "max_len"):
        assert getattr(record, name) == getattr(sheet, name), name
    assert (record.kind, record.d_head) == (sheet.structure, sheet.head_width)


def test_a_mixture_of_experts_uses_a_part_of_itself() -> None:
    """DeepSeek-V3 computes with an eighteenth of its weights."""
    deepseek = ARCHITECTURES["DeepSeek-V3"]
    assert (deepseek.parameters, deepseek.active_parameters) == (671 * 10**9, 37 * 10**9)


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
        assert model.active_parameters is not None or model.num_experts != 1
        assert model.undisclosed_reason is None
        assert model.basis is not None
        dense = model.num_experts == 1
        assert (model.active_parameters == model.parameters) is dense
        if model.active_parameters is not None:
            assert 0 < model.active_parameters <= model.parameters
    if model.num_experts is not None and model.active_experts is not None:
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
    assert ARCHITECTURES["GPT-4"].undisclosed_reason == UNDISCLOSED["gpt-4"]


def test_t5_has_berts_depth_and_width_and_34_times_its_parameters() -> None:
    """Layers and width alone, as the lesson lists them, do not tell a model's size."""
    bert_large, t5_11b = ARCHITECTURES["BERT-Large"], ARCHITECTURES["T5-11B"]
    assert (bert_large.num_layers, bert_large.d_model) == (t5_11b.num_layers, t5_11b.d_model)
    assert bert_large.parameters and t5_11b.parameters  # noqa: PT018
    assert round(t5_11b.parameters / bert_large.parameters, 1) == 33.7
