import pytest

from tests.reference import FILES, made, names, saved


def test_every_library_that_is_asked_has_a_file_and_every_file_a_library() -> None:
    assert names() == sorted(file.stem for file in FILES.glob("*.npz"))


@pytest.mark.parametrize("name", names())
def test_a_file_of_values_names_the_versions_that_gave_them_and_is_small(name: str) -> None:
    assert "numpy" in made(name)
    assert len(made(name)) >= 2  # the library itself, and what it computes with
    assert all(made(name).values())
    assert saved(name)
    assert (FILES / f"{name}.npz").stat().st_size < 200_000
