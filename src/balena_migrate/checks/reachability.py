# SPDX-License-Identifier: Apache-2.0
"""Does this device reach what the new system will need: there is no better time to find out than before."""

from __future__ import annotations

from collections.abc import Iterator

from balena_migrate.carried.reachability import Endpoint, Endpoints
from balena_migrate.findings import Finding, Severity
from balena_migrate.settings import Config, Probe

CLOCK_LIMIT_S = 300
_WHAT = {
    Probe.API: "the fleet's API, where the new system has to register",
    Probe.VPN: "the VPN, over which the new system is reached",
}


def check(endpoints: Endpoints, config: Config) -> Iterator[Finding]:
    """All there is to say about what was reached."""
    if endpoints.api is not None:
        if Probe.API not in config.skip_checks:
            yield from _check(Probe.API, endpoints.api)
        if Probe.TIME not in config.skip_checks:
            yield from _check_clock(endpoints.api)
    if endpoints.vpn is not None:
        yield from _check(Probe.VPN, endpoints.vpn)


def _check(probe: Probe, endpoint: Endpoint) -> Iterator[Finding]:
    through = f" through the proxy {endpoint.proxy}" if endpoint.proxy else ""
    cause = f"{endpoint.name}{through}, {_WHAT[probe]}"
    if endpoint.problem:
        yield Finding(
            code=f"{probe}-unreachable",
            severity=Severity.BLOCKER,
            cause=f"{cause}, is not reached from here: {endpoint.problem}",
            remedy=f"see to the network, or set SKIP_CHECKS={probe} where the new system will have another one",
        )
        return
    yield Finding(code=f"{probe}-reached", severity=Severity.OK, cause=f"{cause}, is reached from here")
    if endpoint.proxy:
        yield Finding(
            code=f"{probe}-proxy",
            severity=Severity.WARNING,
            cause=f"{endpoint.name} was reached through a proxy only asked for on this system",
            remedy="the new system needs it, too: system-proxy/redsocks.conf in its boot partition",
        )
    if endpoint.tls_problem:
        yield Finding(
            code=f"{probe}-certificate",
            severity=Severity.WARNING,
            cause=f"the certificate of {endpoint.name} is not trusted here: {endpoint.tls_problem}",
            remedy="old certificates here do no harm (ca-certificates), but something in between the two would",
        )


def _check_clock(endpoint: Endpoint) -> Iterator[Finding]:
    behind = endpoint.clock_behind_s
    if behind is not None and abs(behind) > CLOCK_LIMIT_S:
        side = "behind" if behind > 0 else "ahead of"
        yield Finding(
            code="clock-wrong",
            severity=Severity.WARNING,
            cause=f"this device's clock is {abs(behind):.0f} s {side} {endpoint.name}'s: certificates may seem invalid",
            remedy="set it (timedatectl); the new system needs to reach a time server",
        )
