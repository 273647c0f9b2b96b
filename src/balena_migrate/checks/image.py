# SPDX-License-Identifier: Apache-2.0
"""Is the image whole, and is it for this device: by its content, and not only by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from balena_migrate.checks.platform import untested
from balena_migrate.checks.subject import Subject
from balena_migrate.devices import DeviceType, device_types, device_types_for
from balena_migrate.facts import Firmware
from balena_migrate.findings import Finding, Severity, blocker
from balena_migrate.images import Image, ImageKind


def check(subject: Subject) -> Iterator[Finding]:
    image = subject.image
    if image is None:
        yield blocker("image", subject.image_problem, subject.image_remedy)
        return
    identity = image.identity
    if identity.kind is ImageKind.FLASHER:
        remedy = "take the raw image of this device type"
        yield blocker(
            "image-flasher", "the image is a flasher, which installs from a stick; it cannot be put in place", remedy
        )
        return
    yield from _check_device_type(subject, image)
    yield from _check_name(subject, image)


def _check_device_type(subject: Subject, image: Image) -> Iterator[Finding]:
    wanted = device_types_for(subject.facts)
    device = subject.device_type
    slugs = ", ".join(d.slug for d in wanted) or "none that we know"
    if device is None or device not in wanted:
        cause = f"the image is for {image.identity.slug or 'an unknown device type'}; this device can run: {slugs}"
        yield blocker("image-device-type", cause, "take an image for one of these")
        return
    version = image.identity.os_version or "of unknown version"
    cause = f"balenaOS {version} for {device.slug} ({device.name}), readable to its last byte"
    yield Finding(code="image", severity=Severity.OK, cause=cause)
    if not device.tested:
        yield untested(subject, "device-untested", f"{device.slug} is known, but was never run with this tool")
    if subject.facts.boot.firmware is Firmware.BIOS and image.table.kind == "gpt":
        yield blocker(
            "image-needs-uefi", "the image has a GPT and starts through UEFI only; this PC starts through BIOS"
        )


def _check_name(subject: Subject, image: Image) -> Iterator[Finding]:
    """The first description's rule: the file's name carries the platform. The content decides; the name may warn."""
    name = PurePosixPath(image.path).name
    named = [device for device in device_types() if any(_has_tag(name, tag) for tag in _tags(device))]
    if named and subject.device_type not in named:
        cause = f"the image's name {name} speaks of {named[0].slug}, its content of {image.identity.slug}"
        yield Finding(code="image-name", severity=Severity.WARNING, cause=cause)


def _tags(device: DeviceType) -> tuple[str, ...]:
    return (*device.names, *device.image_tags)


def _has_tag(name: str, tag: str) -> bool:
    """Whether the tag stands in the name between dashes: raspberrypi3 is not in raspberrypi3-64-2.0."""
    return f"-{tag}-" in f"-{name}" and not any(
        f"-{other}-" in f"-{name}"
        for device in device_types()
        for other in _tags(device)
        if other.startswith(tag + "-")
    )
