"""Configurations from the documentation parse and mean what it says; every bad one is told with file, line and way out."""

from __future__ import annotations

import pytest

from ci_plugin.config.load import load_configuration, parse_dockerfile_option
from ci_plugin.config.model import Configuration, DockerfileImage, ExternalBase, ImageBase, ScratchBase, StapelImage
from ci_plugin.errors import ConfigError, InputError
from ci_plugin.values.reference import parse_reference
from tests.unit.config.sources import META, snippet, source


def load(text: str, file: str = "werf.yaml", **environment: str) -> Configuration:
    return load_configuration(source({file: text}, environment), "fallback")


def refuse(text: str, file: str = "werf.yaml", **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, file, **environment)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return f"{caught.value.where}: {caught.value.message} | {caught.value.hint}"


def stapel(configuration: Configuration, name: str) -> StapelImage:
    image = configuration.get(name)
    assert isinstance(image, StapelImage)
    return image


def test_the_minimal_werf_yaml_of_the_documentation_parses() -> None:
    configuration = load(snippet("werf.minimal.yaml"))
    base = stapel(configuration, "example").base
    assert (configuration.project, configuration.dialect, configuration.file) == ("my-project", "werf", "werf.yaml")
    assert isinstance(base, ExternalBase)
    assert (base.reference, base.from_latest, base.location.line) == (parse_reference("alpine:latest"), False, 5)


def test_the_minimal_dappfile_of_the_documentation_parses() -> None:
    configuration = load(snippet("dappfile.minimal.yml"), "dappfile.yml")
    base = stapel(configuration, "example").base
    assert (configuration.project, configuration.dialect) == ("fallback", "dapp")
    assert isinstance(base, ExternalBase)
    assert str(base.reference) == "docker.io/library/alpine:latest"


@pytest.mark.parametrize(("head", "file"), [(META + "image: a\n", "werf.yaml"), ("dimg: a\n", "dappfile.yml")])
def test_from_cache_version_is_the_value_of_the_variable(head: str, file: str) -> None:
    configuration = load(head + snippet("digest.fragment.yaml"), file, FROM_IMAGE_DIGEST="sha256:abc")
    assert stapel(configuration, "a").from_cache_version == "sha256:abc"


def test_from_latest_is_kept_with_the_base() -> None:
    base = stapel(load(META + "image: a\nfrom: alpine\n" + snippet("latest.fragment.yaml")), "a").base
    assert isinstance(base, ExternalBase)
    assert base.from_latest


@pytest.mark.parametrize("value", ["1.10", "1:30", "012", "yes", "2026-01-02", ".nan", "1e3", "0o17", "off"])
def test_a_cache_version_stays_the_text_that_was_written(value: str) -> None:
    assert stapel(load(META + f"image: a\nfrom: b\nfromCacheVersion: {value}\n"), "a").from_cache_version == value


@pytest.mark.parametrize(("text", "expected"), [("yes", True), ("On", True), ("TRUE", True), ("y", True), ("no", False), ("Off", False)])
def test_a_boolean_is_taken_as_yaml_v2_takes_it(text: str, expected: bool) -> None:
    base = stapel(load(META + f"image: a\nfrom: b\nfromLatest: {text}\n"), "a").base
    assert isinstance(base, ExternalBase)
    assert base.from_latest is expected


def test_images_and_artifacts_are_bases_in_every_dialect() -> None:
    werf = load(
        META + "artifact: build\nfrom: golang\n---\nimage: base\nfrom: alpine\n---\nimage: a\nfromImage: base\n---\nimage: b\n"
        "fromImageArtifact: build\n---\nimage: c\nfromArtifact: build\n---\nimage: d\nfrom: base\n"
    )
    dapp = load("artifact: build\nfrom: golang\n---\ndimg: a\nfromDimgArtifact: build\n---\ndimg: b\nfromDimg: a\n", "dappfile.yaml")
    bases = {image.name: image.base.image for image in werf if isinstance(image, StapelImage) and isinstance(image.base, ImageBase)}
    assert bases == {"a": "base", "b": "build", "c": "build", "d": "base"}
    assert [image.base.image for image in dapp if isinstance(image, StapelImage) and isinstance(image.base, ImageBase)] == ["build", "a"]
    assert stapel(werf, "build").is_artifact
    assert not stapel(werf, "build").is_final


def test_one_document_may_name_several_images_and_none() -> None:
    configuration = load(META + "image: [a, b]\nfrom: x\n")
    assert [image.name for image in configuration] == ["a", "b"]
    assert [image.name for image in load(META + "image: ~\nfrom: y\n---\nartifact: c\nfrom: z\n")] == ["my-project", "c"]


def test_shell_docker_and_defaults_of_the_project_are_read() -> None:
    text = (
        "project: p\nconfigVersion: 1\nbuild:\n  cacheVersion: 7\n  platform: linux/arm64/v8\ndeploy: {namespace: x}\ncleanup: {}\n---\n"
        "image: a\nfrom: scratch\nfinal: no\nshell:\n  cacheVersion: 1\n  install: make\n  setup: [a, 'b: c']\n  setupCacheVersion: 1.0\n"
        "docker:\n  ENV: {A: 1, B: yes}\n  CMD: run me\n  ENTRYPOINT: [/bin/x, y]\n  EXPOSE: 80\n  HEALTHCHECK: CMD probe\n  USER: 1000\n"
    )
    image = stapel(load(text), "a")
    assert isinstance(image.base, ScratchBase)
    assert (image.cache_version, [str(platform) for platform in image.platforms], image.is_final) == ("7", ["linux/arm64"], False)
    assert image.shell.commands == {"install": ("make",), "setup": ("a", "b: c")}
    assert (image.shell.cache_version, image.shell.cache_versions) == ("1", {"setup": "1.0"})
    docker = image.docker
    assert docker is not None
    assert docker.env == {"A": "1", "B": "yes"}
    assert (docker.cmd, docker.entrypoint) == (("/bin/sh", "-c", "run me"), ("/bin/x", "y"))
    assert (docker.expose, docker.healthcheck, docker.user) == (("80",), ("CMD-SHELL", "probe"), "1000")


def test_a_dockerfile_image_of_werf_lies_below_its_context() -> None:
    text = META + "image: a\ndockerfile: Dockerfile\ncontext: app/\ntarget: t\nargs: {V: 1.10}\nfromLatest: true\n"
    image = load(text).get("a")
    assert isinstance(image, DockerfileImage)
    assert (image.dockerfile, image.context, image.target, image.from_latest) == ("app/Dockerfile", "app", "t", True)
    assert image.build_args == {"V": "1.10"}


def test_a_lone_dockerfile_is_one_image_that_follows_the_registry() -> None:
    (image,) = load_configuration(source({"Dockerfile": "FROM a"}), "app")
    assert isinstance(image, DockerfileImage)
    assert (image.name, image.dockerfile, image.from_latest) == ("app", "Dockerfile", True)


def test_dockerfiles_of_the_command_line_come_before_every_file() -> None:
    image = parse_dockerfile_option("api=services/api/Dockerfile,context=services/api,target=prod")
    configuration = load_configuration(source({"werf.yaml": "broken: ["}), "app", dockerfiles=[image])
    assert (configuration.dialect, configuration.file, configuration.images) == ("dockerfile", None, (image,))
    assert (image.context, image.target, image.from_latest) == ("services/api", "prod", True)


@pytest.mark.parametrize("text", ["api", "=x", "a=", "a=b,context", "a=b,colour=red", "a=../x", "a=/x", "a=b,context=../.."])
def test_a_dockerfile_option_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected"):
        parse_dockerfile_option(text)


def test_no_configuration_at_all_says_what_was_looked_for() -> None:
    with pytest.raises(ConfigError, match=r"expected one of werf\.yaml, werf\.yml, dappfile\.yml, dappfile\.yaml, Dockerfile") as caught:
        load_configuration(source({}), "app")
    assert "git add" in caught.value.hint


def test_a_named_configuration_that_is_not_committed_says_git_add() -> None:
    with pytest.raises(ConfigError, match=r"ci/werf\.yaml in the commit, found none") as caught:
        load_configuration(source({"werf.yaml": ""}), "app", config_file="ci/werf.yaml")
    assert caught.value.hint == "git add ci/werf.yaml"


BAD = {
    "an unknown directive": ("image: a\nform: b\n", "werf.yaml:5:1: ", "found `form`", "did you mean `from`?"),
    "a directive in the wrong case": (
        "image: a\nfrom: b\nfromlatest: true\n",
        "werf.yaml:6:1: ",
        "`fromlatest`",
        "did you mean `fromLatest`?",
    ),
    "two bases": ("image: a\nfrom: b\nfromImage: c\n", "werf.yaml:6:1: ", "found `from` (line 5) and `fromImage` (line 6)", "keep one"),
    "no base": ("image: a\n", "werf.yaml:4:1: ", "expected a base for image 'a', found none", "`from`, `fromImage`"),
    "fromLatest with an image": (
        "image: b\nfrom: x\n---\nimage: a\nfromImage: b\nfromLatest: true\n",
        "werf.yaml:9:1: ",
        "only where `from`",
        "",
    ),
    "fromLatest with scratch": ("image: a\nfrom: scratch\nfromLatest: true\n", "werf.yaml:6:1: ", "`from: scratch`", "remove `fromLatest`"),
    "scratch with a tag": ("image: a\nfrom: scratch:latest\n", "werf.yaml:5:1: ", "`scratch` alone", "without tag"),
    "scratch in upper case": ("image: a\nfrom: Scratch\n", "werf.yaml:5:1: ", "expected a repository of lower-case", "name:tag"),
    "a reference that is none": ("image: a\nfrom: 'http://x/y'\n", "werf.yaml:5:1: ", "without http://", "name:tag"),
    "itself": ("image: a\nfromImage: a\n", "werf.yaml:5:1: ", "found 'a' itself", "name another image"),
    "itself by from": ("image: alpine\nfrom: alpine\n", "werf.yaml:5:1: ", "found 'alpine' itself", "write `from: alpine:TAG`"),
    "a missing image": (
        "image: app\nfromImage: bse\n---\nimage: base\nfrom: x\n",
        "werf.yaml:5:1: ",
        "found 'bse'",
        "did you mean 'base'?",
    ),
    "a cycle": ("image: a\nfromImage: b\n---\nimage: b\nfromImage: a\n", "werf.yaml:8:1: ", "found a cycle: a -> b -> a", "another base"),
    "an artifact as an image": (
        "artifact: x\nfrom: b\n---\nimage: a\nfromImage: x\n",
        "werf.yaml:8:1: ",
        "is an artifact",
        "`fromImageArtifact: x`",
    ),
    "a name twice": (
        "image: a\nfrom: b\n---\nimage: a\nfrom: b\n",
        "werf.yaml:7:8: ",
        "found 'a' again (first at werf.yaml:4:8)",
        "rename",
    ),
    "a key twice": ("image: a\nfrom: b\nfrom: c\n", "werf.yaml:6:1: ", "found 'from' again (first at werf.yaml:5:1)", "remove one"),
    "neither image nor artifact": ("from: b\n", "werf.yaml:4:1: ", "found neither", "`image: NAME`"),
    "docker on an artifact": ("artifact: a\nfrom: b\ndocker: {USER: x}\n", "werf.yaml:6:1: ", "no `docker` on an artifact", "remove it"),
    "a path that leaves the project": ("image: a\ndockerfile: ../x\n", "werf.yaml:5:13: ", "found '../x'", "without `..`"),
    "no boolean": ("image: a\nfrom: b\nfromLatest: maybe\n", "werf.yaml:6:13: ", "expected true or false, found 'maybe'", "true or false"),
    "a tab": ("image: a\n\tfrom: b\n", "werf.yaml:5:1: ", "expected YAML", "spaces, not with tabs"),
    "a Python object": (
        "image: !!python/object/apply:os.system [x]\nfrom: a\n",
        "werf.yaml:4:8: ",
        "expected no YAML tag",
        "remove the tag",
    ),
    "an unknown tag": ("image: !foo a\nfrom: a\n", "werf.yaml:4:8: ", "'!foo'", "remove the tag"),
    "an alias inside itself": ("image: &x [*x]\n", "werf.yaml:4:12: ", "found *x inside itself", "cannot hold itself"),
    "an unknown variable": (
        'image: a\nfrom: {{ env "NOPE" }}\n',
        "werf.yaml:5:10: ",
        "'NOPE', found it unset",
        '{{ env "NOPE" "DEFAULT" }}',
    ),
    "a secret": ('image: a\nfrom: {{ env "MY_TOKEN" }}\n', "werf.yaml:5:10: ", "looks like one", "env: [MY_TOKEN]"),
    "an unknown function": (
        'image: a\nfrom: {{ envv "X" }}\n',
        "werf.yaml:5:10: ",
        "expected a function, found 'envv', which is none",
        "did you mean `env`?",
    ),
    "the clock": ("image: a\nfrom: {{ now }}\n", "werf.yaml:5:10: ", "found `now`", "through a variable"),
    "a huge text": ('image: {{ repeat 100000000 "x" }}\n', "werf.yaml:4:11: ", "at most 1 MiB", "smaller number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_file_line_what_was_found_and_the_way_out(name: str) -> None:
    text, where, message, hint = BAD[name]
    told = refuse(META + text)
    assert told.startswith(where)
    assert message in told
    assert hint in told


def test_all_errors_of_a_file_are_told_at_once() -> None:
    text = "image: a\nform: b\n---\nimage: b\nfrom: b c\nshell:\n  install: [a, ~, [x], b, {c: d}]\n---\n"
    text += "image: c\nfromImage: nope\nplatform: [a, b]\ncacheVersion: [x]\nimport:\n- image: c\n  add: x\n  to: y\n"
    told = refuse(META + text)
    assert told.startswith("werf.yaml:5:1: expected a known directive, found `form`\nand 10 more errors:\n")
    places = [line.strip().partition(": ")[0] for line in told.splitlines()[2:]]
    # The base that `form` was meant to be is not asked for as well.
    assert [place.removeprefix("werf.yaml:") for place in places] == [
        *("8:1", "10:16", "10:19", "10:27", "13:1", "14:12", "14:15", "15:16", "18:8", "19:7"),
    ]


def test_what_yaml_found_wrong_is_told_beside_a_text_that_ends_the_reading() -> None:
    told = refuse(META + "image: a\nfrom: b\nfrom: c\n---\nimage: [\n")
    assert told.startswith("werf.yaml:6:1: expected every key once")
    assert "and 1 more error:\n  werf.yaml:9:1: expected YAML" in told


def test_errors_of_rendered_text_are_told_at_the_lines_of_the_template_each_once() -> None:
    told = refuse(META + '{{ range list "a" "b" }}---\nimage: {{ . }}\nxyz: x\n{{ end }}')
    assert told.startswith("werf.yaml:5:1: expected a base for image 'a', found none\nand 2 more errors:\n")
    assert "\n  werf.yaml:5:1: expected a base for image 'b', found none" in told
    assert told.count("expected a known directive, found `xyz`") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a document with `configVersion: 1`, found none"),
        ("# nothing\n", "expected a document with `configVersion: 1`, found none"),
        ("project: a\n---\nimage: b\nfrom: c\n", "expected configVersion 1, found none"),
        ("project: a\nconfigVersion: 2\n", "expected configVersion 1, found '2'"),
        ("project: a\nconfigVersion: 1\n---\nproject: a\nconfigVersion: 1\n", "expected one document about the project"),
        ("project: a\nconfigVersion: 1\n", "expected at least one image, found none"),
    ],
)
def test_a_werf_yaml_needs_one_document_about_the_project_and_an_image(text: str, message: str) -> None:
    assert message in refuse(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("project: x\n".encode("utf-16"), "found UTF-16"),
        (b"a: b\nc: \xff\n", "found the byte 0xff"),
        (b"a: b\n\0", "found a NUL byte"),
        (b"a: " + b"x" * (1 << 20), "at most 1 MiB of YAML"),
        (b"[" * 2000, "at most 50 levels"),
        (b"a: &a [x,x,x]\nb: &b [*a,*a]\nc: [" + b"*b," * 101 + b"]", "at most 100 aliases"),
        (b"".join(b"a%d: &a%d [%s]\n" % (i, i, (b"*a%d," % (i - 1)) * 9 if i else b"x" * 9) for i in range(9)), "at most 100000 values"),
    ],
)
def test_bytes_that_are_no_sane_yaml_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_configuration(source({"werf.yaml": data}), "app")
    assert message in caught.value.message
    assert caught.value.hint


def test_dapp_has_no_names_in_from() -> None:
    base = stapel(load("dimg: alpine\nfrom: alpine\n", "dappfile.yml"), "alpine").base
    assert isinstance(base, ExternalBase)


@pytest.mark.parametrize(
    "line",
    ['from: "{{ env "FOO" }} x"', 'final: "{{ env "FOO" }}"', '{{ env "FOO" }}: 1', 'from: alpine\nshell: {install: {a: {{ env "FOO" }}}}'],
)
def test_what_a_variable_said_stands_in_no_error_of_the_rendered_text(line: str) -> None:
    text = f"project: app\nconfigVersion: 1\n---\nimage: app\n{line}\n"
    with pytest.raises(ConfigError) as caught:
        load_configuration(source({"werf.yaml": text}, {"FOO": "hunter22zz"}), "app")
    assert "hunter22zz" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("3\nhunter2: b", "werf.yaml:5: expected a known directive, found `***`"),
        ("3\n'hunter2 x': b", "werf.yaml:5: expected a known directive, found `*** x`"),
        ("3\nhunter2: 1\nhunter2: 2", "werf.yaml:5: expected every key once, found '***' again (first at werf.yaml:5)"),
        ("alpine:hunter2!", "found '***' in '***'"),
        ("hunter2" * 60, "found 'library/***' in '***'"),
        ("hunter2é\u200b" * 60, "expected an image reference such as alpine:3.20, found '***'"),
    ],
)
def test_no_piece_of_a_variable_is_told_and_no_cut_one(value: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_configuration(source({"werf.yaml": META + 'image: app\nfrom: {{ env "FOO" }}\n'}, {"FOO": value}), "app")
    assert told in f"{caught.value.where}: {caught.value.message}"
    assert all("hunter2" not in f"{error.message}{error.hint}" for error in (caught.value, *caught.value.parts))


def test_what_only_looks_like_a_piece_of_a_variable_is_told() -> None:
    text = META + 'image: apps\nfrom: {{ env "FOO" }}\nshel: x\n'
    with pytest.raises(ConfigError) as caught:
        load_configuration(source({"werf.yaml": text}, {"FOO": "https://example.com/app"}), "app")
    assert [error.message for error in caught.value.parts] == [
        "expected an image reference without https://, found '***'",
        "expected a known directive, found `shel`",
    ]
