"""A picture as a sentence: the tokens of a text, then the codes of its picture, in one decoder."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.diffusion import guided
from llmbook.gpt import GPT, GPTConfig
from llmbook.sizes import positive, whole
from llmbook.training import evaluating

Text = Int[Tensor, "batch text"]
Codes = Int[Tensor, "batch picture"]


class Dalle(nn.Module):
    r"""A GPT that reads texts of one length and writes the codes of a picture after each.

    Text and codes have their own parts of one vocabulary, with one more token between them that
    stands for each word of a text that is not given. So the model can draw without a text, too.

    Args:
        text_vocab: Tokens of texts.
        num_codes: Codes of pictures.
        text_len: Tokens of a text.
        picture_len: Codes of a picture.
        d_model: Width of the decoder.
        num_layers: Its blocks.
        num_heads: Attention heads in each.

    Raises:
        ValueError: If a size is not positive, or heads do not divide.

    Examples:
        >>> model = Dalle(text_vocab=12, num_codes=96, text_len=5, picture_len=36)
        >>> text, codes = torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 36, dtype=torch.long)
        >>> [logits.shape for logits in model(text, codes)]
        [torch.Size([2, 4, 12]), torch.Size([2, 36, 96])]

    Source:
        [Ramesh et al. 2021][ramesh2021zero], section 2.
    """

    def __init__(
        self,
        text_vocab: int,
        num_codes: int,
        text_len: int,
        picture_len: int,
        d_model: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        self.text_vocab, self.num_codes, self.text_len, self.picture_len = positive(
            text_vocab=text_vocab, num_codes=num_codes, text_len=text_len, picture_len=picture_len
        )
        config = GPTConfig(
            vocab_size=text_vocab + 1 + num_codes,
            d_model=d_model,
            num_layers=num_layers,
            num_heads=num_heads,
            max_len=text_len + picture_len - 1,  # nothing comes after the last code
        )
        self.gpt = GPT(config)

    @property
    def nothing(self) -> int:
        """The token that stands for a word of a text that is not given."""
        return self.text_vocab

    def forward(
        self, text: Text, codes: Codes
    ) -> tuple[Float[Tensor, "batch words vocab"], Float[Tensor, "batch picture codes"]]:
        """Logits for the words after the first, and for each code, given all before it."""
        self._check(text, codes)
        tokens = torch.cat((text, codes + self.text_vocab + 1), 1)
        logits = self.gpt(tokens[:, :-1])
        words = logits[:, : self.text_len - 1, : self.text_vocab]
        return words, logits[:, self.text_len - 1 :, self.text_vocab + 1 :]

    @torch.no_grad()
    def draw(
        self,
        text: Text,
        generator: torch.Generator,
        *,
        temperature: float | int = 1.0,
        guidance: float | int = 1.0,
    ) -> Codes:
        r"""Write the codes of a picture for each text.

        Args:
            text: Token ids.
            generator: Where the randomness comes from.
            temperature: By which logits are divided: below 1, likely codes become likelier.
            guidance: $s$ in $z_\varnothing + s\,(z_\text{text} - z_\varnothing)$, with the logits
                $z$ with and without the text: 1 is the plain model, and more of it asks for codes
                that the text makes likelier. It needs a model that has learnt to draw without.

        Raises:
            ValueError: If `temperature` is not positive or the text does not fit.
        """
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self._check(text, text[:, :0])
        twice = guidance != 1
        tokens = torch.cat((text, torch.full_like(text, self.nothing))) if twice else text
        codes = []
        cache = self.gpt.new_cache(self.gpt.max_len, len(tokens))
        with evaluating(self):
            for _ in range(self.picture_len):
                logits = self.gpt(tokens, cache=cache)[:, -1, self.text_vocab + 1 :]
                if twice:
                    given, free = logits.log_softmax(-1).chunk(2)
                    logits = guided(given, free, guidance)
                share = (logits / temperature).softmax(-1)
                codes.append(torch.multinomial(share, 1, generator=generator))
                tokens = codes[-1].repeat(2 if twice else 1, 1) + self.text_vocab + 1
        return torch.cat(codes, 1)

    def _check(self, text: Tensor, codes: Tensor) -> None:
        """Refuse what the vocabulary does not hold; the decoder would read it as something else."""
        if text.ndim != 2 or text.shape[1] != self.text_len:
            raise ValueError(
                f"text must be of shape (batch, {self.text_len}), got {tuple(text.shape)}"
            )
        if codes.shape not in ((len(text), self.picture_len), (len(text), 0)):
            raise ValueError(
                f"codes must be of shape ({len(text)}, {self.picture_len}), "
                f"got {tuple(codes.shape)}"
            )
        for name, ids, end in (("text", text, self.nothing + 1), ("codes", codes, self.num_codes)):
            if ids.numel() and not 0 <= ids.min() <= ids.max() < end:
                raise ValueError(
                    f"{name} must be from 0 to {end - 1}, "
                    f"got {ids.min().item()} to {ids.max().item()}"
                )


def drop_text(
    text: Text, nothing: int, generator: torch.Generator, probability: float | int = 0.1
) -> Text:
    """Take some whole texts away, so that a model learns to draw without one.

    Examples:
        >>> text = torch.zeros(4, 2, dtype=torch.long)
        >>> drop_text(text, 9, torch.Generator().manual_seed(0), 0.5).tolist()
        [[9, 9], [0, 0], [9, 9], [9, 9]]

    Source:
        [Ho and Salimans 2022][ho2022classifier], algorithm 1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be from 0 to 1, got {probability}")
    dropped = torch.rand(len(text), 1, generator=generator) < probability
    return torch.where(dropped, torch.full_like(text, nothing), text)


def dalle_loss(model: nn.Module, batch: tuple[Text, Codes]) -> Float[Tensor, ""]:
    r"""Cross-entropy of the codes, and of the words with an eighth of the weight.

    $$L = \tfrac{7}{8} L_\text{picture} + \tfrac{1}{8} L_\text{text}$$

    each the mean over its tokens. The first word has nothing before it, and texts that were taken
    away are not to be learnt.

    Source:
        [Ramesh et al. 2021][ramesh2021zero], section 2.2.
    """
    text, codes = batch
    words, picture = model(text, codes)
    given = text < words.shape[-1]
    target = torch.where(given, text, -100)[:, 1:]
    loss = F.cross_entropy(picture.flatten(0, 1), codes.flatten())
    total = F.cross_entropy(words.flatten(0, 1), target.flatten(), reduction="sum")
    found: Tensor = loss * 7 / 8 + total / given[:, 1:].sum().clamp(min=1) / 8
    return found


def best_of(
    draw: Callable[[], Float[Tensor, "batch *picture"]],
    score: Callable[[Tensor], Float[Tensor, " batch"]],
    count: int,
) -> Float[Tensor, "batch *picture"]:
    """Draw several pictures for each text and keep the one with the highest score.

    Args:
        draw: Makes one picture for each text.
        score: How well pictures fit their texts.
        count: How many are drawn.

    Raises:
        ValueError: If `count` is not positive.

    Source:
        [OpenAI 2021][openai2021dalle]: CLIP chose 32 of 512.
    """
    count = whole("count", count)
    if count < 1:
        raise ValueError(f"count must be positive, got {count}")
    pictures = torch.stack([draw() for _ in range(count)])
    best = torch.stack([score(p) for p in pictures]).argmax(0)
    return pictures[best, torch.arange(len(best))]
