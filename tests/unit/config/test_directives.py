"""Every directive of every generation becomes a typed value with its place."""

from __future__ import annotations

from dataclasses import replace

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, DockerfileImage, ImageBase, StapelImage
from ci_plugin.config.parts import (
    AnsibleTask,
    Dependency,
    DependencyImport,
    ExternalSource,
    GitMapping,
    GitRemote,
    Healthcheck,
    ImageSource,
    ImageSpec,
    Import,
    Moment,
    Mount,
    MountKind,
    Placed,
    Secret,
    SecretValue,
    Selection,
    Side,
)
from ci_plugin.errors import Location
from ci_plugin.values.reference import parse_reference
from tests.unit.config.sources import META, snippet, source


def load(text: str, file: str = "werf.yaml") -> Configuration:
    return load_configuration(source({file: text}), "fallback")


def stapel(configuration: Configuration, name: str) -> StapelImage:
    image = configuration.get(name)
    assert isinstance(image, StapelImage)
    return image


def dockerfile(configuration: Configuration, name: str) -> DockerfileImage:
    image = configuration.get(name)
    assert isinstance(image, DockerfileImage)
    return image


def app(text: str) -> StapelImage:
    return stapel(load(META + "image: app\nfrom: alpine\n" + text), "app")


def at(line: int, column: int) -> Location:
    return Location("werf.yaml", line, column)


DAPP = load(snippet("dappfile.example.yml"), "dappfile.yml")
WERF_10 = load(snippet("werf-1.0.example.yaml"))
WERF_11 = load(snippet("werf-1.1.example.yaml"))
WERF_12 = load(snippet("werf-1.2.example.yaml"))
WERF_2 = load(snippet("werf-2.example.yaml"))
WERF_3 = load(snippet("werf-3.example.yaml"))


def test_git_mappings_of_the_commit_have_their_files_and_stage_dependencies() -> None:
    assets, web = stapel(DAPP, "assets").git[0], stapel(DAPP, "web").git
    globs = {"install": ("package.json", "package-lock.json"), "buildArtifact": ("src/**",)}
    assert (assets.files, assets.stage_dependencies, assets.remote) == (Selection("/frontend", "/frontend"), globs, None)
    assert web[0].files == Selection("/", "/app", (), ("frontend", "docs"), "app", "app")
    assert app("git:\n- to: /app\n").git == (GitMapping(Selection("/", "/app"), at(7, 3)),)


def test_git_mappings_of_another_repository_have_what_they_follow() -> None:
    assert stapel(DAPP, "web").git[1].remote == GitRemote("https://git.example.com/group/theme.git", branch="stable")
    assert stapel(WERF_11, "backend").git[0].remote == GitRemote("https://git.example.com/group/lib.git", branch="master")
    private = stapel(WERF_2, "app").git[0].remote
    expected = GitRemote("https://git.example.com/group/private.git", tag="v1.0.0", user="ci", password=SecretValue(env="GIT_PASSWORD"))
    assert private == expected
    assert app("git: [{url: 'https://x/y', to: /a}]\n").git[0].remote == GitRemote("https://x/y")


def test_an_address_a_password_and_a_secret_value_stand_in_no_repr() -> None:
    image = app(
        "git: [{url: 'https://u:hunter2@x/y', to: /a, basicAuth: {username: u, password: {value: hunter2}}}]\n"
        "secrets: [{id: a, value: hunter2}]\n"
    )
    assert image.git[0].remote is not None
    assert image.secrets[0].source.value == "hunter2"
    assert "hunter2" not in repr(image)


def test_imports_name_their_source_their_moment_and_their_files() -> None:
    (old,) = stapel(DAPP, "web").imports
    assert (old.source, old.moment) == (ImageSource("assets", Location("dappfile.yml", 48, 3)), Moment(Side.BEFORE, "setup"))
    assert old.files == Selection("/frontend/dist", "/app/public")
    (middle,) = stapel(WERF_12, "app").imports
    assert middle == Import(
        ImageSource("common", at(30, 3), "install"),
        Moment(Side.BEFORE, "install"),
        Selection("/etc", "/etc", ("conf.d", "*.conf"), (), "0"),
        at(30, 3),
    )


def test_an_import_from_a_registry_is_told_by_its_tag_or_digest() -> None:
    outside, inside = (item.source for item in stapel(WERF_2, "app").imports)
    assert outside == ExternalSource(parse_reference("alpine:3.20"), at(21, 3))
    assert inside == ImageSource("base", at(24, 3))
    digest = "sha256:" + "a" * 64
    (one,) = app(f"fromLatest: true\nimport: [{{image: host:5000/x@{digest}, add: /a, after: setup}}]\n").imports
    assert isinstance(one.source, ExternalSource)
    assert (str(one.source.reference), one.source.from_latest) == (f"host:5000/x@{digest}", True)


def test_mounts_of_every_kind() -> None:
    assert stapel(DAPP, "base").mounts == (
        Mount(MountKind.TMP_DIR, "/var/cache/apt", Location("dappfile.yml", 20, 3)),
        Mount(MountKind.BUILD_DIR, "/var/cache/builds", Location("dappfile.yml", 22, 3)),
    )
    path = stapel(WERF_10, "builder").mounts[1]
    assert (path.kind, path.path, path.to) == (MountKind.PATH, "~/.cache/go-build", "/var/cache/builds/go-build")


def test_dependencies_hand_facts_about_an_image_to_stages_and_to_build_arguments() -> None:
    assert stapel(WERF_12, "app").dependencies == (
        Dependency(
            "common",
            at(24, 3),
            Moment(Side.AFTER, "setup"),
            (DependencyImport("ImageName", "COMMON_IMAGE", at(27, 23)), DependencyImport("ImageDigest", "COMMON_DIGEST", at(28, 25))),
        ),
    )
    (one,) = dockerfile(WERF_12, "api").dependencies
    assert (one.image, one.moment, [(item.type, item.target) for item in one.imports]) == ("app", None, [("ImageRepo", "APP_REPO")])
    assert stapel(WERF_3, "server").dependencies[0].image == "builder"


def test_secrets_take_their_id_from_the_variable_or_the_file() -> None:
    assert stapel(WERF_2, "base").secrets == (
        Secret("NPM_TOKEN", SecretValue(env="NPM_TOKEN"), at(14, 3)),
        Secret("netrc", SecretValue(src="~/.netrc"), at(15, 4)),
        Secret("plain", SecretValue(value="abc"), at(16, 4)),
    )
    assert app("secrets: [{src: /run/keys/key.pem}]\n").secrets[0].id == "key.pem"
    assert dockerfile(WERF_2, "job").secrets[0].source == SecretValue(env="NPM_TOKEN")


def test_the_config_of_a_finished_image_has_the_words_for_all_images_and_its_own() -> None:
    spec = stapel(WERF_2, "app").image_spec
    assert spec is not None
    whole = stapel(WERF_2, "base").image_spec
    assert whole == ImageSpec(at(6, 3), "team", True, labels={"team": "shop"}, flags=frozenset({"clearWerfLabels"}))
    assert replace(spec, location=at(1, 1)) == ImageSpec(
        location=at(1, 1),
        author="app team",
        clear_history=True,
        cmd=("run",),
        env={"A": "1"},
        expose=("80",),
        healthcheck=Healthcheck(("CMD", "probe"), 30_000_000_000, 1_000_000_000, 0, None, 3),
        labels={"team": "shop", "tier": "front"},
        stop_signal="SIGINT",
        user="app",
        volumes=("/data",),
        working_dir="/app",
        remove_labels=("/^org\\..*/",),
        remove_env=("SECRET",),
        flags=frozenset({"clearWerfLabels", "clearEntrypoint", "keepEssentialWerfLabels"}),
    )


def test_ansible_tasks_are_kept_apart_with_their_place() -> None:
    tasks = stapel(DAPP, "base").ansible
    assert tasks is not None
    assert tasks.tasks == (AnsibleTask("beforeInstall", "apt", "packages", Location("dappfile.yml", 26, 5)),)
    assert tasks.cache_versions == {"cacheVersion": "1"}
    assert stapel(WERF_11, "backend").ansible is not None


def test_a_healthcheck_has_its_options() -> None:
    docker = stapel(WERF_10, "shop").docker
    assert docker is not None
    assert docker.healthcheck == ("CMD-SHELL", "wget -q localhost/health")
    assert docker.healthcheck_times is not None
    assert docker.healthcheck_times.value == Healthcheck(docker.healthcheck, 30_000_000_000, 90_000_000_000, retries=3)
    plain = app('docker: {HEALTHCHECK: \'CMD ["/bin/probe", "-q"]\'}\n').docker
    assert plain is not None
    assert (plain.healthcheck, plain.healthcheck_times) == (("CMD", "/bin/probe", "-q"), None)
    for text, test in (("NONE", ("NONE",)), ("[probe]", ("CMD", "probe"))):
        docker = app(f"docker: {{HEALTHCHECK: {text}}}\n").docker
        assert docker is not None
        assert docker.healthcheck == test


def test_a_dockerfile_image_has_its_directives_in_the_older_words_too() -> None:
    nginx, api = dockerfile(WERF_11, "nginx"), dockerfile(WERF_12, "api")
    assert (nginx.dockerfile, nginx.context_add, nginx.target) == ("nginx/Dockerfile", ("dist/app.js",), "release")
    assert nginx.build_args == {"VERSION": "1.10", "DEBUG": "no"}
    assert (nginx.add_host, nginx.network) == (Placed(("registry.local:10.0.0.1",), at(29, 1)), Placed("host", at(30, 1)))
    assert (api.context_add, api.ssh) == (("dist", "version.txt"), Placed("default", at(42, 1)))


def test_cache_versions_and_platforms_come_from_the_project_where_the_image_says_none() -> None:
    assert [stapel(WERF_12, name).cache_version for name in ("common", "app")] == ["a", "2021"]
    assert [[str(item) for item in image.platforms] for image in WERF_2] == [["linux/amd64", "linux/arm64"]] * 2 + [["linux/arm64"]] * 2


def test_images_of_older_generations_keep_their_kind_base_and_last_directives() -> None:
    assert [image.name for image in DAPP] == ["assets", "base", "web", "worker"]
    assert stapel(DAPP, "assets").shell.build_artifact == Placed(("cd /frontend && npm run build",), Location("dappfile.yml", 15, 3))
    assert stapel(DAPP, "worker") == replace(stapel(DAPP, "web"), name="worker", location=Location("dappfile.yml", 34, 3))
    assert stapel(WERF_10, "shop").base == ImageBase("builder", at(19, 1))
    common = stapel(WERF_12, "common")
    assert (common.is_final, common.disable_git_after_patch) == (False, Placed(True, at(11, 1)))
    assert stapel(WERF_12, "app").network == Placed("none", at(22, 1))


def test_all_an_image_is_made_of_is_planned_with_it() -> None:
    assert [image.name for image in WERF_12.with_dependencies(["api"])] == ["common", "assets", "app", "api"]
    assert [image.name for image in WERF_3.with_dependencies(["builder"])] == ["builder"]


def test_what_concerns_other_commands_is_told_once_with_its_reason() -> None:
    told = [notice.partition(" is not read")[0] for notice in WERF_11.notices + WERF_12.notices + DAPP.notices]
    assert told == ["`deploy`", "`cleanup`", "`gitWorktree`", "`staged`", "`asLayers`"]
    twice = load(META + "image: a\ndockerfile: x\nstaged: true\n---\nimage: b\ndockerfile: x\nstaged: true\n")
    assert len(twice.ignored) == 2
    assert twice.notices == (
        "`staged` is not read (werf.yaml:6:1): it concerns how werf caches Dockerfiles; BuildKit keeps every instruction",
    )
