"""The real tool beside ours: a container made by runc, the program that docker starts, in a World.

Here: limits in the words of config.json (OCI runtime specification, config-linux), and what the
kernel holds after runc has read them. Not here: a runtime of our own.
"""

import math

from labkit import cgroups
from labkit.cgroups import Limits
from labkit.cgroups.limits import CPU_PERIOD_US
from labkit.lab.world import World


def resources(limits: Limits) -> dict[str, dict[str, int]]:
    """`linux.resources` of config.json; its swap is memory and swap together."""
    found: dict[str, dict[str, int]] = {}
    if limits.memory_max is not None:
        found["memory"] = {"limit": _number(limits.memory_max)}
        if limits.memory_swap_max is not None:
            found["memory"]["swap"] = _number(limits.memory_max + limits.memory_swap_max)
    if limits.cpu_max is not None:
        found["cpu"] = {"quota": _number(limits.cpu_max * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    if limits.pids_max is not None:
        found["pids"] = {"limit": _number(limits.pids_max)}
    return found


def _number(value: float) -> int:
    """-1 is no limit."""
    return -1 if value == math.inf else round(value)


def limits_by_runc(world: World, limits: Limits) -> Limits:
    """Let runc make a container with these limits, read them from the kernel, remove it again."""
    tool, group = world.child("runc"), "byrunc"
    tool.run("from labkit.lab.realtool_main import BUNDLE, bundle, runc")
    tool.run(f"bundle({world.instance.base!r}, {group!r}, {resources(limits)!r})")
    try:
        tool.run(f"runc('create', '--bundle', BUNDLE, {group!r})")
        return cgroups.open(f"{world.cgroup.name}/{group}").limits()
    finally:
        tool.run(f"runc('delete', '--force', {group!r})")
