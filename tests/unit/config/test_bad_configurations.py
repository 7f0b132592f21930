"""The list of bad configurations (threats and faults, A 1 to 25), each by its number: a named error, its place, exit 2, bounded memory.

What is right after all (a byte order mark, an own key over a merged one, ``fromLatest`` with a digest) is shown to be read.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from ci_plugin.config.load import load_configuration
from ci_plugin.config.model import Configuration, ExternalBase, StapelImage
from ci_plugin.errors import ConfigError
from tests.unit.config.sources import META, source

MOST_MEMORY = 64 << 20
"""Bytes; no text of at most 1 MiB may cost more."""
IMAGE = META + "image: a\n"
BOMB = b"".join(b"a%d: &a%d [%s]\n" % (level, level, (b"*a%d," % (level - 1)) * 9 if level else b"x" * 9) for level in range(9))
HEX = "a" * 64
A63 = "sha256:" + "a" * 63


def load(data: bytes | str, file: str = "werf.yaml") -> Configuration:
    return load_configuration(source({file: data}), "app")


CASES: dict[str, tuple[bytes | str, str]] = {
    "A1 empty": ("", "werf.yaml:1: expected a document with `configVersion: 1`, found none"),
    "A2 only comments": ("# a\n\n# b\n", "werf.yaml:1: expected a document with `configVersion: 1`, found none"),
    "A3 UTF-16": ("project: x\n".encode("utf-16"), "werf.yaml:1: expected UTF-8, found UTF-16"),
    "A3 UTF-16 big endian": (b"\xfe\xff\0p\0r", "werf.yaml:1: expected UTF-8, found UTF-16"),
    "A4 no UTF-8": (b"a: b\nc: \xff\n", "werf.yaml:2:4: expected UTF-8, found the byte 0xff"),
    "A4 half a character": (b"a: \xc3", "werf.yaml:1:4: expected UTF-8, found the byte 0xc3"),
    "A5 NUL": (b"a: b\nc: \0\n", "werf.yaml:2:4: expected text, found a NUL byte"),
    "A5 another control character": (
        META.encode() + b"image: a\x07\n",
        "werf.yaml:4:9: expected YAML, found a character it does not allow",
    ),
    "A5 a control character behind others of several bytes": (
        META + "# " + "é" * 99 + "\nimage: é\x07\n",
        "werf.yaml:5:9: expected YAML, found a character it does not allow",
    ),
    "A6 a tab as indent": (
        IMAGE + "shell:\n\tinstall: x\n",
        "werf.yaml:6:1: expected YAML, found: found character that cannot start any token | indent with spaces",
    ),
    "A7 a key twice": (IMAGE + "from: b\nfrom: c\n", "werf.yaml:6:1: expected every key once, found 'from' again (first at werf.yaml:5:1)"),
    "A7 a key twice further down": (
        IMAGE + "from: b\nshell:\n  install: x\n  install: y\n",
        "werf.yaml:8:3: expected every key once, found 'install' again (first at werf.yaml:7:3)",
    ),
    "A7 a key twice in two styles": (
        IMAGE + "from: b\ndocker: {ENV: {on: 1, 'on': 2}}\n",
        "werf.yaml:6:23: expected every key once, found 'on' again (first at werf.yaml:6:16)",
    ),
    "A7 the project twice": (META + META, "werf.yaml:4:1: expected one document about the project, found another (first at werf.yaml:1:1)"),
    "A8 an alias bomb": (BOMB, "expected at most 100000 values, found more"),
    "A8 many aliases": ("a: &a x\nb: [" + "*a," * 101 + "]\n", "expected at most 100 aliases, found more"),
    "A9 an anchor inside itself": (META + "image: &x [*x]\n", "werf.yaml:4:12: expected a value, found *x inside itself"),
    "A9 a mapping inside itself": (META + "image: &x {a: *x}\n", "werf.yaml:4:15: expected a value, found *x inside itself"),
    "A9 an anchor nobody defined": (META + "image: *x\n", "werf.yaml:4:8: expected an anchor &x before this alias, found none"),
    "A10 a merge of no mapping": (META + "<<: [a]\n", "werf.yaml:4:5: expected a mapping after <<, found something else"),
    "A11 a Python object": (
        META + "image: !!python/object/apply:os.system [x]\n",
        "werf.yaml:4:8: expected no YAML tag, found 'tag:yaml.org",
    ),
    "A12 an unknown tag": (META + "image: !foo a\n", "werf.yaml:4:8: expected no YAML tag, found '!foo'"),
    "A13 2000 levels": (b"[" * 2000, "werf.yaml:1:51: expected at most 50 levels, found more"),
    "A13 2000 levels of mappings": ("{a: " * 2000, "expected at most 50 levels, found more"),
    "A13 500,000 levels": (b"[" * 500_000, "expected at most 50 levels, found more"),
    "A14 200,000 items": ("a: [" + "x," * 200_000 + "]\n", "werf.yaml:1:4: expected at most 100000 values, found more"),
    "A15 2 MiB in one scalar": ("a: " + "x" * (2 << 20), "werf.yaml: expected at most 1 MiB of YAML, found more"),
    "A17 an unknown directive": (IMAGE + "from: b\ncolour: red\n", "werf.yaml:6:1: expected a known directive, found `colour`"),
    "A17 a near miss": (IMAGE + "form: b\n", "did you mean `from`?"),
    "A17 another case": (IMAGE + "from: b\nfromlatest: true\n", "did you mean `fromLatest`?"),
    "A18 from and fromImage": (
        IMAGE + "from: b\nfromImage: c\n",
        "werf.yaml:6:1: expected one base for image 'a', found `from` (line 5) and",
    ),
    "A19 none of them": (IMAGE + "fromCacheVersion: 1\n", "werf.yaml:4:1: expected a base for image 'a', found none"),
    "A20 itself": (IMAGE + "fromImage: a\n", "werf.yaml:5:1: expected another image, found 'a' itself"),
    "A20 two in a circle": (IMAGE + "fromImage: b\n---\nimage: b\nfromImage: a\n", "found a cycle: a -> b -> a"),
    "A20 three in a circle": (
        IMAGE + "fromImage: b\n---\nimage: b\nfromImage: c\n---\nimage: c\nfromImage: a\n",
        "werf.yaml:11:1: expected images that end at an external base, found a cycle: a -> b -> c -> a",
    ),
    "A20 a circle of a hundred": (
        META + "---\n".join(f"image: a{number}\nfromImage: a{(number + 1) % 100}\n" for number in range(100)),
        "a9 -> … -> a0",
    ),
    "A21 a missing image": (IMAGE + "fromImage: bb\n---\nimage: b\nfrom: x\n", "werf.yaml:5:1: expected the name of an image, found 'bb'"),
    "A22 a name twice": (IMAGE + "from: b\n---\nimage: a\nfrom: b\n", "werf.yaml:7:8: expected every image name once, found 'a' again"),
    "A22 a name of an artifact": (IMAGE + "from: b\n---\nartifact: a\nfrom: b\n", "werf.yaml:7:11: expected every image name once"),
    "A23 fromLatest with scratch": (IMAGE + "from: scratch\nfromLatest: true\n", "werf.yaml:6:1: expected `fromLatest: true` only where"),
    "A23 fromLatest with an image": (
        IMAGE + "fromImage: b\nfromLatest: true\n---\nimage: b\nfrom: x\n",
        "werf.yaml:6:1: expected `fromLatest: true` only where",
    ),
    "A24 scratch with a tag": (IMAGE + "from: scratch:latest\n", "werf.yaml:5:1: expected `scratch` alone, found 'scratch:latest'"),
    "A24 scratch in upper case": (IMAGE + "from: Scratch\n", "werf.yaml:5:1: expected a repository of lower-case letters"),
}
REFERENCES = {
    "an upper-case repository": "Alpine",
    "an upper-case repository below a registry": "registry.example.com/App",
    "a space": "alpine latest",
    "a tab": "alpine\\tlatest",
    "a newline": "alpine\\nlatest",
    "two dots": "registry.example.com/../x",
    "two slashes": "registry.example.com//x",
    "a colon at the end": "alpine:",
    "port 0": "registry.example.com:0/x",
    "port 99999": "registry.example.com:99999/x",
    "a name and a password": "user:pass@registry.example.com/x",
    "http://": "http://registry.example.com/x",
    "300 characters": "registry.example.com/" + "x" * 300,
    "a tag of 129 characters": "alpine:" + "x" * 129,
    "a digest of 63 hex": f"alpine@{A63}",
    "upper-case hex": f"alpine@sha256:{HEX.upper()}",
    "sha1": "alpine@sha1:" + "a" * 40,
    "md5": "alpine@md5:" + "a" * 32,
    "a homoglyph": "registry.ex\\u0430mple.com/x",
    "a blank first": " alpine",
    "a percent sign": "registry.example.com/a%2fb",
    "an escape": "alpine\\u001b[2J",
    "an image ID": HEX,
    "nothing": "",
}
CASES |= {f"A25 {name}": (IMAGE + f'from: "{text}"\n', "werf.yaml:5:") for name, text in REFERENCES.items()}


@pytest.fixture
def _bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("_bounded")
@pytest.mark.parametrize("name", CASES)
def test_a_bad_configuration_is_refused_with_its_place_and_the_way_out(name: str) -> None:
    data, told = CASES[name]
    with pytest.raises(ConfigError) as caught:
        load(data)
    error = caught.value
    assert told in f"{error.where}: {error.message} | {error.hint}"
    assert error.exit_code == 2
    assert error.where is not None
    assert error.hint
    assert len(error.message) + len(error.hint) < 2000


@pytest.mark.parametrize("value", ["1.10", "1:30", "012", "yes", "2026-01-02", ".nan", "NaN", "0o17", "1e3"])
def test_a16_a_cache_version_stays_what_was_written(value: str) -> None:
    (image,) = load(IMAGE + f"from: b\nfromCacheVersion: {value}\n")
    assert isinstance(image, StapelImage)
    assert image.from_cache_version == value


def test_a16_no_cache_version_is_none() -> None:
    (image,) = load(IMAGE + "from: b\nfromCacheVersion: ~\n")
    assert isinstance(image, StapelImage)
    assert image.from_cache_version is None


def test_a3_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert load(b"\xef\xbb\xbf" + (IMAGE + "from: b\n").encode()).project == "my-project"


def test_a10_an_own_key_stands_over_a_merged_one() -> None:
    text = META + "image: a\nfrom: b\nshell: {install: &c [x]}\ndocker: &d {USER: a, WORKDIR: /a}\n---\n"
    (image,) = load(text.replace("docker: &d {USER: a, WORKDIR: /a}", "docker: {<<: {USER: a, WORKDIR: /a}, USER: b}"))
    assert isinstance(image, StapelImage)
    assert image.docker is not None
    assert (image.docker.user, image.docker.workdir) == ("b", "/a")


@pytest.mark.parametrize("text", [f"alpine@sha256:{HEX}", f"alpine:3@sha256:{HEX}", "'[::1]:5000/x:1'"])
def test_a23_a25_a_digest_with_from_latest_and_with_a_tag_and_an_ipv6_registry_are_read(text: str) -> None:
    (image,) = load(IMAGE + f"from: {text}\nfromLatest: true\n")
    assert isinstance(image, StapelImage)
    assert isinstance(image.base, ExternalBase)
    assert image.base.from_latest
