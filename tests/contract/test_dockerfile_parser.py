"""Our scanner and BuildKit's own parser (package ``dockerfile`` 3.4), text by text; and where we differ, on purpose, with the reason."""

from __future__ import annotations

import dockerfile as oracle
import pytest

from ci_plugin.config.dockerfile import parse_dockerfile
from ci_plugin.errors import ConfigError
from tests.property.test_dockerfile_scan import ours, theirs

TEXTS = {
    "plain": "FROM a\nRUN x\n",
    "no line break at the end": "FROM a\nRUN x",
    "a byte order mark": "\ufeffFROM a\n",
    "CRLF": "FROM a\r\nRUN x \\\r\n  y\r\n",
    "a mark, CRLF and escape": "\ufeff# escape=`\r\nFROM `\r\n a AS b\r\nRUN x\\\r\n",
    "comments in a continuation": "RUN a \\\n# c\n  # d\n b \\\n\n\n c\nFROM x\n",
    "continuation into nothing": "FROM a \\\n",
    "continuation at the end": "FROM a\nRUN x \\",
    "a backslash alone": "FROM a\n\\\nRUN x\n",
    "two backslashes are no continuation": "FROM a\nRUN x \\\\\nRUN y\n",
    "blanks behind the backslash": "FROM a\nRUN x \\ \t\n y\n",
    "lower case": "from a as b\nrun x\n",
    "indented": "  FROM a\n\tRUN x\n",
    "flags": "FROM --platform=linux/amd64 a\nCOPY --from=b --chown=c:d --link e f\n",
    "quoted flags": 'FROM a\nCOPY --from=\'b\' --chown="c d" e f\nRUN --mount="type=bind,from=x" y\n',
    "escaped flags": 'FROM a\nRUN --mount=\\"from=a\\" x\nCOPY --from=a\\ b c d\n',
    "the end of the flags": "FROM a\nRUN -- --mount=x y\n",
    "flags over two lines": "FROM a\nRUN --mount=type=bind,\\\nfrom=b \\\n --mount=from=c \\\n x\n",
    "JSON": 'FROM a\nCOPY ["a b", "c"]\nADD [ "d" , "e" ]\n',
    "JSON that is none": 'FROM a\nCOPY [a, "b"]\n',
    "a here-document": "FROM a\nRUN <<E\nFROM b\nE\nRUN y\n",
    "here-documents": "FROM a\nCOPY <<A <<-'B' <<\"C\" /x\nFROM 1\nA\n\tFROM 2\n\t\tB\n$X\nC\nRUN y\n",
    "a here-document with a number": "FROM a\nRUN 3<<E x\nFROM b\nE\n",
    "an empty here-document": "FROM a\nRUN <<E\nE\n",
    "a here-document in quotes": "FROM a\nRUN echo '<<E'\nRUN y\n",
    "a here-document in CMD is none": "FROM a\nCMD <<E\nRUN y\n",
    "three less-thans": "FROM a\nRUN x <<<y\nRUN z\n",
    "ONBUILD": "FROM a\nONBUILD RUN x\nONBUILD COPY <<E /x\nFROM b\nE\n",
    "arguments": "ARG A=1 B\nARG C='x y'\nFROM a:$A\nENV X=1 Y='a b' \\\n Z=\"c\"\nENV old style\n",
    "words of other scripts": "FROM \u00e9\nRUN \u4e2d\u00a0x\n",
    "a hash in the line": "FROM a # b\nRUN x # y\n",
    "directives": "# syntax=a\n# escape=`\n# check=skip=all\nFROM `\n a\n",
    "a directive too late": "# c\n# escape=`\nFROM a\nRUN x \\\n y\n",
    "healthcheck": "FROM a\nHEALTHCHECK --interval=5s CMD x\nHEALTHCHECK NONE\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_seen_as_buildkit_sees_it(name: str) -> None:
    seen = theirs(TEXTS[name])
    assert seen is not None
    assert ours(TEXTS[name]) == seen


WE_REFUSE = {
    "FROM a\nRUNN x\n": (
        "expected a Dockerfile instruction",
        "the package does not know which instructions there are; BuildKit stops at it later",
    ),
    "FROM a\nONBUILD FROM b\n": ("expected an instruction after ONBUILD", "BuildKit stops at it later"),
    "FROM a\nONBUILD ONBUILD RUN x\n": ("expected an instruction after ONBUILD", "BuildKit stops at it later"),
    "FROM a b\n": ("expected FROM IMAGE or FROM IMAGE AS NAME", "BuildKit stops at it later"),
    "RUN x\n": ("expected a FROM, found none", "BuildKit stops at it later"),
    "FROM a\nRUN x\nCOPY --from=b --from=c d e\n": ("expected one --from", "BuildKit stops at it later"),
    "FROM a\nRUN --mount=from=$X y\n": ("expected a stage above or an image", "BuildKit expands nothing there, and stops at it later"),
    "// syntax=x\nFROM a\n": ("expected a Dockerfile, found a text for the build frontend", "BuildKit hands the text to that image"),
}


@pytest.mark.parametrize("text", WE_REFUSE)
def test_what_we_refuse_and_the_package_takes_is_refused_for_a_reason(text: str) -> None:
    message, reason = WE_REFUSE[text]
    assert oracle.parse_string(text)
    assert reason
    with pytest.raises(ConfigError, match=message):
        parse_dockerfile(text.encode(), "Dockerfile").references()


def test_a_here_document_with_a_blank_before_its_name_is_newer_than_the_package() -> None:
    text = "FROM a\nRUN cat << E\nFROM b\nE\n"
    assert [item.reference.spelling for item in parse_dockerfile(text.encode(), "Dockerfile").references()] == ["a"]
    assert [command.cmd for command in oracle.parse_string(text)] == ["FROM", "RUN", "FROM", "E"]


def test_two_less_thans_that_no_line_ends_are_no_here_document() -> None:
    text = "FROM a\nRUN echo $((1 << 2))\nRUN y\n"
    assert ours(text) == theirs(text)


def test_flags_use_the_escape_of_the_file_which_is_newer_than_the_package() -> None:
    text = '# escape=`\nFROM a\nRUN --mount=`"from=b`" x\n'
    assert [item.reference.spelling for item in parse_dockerfile(text.encode(), "Dockerfile").references()] == ["a", "b"]
    assert [flag for command in oracle.parse_string(text) for flag in command.flags] == ["--mount=`from=b`"]
