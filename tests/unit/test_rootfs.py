"""The plan of a container's file systems, read before it runs."""

from labkit import mounts, rootfs


def test_dev_is_mounted_before_what_lies_in_it() -> None:
    lines = mounts.describe(rootfs.default_plan()).splitlines()
    dev = next(index for index, line in enumerate(lines) if line.endswith(" /dev"))
    assert all(dev < index for index, line in enumerate(lines) if "/dev/" in line)


def test_the_devices_and_links_of_the_spec_are_in_the_plan() -> None:
    text = mounts.describe(rootfs.default_plan())
    for name in "null zero full random urandom tty".split():
        assert f"/dev/{name} c " in text
    for name in "ptmx fd stdin stdout stderr".split():
        assert f" /dev/{name}\n" in text + "\n"


def test_what_is_protected_can_be_chosen() -> None:
    plan = rootfs.protection_plan(["/secret"], ["/fixed"])
    text = "make /fixed read-only, if it exists\nhide /secret, if it exists"
    assert mounts.describe(plan) == text
