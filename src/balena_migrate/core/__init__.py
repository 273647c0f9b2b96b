# SPDX-License-Identifier: Apache-2.0
"""What both stages share: standard library only, and nothing else of ours."""
