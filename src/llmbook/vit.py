"""The Vision Transformer: a picture is cut into squares, which are read as a text is."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmbook.layers import ACTIVATIONS
from llmbook.positions import LearnedPositions
from llmbook.sizes import make_whole, whole
from llmbook.transformer import TransformerBlock
from llmbook.weights import build_model, copied, renamed

Images = Float[Tensor, "batch channels height width"]
Hidden = Float[Tensor, "batch positions d_model"]

# Transformers' names for our parts, in ViT and in CLIP; and for the activations.
_VIT_NAMES = {
    "class_token": "embeddings.cls_token",
    "patch": "embeddings.patch_embeddings.projection",
    "positions.weight": "embeddings.position_embeddings",
    "norm1": "layernorm_before",
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.o_proj",
    "norm2": "layernorm_after",
    "feed_forward.up": "mlp.fc1",
    "feed_forward.down": "mlp.fc2",
    "norm": "layernorm",
    "pooler": "pooler.dense",
}
CLIP_BLOCK_NAMES = {
    "norm1": "layer_norm1",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "feed_forward.up": "mlp.fc1",
    "feed_forward.down": "mlp.fc2",
}
CLIP_VISION_NAMES = CLIP_BLOCK_NAMES | {
    "class_token": "embeddings.class_embedding",
    "patch": "embeddings.patch_embedding",
    "positions.weight": "embeddings.position_embedding.weight",
    "pre_norm": "pre_layrnorm",  # as they spell it
    "norm": "post_layernorm",
}
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"} | {
    name: name for name in ("relu", "gelu", "quick_gelu")
}


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The sizes of a `VisionTransformer`; in brackets those of ViT-B/16, 86 million parameters.

    Attributes:
        image_size: Height and width of a picture in pixels (224).
        patch_size: Height and width of a square (16), which must divide the picture.
        d_model: Width of the residual stream (768).
        num_layers: Blocks on top of each other (12).
        num_heads: Attention heads in a block (12).
        d_ff: Width of the feed-forward network; 0 stands for 4 × `d_model` (3,072).
        num_channels: Numbers in a pixel (3).
        activation: Of the feed-forward network ("gelu"); in CLIP "quick_gelu".
        norm_eps: Added under the root of a LayerNorm's variance (1e-6); in CLIP 1e-5.
        pre_norm: One more norm before the first block, as in CLIP (false).
        patch_bias: A bias where squares become vectors (true); in CLIP there is none.
        qkv_bias: Biases in queries, keys and values (true).
        pooler: Width of a last layer with a tanh on the class token; 0 for none (0).

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, `patch_size` does not divide `image_size`,
            `num_heads` does not divide `d_model`, or there is no such activation.
    """

    image_size: int
    patch_size: int
    d_model: int
    num_layers: int
    num_heads: int
    d_ff: int = 0
    num_channels: int = 3
    activation: str = "gelu"
    norm_eps: float | int = 1e-6
    pre_norm: bool = False
    patch_bias: bool = True
    qkv_bias: bool = True
    pooler: int = 0

    def __post_init__(self) -> None:
        check_tower(self)
        if self.image_size % self.patch_size:
            raise ValueError(
                "patch_size must divide image_size, "
                f"got patch_size={self.patch_size} and image_size={self.image_size}"
            )

    @property
    def num_patches(self) -> int:
        """Squares in a picture."""
        return (self.image_size // self.patch_size) ** 2


def check_tower(config: Any) -> None:
    """Make the sizes of a tower's frozen config whole, fill in `d_ff`, and refuse impossible ones.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If one is not positive, heads do not divide, or there is no such activation.
    """
    make_whole(config)
    if config.d_ff == 0:
        object.__setattr__(config, "d_ff", 4 * config.d_model)
    for name, value in asdict(config).items():
        optional = name in ("pooler", "eos_id")  # 0 is a value of theirs
        if isinstance(value, int | float) and not isinstance(value, bool) and not optional:
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        elif optional and value is not None and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    if config.d_model % config.num_heads:
        raise ValueError(
            "num_heads must divide d_model, "
            f"got num_heads={config.num_heads} and d_model={config.d_model}"
        )
    if config.activation not in ACTIVATIONS:
        raise ValueError(
            f"activation must be one of {list(ACTIVATIONS)}, got {config.activation!r}"
        )


def tower_blocks(config: Any) -> nn.ModuleList:
    r"""The blocks of a tower: pre-norm, and with fresh weights as CLIP draws them.

    What reads the stream has a standard deviation of $d^{-1/2}$ ($(2d)^{-1/2}$ in the feed-forward
    network), what writes into it less by $\sqrt{2 \cdot \mathrm{layers}}$, and biases are 0.

    Args:
        config: A `ViTConfig`, or CLIP's of its texts.
    """
    blocks = nn.ModuleList(
        TransformerBlock(
            config.d_model,
            config.num_heads,
            config.d_ff,
            dropout=0.0,
            norm_first=True,
            activation=config.activation,
            norm_eps=config.norm_eps,
            norm=nn.LayerNorm,
            qkv_bias=getattr(config, "qkv_bias", True),
        )
        for _ in range(config.num_layers)
    )
    read = config.d_model**-0.5
    write = read * (2 * config.num_layers) ** -0.5
    stds = {"attention.out": write, "feed_forward.up": read * 2**-0.5, "feed_forward.down": write}
    for name, parameter in blocks.named_parameters():
        part = name.split(".", 1)[1].removesuffix(".weight")
        if parameter.is_meta:
            continue
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=stds.get(part, read))
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return blocks


def patches(images: Images, size: int) -> Float[Tensor, "batch patches numbers"]:
    r"""Cut pictures into squares, each of them a row of numbers: channel, line and column.

    A convolution that moves by its own width is a matrix times these rows, and nothing else.

    Args:
        images: Pictures.
        size: Height and width of a square, in pixels.

    Returns:
        The squares, line by line; `numbers` is channels × `size` × `size`.

    Raises:
        ValueError: If `images` has no four axes, or `size` does not divide its last two.

    Examples:
        >>> patches(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, :2]
        tensor([[0., 1., 4., 5.],
                [2., 3., 6., 7.]])
        >>> images, layer = torch.randn(2, 3, 8, 8), nn.Conv2d(3, 5, kernel_size=4, stride=4)
        >>> as_matrix = patches(images, 4) @ layer.weight.flatten(1).T + layer.bias
        >>> torch.allclose(as_matrix, layer(images).flatten(2).transpose(1, 2), atol=1e-6)
        True

    Source:
        [Dosovitskiy et al. 2020][dosovitskiy2020image], section 3.1, equation 1.
    """
    size = whole("size", size)
    if images.ndim != 4 or size < 1 or images.shape[2] % size or images.shape[3] % size:
        raise ValueError(
            "size must divide height and width of images, of the shape (batch, channels, height, "
            f"width), got size={size} and the shape {tuple(images.shape)}"
        )
    squares = images.unfold(2, size, size).unfold(3, size, size)
    return squares.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


class VisionTransformer(nn.Module):
    r"""Squares of a picture and where they are, through the blocks, to one vector for the picture.

    $$x = [c;\, E p_1;\, \dots;\, E p_n] + P, \qquad x \leftarrow \mathrm{Block}(x)
      \;\text{ for each block}, \qquad y = \mathrm{LN}(x_0)$$

    $E$ is one matrix for all squares $p_i$ (see `patches`), applied as a convolution. The class
    token $c$ is trained and belongs to no square; what it has gathered in the end stands for all.

    Args:
        config: Sizes of the model.

    Examples:
        >>> config = ViTConfig(image_size=8, patch_size=4, d_model=16, num_layers=2, num_heads=2)
        >>> model, images = VisionTransformer(config), torch.rand(5, 3, 8, 8)
        >>> model(images).shape, model.hidden_states(images).shape
        (torch.Size([5, 16]), torch.Size([5, 5, 16]))

    Source:
        [Dosovitskiy et al. 2020][dosovitskiy2020image], section 3.1; as CLIP's tower:
        [Radford et al. 2021][radford2021learning], section 2.4.
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        c = self.config = config
        size = c.patch_size
        self.patch = nn.Conv2d(c.num_channels, c.d_model, size, size, bias=c.patch_bias)
        self.class_token = nn.Parameter(torch.randn(c.d_model) * c.d_model**-0.5)
        self.positions = LearnedPositions(1 + c.num_patches, c.d_model)
        self.pre_norm = nn.LayerNorm(c.d_model, c.norm_eps) if c.pre_norm else None
        self.blocks = tower_blocks(c)
        self.norm = nn.LayerNorm(c.d_model, c.norm_eps)
        self.pooler = nn.Linear(c.d_model, c.pooler) if c.pooler else None

    @property
    def d_out(self) -> int:
        """Width of what comes out."""
        return self.config.pooler or self.config.d_model

    def forward(self, images: Images) -> Float[Tensor, "batch d_out"]:
        """Give one vector for each picture: its class token's, through the pooler if there is one.

        Args:
            images: Numbers of any scale, such as from 0 to 1, in the model's size and channels;
                they are brought to the dtype of its weights.

        Raises:
            ValueError: If `images` has another shape, or holds integers.
        """
        return self.pool(self.norm(self.stream(images)[:, 0]))

    def hidden_states(self, images: Images) -> Hidden:
        """The vector of the class token and of each square after the last norm, line by line."""
        hidden: Tensor = self.norm(self.stream(images))
        return hidden

    def pool(self, first: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch d_out"]:
        """The pooler on class tokens: a layer and a tanh, or nothing."""
        return first if self.pooler is None else torch.tanh(self.pooler(first))

    def stream(self, images: Images) -> Hidden:
        """What `hidden_states` gives, before the last norm."""
        c = self.config
        check_images(images, c.num_channels, c.image_size)
        squares = self.patch(images.to(self.patch.weight.dtype)).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(squares), 1, -1)
        x: Tensor = self.positions(torch.cat((first, squares), dim=1))
        x = x if self.pre_norm is None else self.pre_norm(x)
        for block in self.blocks:
            x = block(x)
        return x

    @classmethod
    def from_hf(cls, model: nn.Module) -> "VisionTransformer":
        """Copy a Vision Transformer of transformers, or the one within a CLIP.

        Device, dtype and training mode come along, and nothing is shared afterwards. Dropout,
        which acts in training alone, does not come along.

        Args:
            model: A `transformers.ViTModel`, with its pooler or without, or a `CLIPVisionModel`.

        Raises:
            TypeError: If `model` is another.
            ValueError: If it has another activation than ours, pictures or squares with unequal
                sides, a size that its squares do not divide, or other weights.
        """
        from transformers import CLIPVisionModel, ViTModel

        if not isinstance(model, ViTModel | CLIPVisionModel):
            raise TypeError(
                f"need a transformers.ViTModel or CLIPVisionModel, got {type(model).__name__}"
            )
        whole_model: Any = model
        vit = isinstance(model, ViTModel)
        config = vit_config(whole_model.config, pooled=vit and whole_model.pooler is not None)
        names = _VIT_NAMES if vit else CLIP_VISION_NAMES
        return build_model(
            partial(cls, config),
            dict(model.named_parameters()),
            lambda name: vision_name(name, names, "layers" if vit else "encoder.layers"),
            without_batch,
        ).train(model.training)


def check_images(images: Tensor, num_channels: int, image_size: int) -> None:
    """Refuse what are no pictures of one size.

    Args:
        images: Pictures, channels first.
        num_channels: Numbers in a pixel.
        image_size: Height and width.

    Raises:
        ValueError: If the shape is another, or the numbers are integers.
    """
    expected = (num_channels, image_size, image_size)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        raise ValueError(
            f"images must have the shape (batch, channels, height, width) = (batch, "
            f"{num_channels}, {image_size}, {image_size}), got {tuple(images.shape)}"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating-point numbers, such as from 0 to 1, got dtype {images.dtype}"
        )


def vit_config(theirs: Any, *, pooled: bool = False) -> ViTConfig:
    """Our sizes from transformers' config of a ViT, or of CLIP's vision tower.

    Args:
        theirs: The config.
        pooled: The model has a pooler.

    Raises:
        ValueError: If an activation is none of ours, sides are unequal, or sizes do not fit.
    """
    vit = theirs.model_type == "vit"
    if pooled and theirs.pooler_act != "tanh":
        raise ValueError(f"pooler_act must be 'tanh', got {theirs.pooler_act!r}")
    return ViTConfig(
        image_size=_side("image_size", theirs.image_size),
        patch_size=_side("patch_size", theirs.patch_size),
        num_channels=theirs.num_channels,
        pre_norm=not vit,
        patch_bias=vit,
        qkv_bias=not vit or theirs.qkv_bias,
        pooler=theirs.pooler_output_size if pooled else 0,
        **tower_sizes(theirs),
    )


def tower_sizes(theirs: Any) -> dict[str, Any]:
    """The sizes that each of transformers' towers has, under our names.

    Raises:
        ValueError: If its activation is none of ours.
    """
    if theirs.hidden_act not in _ACTIVATIONS:
        raise ValueError(
            f"hidden_act must be one of {list(_ACTIVATIONS)}, got {theirs.hidden_act!r}"
        )
    return {
        "d_model": theirs.hidden_size,
        "num_layers": theirs.num_hidden_layers,
        "num_heads": theirs.num_attention_heads,
        "d_ff": theirs.intermediate_size,
        "activation": _ACTIVATIONS[theirs.hidden_act],
        "norm_eps": theirs.layer_norm_eps,
    }


def vision_name(name: str, names: dict[str, str], blocks: str) -> str:
    """Transformers' name for a weight of ours: its own, or that of its part."""
    return names[name] if name in names else renamed(name, blocks, names)


def without_batch(name: str, weight: Tensor) -> Tensor:
    """Copy a weight; a ViT's class token and positions have an axis of size 1 for the batch."""
    if weight.ndim == 3:
        weight = weight[0, 0] if name == "class_token" else weight[0]
    return copied(weight)


def _side(name: str, value: Any) -> int:
    """A height that is the width too, from one number or two."""
    sides = {value} if isinstance(value, int) else set(value)
    if len(sides) != 1:
        raise ValueError(f"{name} must be as high as wide, got {value}")
    return int(sides.pop())
