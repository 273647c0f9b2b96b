# SPDX-License-Identifier: Apache-2.0
"""Does this device reach what the new system will need? There is no better time to find out than before."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from balena_migrate.carried.reachability import Endpoint
from balena_migrate.core.balena import REDSOCKS_CONF
from balena_migrate.facts import ClockFacts
from balena_migrate.findings import BLOCKS, PASSES, WARNS, Code, Finding, blocker, passed, warning
from balena_migrate.settings import Probe
from balena_migrate.survey import Survey

CLOCK_LIMIT_S = 300
_WHAT = {
    Probe.API: "the fleet's API, with which the new system has to register",
    Probe.VPN: "the VPN, through which the new system is reached",
}

_NETWORK = "Check the network, or name the probe in SKIP_CHECKS where the new system will have another network."
_PROXY = f"Configure the proxy for the new system: {REDSOCKS_CONF} in its boot partition."
_SET = "set the clock (`date -u -s 'YYYY-MM-DD HH:MM'`), and make sure that the new system reaches a time server"
_CERTIFICATE = "Update ca-certificates; if that does not help, something intercepts the connection."
CODES = (
    Code("api-reached", PASSES, "The fleet's API answers from this device."),
    Code("api-unreachable", BLOCKS, "The fleet's API, where the new system has to register, is unreachable.", _NETWORK),
    Code("api-proxy", WARNS, "The API was reached through a proxy, which the new system needs as well.", _PROXY),
    Code("api-certificate", WARNS, "This device does not trust the API's certificate.", _CERTIFICATE),
    Code(
        "api-certificate-unjudged",
        WARNS,
        "The API's certificate is not valid at the time that this device's clock says, which is wrong.",
        "Set the clock (`date -u -s 'YYYY-MM-DD HH:MM'`), and check again.",
    ),
    Code(
        "clock-unset",
        WARNS,
        "This device's clock is behind what was written to its disk: it was not set since the start.",
        "Set the clock (`date -u -s 'YYYY-MM-DD HH:MM'`), and let the new system reach a time server.",
    ),
    Code("vpn-reached", PASSES, "The fleet's VPN server accepts connections from this device."),
    Code("vpn-unreachable", BLOCKS, "The VPN, over which the new system is reached, is unreachable.", _NETWORK),
    Code("vpn-proxy", WARNS, "The VPN was reached through a proxy, which the new system needs as well.", _PROXY),
    Code(
        "clock-wrong",
        WARNS,
        f"This device's clock is more than {CLOCK_LIMIT_S} s off.",
        "Set the clock (timedatectl), and let the new system reach a time server.",
    ),
)


def check(survey: Survey) -> Iterator[Finding]:
    endpoints, skipped = survey.payload.endpoints, survey.config.skip_checks
    yield from _check_clock_set(survey.facts.clock)
    if endpoints.api is not None:
        if Probe.API not in skipped:
            yield from _check(Probe.API, endpoints.api)
            yield from _check_certificate(endpoints.api, survey.facts.clock)
        if Probe.TIME not in skipped:
            yield from _check_clock(endpoints.api)
    if endpoints.vpn is not None:
        yield from _check(Probe.VPN, endpoints.vpn)


def _check(probe: Probe, endpoint: Endpoint) -> Iterator[Finding]:
    through = f" through the proxy {endpoint.proxy}" if endpoint.proxy else ""
    cause = f"{endpoint.name}{through}, {_WHAT[probe]}"
    if endpoint.problem:
        remedy = f"check the network, or set SKIP_CHECKS={probe} if the new system will have another one"
        yield blocker(f"{probe}-unreachable", f"{cause}, is unreachable from here: {endpoint.problem}", remedy)
        return
    yield passed(f"{probe}-reached", f"{cause}, is reachable from here")
    if endpoint.proxy:
        cause = f"{endpoint.name} was reached through a proxy that is configured on this system only"
        remedy = f"configure it for the new system as well: {REDSOCKS_CONF} in its boot partition"
        yield warning(f"{probe}-proxy", cause, remedy)


def _check_clock_set(clock: ClockFacts) -> Iterator[Finding]:
    if not clock.is_set:
        cause = (
            f"this device's clock says {_date(clock.now_s)}, but {clock.written} was written on"
            f" {_date(clock.written_s)}: it was not set since the start, and neither certificates nor the age of files"
            " can be judged by it"
        )
        yield warning("clock-unset", cause, _SET)


def _date(time_s: int) -> str:
    return datetime.datetime.fromtimestamp(time_s, datetime.UTC).strftime("%Y-%m-%d")


def _check_certificate(endpoint: Endpoint, clock: ClockFacts) -> Iterator[Finding]:
    if not endpoint.tls_problem or endpoint.problem:
        return
    if endpoint.tls_dates_only and _is_clock_wrong(endpoint, clock):
        cause = (
            f"the certificate of {endpoint.name} is trusted here but for its dates ({endpoint.tls_problem}), which this"
            " device's clock is too wrong to judge"
        )
        yield warning("api-certificate-unjudged", cause, _SET)
    else:
        cause = f"the certificate of {endpoint.name} is not trusted here: {endpoint.tls_problem}"
        remedy = "outdated certificates here are harmless (update ca-certificates); an intercepted connection is not"
        yield warning("api-certificate", cause, remedy)


def _is_clock_wrong(endpoint: Endpoint, clock: ClockFacts) -> bool:
    """By the server's answer, else by what this device knows itself."""
    behind = endpoint.clock_behind_s
    return not clock.is_set if behind is None else abs(behind) > CLOCK_LIMIT_S


def _check_clock(endpoint: Endpoint) -> Iterator[Finding]:
    behind = endpoint.clock_behind_s
    if behind is not None and abs(behind) > CLOCK_LIMIT_S:
        side = "behind" if behind > 0 else "ahead of"
        cause = f"this device's clock is {abs(behind):.0f} s {side} {endpoint.name}'s: certificates may appear invalid"
        yield warning(
            "clock-wrong", cause, "set the clock (timedatectl), and make sure that the new system reaches a time server"
        )
