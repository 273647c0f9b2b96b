# SPDX-License-Identifier: Apache-2.0
"""Every reader of foreign bytes gets damaged ones, and ends with a result or with an error that it documents, in
bounded time and memory.

`inventory` lists the readers; the other modules without `test_` in their names hold them, with a valid sample of each.
docs/testing.md says how to try more.
"""
