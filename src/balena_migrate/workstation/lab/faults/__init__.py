# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: each step of a migration with each thing that can go wrong in it, and what came of that."""
