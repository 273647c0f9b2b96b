# SPDX-License-Identifier: Apache-2.0
"""The fixtures of all tests of this folder."""

from __future__ import annotations

from tests.support.network import device

__all__ = ["device"]
