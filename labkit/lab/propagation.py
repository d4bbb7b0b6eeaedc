"""Does a mount travel between two mount namespaces? An experiment for notebook 02.

One process makes a small mount and gives it a propagation word; another one gets a copy of all
mounts; then each mounts something below it. mount_namespaces(7), "Shared subtrees".
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.lab.world import World

TREE = "/scratch/tree"
WORDS = {"shared": "MS_SHARED", "slave": "MS_SLAVE", "private": "MS_PRIVATE"}


def travels(world: "World", word: str) -> dict[str, bool]:
    """Is a mount of one seen by the other, when the other's copy of the tree is `word`?"""
    one, other = world.child("one"), world.child("other")
    one.run(f"unshare(CLONE_NEWNS); os.makedirs({TREE!r}, exist_ok=True)")
    one.run(f"mount('tree', {TREE!r}, 'tmpfs'); mount('none', {TREE!r}, 'none', MS_SHARED)")
    one.run(f"os.mkdir({TREE + '/of_one'!r}); os.mkdir({TREE + '/of_other'!r})")
    door = f"/proc/{one.eval('os.getpid()')}/ns/mnt"
    other.run(f"setns(os.open({door!r}, os.O_RDONLY)); unshare(CLONE_NEWNS)")
    other.run(f"mount('none', {TREE!r}, 'none', {WORDS[word]})")
    one.run(f"mount('new', {TREE + '/of_one'!r}, 'tmpfs')")
    other.run(f"mount('new', {TREE + '/of_other'!r}, 'tmpfs')")
    seen = {
        "from the original to the copy": other.eval(f"os.path.ismount({TREE + '/of_one'!r})"),
        "from the copy to the original": one.eval(f"os.path.ismount({TREE + '/of_other'!r})"),
    }
    one.stop()
    other.stop()
    return seen
