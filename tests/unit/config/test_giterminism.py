"""``werf-giterminism.yaml``: which of it is a rule here."""

from __future__ import annotations

import pytest

from ci_plugin.config.giterminism import check_from_latest, parse_giterminism
from ci_plugin.config.load import load_configuration
from ci_plugin.errors import ConfigError
from tests.unit.config.sources import META, source

BEGIN = "giterminismConfigVersion: 1\n"
EVERY_KEY = (
    BEGIN
    + """cli: {allowCustomTags: true}
config:
  allowUncommitted: true
  allowUncommittedTemplates: [/**/*/]
  goTemplateRendering: {allowEnvVariables: [CI_COMMIT_TAG, /APP_.*/], allowUncommittedFiles: ["x/*"]}
  stapel:
    allowFromLatest: true
    git: {allowBranch: true}
    mount: {allowBuildDir: true, allowFromPaths: [/var/cache]}
  secrets: {allowEnvVariables: [A], allowFiles: [b], allowValueIds: [c]}
  dockerfile: {allowUncommitted: [Dockerfile], allowUncommittedDockerignoreFiles: [.dockerignore], allowContextAddFiles: [dist]}
helm: {allowUncommittedFiles: [.helm/x]}
includes: {allowIncludesUpdate: true}
"""
)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        parse_giterminism(text.encode())
    return f"{raised.value.where}: {raised.value.message} ({raised.value.hint})"


def test_every_key_werf_knows_is_taken() -> None:
    rules = parse_giterminism(EVERY_KEY.encode())
    assert rules.from_latest_forbidden_at is None
    assert rules.readable_env is not None
    assert "CI_COMMIT_TAG" in rules.readable_env


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config: {}\n", "expected giterminismConfigVersion 1, found none (begin the file with `giterminismConfigVersion: 1`)"),
        ("giterminismConfigVersion: 2\n", "expected giterminismConfigVersion 1, found '2'"),
        (BEGIN + "config:\n  stapl: {}\n", "werf-giterminism.yaml:3:3: expected a known directive, found `stapl` (did you mean `stapel`?)"),
        (BEGIN + "helm: {allowUncommitedFiles: []}\n", "did you mean `allowUncommittedFiles`?"),
        (BEGIN + "cli: {allowCustomTags: maybe}\n", "werf-giterminism.yaml:2:24: expected true or false, found 'maybe'"),
        (BEGIN + "config: {dockerfile: {allowUncommitted: {a: b}}}\n", "expected text or a list of texts, found a mapping"),
        (BEGIN + "config: {goTemplateRendering: {allowEnvVariables: ['/[/']}}\n", "expected a regular expression, found '/[/'"),
        (
            BEGIN + "config: {goTemplateRendering: {allowEnvVariables: ['/(A+)+/']}}\n",
            "expected a short pattern with at most 3 repeats and no repeated group",
        ),
        (
            BEGIN + "config: {goTemplateRendering: {allowEnvVariables: ['/.*.*.*.*x/']}}\n",
            "expected a short pattern with at most 3 repeats",
        ),
        (BEGIN + "---\na: b\n", "expected one document, found several"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_every_problem_is_told_at_once() -> None:
    told = refusal(BEGIN + "cli: {allowCustomTags: maybe}\nhelm: {x: 1}\n")
    assert "found `x`" in told
    assert "found 'maybe'" in told


class TestReadableEnv:
    RULES = parse_giterminism((BEGIN + "config: {goTemplateRendering: {allowEnvVariables: [A, MY_TOKEN, '/APP_.*/']}}\n").encode())

    @pytest.mark.parametrize("name", ["A", "MY_TOKEN", "APP_MODE"])
    def test_a_name_that_is_written_out_or_matched_is_readable(self, name: str) -> None:
        assert self.RULES.readable_env is not None
        assert name in self.RULES.readable_env

    @pytest.mark.parametrize("name", ["B", "AB", "XAPP_MODE", "APP_TOKEN", "/APP_.*/"])
    def test_another_name_is_not_nor_a_secret_that_a_pattern_happens_to_match(self, name: str) -> None:
        assert self.RULES.readable_env is not None
        assert name not in self.RULES.readable_env

    def test_a_file_that_says_nothing_of_the_environment_changes_nothing(self) -> None:
        assert parse_giterminism(BEGIN.encode()).readable_env is None

    def test_an_empty_list_opens_no_name(self) -> None:
        rules = parse_giterminism((BEGIN + "config: {goTemplateRendering: {allowEnvVariables: []}}\n").encode())
        assert rules.readable_env is not None
        assert "A" not in rules.readable_env


class TestFromLatest:
    IMAGE = META + "image: app\nfrom: alpine\nfromLatest: true\n"
    FORBIDS = BEGIN + "config:\n  stapel:\n    allowFromLatest: false\n"

    def test_a_project_that_forbids_it_in_words_is_heard(self) -> None:
        configuration = load_configuration(source({"werf.yaml": self.IMAGE}), "p")
        with pytest.raises(ConfigError) as raised:
            check_from_latest(configuration, parse_giterminism(self.FORBIDS.encode()))
        assert raised.value.message == "expected no `fromLatest` in a project that forbids it, found it at image 'app'"
        assert "remove `allowFromLatest: false` (werf-giterminism.yaml:4:5)" in raised.value.hint
        assert str(raised.value.where).startswith("werf.yaml:5")

    @pytest.mark.parametrize(
        "rules", [BEGIN, BEGIN + "config: {stapel: {allowFromLatest: true}}\n", BEGIN + "config: {stapel: {git: {}}}\n"]
    )
    def test_pins_make_it_safe_where_nobody_forbids_it(self, rules: str) -> None:
        check_from_latest(load_configuration(source({"werf.yaml": self.IMAGE}), "p"), parse_giterminism(rules.encode()))

    def test_an_image_that_does_not_follow_is_no_concern_of_the_rule(self) -> None:
        configuration = load_configuration(source({"werf.yaml": META + "image: app\nfrom: alpine\n"}), "p")
        check_from_latest(configuration, parse_giterminism(self.FORBIDS.encode()))

    def test_a_dockerfile_alone_follows_without_having_asked(self) -> None:
        check_from_latest(load_configuration(source({"Dockerfile": "FROM alpine\n"}), "p"), parse_giterminism(self.FORBIDS.encode()))
