"""Which forge's API a store needs: what is refused, and what is offered instead."""

from __future__ import annotations

import pytest

from ci_plugin.cli.stores import open_forge_store
from ci_plugin.errors import InputError
from ci_plugin.forge.access import ForgeAccess


@pytest.mark.parametrize(
    ("store", "forge", "expected", "offered"),
    [
        ("git-ref", "gitlab", "a job of GitHub for the store git-ref, found one of GitLab", "generic-package"),
        ("generic-package", "github", "a job of GitLab for the store generic-package, found one of GitHub", "git-ref"),
    ],
)
def test_a_store_of_the_other_forge_is_refused_and_not_offered(store: str, forge: str, expected: str, offered: str) -> None:
    access = ForgeAccess(forge, "https://git.example.com", "git.example.com", "group/app", "", is_job_token=False)
    with pytest.raises(InputError) as caught:
        open_forge_store(store, access, lambda _: None)
    assert caught.value.message == f"expected {expected}"
    assert caught.value.hint == f"choose another with --store: stages-storage, {offered}, ci-artifact, workspace"
