# SPDX-License-Identifier: Apache-2.0
"""The verbs, one file each, named like the verb and holding a click command of that name. The folder is the registry.

All of these files are read for `--help`, so they import what takes long only where the verb runs.
"""
