"""`llmbook.experiments.recitals`: a reader who knows a text goes on with it, and one who does not stops."""

import torch
from torch import nn

from llmbook.experiments.recitals import OPENINGS, PROMPTS, recite
from llmbook.memorization import verbatim
from llmbook.tokenizers import ByteLevelBPE, byte_alphabet


class Knows(nn.Module):
    """Is sure of the next token of one text, and of token 0 everywhere else."""

    def __init__(self, ids: list[int], upto: int) -> None:
        super().__init__()
        self.ids, self.upto = ids, upto

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits."""
        length = token_ids.shape[1]
        logits = torch.zeros(1, length, 300)
        for place in range(length):
            logits[0, place, self.ids[place + 1] if place < self.upto else 0] = 5.0
        return logits


def test_the_longest_run_after_any_prompt_counts() -> None:
    letters = {char: byte for byte, char in byte_alphabet().items()}
    tokenizer = ByteLevelBPE(letters, [], {"<|endoftext|>": 299})
    text = "Call me Ishmael. Some years ago"
    ids = [299, *tokenizer.encode(text)]
    for upto in (3, 10, 14, 25):
        model = Knows(ids, upto)
        found = recite(model, tokenizer, text)
        each = [verbatim(model, torch.tensor(ids), 1 + prompt) for prompt in PROMPTS]
        assert found.copied == max(each) == max(0, upto - min(PROMPTS))
        assert found.text == (text[min(PROMPTS) : upto] if upto > 4 else "")
    assert (
        recite(Knows(ids, 99), tokenizer, text).nats < recite(Knows(ids, 9), tokenizer, text).nats
    )


def test_each_opening_has_a_companion_of_about_its_length() -> None:
    assert len({opening.source for opening in OPENINGS}) == len(OPENINGS) == 20
    for opening in OPENINGS:
        words = [len(text.split()) for text in (opening.famous, opening.companion)]
        assert abs(words[0] - words[1]) <= 5
        assert set(opening.companion.split()) != set(opening.famous.split())
