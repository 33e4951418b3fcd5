"""`llmbook.emoji`: three vendors' drawings of the same things, with their licences."""

import hashlib
from collections import Counter

import pytest
import torch
import torch.nn.functional as F

from llmbook.datasets import DATA, Source
from llmbook.emoji import MAKE, SOURCES, VENDORS, emoji, pictures


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.file)
def test_files_are_whole_small_licensed_and_can_be_made_again(source: Source) -> None:
    """Each has the hash of its record, at most 4 MB, and a licence that lies beside it."""
    file = DATA / source.file
    assert hashlib.sha256(file.read_bytes()).hexdigest() == source.sha256
    assert file.stat().st_size <= 4_000_000
    assert source.licence
    assert source.file in MAKE
    assert len((file.parent / "LICENSE.txt").read_text(encoding="utf-8")) > 400


def test_every_file_has_a_record() -> None:
    files = {p.relative_to(DATA).as_posix() for p in (DATA / "emoji").rglob("*") if p.is_file()}
    licences = {name for name in files if name.endswith("LICENSE.txt")}
    assert files - licences == {source.file for source in SOURCES}
    assert len(licences) == 4


def test_what_must_be_shared_alike_has_a_folder_and_a_licence_of_its_own() -> None:
    """OpenMoji's is the only one that says so."""
    says = {
        vendor: "ShareAlike" in (DATA / "emoji" / vendor / "LICENSE.txt").read_text("utf-8")
        for vendor in VENDORS
    }
    assert says == {"noto": False, "twemoji": False, "openmoji": True}
    assert [p.name for p in (DATA / "emoji/openmoji").iterdir() if p.suffix != ".txt"] == [
        "sheet.png"
    ]


def test_no_family_comes_twice() -> None:
    """One name, one drawing a vendor; no flags, no clock faces; eight groups."""
    every = emoji()
    names = [one.name for one in every]
    assert len(set(names)) == len({one.text for one in every}) == len(every) == 1388
    assert not any("clock" in name and "’" in name for name in names)
    assert "woman running" not in names
    assert "person running" in names
    groups = Counter(one.group for one in every)
    assert len(groups) == 8
    assert "Flags" not in groups
    assert min(groups.values()) == 85


@pytest.mark.parametrize("vendor", VENDORS)
def test_pictures_are_drawn_on_white_and_none_is_empty(vendor: str) -> None:
    images = pictures(vendor)
    assert images.shape == (1388, 3, 32, 32)
    assert 0 <= images.min() < 0.1
    assert images.max() == 1
    assert (images < 0.95).flatten(1).any(1).all()
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners > 0.98).double().mean() > 0.6


def test_the_same_number_is_the_same_thing_for_all_vendors() -> None:
    """A drawing is more like the other vendors' of the same emoji than like most others."""
    first, *others = (
        F.normalize(pictures(v).flatten(1) - pictures(v).flatten(1).mean(1, keepdim=True), dim=1)
        for v in VENDORS
    )
    for other in others:
        alike = first @ other.T
        rank = (alike > alike.diagonal()[:, None]).sum(1)
        assert rank.double().median() < 40  # of 1,388; blind guessing gives 694
    assert not torch.equal(first, others[0])


def test_an_unknown_vendor_is_named() -> None:
    with pytest.raises(ValueError, match=r"vendor must be one of \['noto', .*, got 'apple'"):
        pictures("apple")
