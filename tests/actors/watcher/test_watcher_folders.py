"""Services come, go, move and are replaced; folders below them too."""

import shutil

from watched_workspace import Workspace

from henslowe.actors import names
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import AnnounceSources, SourceChanged, SourceRemoved
from henslowe.actors.watcher import Mode


async def test_each_service_is_told_once_at_the_start(workspace: Workspace) -> None:
    workspace.write("alpha/server.py")
    workspace.write("beta/server.py")
    await workspace.start()
    told = {(await workspace.next()).service, (await workspace.next()).service}
    assert told == {"alpha", "beta"}
    assert (await workspace.event("SERVICE_FOUND", "INFO")).service == "alpha"
    await workspace.only_this_follows()


async def test_a_folder_that_appears_is_a_service_once_it_has_a_file(workspace: Workspace) -> None:
    await workspace.start()
    (workspace.dev / "late").mkdir()
    await workspace.only_this_follows()
    workspace.write("late/server.py")
    found = await workspace.next()
    assert (found.service, found.changed) == ("late", ())


async def test_a_deep_new_folder_written_at_once_is_seen_whole(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    await workspace.next()
    workspace.write("hello/a/b/c/d/module.py")
    assert (await workspace.next()).changed == ("a/b/c/d/module.py",)
    workspace.write("hello/a/b/c/d/module.py", "later")
    assert (await workspace.next()).changed == ("a/b/c/d/module.py",)


async def test_a_renamed_folder_goes_on_being_watched(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    workspace.write("hello/a/b/module.py")
    await workspace.start()
    await workspace.next()
    (workspace.dev / "hello/a").rename(workspace.dev / "hello/z")
    assert (await workspace.next()).changed == ("a/b/module.py", "z/b/module.py")
    workspace.write("hello/z/b/module.py", "later")
    assert (await workspace.next()).changed == ("z/b/module.py",)


async def test_a_folder_made_again_under_a_moved_ones_name_is_watched(workspace: Workspace, tmp_path) -> None:
    workspace.write("hello/server.py")
    workspace.write("hello/lib/module.py")
    await workspace.start()
    await workspace.next()
    (workspace.dev / "hello/lib").rename(tmp_path / "away")
    workspace.write("hello/lib/module.py", "new")
    assert (await workspace.next()).changed == ("lib/module.py",)
    workspace.write("hello/lib/module.py", "newer")
    assert (await workspace.next()).changed == ("lib/module.py",)


async def test_a_removed_service_is_told_and_can_come_back(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    await workspace.next()
    shutil.rmtree(workspace.dev / "hello")
    assert await workspace.next() == SourceRemoved("hello")
    workspace.write("hello/server.py")
    assert (await workspace.next()).service == "hello"


async def test_a_replaced_root_is_the_same_service_with_new_content(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    await workspace.next()
    (workspace.dev / "hello").rename(workspace.root / "old")
    workspace.write("hello/server.py", "new root\n")
    assert (await workspace.next()).changed == ("server.py",)
    workspace.write("hello/server.py", "edited\n")
    assert (await workspace.next()).changed == ("server.py",)
    await workspace.only_this_follows()


async def test_a_service_may_be_a_link_and_the_link_may_be_swapped(workspace: Workspace, tmp_path) -> None:
    for release, content in (("r1", "one"), ("r2", "two")):
        (tmp_path / release).mkdir()
        (tmp_path / release / "server.py").write_text(content)
    (workspace.dev / "hello").symlink_to(tmp_path / "r1")
    await workspace.start()
    assert (await workspace.next()).service == "hello"
    (tmp_path / "r1/server.py").write_text("one, edited")
    assert (await workspace.next()).changed == ("server.py",)
    (workspace.dev / "swap").symlink_to(tmp_path / "r2")
    (workspace.dev / "swap").rename(workspace.dev / "hello")
    assert (await workspace.next()).changed == ("server.py",)
    (tmp_path / "r2/server.py").write_text("two, edited")
    assert (await workspace.next()).changed == ("server.py",)


async def test_what_lies_behind_a_link_inside_a_service_is_noticed(workspace: Workspace, tmp_path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/util.py").write_text("one")
    workspace.write("hello/server.py")
    (workspace.dev / "hello/shared").symlink_to(tmp_path / "shared")
    await workspace.start()
    await workspace.next()
    (tmp_path / "shared/util.py").write_text("two")
    assert (await workspace.next()).changed == ("shared/util.py",)


async def test_a_release_that_a_link_inside_a_service_leads_to_may_be_swapped(workspace: Workspace, tmp_path) -> None:
    for release in ("r1", "r2"):
        workspace.write(f"hello/releases/{release}/rules.txt", release)
    workspace.write("hello/server.py")
    (workspace.dev / "hello/current").symlink_to("releases/r1")
    await workspace.start()
    await workspace.next()
    (workspace.dev / "hello/next").symlink_to("releases/r2")
    (workspace.dev / "hello/next").rename(workspace.dev / "hello/current")
    changed = set((await workspace.next()).changed)
    if "next/rules.txt" in changed:  # the moment between the two was seen as well
        changed = set((await workspace.next()).changed)
    assert "current/rules.txt" in changed
    assert "releases/r1/rules.txt" not in changed


async def test_an_edited_gitignore_decides_what_counts_from_now_on(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    workspace.write("hello/generated/out.py")
    await workspace.start()
    await workspace.next()
    workspace.write("hello/.gitignore", "generated/\n")
    assert (await workspace.next()).changed == (".gitignore", "generated/out.py")
    workspace.write("hello/generated/out.py", "ignored now")
    await workspace.only_this_follows()
    workspace.write("hello/.gitignore", "")
    assert (await workspace.next()).changed == (".gitignore", "generated/out.py")
    workspace.write("hello/generated/out.py", "counts again")
    assert (await workspace.next()).changed == ("generated/out.py",)


async def test_ignored_folders_are_not_watched_at_all(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    for number in range(50):
        workspace.write(f"hello/node_modules/m{number}/index.js")
        workspace.write(f"hello/.venv/lib/p{number}/m.py")
    await workspace.start()
    await workspace.next()
    assert (await workspace.status()).folders == 2  # dev and hello


async def test_a_folder_whose_name_cannot_be_a_service_is_reported(workspace: Workspace) -> None:
    workspace.write("Not A Name/server.py")
    await workspace.start()
    event = await workspace.event("WATCHER_HEALTH", "DEGRADED")
    assert event.data["problems"][0]["kind"] == "name"
    assert "Not A Name" in event.data["problems"][0]["text"]
    (workspace.dev / "Not A Name").rename(workspace.dev / "a-name")
    assert (await workspace.next()).service == "a-name"
    await workspace.event("WATCHER_HEALTH", "HEALTHY")


async def test_a_pipeline_that_starts_later_is_told_everything(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    first = await workspace.next()
    registry.via(names.WATCHER).cast(AnnounceSources())
    again = await workspace.next()
    assert isinstance(again, SourceChanged)
    assert (again.service, again.digest) == (first.service, first.digest)


async def test_a_removed_service_whose_folder_is_back_unseen_is_told_anew(
    workspace: Workspace,
) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    first = await workspace.next()
    registry.via(names.WATCHER).cast(AnnounceSources(first.service))
    assert isinstance(await workspace.next(), SourceRemoved)
    again = await workspace.next()
    assert isinstance(again, SourceChanged)
    assert (again.service, again.digest) == (first.service, first.digest)


async def test_what_has_not_settled_at_the_start_is_looked_at_again_without_waiting_for_a_poll(
    workspace: Workspace,
) -> None:
    workspace.write("hello/server.py")
    workspace.write("hello/__init__.py", "")
    await workspace.start(poll_s=60.0, rescan_s=60.0)
    first = await workspace.next()
    assert isinstance(first, SourceChanged)
    workspace.write("hello/__init__.py", "")
    registry.via(names.WATCHER).cast(AnnounceSources(first.service))
    assert isinstance(await workspace.next(), SourceRemoved)
    assert isinstance(await workspace.next(), SourceChanged)


async def test_the_status_says_what_is_watched(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    found = await workspace.next()
    status = await workspace.status()
    assert (status.mode, status.healthy, status.folders) == (Mode.INOTIFY, True, 2)
    (service,) = status.services
    assert (service.service, service.files, service.digest, service.mode) == ("hello", 1, found.digest, Mode.INOTIFY)
    assert workspace.board.current == status


async def test_the_folder_of_all_services_may_be_replaced(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start()
    await workspace.next()
    workspace.dev.rename(workspace.root / "away")
    event = await workspace.event("WATCHER_HEALTH", "DEGRADED")
    assert event.data["problems"][0]["kind"] == "dev"
    workspace.write("hello/server.py", "another\n")
    assert (await workspace.next()).changed == ("server.py",)
    await workspace.event("WATCHER_HEALTH", "HEALTHY")
    workspace.write("hello/server.py", "and edited\n")
    assert (await workspace.next()).changed == ("server.py",)
