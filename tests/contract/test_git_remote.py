"""Other repositories, on real git over real transports: what their refs mean, and their files at a pinned commit."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_plugin.config.parts import GitRemote, SecretValue
from ci_plugin.errors import AccessDenied, Gone, InputError, Location, StagepinError, Unavailable
from ci_plugin.git.login import Logins
from ci_plugin.git.remote import RemoteRepositories
from ci_plugin.ports import SourceTree
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.submodules import missing_submodules
from tests.fakes.git_repository import ENVIRONMENT, GitRepository
from tests.fakes.git_server import GitServer, git_server
from tests.fakes.source_tree import blob_id

HERE = Location("werf.yaml", 7)
MAIN = "refs/heads/main"


class Workspace:
    """Where one job fetches to, and what it learned to hide."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.directory = directory
        self.secrets: list[str] = []
        self.waits: list[float] = []
        self.sleep: Callable[[float], object] = self.waits.append
        self.environ = {**ENVIRONMENT, "HOME": str(directory), **environ}
        directory.mkdir(exist_ok=True)

    def open(self) -> RemoteRepositories:
        """As a job begins: nothing is known."""
        logins = Logins(self.environ, self.directory, self.secrets.append)
        return RemoteRepositories(lambda: self.directory, logins, self.environ, RetryPolicy(self._sleep, tries=2))

    def _sleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def tree(self, url: str, commit: str, ref: str = MAIN) -> SourceTree:
        return self.open().tree(GitRemote(url), ref, commit, HERE)


def files_of(tree: SourceTree) -> dict[str, bytes]:
    return {entry.path: data for entry, data in tree.read_each(tree.listing())}


@pytest.fixture
def library(tmp_path: Path) -> GitRepository:
    """Three commits on main; the second has the annotated tag ``v1`` and the plain one ``plain``."""
    repository = GitRepository(tmp_path / "srv" / "library")
    for text in "one", "two", "three":
        repository.write("a", text)
        repository.write(f"dir/{text}\n", text, mode=0o755)
        repository.commit(text)
        if text == "two":
            repository.git("tag", "--annotate", "--message", "release", "v1")
            repository.git("tag", "plain")
    return repository


def commit_of(repository: GitRepository, revision: str = "HEAD") -> str:
    return repository.git("rev-parse", f"{revision}^{{commit}}").strip()


@pytest.fixture
def server(library: GitRepository) -> Iterator[GitServer]:
    with git_server(library.directory.parent) as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


class TestRefs:
    def test_refs_mean_commits_and_an_annotated_tag_the_one_it_names(
        self, workspace: Workspace, server: GitServer, library: GitRepository
    ) -> None:
        asked = [MAIN, "refs/tags/v1", "refs/tags/plain", "refs/heads/absent"]
        found = workspace.open().list_refs(GitRemote(server.address("library")), asked)
        tagged = commit_of(library, "v1")
        assert found == {MAIN: commit_of(library), "refs/tags/v1": tagged, "refs/tags/plain": tagged}
        assert server.listed == 1

    def test_a_name_that_only_ends_like_another_is_another(self, workspace: Workspace, library: GitRepository) -> None:
        library.git("branch", "refs/heads/absent")
        assert workspace.open().list_refs(GitRemote(str(library.directory)), ["refs/heads/absent"]) == {}

    def test_all_branches_and_tags_are_listed_without_the_rest(self, workspace: Workspace, library: GitRepository) -> None:
        library.git("update-ref", "refs/pull/1/head", "HEAD")
        found = workspace.open().list_refs(GitRemote(str(library.directory)))
        assert sorted(found) == [MAIN, "refs/tags/plain", "refs/tags/v1"]
        assert found["refs/tags/v1"] == commit_of(library, "v1")

    def test_the_configuration_of_the_directory_we_are_in_is_not_asked(
        self, workspace: Workspace, library: GitRepository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = GitRepository(workspace.directory / "project")
        project.git("config", "url.file:///nonexistent/.insteadOf", f"file://{library.directory.parent}/")
        monkeypatch.chdir(project.directory)
        assert workspace.open().list_refs(GitRemote(f"file://{library.directory}"), [MAIN]) == {MAIN: commit_of(library)}

    def test_the_users_own_configuration_is(self, workspace: Workspace, library: GitRepository) -> None:
        (workspace.directory / ".gitconfig").write_text(f'[url "file://{library.directory.parent}/"]\n\tinsteadOf = file:///elsewhere/\n')
        assert workspace.open().list_refs(GitRemote("file:///elsewhere/library"), [MAIN]) == {MAIN: commit_of(library)}


class TestFiles:
    @pytest.mark.parametrize("transport", ["path", "file", "ssh", "http", "old", "dumb"])
    @pytest.mark.parametrize("revision", ["HEAD", "v1", "HEAD~2"])
    def test_a_commit_s_files_come_over_every_transport(
        self, workspace: Workspace, server: GitServer, library: GitRepository, transport: str, revision: str
    ) -> None:
        if transport == "dumb":
            library.git("update-server-info")
        server.is_old, server.is_dumb = transport == "old", transport == "dumb"
        path = "library/.git" if server.is_dumb else "library"
        urls = {"path": str(library.directory), "file": f"file://{library.directory}", "ssh": f"git@host:{library.directory}"}
        # What ssh does, on this machine: run the last argument.
        ssh = workspace.directory / "ssh"
        ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
        ssh.chmod(0o755)
        workspace.environ |= {"GIT_SSH": str(ssh), "GIT_SSH_VARIANT": "ssh"}
        tree = workspace.tree(urls.get(transport, server.address(path)), commit_of(library, revision))
        number = {"HEAD": 3, "v1": 2, "HEAD~2": 1}[revision]
        texts = ["one", "two", "three"][:number]
        assert files_of(tree) == {"a": texts[-1].encode(), **{f"dir/{text}\n": text.encode() for text in texts}}
        assert {entry.mode for entry in tree.listing().below("dir")} == {"100755"}
        assert tree.commit == commit_of(library, revision)

    def test_only_the_commit_is_fetched_and_only_once_for_a_workspace(
        self, workspace: Workspace, server: GitServer, library: GitRepository
    ) -> None:
        url, commit = server.address("library"), commit_of(library, "v1")
        workspace.tree(url, commit)
        asked = len(server.requests)
        assert files_of(workspace.tree(url, commit))["a"] == b"two"
        assert len(server.requests) == asked
        (store,) = workspace.directory.glob("*.git")
        assert GitRepository.at(store).git("rev-list", "--all", "--count").strip() == "1"

    def test_commits_before_and_after_live_side_by_side(self, workspace: Workspace, library: GitRepository) -> None:
        for revision, text in ("v1", b"two"), ("HEAD", b"three"), ("HEAD~2", b"one"):
            assert workspace.tree(str(library.directory), commit_of(library, revision)).find_file("a") == text
        assert len(list(workspace.directory.glob("*.git"))) == 1

    def test_an_old_server_gives_an_older_commit_after_it_gave_a_tip(
        self, workspace: Workspace, server: GitServer, library: GitRepository
    ) -> None:
        server.is_old = True
        library.git("tag", "--delete", "v1", "plain")
        workspace.tree(server.address("library"), commit_of(library))
        assert workspace.tree(server.address("library"), commit_of(library, "HEAD~2")).find_file("a") == b"one"

    def test_a_branch_that_was_removed_after_it_was_pinned_gives_its_commit_still(
        self, workspace: Workspace, library: GitRepository
    ) -> None:
        library.git("checkout", "--quiet", "-b", "side")
        library.write("a", "side")
        commit = library.commit()
        library.git("checkout", "--quiet", "main")
        library.git("branch", "--quiet", "-D", "side")
        assert workspace.tree(str(library.directory), commit, "refs/heads/side").find_file("a") == b"side"

    def test_a_sha256_repository_has_a_store_of_its_own(self, workspace: Workspace, tmp_path: Path) -> None:
        other = GitRepository(tmp_path / "other", "--object-format=sha256")
        other.write("a", "long")
        commit = other.commit()
        assert workspace.open().list_refs(GitRemote(str(other.directory)), [MAIN]) == {MAIN: commit}
        assert workspace.tree(str(other.directory), commit).find_file("a") == b"long"

    def test_submodules_of_another_repository_stay_what_they_are(
        self, workspace: Workspace, library: GitRepository, tmp_path: Path
    ) -> None:
        outer = GitRepository(tmp_path / "outer")
        outer.add_submodule(library, "sub")
        tree = workspace.tree(str(outer.directory), outer.commit())
        assert missing_submodules(tree.listing()) == ("sub",)

    def test_a_commit_that_is_gone_is_gone_and_one_that_never_was_is_a_mistake(self, workspace: Workspace, library: GitRepository) -> None:
        url = f"file://{library.directory}"
        with pytest.raises(Gone) as gone:
            workspace.tree(url, "1" * 40)
        assert gone.value.message == f"expected the commit {'1' * 40} in {url}, found {MAIN} without it: its history was written anew"
        assert (gone.value.exit_code, gone.value.where) == (1, HERE)
        assert gone.value.hint == "pin in a new scope, which takes what the ref means now"
        with pytest.raises(InputError) as mistaken:
            workspace.tree(url, "1" * 40, "1" * 40)
        assert mistaken.value.message == f"expected the commit {'1' * 40} in {url}, found it in none of its branches and tags"
        assert (mistaken.value.exit_code, mistaken.value.hint) == (2, "correct `commit`, or push it")


class TestInterrupted:
    def test_what_a_killed_git_left_is_no_hindrance(self, workspace: Workspace, library: GitRepository) -> None:
        url = str(library.directory)
        workspace.tree(url, commit_of(library, "v1"))
        (store,) = workspace.directory.glob("*.git")
        for left in "shallow.lock", "HEAD.lock", f"refs/stagepin/{commit_of(library)}.lock", "objects/pack/tmp_pack_x":
            (store / left).parent.mkdir(parents=True, exist_ok=True)
            (store / left).write_bytes(b"half")
        assert workspace.tree(url, commit_of(library)).find_file("a") == b"three"

    @pytest.mark.parametrize("left", ["nothing", "HEAD", "empty"])
    def test_a_store_that_was_half_made_is_made_whole(self, workspace: Workspace, library: GitRepository, left: str) -> None:
        url = str(library.directory)
        workspace.tree(url, commit_of(library))
        (store,) = workspace.directory.glob("*.git")
        shutil.rmtree(store)
        if left != "nothing":
            store.mkdir()
        if left == "HEAD":
            (store / "HEAD").write_text("ref: refs/heads/ma")
        assert workspace.tree(url, commit_of(library)).find_file("a") == b"three"

    def test_a_commit_whose_files_did_not_all_come_is_fetched_again(self, workspace: Workspace, library: GitRepository) -> None:
        url, commit = str(library.directory), commit_of(library)
        workspace.tree(url, commit)
        (store,) = workspace.directory.glob("*.git")
        # As a fetch that was cut short leaves it: some objects, and no ref of the commit's own.
        GitRepository.at(store).git("update-ref", "-d", f"refs/stagepin/{commit}")
        lost = blob_id(b"three")
        (store / "objects" / lost[:2] / lost[2:]).unlink()
        assert workspace.tree(url, commit).find_file("a") == b"three"

    def test_jobs_of_one_workspace_fetch_one_after_another(self, workspace: Workspace, library: GitRepository) -> None:
        url, commits = str(library.directory), [commit_of(library, name) for name in ("HEAD", "v1", "HEAD~2")]
        found: list[bytes | None] = []
        workspace.sleep = lambda _seconds: threading.Event().wait(0.01)

        def fetch(commit: str) -> None:
            found.append(workspace.tree(url, commit).find_file("a"))

        jobs = [threading.Thread(target=fetch, args=(commit,)) for commit in commits]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        assert sorted(map(bytes, filter(None, found))) == [b"one", b"three", b"two"]

    def test_a_fetch_that_outlives_its_job_keeps_the_lock(self, tmp_path: Path) -> None:
        seen = tmp_path / "descriptors"
        workspace = Workspace(tmp_path / "workspace", GIT_SSH_COMMAND=f"ls -l /proc/self/fd > {seen}; false")
        with pytest.raises(StagepinError):
            workspace.tree("git@h:x", "1" * 40)
        (lock,) = workspace.directory.glob("*.lock")
        assert str(lock) in seen.read_text(), "git and what it starts have the lock open, as a killed job no longer has"

    def test_a_lock_that_is_held_for_too_long_is_told(self, workspace: Workspace, library: GitRepository) -> None:
        import fcntl

        url = str(library.directory)
        workspace.tree(url, commit_of(library))
        (lock,) = workspace.directory.glob("*.lock")
        with lock.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # ours is exclusive: even this keeps it away
            with pytest.raises(Unavailable, match=r"expected another job of this workspace to end its fetch within 1200 s") as raised:
                workspace.tree(url, commit_of(library, "v1"))
        assert "end that job" in raised.value.hint
        assert sum(workspace.waits) >= 1200


class TestLogins:
    @pytest.fixture
    def private(self, server: GitServer) -> GitServer:
        server.users["ci"] = "s3cret p@ss'\"$(x)"
        return server

    def remote(self, server: GitServer, secret: SecretValue, login: str = "") -> GitRemote:
        return GitRemote(server.address("library", login), user="ci", password=secret)

    @pytest.mark.parametrize("kind", ["env", "src", "value"])
    def test_the_password_is_the_variable_s_the_file_s_or_the_value(
        self, private: GitServer, tmp_path: Path, library: GitRepository, kind: str
    ) -> None:
        password = private.users["ci"]
        workspace = Workspace(tmp_path / "workspace", LIBRARY_TOKEN=password)
        (workspace.directory / "token").write_text(f"{password}\n")
        secrets = {"env": SecretValue(env="LIBRARY_TOKEN"), "src": SecretValue(src="token"), "value": SecretValue(value=password)}
        remote = self.remote(private, secrets[kind])
        assert workspace.open().list_refs(remote, [MAIN]) == {MAIN: commit_of(library)}
        assert workspace.open().tree(remote, MAIN, commit_of(library), HERE).find_file("a") == b"three"
        assert set(workspace.secrets) == {password}

    def test_a_login_in_the_url_is_taken_out_of_it_and_used(self, server: GitServer, workspace: Workspace, library: GitRepository) -> None:
        server.users["us er"] = "p@ss"
        remote = GitRemote(server.address("library", "us%20er:p%40ss"))
        assert workspace.open().list_refs(remote, [MAIN]) == {MAIN: commit_of(library)}
        assert workspace.secrets == ["p@ss"]

    def test_a_wrong_password_is_no_access_and_nobody_is_asked(self, private: GitServer, workspace: Workspace) -> None:
        with pytest.raises(AccessDenied) as raised:
            workspace.open().list_refs(self.remote(private, SecretValue(value="wrong-password")), [MAIN])
        url = private.address("library")
        assert raised.value.message.startswith(f"expected to be let into the git repository {url}, found: Authentication failed for ")
        assert raised.value.hint == "set `basicAuth`, or a credential helper of git"
        assert raised.value.exit_code == 2

    def test_without_a_login_the_answer_is_no_access_at_once(self, private: GitServer, workspace: Workspace) -> None:
        with pytest.raises(AccessDenied, match="could not read Username"):
            workspace.open().list_refs(GitRemote(private.address("library")), [MAIN])
        assert workspace.waits == []

    def test_a_helper_of_the_user_is_asked_where_no_login_is_given(
        self, private: GitServer, workspace: Workspace, library: GitRepository
    ) -> None:
        password = private.users["ci"]
        (workspace.directory / "answers").write_text(f"username=ci\npassword={password}\n")
        (workspace.directory / ".gitconfig").write_text(f'[credential]\n\thelper = "!cat {workspace.directory}/answers; true"\n')
        assert workspace.open().list_refs(GitRemote(private.address("library")), [MAIN]) == {MAIN: commit_of(library)}

    def test_no_helper_of_the_user_is_asked_or_told_where_one_is_given(self, private: GitServer, workspace: Workspace) -> None:
        seen = workspace.directory / "seen"
        (workspace.directory / ".gitconfig").write_text(f'[credential]\n\thelper = "!tee -a {seen} >/dev/null; true"\n')
        workspace.open().list_refs(self.remote(private, SecretValue(value=private.users["ci"])), [MAIN])
        assert not seen.exists()

    def test_a_password_goes_to_its_own_host_and_to_no_other(self, private: GitServer, workspace: Workspace, tmp_path: Path) -> None:
        with git_server(private.root) as other:
            other.users["ci"] = private.users["ci"]
            private.redirect = f"http://127.0.0.1:{other.port}"
            with pytest.raises(AccessDenied):
                workspace.open().list_refs(self.remote(private, SecretValue(value=private.users["ci"])), [MAIN])
            assert {login for _, _, login in other.requests} == {""}

    def test_a_password_is_in_no_argument(self, private: GitServer, tmp_path: Path) -> None:
        workspace = Workspace(tmp_path / "workspace")
        tools = tmp_path / "tools"
        tools.mkdir()
        git = shutil.which("git", path=ENVIRONMENT["PATH"])
        (tools / "git").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tools}/arguments\nexec {git} "$@"\n')
        (tools / "git").chmod(0o755)
        workspace.environ["PATH"] = f"{tools}:{ENVIRONMENT['PATH']}"
        workspace.open().list_refs(self.remote(private, SecretValue(value=private.users["ci"])), [MAIN])
        arguments = (tools / "arguments").read_text()
        assert "ls-remote" in arguments
        assert "s3cret" not in arguments

    def test_nothing_of_a_login_stays_in_the_workspace(self, private: GitServer, workspace: Workspace, library: GitRepository) -> None:
        remote = self.remote(private, SecretValue(value=private.users["ci"]), "other:hidden-word")
        workspace.open().tree(remote, MAIN, commit_of(library), HERE)
        written = b"".join(path.read_bytes() for path in workspace.directory.rglob("*") if path.is_file())
        assert b"s3cret" not in written
        assert b"hidden-word" not in written

    @pytest.mark.parametrize(
        ("secret", "message"),
        [
            (SecretValue(env="UNSET"), "in the environment variable UNSET, found it unset or empty"),
            (SecretValue(src="absent"), "in the file absent, found: No such file or directory"),
            (SecretValue(src="empty"), "in the file empty, found: it is empty"),
            (SecretValue(src="~/binary"), "in the file ~/binary, found: it is no text"),
            (SecretValue(value="two\nlines"), "expected a user and a password of one line for "),
        ],
        ids=["env", "src", "empty", "binary", "lines"],
    )
    def test_a_secret_that_is_not_there_is_told_before_anybody_is_asked(
        self, private: GitServer, workspace: Workspace, secret: SecretValue, message: str
    ) -> None:
        (workspace.directory / "empty").write_text("\n")
        (workspace.directory / "binary").write_bytes(b"\xff")
        with pytest.raises(InputError) as raised:
            workspace.open().list_refs(self.remote(private, secret), [MAIN])
        assert message in raised.value.message
        assert raised.value.hint
        assert private.requests == []

    def test_basic_auth_is_for_http(self, workspace: Workspace) -> None:
        with pytest.raises(InputError, match="expected `basicAuth` for an https address, found it for ssh://git@h/x"):
            workspace.open().list_refs(GitRemote("ssh://git@h/x", user="ci", password=SecretValue(value="word")), [MAIN])


class TestFaults:
    @pytest.mark.parametrize("status", [429, 500, 502, 503])
    def test_what_may_pass_is_tried_again(self, workspace: Workspace, server: GitServer, library: GitRepository, status: int) -> None:
        server.faults = [status]
        assert workspace.open().list_refs(GitRemote(server.address("library")), [MAIN]) == {MAIN: commit_of(library)}
        server.faults = [status] * 9
        with pytest.raises(Unavailable, match=f"The requested URL returned error: {status}"):
            workspace.tree(server.address("library"), commit_of(library))

    @pytest.mark.parametrize(
        ("url", "kind", "said"),
        [
            ("http://127.0.0.1:1/x", Unavailable, "Failed to connect"),
            ("https://127.0.0.1:1/x", Unavailable, "Failed to connect"),
            ("git://127.0.0.1:1/x", Unavailable, "unable to connect"),
            ("http://nowhere.invalid/x", Unavailable, "Could not resolve host"),
            ("file:///nonexistent/x", InputError, "does not appear to be a git repository"),
            ("/nonexistent/x", InputError, "does not appear to be a git repository"),
        ],
    )
    def test_who_cannot_be_asked_is_told_by_kind(self, workspace: Workspace, url: str, kind: type[StagepinError], said: str) -> None:
        with pytest.raises(kind, match=said) as raised:
            workspace.open().list_refs(GitRemote(url), [MAIN])
        assert url in raised.value.message
        assert raised.value.hint

    def test_a_repository_that_is_not_there_is_a_mistake(self, workspace: Workspace, server: GitServer) -> None:
        with pytest.raises(InputError, match="found none, or one that whoever asks may not see") as raised:
            workspace.open().list_refs(GitRemote(server.address("absent")), [MAIN])
        assert raised.value.hint == "correct `url`, or give it credentials that may read it"

    def test_403_is_no_access(self, workspace: Workspace, server: GitServer) -> None:
        server.faults = [403]
        with pytest.raises(AccessDenied, match="The requested URL returned error: 403"):
            workspace.open().list_refs(GitRemote(server.address("library")), [MAIN])

    def test_ssh_that_fails_is_told_by_what_it_says(self, tmp_path: Path) -> None:
        said: dict[str, type[StagepinError]] = {
            "Host key verification failed.": InputError,
            "git@h: Permission denied (publickey).": AccessDenied,
            "ssh: connect to host h port 22: Connection refused": Unavailable,
            "ERROR: Repository not found.": InputError,
            "words that nobody knows": Unavailable,
        }
        for words, kind in said.items():
            workspace = Workspace(tmp_path / "workspace", GIT_SSH_COMMAND=f"echo '{words}' >&2; false")
            with pytest.raises(kind) as raised:
                workspace.open().list_refs(GitRemote("git@h:x.git"), [MAIN])
            assert (type(raised.value), words in raised.value.message) == (kind, True)

    def test_a_program_is_never_run_by_an_address_however_it_is_rewritten(self, workspace: Workspace) -> None:
        ran = workspace.directory / "ran"
        (workspace.directory / ".gitconfig").write_text(f'[url "ext::touch {ran} "]\n\tinsteadOf = https://h/\n')
        with pytest.raises(InputError, match="transport 'ext' not allowed"):
            workspace.open().list_refs(GitRemote("https://h/x"), [MAIN])
        assert not ran.exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository another owner")
    def test_a_repository_of_another_user_of_this_machine_is_told_with_the_way_out(
        self, workspace: Workspace, library: GitRepository
    ) -> None:
        for path in (library.directory, library.directory / ".git"):
            os.chown(path, 12345, 12345)
        with pytest.raises(InputError, match="dubious ownership") as raised:
            workspace.open().list_refs(GitRemote(f"file://{library.directory}"), [MAIN])
        assert raised.value.hint == f"git config --global --add safe.directory {library.directory}"

    def test_a_machine_without_git_is_told_so(self, workspace: Workspace) -> None:
        workspace.environ["PATH"] = str(workspace.directory)
        with pytest.raises(InputError, match="expected the git command, found none in PATH"):
            workspace.open().list_refs(GitRemote("https://h/x"), [MAIN])


def test_a_blob_that_the_store_lost_says_what_to_remove(workspace: Workspace, library: GitRepository) -> None:
    tree = workspace.tree(str(library.directory), commit_of(library))
    entries = list(tree.listing())
    (store,) = workspace.directory.glob("*.git")
    shutil.rmtree(store / "objects")
    (store / "objects").mkdir()
    with pytest.raises(StagepinError) as raised:
        tree.read(entries)
    assert str(store) in raised.value.hint
