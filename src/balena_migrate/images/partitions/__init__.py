# SPDX-License-Identifier: Apache-2.0
"""Partition tables: MBR with extended partitions, and GPT."""
