from __future__ import annotations

import pytest

from ci_plugin.engine.local_storage import project_slug


@pytest.mark.parametrize("project", ["app", "my-app", "a1"])
def test_a_name_that_fits_is_kept(project: str) -> None:
    assert project_slug(project) == project


@pytest.mark.parametrize("project", ["App", "group/app", "ünïcode", "", "a" * 300, "a--b"])
def test_any_other_name_gets_a_hash_so_that_no_two_share_a_slug(project: str) -> None:
    slug = project_slug(project)
    assert slug != project
    assert slug.isascii()
    assert len(slug) <= 110
    assert slug != project_slug(project + "x")
    assert project_slug("group-app") != project_slug("group/app")
