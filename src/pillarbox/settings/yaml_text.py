"""
YAML, read with suspicion: plain values only, no key twice, and no document that grows when it is read.

Importing this module imports PyYAML, so it is imported when there is YAML to read. Complaints never quote the
document: a line of it could be a secret.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

ALIASES_MAX: Final = 100
_MERGED_KEYS_MAX: Final = 10_000
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
# What PyYAML lets through when a tag promises what the text does not hold: !!bool maybe, !!int "", !!timestamp x.
_STUMBLES: Final = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)
_QUOTED: Final = re.compile(r"['\"].*['\"]", re.DOTALL)


class BadYaml(Exception):
    """The text is no YAML that we read; the message says what is wrong with it, and where."""


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, depth_max: int) -> None:
        super().__init__(text)
        self._depth_max = self._depth_left = depth_max
        self._aliases_left = ALIASES_MAX

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(AliasEvent):
            self._aliases_left -= 1
            if self._aliases_left < 0:
                raise BadYaml(f"more than {ALIASES_MAX} aliases")
        # The values inside the innermost table are one deeper than it.
        if self._depth_left < 0:
            raise BadYaml(f"tables nested deeper than {self._depth_max}")
        self._depth_left -= 1
        node = super().compose_node(parent, index)
        self._depth_left += 1
        return node

    def compose_mapping_node(self, anchor: dict[Any, Node]) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise BadYaml(f"{_at(key.start_mark)}: the key {key.value[:64]!r} stands there twice")
            seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        super().flatten_mapping(node)
        # Merging merged tables doubles them each time.
        if len(node.value) > _MERGED_KEYS_MAX:
            raise BadYaml(f"{_at(node.start_mark)}: more than {_MERGED_KEYS_MAX} keys merged into one table")


def parse(text: str, *, depth_max: int) -> object:
    """
    Read one document into dicts, lists and plain values; ``None`` for an empty one.

    Raises:
        BadYaml: Not YAML, a tag that would make an object, a key twice, several documents, tables nested deeper than
            *depth_max*, or more than 100 aliases.
    """
    try:
        loader = _Loader(text, depth_max)
        try:
            value: object = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        # What stands in quotation marks is out of the document.
        problem = _QUOTED.sub("…", exc.problem or exc.context or "not YAML")
        raise BadYaml(f"{_at(mark)}: {problem}") from None
    except yaml.reader.ReaderError as exc:
        raise BadYaml(f"position {exc.position}: a character that YAML does not allow") from None
    except _STUMBLES:
        raise BadYaml("a value that cannot be read") from None
    return value


def _at(mark: yaml.Mark | None) -> str:
    return "somewhere" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
