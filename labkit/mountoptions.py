"""The words after -o in mount(8), and the OCI runtime spec's ("Mounts" in config.md), as tables.

Here: which word means what to the kernel. Not here: the mounting (mounts). Each table is a family;
a word can be in two: "ro" makes this mount read-only and, when the file system is new, that too.
"""

from labkit.linux.constants import MountAttr, MountFlag

_NONE = MountAttr(0)
#: word -> (attributes to set, attributes to clear) of this one mount
ATTRIBUTES = {
    "ro": (MountAttr.RDONLY, _NONE),
    "rw": (_NONE, MountAttr.RDONLY),
    "nosuid": (MountAttr.NOSUID, _NONE),
    "suid": (_NONE, MountAttr.NOSUID),
    "nodev": (MountAttr.NODEV, _NONE),
    "dev": (_NONE, MountAttr.NODEV),
    "noexec": (MountAttr.NOEXEC, _NONE),
    "exec": (_NONE, MountAttr.NOEXEC),
    "nosymfollow": (MountAttr.NOSYMFOLLOW, _NONE),
    "symfollow": (_NONE, MountAttr.NOSYMFOLLOW),
    "noatime": (MountAttr.NOATIME, MountAttr.ATIME),
    "strictatime": (MountAttr.STRICTATIME, MountAttr.ATIME),
    "relatime": (_NONE, MountAttr.ATIME),
    "atime": (_NONE, MountAttr.ATIME),
    "nodiratime": (MountAttr.NODIRATIME, _NONE),
    "diratime": (_NONE, MountAttr.NODIRATIME),
}
#: the same for the mount and all mounts below it: OCI's rro, rnosuid, ...
RECURSIVE = {f"r{word}": change for word, change in ATTRIBUTES.items()}
#: word -> propagation type, mount_namespaces(7); with REC for the mounts below too
PROPAGATION = {
    "private": MountFlag.PRIVATE,
    "slave": MountFlag.SLAVE,
    "shared": MountFlag.SHARED,
    "unbindable": MountFlag.UNBINDABLE,
    "rprivate": MountFlag.PRIVATE | MountFlag.REC,
    "rslave": MountFlag.SLAVE | MountFlag.REC,
    "rshared": MountFlag.SHARED | MountFlag.REC,
    "runbindable": MountFlag.UNBINDABLE | MountFlag.REC,
}
#: words for the file system itself, for all its mounts
SUPERBLOCK = "ro rw sync async dirsync lazytime nolazytime mand nomand".split()
#: ways to mount
WAYS = "bind rbind remount".split()
#: words for what is the default, and for the kernel's log
NO_EFFECT = "defaults norelatime nostrictatime loud silent".split()

#: every word that means something here; any other is left to the file system, such as mode=755
OPTIONS = frozenset([*ATTRIBUTES, *RECURSIVE, *PROPAGATION, *SUPERBLOCK, *WAYS, *NO_EFFECT])
