"""The branch or tag a job runs for, as the forges' variables have it."""

from __future__ import annotations

import pytest

from ci_plugin.forge.environment import ref_name


@pytest.mark.parametrize(
    ("forge", "environ", "expected"),
    [
        ("gitlab", {"CI_COMMIT_REF_NAME": "feature/x"}, "feature/x"),
        ("gitlab", {"GITHUB_REF_NAME": "main"}, None),
        ("github", {"GITHUB_REF_NAME": "v1.2", "GITHUB_HEAD_REF": ""}, "v1.2"),
        ("github", {"GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "feature/x"}, "feature/x"),
        ("github", {}, None),
        ("local", {"CI_COMMIT_REF_NAME": "main", "GITHUB_REF_NAME": "main"}, None),
    ],
)
def test_the_ref_is_what_the_forge_names_and_of_a_change_request_its_source(
    forge: str, environ: dict[str, str], expected: str | None
) -> None:
    assert ref_name(environ, forge) == expected
