"""Secrets: by name, in rows, their key file, and the renewal of keys."""

import asyncio
import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from henslowe.config.settings import StorageSettings
from henslowe.errors import BadRequest, ConfigError, Corrupt, LimitReached, NotFound, StorageDegraded, StorageError
from henslowe.storage import EventDraft, ReadonlyStore, Store, TableSpec
from henslowe.storage.keyfile import KeyFile, KeySource
from henslowe.storage.migrations.declared import Migration
from henslowe.storage.migrations.progress import Phase
from henslowe.storage.rotation import PAGE_ROWS
from henslowe.storage.sealing import Keys, Place, Secret
from henslowe.storage.secrets import SECRETS, references
from tests.storage.faults import Fault, Faults
from tests.storage.migrating import lead
from tests.storage.stores import OpenStore

VALUE = "s3cr3t-of-ada"


class Account(BaseModel, frozen=True, extra="forbid"):
    name: str
    password: Secret
    spare: tuple[Secret, ...] = ()


ACCOUNTS = TableSpec(name="accounts", row_type=Account, key="name")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test may touch the keys of whoever runs it."""
    for name in ("CREDENTIALS_DIRECTORY", "HENSLOWE_SECRET_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def stored(store: Store) -> bytes:
    """Everything in the data directory, as an intruder reads it."""
    files = (path for path in store.data_dir.rglob("*") if path.is_file() and path.name != "lock.mdb")
    return b"".join(path.read_bytes() for path in files)


# -- by name ----------------


async def test_a_secret_is_there_again_after_a_restart_and_nowhere_in_clear(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.secrets.set("token", Secret(VALUE), by="ada")
        assert store.secrets.reveal("token") == VALUE
        assert VALUE not in repr(store.secrets.rows()) + str(store.events.read())
    async with open_store() as store:
        assert store.secrets.reveal("token") == VALUE
        assert VALUE.encode() not in stored(store)
        assert VALUE not in repr(ReadonlyStore(store._env).table(SECRETS).rows())


async def test_a_change_and_a_removal_are_events_that_name_the_secret(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.secrets.set("token", Secret("a"), by="ada")
        created_s = store.secrets.rows()[0].created_s
        await store.secrets.set("token", Secret("b"), by="bob")
        (row,) = store.secrets.rows()
        assert (row.created_s, row.by) == (created_s, "bob")
        await store.secrets.remove("token", by="ada")
        with pytest.raises(NotFound, match="cannot find secret 'token'"):
            await store.secrets.remove("token", by="ada")
        with pytest.raises(NotFound):
            store.secrets.reveal("token")
        said = [(event.type, event.data["secret"], event.data["by"]) for event in store.events.read(types="SECRET_*")]
        assert said == [
            ("SECRET_SET", "token", "ada"),
            ("SECRET_SET", "token", "bob"),
            ("SECRET_REMOVED", "token", "ada"),
        ]


async def test_names_and_values_that_cannot_be_handed_over_are_refused(open_store: OpenStore) -> None:
    async with open_store() as store:
        for name in ("", "a b", "-x", "x" * 101, "a/b"):
            with pytest.raises(BadRequest, match="expected a name of letters"):
                await store.secrets.set(name, Secret("v"), by="ada")
        for value in ("", "a\0b"):
            with pytest.raises(BadRequest, match="without NUL"):
                await store.secrets.set("x", Secret(value), by="ada")
        with pytest.raises(LimitReached):
            await store.secrets.set("x", Secret("ä" * 16_385), by="ada")
        assert store.secrets.rows() == ()


async def test_a_sealed_value_opens_only_in_its_own_place(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.secrets.set("mine", Secret(VALUE), by="ada")
        await store.secrets.set("theirs", Secret("other"), by="ada")
        mine, theirs = store.secrets.rows()
        await store.table(SECRETS).insert(theirs.model_copy(update={"sealed": mine.sealed}))
        with pytest.raises(Corrupt, match="moved here from another place"):
            store.secrets.reveal("theirs")
        flipped = bytes([*mine.sealed[:-1], mine.sealed[-1] ^ 1])
        await store.table(SECRETS).insert(mine.model_copy(update={"sealed": flipped}))
        with pytest.raises(Corrupt, match="it was changed"):
            store.secrets.reveal("mine")


def test_every_part_of_a_place_matters() -> None:
    keys, place = Keys((bytes(32),)), Place("t", b"k", 1, "f")
    sealed = keys.seal(VALUE, place)
    assert keys.open(sealed, place) == VALUE
    assert keys.seal(VALUE, place) != sealed
    for other in (
        Place("u", b"k", 1, "f"),
        Place("t", b"l", 1, "f"),
        Place("t", b"k", 2, "f"),
        Place("t", b"kf", 1, ""),
    ):
        with pytest.raises(Corrupt):
            keys.open(sealed, other)
    with pytest.raises(StorageError, match="expected key"):
        Keys((bytes([1]) * 32,)).open(sealed, place)
    with pytest.raises(Corrupt, match="cut short"):
        keys.open(sealed[:20], place)


async def test_references_are_resolved_and_nothing_else_is_touched(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.secrets.set("token", Secret(VALUE), by="ada")
        given = {"A": "secret:token", "Authorization": "Bearer secret:token", "C": "x secret:token y", "D": "secret:"}
        assert store.secrets.resolve(given) == given | {"A": VALUE, "Authorization": f"Bearer {VALUE}"}
        assert references(given) == ["token"]
        with pytest.raises(NotFound, match="cannot find secret 'gone'") as caught:
            store.secrets.resolve({"A": "secret:gone"})
        assert caught.value.hint == "henslowe secrets set gone"


# -- in rows ----------------


async def test_a_secret_field_is_sealed_on_disk_and_open_in_memory(open_store: OpenStore) -> None:
    row = Account(name="ada", password=Secret(VALUE), spare=(Secret("spare-1"), Secret("spare-2")))
    async with open_store() as store:
        accounts = store.table(ACCOUNTS)
        await accounts.insert(row)
        found = accounts.lookup("ada")
        assert found == row
        assert found.password.reveal() == VALUE
        assert await accounts.insert_new(row) is False
    async with open_store() as store:
        content = stored(store)
        assert VALUE.encode() not in content
        assert b"spare-1" not in content
        found = store.table(ACCOUNTS).lookup("ada")
        assert found is not None
        assert [secret.reveal() for secret in found.spare] == ["spare-1", "spare-2"]
        # Another process without the keys sees that there is one.
        assert [str(each.password) for each in ReadonlyStore(store._env).table(ACCOUNTS).rows()] == ["***"]


def test_a_secret_shows_itself_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    row = Account(name="ada", password=Secret(VALUE))
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("row %s %r", row, row.password, extra={"row": row})
    dumped = json.dumps(row.model_dump(), default=str)
    shown = [
        repr(row),
        str(row),
        f"{row.password}",
        f"{row.password!r:>40}",
        row.model_dump_json(),
        dumped,
        caplog.text,
    ]
    shown.append(json.dumps(TypeAdapter(Account).dump_python(row, mode="json")))
    assert all(VALUE not in each for each in shown)
    assert all("***" in each for each in shown)
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(row)
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


async def test_a_secret_is_refused_where_it_would_not_be_sealed(open_store: OpenStore) -> None:
    async with open_store() as store:
        txn = store.transaction()
        txn.append(EventDraft("activity", "T", "INFO", data={"password": Secret(VALUE)}))
        with pytest.raises(StorageError, match="cannot encode"):
            await txn.commit()
    with pytest.raises(TypeError, match="only the core has keys"):
        TableSpec(name="x", row_type=Account, key="name", space="cache")  # type: ignore[arg-type]


async def test_secrets_in_rows_survive_a_migration_that_moves_them(open_store: OpenStore) -> None:
    class Login(BaseModel, frozen=True, extra="forbid"):
        number: int
        name: str
        phrase: Secret

    def forward(fields: dict) -> dict:
        return {"number": len(fields["name"]), "name": fields["name"], "phrase": fields["password"]}

    def backward(fields: dict) -> dict:
        return {"name": fields["name"], "password": fields["phrase"], "spare": []}

    logins = TableSpec(
        name="accounts",
        row_type=Login,
        key="number",
        schema=2,
        migrations=(Migration("accounts", 1, 2, forward, backward, from_key="name"),),
    )
    async with open_store() as store:
        await store.table(ACCOUNTS).insert(*(Account(name="a" * n, password=Secret(f"p{n}")) for n in range(1, 70)))
    async with open_store() as store:
        await lead_on(store, logins, Phase.FLIP)
        await store.table(logins).insert(Login(number=3, name="aaa", phrase=Secret("changed")))
    async with open_store() as store:
        table = store.table(logins)
        assert table.lookup(5).phrase.reveal() == "p5"
        await store.migrator.roll_back("accounts", by="ada")
    async with open_store() as store:
        table = store.table(ACCOUNTS)
        assert (table.lookup("aaa").password.reveal(), table.lookup("a" * 69).password.reveal()) == ("changed", "p69")


async def lead_on(store: Store, spec: TableSpec, phase: Phase) -> None:
    store.table(spec)
    await lead(store, phase, spec.name)
    assert store.migrator.rows()[0].phase is phase


# -- the key file ----------------


async def test_the_key_file_is_made_at_first_need_outside_of_the_data_directory(
    open_store: OpenStore, home: Path
) -> None:
    async with open_store() as store:
        assert not home.exists()
        await store.secrets.set("token", Secret(VALUE), by="ada")
        file = store.vault.file
        assert (file.source, file.path.is_relative_to(home)) == (KeySource.DEFAULT, True)
        assert file.path.stat().st_mode & 0o777 == 0o600
        assert not file.path.is_relative_to(store.data_dir)


async def test_a_moved_data_directory_finds_its_key_and_another_store_has_another(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with open_store() as store:
        await store.secrets.set("token", Secret(VALUE), by="ada")
        there, path = store.data_dir, store.vault.file.path
    moved = tmp_path / "moved"
    shutil.copytree(there, moved, ignore=shutil.ignore_patterns("node.lock"))
    store = Store.open(moved, "n1", StorageSettings(map_size_gib=1))
    assert (store.vault.file.path, store.secrets.reveal("token")) == (path, VALUE)
    store.close()
    other = Store.open(tmp_path / "other", "n1", StorageSettings(map_size_gib=1))
    assert other.vault.file.path != path
    other.close()


async def test_a_missing_key_file_is_never_made_anew_while_something_is_sealed(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.secrets.set("token", Secret(VALUE), by="ada")
        file = store.vault.file.path
    kept = file.read_bytes()
    file.unlink()
    async with open_store() as store:
        for attempt in (lambda: store.secrets.reveal("token"), lambda: store.vault.keys()):
            with pytest.raises(NotFound, match="cannot find the key file of the secrets"):
                attempt()
        with pytest.raises(NotFound):
            await store.secrets.set("more", Secret("x"), by="ada")
        assert not file.exists()
        # It is looked for again each time: no restart is needed when it is back.
        file.write_bytes(kept)
        file.chmod(0o600)
        assert store.secrets.reveal("token") == VALUE


def test_key_files_that_others_may_read_or_that_lie_inside_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    outside = KeyFile(tmp_path / "key", KeySource.SETTING, data)
    made = outside.make()
    assert outside.read() == made
    for mode in (0o640, 0o604, 0o644):
        outside.path.chmod(mode)
        with pytest.raises(ConfigError, match="others may read it") as caught:
            outside.read()
        assert f"chmod 600 {outside.path}" in caught.value.hint
    (data / "link").symlink_to(tmp_path)
    (tmp_path / "inside").symlink_to(data)
    for inside in (data / "key", data / "deep" / "key", tmp_path / "inside" / "key"):
        file = KeyFile(inside, KeySource.SETTING, data)
        for use in (file.read, file.make):
            with pytest.raises(ConfigError, match="it lies in the data directory"):
                use()
        assert not inside.exists()


def test_rubbish_in_a_key_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "key", KeySource.SETTING, tmp_path / "data")
    for content in (b"", b"# nothing\n", b"c2hvcnQ=\n", b"!!! not base64\n", bytes(range(256))):
        file.path.write_bytes(content)
        file.path.chmod(0o600)
        with pytest.raises(ConfigError, match="expected lines of 32 bytes in Base64") as caught:
            file.read()
        assert "c2hvcnQ" not in str(caught.value)


def test_the_key_comes_from_the_credential_then_the_variable_then_the_setting(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    environ = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "HENSLOWE_SECRET_KEY_FILE": str(tmp_path / "from-variable"),
        "HOME": str(tmp_path / "home"),
    }

    def find(configured: Path | None = None, **without: None) -> KeyFile:
        return KeyFile.find(
            tmp_path / "data", "id1", configured, {name: v for name, v in environ.items() if name not in without}
        )

    # No credential of that name: systemd makes the folder for other ones, too.
    assert find().path == tmp_path / "from-variable"
    credentials.mkdir()
    (credentials / "henslowe.key").touch()
    assert (find().source, find().path) == (KeySource.CREDENTIAL, credentials / "henslowe.key")
    del environ["CREDENTIALS_DIRECTORY"]
    assert find(tmp_path / "configured").path == tmp_path / "from-variable"
    del environ["HENSLOWE_SECRET_KEY_FILE"]
    assert find(tmp_path / "configured").path == tmp_path / "configured"
    assert find().path == tmp_path / "home" / ".config" / "henslowe" / "keys" / "id1" / "secret.key"


# -- renewal ----------------


async def rotate(store: Store) -> None:
    await store.rotation.begin(by="ada")
    while await store.rotation.step():
        pass


async def fill(store: Store, count: int = 2 * PAGE_ROWS + 7) -> None:
    await asyncio.gather(*(store.secrets.set(f"s{n}", Secret(f"v{n}"), by="ada") for n in range(count)))
    accounts = store.table(ACCOUNTS)
    await accounts.insert(*(Account(name=f"a{n}", password=Secret(f"p{n}")) for n in range(count)))


async def test_after_a_rotation_everything_is_sealed_with_the_new_key_alone(open_store: OpenStore) -> None:
    async with open_store() as store:
        await fill(store)
        before = store.vault.keys()
        await rotate(store)
        after = store.vault.keys()
        assert len(after.keys) == 1
        assert after.current != before.current
        assert set(store.rotation.in_use()) == {after.current}
        assert store.vault.file.read() == after
        assert store.rotation.row is None
        (said,) = store.events.read(types="SECRETS_ROTATED")
        assert said.data["dropped"] == [before.current]
    async with open_store() as store:
        assert store.secrets.reveal("s99") == "v99"
        assert store.table(ACCOUNTS).lookup("a99").password.reveal() == "p99"


async def test_a_rotation_goes_on_in_the_next_life_and_under_writes(open_store: OpenStore) -> None:
    async with open_store() as store:
        await fill(store)
        old = store.vault.keys().current
        await store.rotation.begin(by="ada")
        for _ in range(2):
            assert await store.rotation.step()
        await store.secrets.set("s1", Secret("changed"), by="bob")
        await store.table(ACCOUNTS).delete("a2")
    for steps in (1, 2, 100):
        async with open_store() as store:
            accounts = store.table(ACCOUNTS)
            assert len(store.vault.keys().keys) == 2
            for _ in range(steps):
                await accounts.insert(Account(name=f"late{steps}", password=Secret("late")))
                if not await store.rotation.step():
                    break
    async with open_store() as store:
        accounts = store.table(ACCOUNTS)
        assert store.rotation.row is None
        assert old not in store.vault.keys().ids
        assert store.secrets.reveal("s1") == "changed"
        assert accounts.lookup("a2") is None
        assert accounts.lookup("a3").password.reveal() == "p3"
        assert accounts.lookup("late1").password.reveal() == "late"


async def test_a_disk_that_refuses_a_page_loses_nothing_of_a_rotation(open_store: OpenStore, faults: Faults) -> None:
    async with open_store() as store:
        await fill(store)
        await store.rotation.begin(by="ada")
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await store.rotation.step()
        await rotate(store)
        assert set(store.rotation.in_use()) == set(store.vault.keys().ids)
        assert store.secrets.reveal("s7") == "v7"


async def test_the_keys_of_a_credential_are_renewed_by_whoever_provides_it(
    open_store: OpenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = KeyFile(tmp_path / "henslowe.key", KeySource.SETTING, tmp_path / "data")
    file.make()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    async with open_store() as store:
        await store.secrets.set("token", Secret(VALUE), by="ada")
        content = file.path.read_bytes()
        with pytest.raises(ConfigError, match="is a credential of the service manager"):
            await store.rotation.begin(by="ada")
        assert file.path.read_bytes() == content
        old = store.vault.keys()
        file.write((os.urandom(32), *old.keys))
        await rotate(store)
        assert set(store.rotation.in_use()).isdisjoint(old.ids)
        assert len(file.read().keys) == 2
        assert store.secrets.reveal("token") == VALUE


async def test_without_a_key_there_is_nothing_to_rotate(open_store: OpenStore) -> None:
    async with open_store() as store:
        with pytest.raises(NotFound, match="there are none in"):
            await store.rotation.begin(by="ada")
