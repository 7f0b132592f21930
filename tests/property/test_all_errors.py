"""Whatever is wrong with a configuration and its Dockerfile: one error that names every place, in order, each once."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, Image
from ci_plugin.config.references import find_remotes, list_dockerfile_faults, list_references
from ci_plugin.errors import ConfigError
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from tests.unit.config.sources import META, source

WORDS = (
    *(
        "FROM a\n",
        "FROM a AS b\n",
        "FROM",
        "AS",
        "--platform=$X",
        "--platform=",
        "COPY",
        "--from=",
        "COPY --from=b x y\n",
        "0",
        "b",
        "B::1",
    ),
    *("RUN", "--mount=type=bind,from=", '"', "'", "\\\n", "\n", " ", "$X", "${X", "${X:-a}", "ARG X", "ARG X=$Y", "<<EOF", "EOF\n"),
    *("ADD https://x/y", "# syntax=", "# escape=`", "ONBUILD", "ENV A=$X", "\ufeff", "\0", "scratch", '["a",', "FOO", "é"),
)
DOCKERFILES = st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join)
DIRECTIVES = st.lists(
    st.sampled_from(("target: b", "foo: x", "secrets: [1]", "args: {X: [1], Y: [2]}", "platform: [a, b]", "cacheVersion: [x]", "final: 3")),
    unique=True,
).map("\n".join)
IGNORED = st.sampled_from(("", "[a\n", "x\n[b\n"))


def default(_image: Image) -> tuple[Platform, ...]:
    return (DEFAULT_PLATFORM,)


def told_by(call: Callable[[], object]) -> tuple[ConfigError, ...]:
    """Every error that a call tells of."""
    try:
        call()
    except ConfigError as error:
        return error.parts or (error,)
    return ()


@given(DOCKERFILES, DIRECTIVES, IGNORED)
def test_every_error_has_a_place_and_they_are_in_order_each_once(dockerfile: str, directives: str, ignored: str) -> None:
    text = f"{META}image: a\ndockerfile: Dockerfile\ncontext: c\n{directives}\n---\nimage: d\ndockerfile: Dockerfile\ncontext: c\n"
    files = source({"werf.yaml": text, "c/Dockerfile": dockerfile, "c/.dockerignore": ignored})

    def faults_of(configuration: Configuration) -> list[ConfigError]:
        return list(list_dockerfile_faults(configuration, files, default))

    errors = told_by(lambda: load_configuration(files, "p", check=faults_of))
    places = [(error.where.file, error.where.line or 0, error.where.column or 0) for error in errors if error.where]
    assert len(places) == len(errors)
    order = list(dict.fromkeys(file for file, _, _ in places))
    assert places == sorted(places, key=lambda place: (order.index(place[0]), *place[1:]))
    assert len({(error.message, error.hint, error.where) for error in errors}) == len(errors)
    if not errors:
        configuration = load_configuration(files, "p")
        assert told_by(lambda: [find_remotes(image, files) for image in configuration]) == ()
        # What is left is what another value of a variable would tell.
        unresolved = told_by(lambda: list_references(configuration, files, default))
        assert all("expected a value for every variable" in error.message for error in unresolved)
