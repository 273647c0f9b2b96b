# SPDX-License-Identifier: Apache-2.0
"""The grammars of other programs' configuration files."""
