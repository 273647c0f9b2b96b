# SPDX-License-Identifier: Apache-2.0
"""Reads keyfiles with libnm, NetworkManager's own reader. Runs as a process of the system's Python, which has gi.

Takes one JSON text per line (a keyfile's content) and answers with one JSON line: {"connection": {group: {key:
value}}} or {"error": reason}. Bytes become {"bytes": [...]}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gi

gi.require_version("NM", "1.0")
from gi.repository import NM, GLib  # noqa: E402


def plain(variant: Any) -> Any:
    """A GVariant as JSON."""
    if variant.get_type_string() == "ay":
        return {"bytes": list(variant.unpack())}
    if variant.get_type_string().startswith("a{s"):
        return {key: plain(variant.lookup_value(key, None)) for key in variant.unpack()}
    if variant.is_container() and variant.get_type_string() == "v":
        return plain(variant.get_variant())
    return variant.unpack()


def ensure_id(connection: Any) -> None:
    """As NetworkManager itself does it with the file's name, where a keyfile has no id."""
    setting = connection.get_setting_connection()
    if setting is None:
        setting = NM.SettingConnection.new()
        connection.add_setting(setting)
    if not setting.get_id():
        setting.set_property("id", "file name")


def read(text: str) -> dict[str, Any]:
    """What libnm makes of a keyfile; it has to be valid as a whole connection, too."""
    file = GLib.KeyFile()
    data = text.encode("utf-8", "surrogateescape")
    warnings: list[str] = []

    def handle(file: Any, connection: Any, kind: Any, data: Any, user: Any = None) -> bool:
        warnings.append(NM.keyfile_handler_data_warn_get(data)[0])
        return True

    try:
        file.load_from_bytes(GLib.Bytes.new(data), GLib.KeyFileFlags.NONE)
        connection = NM.keyfile_read(
            file, "/etc/NetworkManager/system-connections", NM.KeyfileHandlerFlags.NONE, handle, None
        )
        ensure_id(connection)
        connection.normalize({})
        connection.verify()
        connection.verify_secrets()
    except GLib.Error as error:
        return {"error": error.message}
    return {"connection": plain(connection.to_dbus(NM.ConnectionSerializationFlags.ALL)), "warnings": warnings}


for line in sys.stdin:
    print(json.dumps(read(json.loads(line))), flush=True)
