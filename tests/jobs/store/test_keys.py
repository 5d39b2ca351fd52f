"""API keys on both databases: shown once, stored as a hash, revoked at once."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, update

from jobs.store.database import make_engine
from jobs.store.keys import ApiKey, BadKeyRequest, Keys, list_keys, revoke_key
from jobs.store.tables import API_KEYS

PEPPER = "a pepper that only the tests know, of some length"


@pytest.fixture
def keys(engine: Engine) -> Keys:
    return Keys(engine, PEPPER)


def used(engine: Engine, key: ApiKey) -> datetime | None:
    (listed,) = [k for k in list_keys(engine) if k.id == key.id]
    return listed.last_used_at


def test_a_key_is_found_by_its_text_alone(keys: Keys) -> None:
    ada, root = keys.create("ada", name="laptop"), keys.create("ops", admin=True)
    assert keys.find(ada.text) == ada.key
    found = keys.find(root.text)
    assert found is not None
    assert (found.owner, found.admin, found.name) == ("ops", True, "")
    assert ada.text != root.text


def test_what_is_stored_is_the_hash_under_the_pepper(keys: Keys, engine: Engine) -> None:
    made = keys.create("ada")
    with engine.connect() as connection:
        row = dict(connection.execute(select(API_KEYS)).mappings().one())
    expected = hmac.new(PEPPER.encode(), made.text.encode(), hashlib.sha256).hexdigest()
    assert row["digest"] == expected
    secret = made.text.rpartition("_")[2]
    assert len(secret) * 5 >= 256
    assert secret not in repr(row)
    assert secret not in repr(list_keys(engine))


def test_another_pepper_knows_no_key(keys: Keys, engine: Engine) -> None:
    made = keys.create("ada")
    assert Keys(engine, PEPPER + "!").find(made.text) is None


def test_what_is_almost_a_key_is_none(keys: Keys) -> None:
    text = keys.create("ada").text
    other = keys.create("bob").text
    swapped = text.rpartition("_")[0] + "_" + other.rpartition("_")[2]
    last = "0" if text[-1] != "0" else "1"
    wrong = ["", "slim_", text[:-1], text[:-1] + last, text + "0", " " + text, text + "\n",
             text.upper(), swapped, text.replace("slim_", "slam_"), "slim_\0", "é" * 70,
             "' OR 1=1 --"]  # fmt: skip
    assert [w for w in wrong if keys.find(w) is not None] == []


def test_a_revoked_key_is_refused_at_once_and_stays_listed(keys: Keys, engine: Engine) -> None:
    made = keys.create("ada")
    assert keys.find(made.text) is not None
    revoked = revoke_key(engine, made.key.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert keys.find(made.text) is None
    again = revoke_key(engine, made.key.id)
    assert again is not None
    assert again.revoked_at == revoked.revoked_at  # the first time is the time
    assert [key.id for key in list_keys(engine)] == [made.key.id]
    assert revoke_key(engine, "key_none") is None


def test_last_use_is_noted_at_most_once_a_minute(keys: Keys, engine: Engine) -> None:
    made = keys.create("ada")
    assert used(engine, made.key) is None
    keys.find(made.text)
    first = used(engine, made.key)
    assert first is not None
    keys.find(made.text)
    assert used(engine, made.key) == first
    long_ago = datetime.now(UTC) - timedelta(seconds=61)
    with engine.begin() as connection:
        connection.execute(update(API_KEYS).values(last_used_at=long_ago))
    keys.find(made.text)
    later = used(engine, made.key)
    assert later is not None
    assert later >= first


def test_a_wrong_secret_is_no_use(keys: Keys, engine: Engine) -> None:
    made = keys.create("ada")
    keys.find(made.text[:-1] + ("0" if made.text[-1] != "0" else "1"))
    assert used(engine, made.key) is None


def test_keys_are_listed_by_owner(keys: Keys, engine: Engine) -> None:
    names = [keys.create(owner).key.id for owner in ("ada", "bob", "ada")]
    assert {key.id for key in list_keys(engine)} == set(names)
    assert {key.id for key in list_keys(engine, "ada")} == {names[0], names[2]}


@pytest.mark.parametrize("owner", ["", " ", "a b", "-a", "a\n", "a/b", "x" * 129, "ä"])
def test_owners_are_plain_words(keys: Keys, engine: Engine, owner: str) -> None:
    with pytest.raises(BadKeyRequest, match="is not a valid owner"):
        keys.create(owner)
    assert list_keys(engine) == []


@pytest.mark.parametrize("name", ["x" * 129, "a\nb", "\0"])
def test_names_are_short_and_printable(keys: Keys, name: str) -> None:
    with pytest.raises(BadKeyRequest, match="name"):
        keys.create("ada", name=name)


@pytest.mark.parametrize(("pepper", "said"), [("", "is not set"), ("short", "has 5 characters")])
def test_no_keys_without_a_pepper(sqlite_url: str, pepper: str, said: str) -> None:
    engine = make_engine(sqlite_url)
    with pytest.raises(BadKeyRequest, match=f"SLIMGPT_KEY_PEPPER {said}"):
        Keys(engine, pepper)
    engine.dispose()
