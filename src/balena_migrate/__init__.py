# SPDX-License-Identifier: Apache-2.0
"""balena-migrate: turns a running Linux device into a balenaOS device, in place and from afar."""

VERSION = "0.1.0"
