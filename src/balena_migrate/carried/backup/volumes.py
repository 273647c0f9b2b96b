# SPDX-License-Identifier: Apache-2.0
"""BACKUP_VOLUMES: which files go into which volume of the new system.

Either inline, `"data=/srv/app db=/var/lib/db"`, or a YAML file in HOME_DIR. The file's form is the one that balena's
own migration tools read (balena-os/takeover, option --backup-cfg), so that a file made for them serves here:

    - volume: data
      items:
        - source: /srv/app            # a file or folder of this device
          target: app                 # its place in the volume; left out: a folder's content goes to the top
          filter: '\\.db$'             # take only files whose path this regular expression is found in
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from balena_migrate.carried.backup.tree import BackupItem
from balena_migrate.core.errors import ConfigError
from balena_migrate.core.system import System

VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
"""The names that the supervisor takes for a volume (balena-supervisor, src/types/basic.ts)."""

_DEPTH_LIMIT = 8


def read_volumes(system: System, words: tuple[str, ...], home: str) -> tuple[BackupItem, ...]:
    """The items of all volumes. `words` is the setting's value; a file's name is taken from the folder `home`.

    Raises ConfigError, with the place, for a bad volume name, path or regular expression; FileError where a path
    cannot be looked at.
    """
    if any("=" in word for word in words):
        return tuple(parse_inline(word, system) for word in words)
    if len(words) != 1:
        raise ConfigError('BACKUP_VOLUMES must be "volume=/path ..." or the name of one file')
    path = words[0] if words[0].startswith("/") else f"{home}/{words[0]}"
    if not system.exists(path):
        raise ConfigError("BACKUP_VOLUMES names this file, and it is not there", source=path)
    return parse_volumes(system.read_text(path), path, system)


def parse_names(words: tuple[str, ...]) -> tuple[str, ...]:
    """Names of volumes only, as used with BACKUP_SCRIPT. Raises ConfigError for an invalid name."""
    return tuple(_volume_name(word, "BACKUP_VOLUMES") for word in words)


def parse_inline(word: str, system: System) -> BackupItem:
    """One "volume=/path"."""
    volume, _, source = word.partition("=")
    return _item(_volume_name(volume, "BACKUP_VOLUMES"), {"source": source}, "BACKUP_VOLUMES", system)


def parse_volumes(text: str, origin: str, system: System) -> tuple[BackupItem, ...]:
    """The items of a definition file; `system` tells which sources are folders."""
    try:
        data = _load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or number that looks like one and is none
        mark = getattr(error, "problem_mark", None)
        raise ConfigError("not valid YAML", source=origin, line=mark.line + 1 if mark else 0) from None
    if isinstance(data, dict) and set(data) == {"volumes"}:
        data = data["volumes"]
    if not isinstance(data, list) or not data:
        raise ConfigError("must be a list of volumes", source=origin)
    items: list[BackupItem] = []
    for number, volume in enumerate(data, start=1):
        place = f"volume {number}"
        _expect_keys(volume, {"volume", "items"}, {"volume", "items"}, origin, place)
        name = _volume_name(volume["volume"], origin)
        if not isinstance(volume["items"], list) or not volume["items"]:
            raise ConfigError(f"volume {name}: items must be a list", source=origin)
        items += [_item(name, item, origin, system) for item in volume["items"]]
    return tuple(items)


def _load(text: str) -> Any:
    """Aliases are refused, since a few lines of them can expand to millions of values; so are endless nesting, and
    tags, whose values PyYAML does not check."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) or depth > _DEPTH_LIMIT:
            raise yaml.YAMLError("more than a list of volumes")
    return yaml.safe_load(text)


def _volume_name(name: Any, origin: str) -> str:
    if not isinstance(name, str) or not VOLUME_NAME.fullmatch(name):
        hint = "letters, digits, '_', '.' and '-', as in the fleet's docker-compose.yml"
        raise ConfigError(f"{name!r} is not the name of a volume", source=origin, hint=hint)
    return name


def _item(volume: str, data: Any, origin: str, system: System) -> BackupItem:
    place = f"an item of volume {volume}"
    _expect_keys(data, {"source"}, {"source", "target", "filter", "item"}, origin, place)
    source, target, pattern = (_text(data, key, origin, place) for key in ("source", "target", "filter"))
    if not source.startswith("/"):
        raise ConfigError(f"{place}: {source!r} is not an absolute path", source=origin)
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"{place}: the target {target!r} leads out of the volume", source=origin)
    if not parts and not system.is_dir(source):
        parts = [source.rstrip("/").rsplit("/", 1)[-1]]
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{place}: the filter is not a regular expression: {error}", source=origin) from None
    return BackupItem(source=source, name="/".join([".", volume, *parts]), pattern=pattern)


def _text(data: Mapping[str, Any], key: str, origin: str, place: str) -> str:
    value = data.get(key) or ""
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"{place}: {key} must be text", source=origin)
    return value


def _expect_keys(data: Any, needed: set[str], known: set[str], origin: str, place: str) -> None:
    if not isinstance(data, dict):
        raise ConfigError(f"{place} must be an object", source=origin)
    for key in data:
        if key not in known:
            raise ConfigError(f"{place}: unknown key {key!r}", source=origin)
    for key in sorted(needed):
        if key not in data:
            raise ConfigError(f"{place}: key {key!r} is missing", source=origin)
