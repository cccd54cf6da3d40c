"""API keys as text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_service.api_keys.keys import NO_HASH, PREFIX, hash_of, key_id_of, make, matches

GOOD = f"tdm_{'a' * 16}_{'B' * 43}"


def test_a_key_names_itself_by_its_beginning() -> None:
    key = make()
    assert re.fullmatch(rf"{PREFIX}_{key.key_id}_[A-Za-z0-9_-]{{43}}", key.text)
    assert key.prefix == f"tdm_{key.key_id}"
    assert key_id_of(key.text) == key.key_id
    assert len(key.prefix) <= 50


def test_no_two_keys_have_anything_in_common() -> None:
    made = [make() for _ in range(1000)]
    assert len({key.key_id for key in made}) == len(made)
    secrets = {key.text.removeprefix(f"{key.prefix}_") for key in made}
    assert len(secrets) == len(made)
    assert {len(secret) for secret in secrets} == {43}  # 256 bits, 6 per character


def test_a_key_is_not_shown_by_accident() -> None:
    key = make()
    assert key.text not in repr(key)
    assert key.text not in f"{key}"


def test_a_secret_may_have_what_parts_a_key() -> None:
    assert key_id_of(f"tdm_{'a' * 16}_{'_-' * 21}_") == "a" * 16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tdm",
        "tdm__",
        f"TDM_{'a' * 16}_{'B' * 43}",
        f"tdm-{'a' * 16}-{'B' * 43}",
        f"tdm_{'A' * 16}_{'B' * 43}",
        f"tdm_{'a' * 15}_{'B' * 43}",
        f"tdm_{'a' * 17}_{'B' * 43}",
        f"tdm_{'a' * 16}_{'B' * 42}",
        f"tdm_{'a' * 16}_{'B' * 44}",
        f"tdm_{'a' * 16}_{'B' * 42}é",
        f"tdm_{'a' * 15}\0_{'B' * 43}",
        f"tdm_{'a' * 15}'_{'B' * 43}",
        f"tdm_{'a' * 15}٣_{'B' * 43}",
        f" {GOOD}",
        f"{GOOD}\n",
    ],
)
def test_what_has_not_a_keys_form_names_none(text: str) -> None:
    assert key_id_of(text) == ""


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_looked_at(text: str) -> None:
    assert key_id_of(text) == "" or len(text) == len(GOOD)
    assert len(hash_of(text)) == len(NO_HASH)
    assert matches(text, hash_of(text))
    assert not matches(text, NO_HASH)


@given(st.integers(0, len(GOOD) - 1))
def test_each_character_counts(position: int) -> None:
    other = f"{GOOD[:position]}{'x' if GOOD[position] != 'x' else 'y'}{GOOD[position + 1 :]}"
    assert not matches(other, hash_of(GOOD))


@pytest.mark.parametrize("stored", ["", "x", "é" * 64, hash_of(GOOD).upper(), hash_of(GOOD)[:63]])
def test_a_hash_of_another_form_matches_nothing(stored: str) -> None:
    assert not matches(GOOD, stored)
