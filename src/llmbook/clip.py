"""CLIP: two encoders that bring pictures and texts into one space, where what fits is near."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.layers import check_tokens
from llmbook.positions import LearnedPositions
from llmbook.sizes import make_whole
from llmbook.vit import (
    CLIP_BLOCK_NAMES,
    CLIP_VISION_NAMES,
    VisionTransformer,
    ViTConfig,
    check_tower,
    tower_blocks,
    tower_sizes,
    vision_name,
    vit_config,
)
from llmbook.weights import build_model, copied, renamed

TokenIds = Int[Tensor, "texts seq"]
Padding = Bool[Tensor, "texts seq"] | Int[Tensor, "texts seq"]
Images = Float[Tensor, "images channels height width"]
Logits = Float[Tensor, "rows columns"]

_TEXT_NAMES = CLIP_BLOCK_NAMES | {
    "embedding": "embeddings.token_embedding",
    "positions": "embeddings.position_embedding",
    "norm": "final_layer_norm",
}
_TOP_NAMES = {
    "logit_scale": "logit_scale",
    "vision_projection.weight": "visual_projection.weight",
    "text_projection.weight": "text_projection.weight",
}
MAX_SCALE = 100  # of the logits while training


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The sizes of a `TextTransformer`; in brackets those of CLIP's beside ViT-B/32.

    Attributes:
        vocab_size: Tokens that the model knows (49,408).
        d_model: Width of the residual stream (512).
        num_layers: Blocks on top of each other (12).
        num_heads: Attention heads in a block (8).
        d_ff: Width of the feed-forward network; 0 stands for 4 × `d_model` (2,048).
        max_len: Positions that the model knows (77).
        activation: Of the feed-forward network ("quick_gelu").
        norm_eps: Added under the root of a LayerNorm's variance (1e-5).
        eos_id: The token that ends a text, where it is read off (49,407). None stands for the
            highest token of each text, which in OpenAI's code is the end: there it is the last
            of the vocabulary.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, heads do not divide, or `eos_id` is no token.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    d_ff: int = 0
    max_len: int = 77
    activation: str = "quick_gelu"
    norm_eps: float | int = 1e-5
    eos_id: int | None = None

    def __post_init__(self) -> None:
        check_tower(self)
        if self.eos_id is not None and self.eos_id >= self.vocab_size:
            raise ValueError(
                f"eos_id must be below vocab_size={self.vocab_size}, or None, got {self.eos_id}"
            )


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The sizes of a `Clip`; in brackets those of CLIP ViT-B/32, 151 million parameters.

    Attributes:
        vision: Of the tower that sees.
        text: Of the tower that reads.
        d_joint: Width of the space in which both meet (512).

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If one is not positive.
    """

    vision: ViTConfig
    text: TextConfig
    d_joint: int = 512

    def __post_init__(self) -> None:
        make_whole(self)
        if self.d_joint <= 0:
            raise ValueError(f"d_joint must be positive, got {self.d_joint}")


class TextTransformer(nn.Module):
    """A decoder's blocks over a text, read off at its end token, which has seen all of it.

    Args:
        config: Sizes of the tower.

    Examples:
        >>> config = TextConfig(vocab_size=9, d_model=16, num_layers=1, num_heads=2, eos_id=8)
        >>> TextTransformer(config)(torch.tensor([[3, 1, 8, 0]])).shape
        torch.Size([1, 16])

    Source:
        [Radford et al. 2021][radford2021learning], section 2.4.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = LearnedPositions(c.max_len, c.d_model)
        self.blocks = tower_blocks(c)
        self.norm = nn.LayerNorm(c.d_model, c.norm_eps)
        if not self.embedding.weight.is_meta:
            nn.init.normal_(self.embedding.weight, std=0.02)

    @property
    def d_out(self) -> int:
        """Width of what comes out."""
        return self.config.d_model

    def forward(
        self, token_ids: TokenIds, attention_mask: Padding | None = None
    ) -> Float[Tensor, "texts d_model"]:
        """Give one vector for each text, that of its end token after the last norm.

        Args:
            token_ids: Texts side by side, each with its end token. What follows the end has no
                influence: the blocks are causal.
            attention_mask: False or 0 where a position is padding, for texts padded on the left.

        Raises:
            ValueError: If token ids do not fit the model, a text has no end token, or the mask
                leaves a text no token at all.
        """
        c = self.config
        check_tokens(token_ids, attention_mask, c.vocab_size, c.max_len)
        end = self.ends(token_ids)
        mask = None
        if attention_mask is not None:
            mask = attention_mask.bool()
            if not mask.any(dim=1).all():
                row = int(mask.any(dim=1).int().argmin())
                raise ValueError(
                    f"attention_mask must leave each text at least one token, got none in row {row}"
                )
            mask = mask[:, None]
        x: Tensor = self.positions(self.embedding(token_ids))
        for block in self.blocks:
            x = block(x, mask, causal=True)
        last: Tensor = self.norm(x[torch.arange(len(x), device=x.device), end])
        return last

    def ends(self, token_ids: TokenIds) -> Int[Tensor, " texts"]:
        """Where each text ends: the place of its first end token.

        Raises:
            ValueError: If a text has none.
        """
        if self.config.eos_id is None:
            return token_ids.argmax(dim=1)
        found = token_ids == self.config.eos_id
        if not found.any(dim=1).all():
            row = int(found.any(dim=1).int().argmin())
            raise ValueError(
                f"token_ids must hold the end token, eos_id={self.config.eos_id}, in each text, "
                f"got {token_ids[row].tolist()} in row {row}"
            )
        return found.int().argmax(dim=1)


class DualEncoder(nn.Module):
    r"""Any two encoders, one of pictures and one of texts, brought into one space.

    $$\mathrm{logits}_{ij} = e^{s} \cos(W_v f(\mathrm{image}_i),\; W_t g(\mathrm{text}_j))$$

    The scale $e^s$, an inverse temperature, is trained too, and starts at 1 / 0.07.

    Args:
        vision: Gives a vector for each picture.
        text: Gives a vector for each text, from token ids and a mask of padding.
        d_vision: Width of the picture's vector.
        d_text: Width of the text's.
        d_joint: Width of the space in which both meet.

    Source:
        [Radford et al. 2021][radford2021learning], section 2.3 and figure 3.
    """

    def __init__(
        self, vision: nn.Module, text: nn.Module, d_vision: int, d_text: int, d_joint: int
    ) -> None:
        super().__init__()
        self.vision, self.text = vision, text
        self.vision_projection = nn.Linear(d_vision, d_joint, bias=False)
        self.text_projection = nn.Linear(d_text, d_joint, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        for layer in (self.vision_projection, self.text_projection):
            if not layer.weight.is_meta:
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(
        self, token_ids: TokenIds, images: Images, attention_mask: Padding | None = None
    ) -> tuple[Float[Tensor, "images texts"], Float[Tensor, "texts images"]]:
        """Compare each picture with each text; there may be more of one than of the other.

        Args:
            token_ids: Texts side by side.
            images: Pictures.
            attention_mask: False or 0 where a position of a text is padding.

        Returns:
            Logits with a row for each picture, and the same with a row for each text.

        Raises:
            ValueError: If an argument does not fit.
        """
        images_unit = F.normalize(self.image_features(images), dim=-1)
        texts_unit = F.normalize(self.text_features(token_ids, attention_mask), dim=-1)
        logits_per_image = self.logit_scale.exp() * images_unit @ texts_unit.T
        return logits_per_image, logits_per_image.T

    def image_features(self, images: Images) -> Float[Tensor, "images d_joint"]:
        """Each picture's vector in the joint space, of any length: `forward` takes it to 1."""
        features: Tensor = self.vision_projection(self.vision(images))
        return features

    def text_features(
        self, token_ids: TokenIds, attention_mask: Padding | None = None
    ) -> Float[Tensor, "texts d_joint"]:
        """Each text's vector in the joint space, of any length: `forward` takes it to 1."""
        features: Tensor = self.text_projection(self.text(token_ids, attention_mask))
        return features

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Take the scale back to 100 where it has grown beyond, as CLIP does after each step.

        Source:
            [Radford et al. 2021][radford2021learning], section 2.5.
        """
        self.logit_scale.clamp_(max=math.log(MAX_SCALE))


class Clip(DualEncoder):
    """Two Transformers, one for pictures and one for texts, which meet in one space.

    Args:
        config: Sizes of the towers and of the space.

    Examples:
        >>> vision = ViTConfig(image_size=8, patch_size=4, d_model=16, num_layers=1, num_heads=2)
        >>> text = TextConfig(vocab_size=9, d_model=8, num_layers=1, num_heads=2, eos_id=8)
        >>> model = Clip(ClipConfig(vision=vision, text=text, d_joint=12))
        >>> logits_per_image, logits_per_text = model(
        ...     torch.tensor([[1, 2, 8], [3, 8, 0]]), torch.rand(5, 3, 8, 8)
        ... )
        >>> logits_per_image.shape, logits_per_text.shape
        (torch.Size([5, 2]), torch.Size([2, 5]))

    Source:
        [Radford et al. 2021][radford2021learning], section 2.4. A fresh model's weights are drawn
        as in their code.
    """

    def __init__(self, config: ClipConfig) -> None:
        vision, text = VisionTransformer(config.vision), TextTransformer(config.text)
        super().__init__(vision, text, vision.d_out, text.d_out, config.d_joint)
        self.config = config

    @classmethod
    def from_hf(cls, model: nn.Module) -> "Clip":
        """Copy a CLIP of transformers; the two then give the same logits.

        Device, dtype and training mode come along, and nothing is shared afterwards. Dropout,
        which acts in training alone, does not come along.

        Args:
            model: A `transformers.CLIPModel`. Where its `eos_token_id` is 2, as in older files,
                a text is read off at its highest token, as transformers does.

        Raises:
            TypeError: If `model` is another.
            ValueError: If it has another activation than ours, a picture that its squares do not
                divide, no single end token, or other weights.
        """
        from transformers import CLIPModel

        if not isinstance(model, CLIPModel):
            raise TypeError(f"need a transformers.CLIPModel, got {type(model).__name__}")
        theirs: Any = model.config
        eos = theirs.text_config.eos_token_id
        if not isinstance(eos, int):
            raise ValueError(f"eos_token_id must be one token, got {eos!r}")
        text = TextConfig(
            vocab_size=theirs.text_config.vocab_size,
            max_len=theirs.text_config.max_position_embeddings,
            eos_id=None if eos == 2 else eos,
            **tower_sizes(theirs.text_config),
        )
        config = ClipConfig(
            vision=vit_config(theirs.vision_config), text=text, d_joint=theirs.projection_dim
        )
        return build_model(
            partial(cls, config),
            dict(model.named_parameters()),
            _hf_name,
            lambda _, weight: copied(weight),
        ).train(model.training)


def _hf_name(name: str) -> str:
    """Transformers' name for a weight of ours."""
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    tower, part = name.split(".", maxsplit=1)
    if tower == "vision":
        return "vision_model." + vision_name(part, CLIP_VISION_NAMES, "encoder.layers")
    return "text_model." + renamed(part, "encoder.layers", _TEXT_NAMES)


def clip_loss(
    logits_per_image: Float[Tensor, "batch batch"],
    logits_per_text: Float[Tensor, "batch batch"],
    same: Bool[Tensor, "batch batch"] | None = None,
) -> Float[Tensor, ""]:
    r"""For each picture find its text, and for each text its picture: the mean of both losses.

    $$\mathcal{L} = \frac{1}{2N} \sum_{i=1}^N
      \Big(-\sum_j q_{ij} \log \frac{e^{z_{ij}}}{\sum_k e^{z_{ik}}}
           -\sum_j q_{ji} \log \frac{e^{z_{ji}}}{\sum_k e^{z_{ki}}}\Big),
      \qquad q_{ij} = \frac{[i \text{ and } j \text{ fit}]}{\text{number that fit}}$$

    Pair $i$ is in row $i$ and column $i$. Where several texts of a batch say the same, all of them
    are right, and with `same` each gets an equal share of the target. The least possible loss is
    then not 0 but the targets' entropy: $\ln m$ in a row where $m$ texts are right. Without `same`,
    the loss falls further if texts that say the same in other words are told apart. Texts that are
    equal letter by letter can't be: their columns are equal, and `same` changes nothing.

    Args:
        logits_per_image: What `Clip.forward` gives for a batch of pairs: a row for each picture.
        logits_per_text: The same with a row for each text.
        same: True where the text of pair $j$ fits the picture of pair $i$ too, see `repeats`. The
            diagonal alone if left out, as in CLIP.

    Returns:
        The loss in nats; $\ln N$ for blind guessing.

    Raises:
        ValueError: If the logits are not square, are none, or `same` does not fit them or misses
            a pair of the diagonal.

    Examples:
        >>> logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
        >>> round(clip_loss(logits, logits.T).item(), 4)
        0.0001
        >>> twins = torch.zeros(2, 2)  # equal texts can only be told apart by chance
        >>> round(clip_loss(twins, twins, torch.ones(2, 2, dtype=torch.bool)).item(), 4)
        0.6931

    Source:
        [Radford et al. 2021][radford2021learning], figure 3; several right answers in equal
        shares: [Khosla et al. 2020][khosla2020supervised], equation 2.
    """
    size = len(logits_per_image)
    for name, logits in (
        ("logits_per_image", logits_per_image),
        ("logits_per_text", logits_per_text),
    ):
        if logits.shape != (size, size) or size == 0:
            raise ValueError(
                f"{name} must have the shape (batch, batch), with a text for each picture, "
                f"got {tuple(logits.shape)}"
            )
    if same is None:
        same = torch.eye(size, dtype=torch.bool, device=logits_per_image.device)
    if same.shape != (size, size) or same.dtype != torch.bool or not same.diagonal().all():
        raise ValueError(
            f"same must be boolean, of the shape {(size, size)}, and True on its diagonal, "
            f"got {same.dtype} of the shape {tuple(same.shape)}"
        )
    losses = []
    for logits, fit in ((logits_per_image, same), (logits_per_text, same.T)):
        target = fit.to(logits.dtype) / fit.sum(dim=1, keepdim=True)
        losses.append(F.cross_entropy(logits, target))
    return (losses[0] + losses[1]) / 2


def repeats(
    token_ids: Int[Tensor, "batch seq"], attention_mask: Padding | None = None
) -> Bool[Tensor, "batch batch"]:
    """Say which texts of a batch are the same, for `clip_loss`.

    Args:
        token_ids: Texts side by side.
        attention_mask: False or 0 where a position is padding, whatever stands there.

    Examples:
        >>> repeats(torch.tensor([[1, 2], [3, 4], [1, 2]])).int()
        tensor([[1, 0, 1],
                [0, 1, 0],
                [1, 0, 1]], dtype=torch.int32)
    """
    if attention_mask is not None:
        token_ids = token_ids.masked_fill(~attention_mask.bool(), -1)
    return (token_ids[:, None] == token_ids[None]).all(dim=-1)
