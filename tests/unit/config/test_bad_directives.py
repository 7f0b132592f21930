"""Directives that are wrong, or may not stand together, are told with file, line, column and the way out: all of a file at once."""

from __future__ import annotations

import pytest

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, StapelImage
from ci_plugin.errors import ConfigError
from tests.unit.config.sources import META, source


def load(text: str) -> Configuration:
    return load_configuration(source({"werf.yaml": text}), "fallback")


HEAD = META + "image: app\nfrom: alpine\n"
BAD = {
    # git
    "git without to": ("git: [{add: /}]\n", "6:7", "expected `to` in a git mapping, found none", "absolute path"),
    "git with a relative path": ("git: [{add: src, to: /app}]\n", "6:13", "expected an absolute path, found 'src'", "write /src"),
    "a git glob that leaves its directory": (
        "git: [{to: /a, includePaths: [x, ../y]}]\n",
        "6:34",
        "expected a relative path, found '../y'",
        "without `..`",
    ),
    "an absolute stage dependency": (
        "git: [{to: /a, stageDependencies: {install: /x}}]\n",
        "6:45",
        "expected a relative path, found '/x'",
        "leading /",
    ),
    "an unknown stage of dependencies": (
        "git: [{to: /a, stageDependencies: {beforeInstall: x}}]\n",
        "6:36",
        "found `beforeInstall`",
        "did you mean `install`?",
    ),
    "a branch without url": ("git: [{to: /a, branch: x}]\n", "6:16", "expected `branch` only with `url`", "add `url`"),
    "a password without url": (
        "git: [{to: /a, basicAuth: {username: x}}]\n",
        "6:16",
        "expected `basicAuth` only with `url`",
        "those of the commit",
    ),
    "branch and tag": (
        "git: [{to: /a, url: x, branch: x, tag: y}]\n",
        "6:35",
        "expected one of `branch`, `tag` and `commit`, found `branch` and `tag`",
        "keep one",
    ),
    "half a login": ("git: [{to: /a, url: x, basicAuth: {username: x}}]\n", "6:35", "one of them missing", "write both"),
    "git that is no list": ("git: {to: /a}\n", "6:6", "expected a list of mappings, found a mapping", "- "),
    # shell, ansible, docker, imageSpec
    "shell and ansible": ("shell: {}\nansible: {}\n", "7:1", "expected one of `shell` and `ansible`, found both", "keep one"),
    "docker and imageSpec": ("docker: {}\nimageSpec: {}\n", "7:1", "expected one of `docker` and `imageSpec`", "into `imageSpec`"),
    "no command": ("shell: {install: [a, ~]}\n", "6:22", "expected text, found nothing", "remove the line"),
    "a command that is a mapping": ("shell:\n  install:\n  - echo: x\n", "8:5", "expected text, found a mapping", "one value"),
    "an unknown stage": ("shell: {instal: x}\n", "6:9", "found `instal`", "did you mean `install`?"),
    "a last stage that is dapp's": ("shell: {buildArtifact: x}\n", "6:9", "found `buildArtifact`", "known here"),
    "a healthcheck of another shape": ("docker: {HEALTHCHECK: curl x}\n", "6:23", "expected `CMD command` or `NONE`", "CMD and"),
    "an option nobody knows": ("docker: {HEALTHCHECK: --every=3s CMD x}\n", "6:23", "found --every", "--interval"),
    "a time that is none": ("docker: {HEALTHCHECK: --interval=3 CMD x}\n", "6:23", "expected a duration such as 30s", "s, m or h"),
    "retries that are none": ("docker: {HEALTHCHECK: --retries=x CMD x}\n", "6:23", "expected a number of retries", "--retries=3"),
    "an unknown key of imageSpec": ("imageSpec: {config: {lables: {}}}\n", "6:22", "found `lables`", "did you mean `labels`?"),
    "a number that is none": ("imageSpec: {config: {healthcheck: {retries: x}}}\n", "6:45", "expected a whole number", "digits"),
    # mount
    "a mount without to": ("mount: [{from: tmp_dir}]\n", "6:9", "expected `to` in a mount, found none", "write `to:"),
    "a mount to a relative path": ("mount: [{from: tmp_dir, to: x}]\n", "6:29", "expected an absolute path, found 'x'", "write /x"),
    "a mount of nothing": ("mount: [{to: /x}]\n", "6:9", "expected one of `from` and `fromPath`, found neither", "tmp_dir"),
    "a mount of two": ("mount: [{to: /x, from: tmp_dir, fromPath: /y}]\n", "6:33", "`fromPath`, found both", "tmp_dir"),
    "a mount of another kind": ("mount: [{to: /x, from: /y}]\n", "6:24", "expected tmp_dir or build_dir, found '/y'", "fromPath"),
    "two mounts at one place": (
        "mount: [{to: /x, from: tmp_dir}, {to: /x/, from: build_dir}]\n",
        "6:34",
        "found '/x' again (first at werf.yaml:6:9)",
        "remove one",
    ),
    # import
    "an import of nothing": ("import: [{add: /a, after: setup}]\n", "6:10", "expected one source of an import, found none", "image:"),
    "an import of two": (
        "import: [{image: app, from: x:1, add: /a, after: setup}]\n",
        "6:23",
        "expected one source of an import, found `image` and `from`",
        "image:",
    ),
    "an import at no moment": ("import: [{from: x:1, add: /a}]\n", "6:10", "one of `before` and `after`, found neither", "after: install"),
    "an import at two moments": (
        "import: [{from: x:1, add: /a, before: setup, after: setup}]\n",
        "6:46",
        "`before` and `after`, found both",
        "keep",
    ),
    "an import at a stage of its own": (
        "import: [{from: x:1, add: /a, after: from}]\n",
        "6:31",
        "expected install or setup",
        "lie between",
    ),
    "an import of everything": ("import: [{from: x:1, add: /, after: setup}]\n", "6:22", "found the whole root", "includePaths"),
    "an import of an unknown stage": (
        "import: [{image: x, stage: built, add: /a, after: setup}]\n",
        "6:21",
        "expected a stage of the source, found 'built'",
        "setup",
    ),
    "an import of a registry's image at a stage": (
        "import: [{from: x:1, stage: setup, add: /a, after: setup}]\n",
        "6:22",
        "expected no `stage` with an image of a registry",
        "remove",
    ),
    "an import of a missing image": ("import: [{image: ap, add: /a, after: setup}]\n", "6:11", "found 'ap'", "did you mean 'app'?"),
    "an import of itself": ("import: [{image: app, add: /a, after: setup}]\n", "6:11", "found 'app' itself", "name another image"),
    "an import of a reference that is none": ("import: [{from: 'X:1', add: /a, after: setup}]\n", "6:11", "lower-case", "name:tag"),
    "two sources of one path": (
        "git: [{to: /a}]\nimport: [{from: x:1, add: /b, to: /a, after: setup}]\n",
        "7:10",
        "expected one source for '/a' in image 'app', found `import` again (first at werf.yaml:6:7)",
        "another `to`",
    ),
    # dependencies
    "a dependency on nothing": ("dependencies: [{after: setup}]\n", "6:16", "expected one of `image` and `from`, found neither", "image:"),
    "a dependency at no moment": ("dependencies: [{image: app}]\n", "6:16", "one of `before` and `after`, found neither", "after:"),
    "a dependency on a missing image": ("dependencies: [{image: xyz, after: setup}]\n", "6:17", "found 'xyz'", "has: app"),
    "another fact": (
        "dependencies: [{image: a, after: setup, imports: [{type: Name, targetEnv: A}]}]\n",
        "6:58",
        "expected a fact about an image, found 'Name'",
        "ImageDigest",
    ),
    "a build argument in a stage": (
        "dependencies: [{image: a, after: setup, imports: [{type: ImageID, targetBuildArg: A}]}]\n",
        "6:67",
        "expected `targetEnv`, found `targetBuildArg`",
        "stages take",
    ),
    "no target": (
        "dependencies: [{image: a, after: setup, imports: [{type: ImageID}]}]\n",
        "6:51",
        "expected `targetEnv`, found none",
        "targetEnv: NAME",
    ),
    "one target twice": (
        "dependencies: [{image: a, after: setup, imports: [{type: ImageID, targetEnv: A}, {type: ImageTag, targetEnv: A}]}]\n",
        "6:99",
        "found 'A' again (first at werf.yaml:6:67)",
        "rename",
    ),
    # secrets, names, flags
    "a secret of nothing": ("secrets: [{id: a}]\n", "6:11", "expected one of `env`, `src` and `value`, found none", "keep one"),
    "a secret of two": ("secrets: [{id: a, env: A, value: hunter2}]\n", "6:27", "found `env` and `value`", "keep one"),
    "a value without id": ("secrets: [{value: hunter2}]\n", "6:11", "expected an `id` for a secret with a `value`", "id: NAME"),
    "one id twice": ("secrets: [{env: A}, {id: A, src: x}]\n", "6:22", "found 'A' again (first at werf.yaml:6:11)", "rename"),
    "two bases, one empty": (
        "fromImage: ''\n",
        "6:1",
        "expected one base for image 'app', found `from` (line 5) and `fromImage` (line 6)",
        "keep one",
    ),
    "a platform that is none": ("platform: linux\n", "6:11", "expected a platform such as linux/amd64", "os/architecture"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_directive_that_is_wrong_is_told_with_file_line_column_and_way_out(name: str) -> None:
    text, where, message, hint = BAD[name]
    with pytest.raises(ConfigError) as caught:
        load(HEAD + text)
    error = caught.value
    places = f"{error.where}\n{error.message}"
    assert message in error.message
    assert f"werf.yaml:{where}" in places
    assert hint in f"{error.hint}\n{error.message}"
    assert "hunter2" not in f"{error.message}{error.hint}"


DOCUMENTS = {
    "a Dockerfile's dependency at a moment": (
        "image: a\ndockerfile: x\ndependencies: [{image: b, after: setup}]\n---\nimage: b\nfrom: x\n",
        "werf.yaml:6:27: expected no `after` at a Dockerfile image",
    ),
    "a build argument given twice": (
        "image: a\ndockerfile: x\nargs: {A: 1}\ndependencies: [{image: b, imports: [{type: ImageID, targetBuildArg: A}]}]\n---\n"
        "image: b\nfrom: x\n",
        "werf.yaml:7:53: expected the build argument 'A' once, found it in `args` too",
    ),
    "contextAddFile twice": (
        "image: a\ndockerfile: x\ncontextAddFile: a\ncontextAddFiles: b\n",
        "werf.yaml:6:1: expected one of `contextAddFiles` and `contextAddFile`, found both",
    ),
    "a file that leaves the context": ("image: a\ndockerfile: x\ncontextAddFiles: [../b]\n", "werf.yaml:6:19: expected a path inside"),
    "final on an artifact": ("artifact: a\nfrom: b\nfinal: true\n", "werf.yaml:6:1: expected no `final` on an artifact"),
    "disableGitAfterPatch on an artifact": (
        "artifact: a\nfrom: b\ndisableGitAfterPatch: true\n",
        "werf.yaml:6:1: expected no `disableGitAfterPatch` on an artifact",
    ),
    "dependencies on an artifact": (
        "artifact: a\nfrom: b\ndependencies: [{image: c, after: setup}]\n---\nimage: c\nfrom: d\n",
        "werf.yaml:6:1: expected no `dependencies` on an artifact",
    ),
    "no name where there are several": (
        "image: ~\nfrom: b\n---\nimage: a\nfrom: c\n",
        "werf.yaml:4:8: expected a name for every image where there are several",
    ),
    "an image name that is a list": ("image: [[a]]\nfrom: b\n", "werf.yaml:4:9: expected an image name, found a list"),
    "an empty list of names": ("image: []\nfrom: b\n", "werf.yaml:4:8: expected an image name, found an empty list"),
    "a name twice in one list": ("image: [a, a]\nfrom: b\n", "werf.yaml:4:12: expected every image name once, found 'a' again"),
    "an empty artifact": ("artifact: ''\nfrom: b\n", "werf.yaml:4:11: expected a name, found an empty text"),
    "a list of artifacts": ("artifact: [a, b]\nfrom: c\n", "werf.yaml:4:11: expected one name of an artifact, found a list"),
    "a cycle by import": (
        "image: a\nfrom: x\nimport: [{image: b, add: /a, after: setup}]\n---\nimage: b\nfromImage: a\n",
        "found a cycle: a -> b -> a",
    ),
    "a cycle by dependency": (
        "image: a\ndockerfile: x\ndependencies: [{image: b}]\n---\nimage: b\nfrom: x\ndependencies: [{image: a, after: setup}]\n",
        "found a cycle: a -> b -> a",
    ),
    "a project name nobody can use": ("project: My Project\n", "expected a project name of lower-case letters"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_does_not_fit_together_is_told_at_its_place(name: str) -> None:
    text, told = DOCUMENTS[name]
    with pytest.raises(ConfigError) as caught:
        load((META if "project" not in text else "") + text + ("configVersion: 1\n" if "project" in text else ""))
    assert told in f"{caught.value.where}: {caught.value.message}"
    assert caught.value.hint


def test_one_run_tells_what_is_wrong_in_every_directive_of_every_image() -> None:
    text = HEAD + "git: [{add: x, to: /a}]\nmount: [{to: /x}]\nshell: {instal: x}\n---\nimage: b\nfromImage: c\nsecrets: [{}]\n"
    with pytest.raises(ConfigError) as caught:
        load(text)
    told = f"{caught.value.where}: {caught.value.message}"
    assert "and 4 more errors:" in told
    for place in ("werf.yaml:6:13", "werf.yaml:7:9", "werf.yaml:8:9", "werf.yaml:11:1", "werf.yaml:12:11"):
        assert place in told


def test_a_mistake_in_a_document_of_many_images_is_told_once_and_a_thousand_mistakes_not_one_by_one() -> None:
    names = ", ".join(f"a{number}" for number in range(30))
    with pytest.raises(ConfigError) as caught:
        load(META + f"image: [{names}]\nfrom: b\ngit: [{{add: x, to: /a}}]\n")
    assert "more error" not in caught.value.message
    with pytest.raises(ConfigError) as caught:
        load(META + "---\n".join(f"image: a{number}\nform: b\nfrom: b\n" for number in range(100)))
    assert "and 99 more errors:" in caught.value.message
    assert caught.value.message.endswith("\n  and 49 more")


def test_a_chain_of_a_thousand_images_is_no_cycle_and_is_followed() -> None:
    text = META + "image: a0\nfrom: b\n" + "".join(f"---\nimage: a{number}\nfromImage: a{number - 1}\n" for number in range(1, 1000))
    configuration = load(text)
    assert len(configuration.chain(configuration.get("a999"))) == 999
    assert len(configuration.with_dependencies(["a999"])) == 1000


def test_mappings_of_one_target_that_leave_something_out_may_stand_together() -> None:
    mappings = "git: [{add: /a, to: /x, excludePaths: [b]}, {add: /c, to: /x, excludePaths: [d]}]\n"
    (image,) = load(HEAD + mappings)
    assert isinstance(image, StapelImage)
    assert [item.files.to for item in image.git] == ["/x", "/x"]
