# SPDX-License-Identifier: Apache-2.0
"""What moves along from the old system to the new one, besides its network."""
