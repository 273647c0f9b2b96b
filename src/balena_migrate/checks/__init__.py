# SPDX-License-Identifier: Apache-2.0
"""The checks: each looks at one topic and changes nothing."""
