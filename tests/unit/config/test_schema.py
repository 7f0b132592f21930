"""The published JSON Schema is made from the tables that read a configuration, and says yes and no as they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ci_plugin.config.dialects import DAPP, WERF, Dialect
from ci_plugin.config.load import load_configuration
from ci_plugin.config.schema import VERSION, configuration_schema
from ci_plugin.config.yaml_nodes import ListNode, Node, ScalarNode, parse_documents
from ci_plugin.errors import ConfigError
from tests.unit.config.sources import DATA, META, source

SCHEMAS = Path(__file__).parents[3] / "ci_plugin" / "schemas"
EXAMPLES = sorted(path.name for path in DATA.glob("*.example.y*ml"))


def plain(node: Node) -> Any:
    """A document as an editor sees it: typed by YAML's rules."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return {key.text: plain(value) for key, value in node.entries}


def faults(text: str, dialect: Dialect) -> list[str]:
    validator = Draft202012Validator(configuration_schema(dialect))
    return [error.json_path for node in parse_documents(text, "f") for error in validator.iter_errors(plain(node))]


def dialect_of(name: str) -> Dialect:
    return DAPP if name.startswith("dapp") else WERF


@pytest.mark.parametrize("dialect", [WERF, DAPP], ids=lambda dialect: dialect.name)
def test_the_published_schema_is_the_one_the_tables_make(dialect: Dialect) -> None:
    made = json.dumps(configuration_schema(dialect), indent=2, ensure_ascii=False) + "\n"
    file = SCHEMAS / f"config-{dialect.name}-{VERSION}.json"
    assert file.read_text("utf-8") == made, f"write the text of configuration_schema into {file.name}"
    Draft202012Validator.check_schema(configuration_schema(dialect))


def test_there_are_examples_of_every_era() -> None:
    eras = {name.removesuffix(".yaml").removesuffix(".yml").removesuffix(".example") for name in EXAMPLES}
    assert eras == {"dappfile", "werf-1.0", "werf-1.1", "werf-1.2", "werf-2", "werf-3"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_of_every_era_is_read_and_fits_the_schema(name: str) -> None:
    text = (DATA / name).read_text("utf-8")
    dialect = dialect_of(name)
    assert load_configuration(source({dialect.file: text}), "p").images
    assert faults(text, dialect) == []


REFUSED = {
    "an unknown directive": "image: a\nform: b\n",
    "a directive in the wrong case": "image: a\nfrom: b\nfromlatest: true\n",
    "an unknown key further down": "image: a\nfrom: b\ngit: [{add: /, to: /, includePath: x}]\n",
    "no base": "image: a\nshell: {install: x}\n",
    "image and artifact": "image: a\nartifact: b\nfrom: c\n",
    "a list where there is a mapping": "image: a\nfrom: b\nshell: [x]\n",
    "a mapping where there is a list": "image: a\nfrom: b\ngit: {add: /}\n",
    "a relative path where it is absolute": "image: a\nfrom: b\nmount: [{to: x, from: tmp_dir}]\n",
    "another kind of mount": "image: a\nfrom: b\nmount: [{to: /x, from: some_dir}]\n",
    "another fact about an image": "image: a\nfrom: b\ndependencies: [{image: b, after: setup, imports: [{type: Name, targetEnv: A}]}]\n",
    "no boolean": "image: a\nfrom: b\nfinal: maybe\n",
    "a directive of the other kind of image": "image: a\ndockerfile: Dockerfile\nshell: {install: x}\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_schema_refuses_the_reader_refuses_too(name: str) -> None:
    text = META + REFUSED[name]
    assert faults(text, WERF)
    with pytest.raises(ConfigError):
        load_configuration(source({"werf.yaml": text}), "p")


def test_an_empty_document_and_a_project_alone_fit() -> None:
    assert faults("---\n~\n---\n" + META, WERF) == []
    assert faults("project: a\n", WERF) == ["$"]
