"""SmolLM2 in 8 bits by two programs: the file that the other reads, and what is recorded."""

from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM

from llmbook.experiments.llamacpp import NEW, ROUNDS, in_common, to_q8_0
from llmbook.experiments.results import recorded
from llmbook.experiments.speeds import PROMPTS
from llmbook.pretrained import _read_gguf
from llmbook.quantization import from_q8_0, q8_0
from tests.test_pretrained import write_gguf


def test_a_file_is_written_again_with_rounded_matrices_and_all_else_as_it_was(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    config = TheirConfig(
        vocab_size=4, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=32, initializer_range=0.3, tie_word_embeddings=True,
        rms_norm_eps=0.01, rope_parameters={"rope_type": "default", "rope_theta": 50.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_()
    write_gguf(tmp_path / "whole.gguf", model)
    to_q8_0(tmp_path / "whole.gguf", tmp_path / "rounded.gguf")
    whole, rounded = (_read_gguf(tmp_path / f"{name}.gguf") for name in ("whole", "rounded"))
    weights, again = whole.pop("weights"), rounded.pop("weights")
    assert whole == rounded
    for name, weight in weights.items():
        exact = weight.numpy()
        if exact.ndim == 2:
            exact = from_q8_0(q8_0(exact), exact.shape)
            assert not np.array_equal(exact, weight)
        np.testing.assert_array_equal(again[name], exact)


@pytest.mark.parametrize(
    ("one", "other", "common"), [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1, 2, 3], [1, 0, 3], 1)]
)
def test_texts_are_compared_up_to_where_they_part(
    one: list[int], other: list[int], common: int
) -> None:
    assert in_common(one, other) == in_common(other, one) == common


def test_in_the_record_both_begin_as_float32_does_and_ours_is_half_as_fast_or_more() -> None:
    (record,) = recorded("llamacpp")
    for prompt in PROMPTS:
        row = record[prompt]
        assert 12 <= row["common"]["ours"] <= row["common"]["llama.cpp"] == NEW
        assert {len(seconds) for seconds in row["seconds"].values()} == {ROUNDS}
        assert median(row["seconds"]["llama.cpp"]) / median(row["seconds"]["ours"]) > 0.5
