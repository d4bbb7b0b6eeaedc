"""Wrong answers of notebook 01 and what the check says to them."""

_INIT = "next(p for p in table().values() if p.nspid[1:] == [1] and p.environ.get('LABEL') == {})"
_MINE, _OTHER = _INIT.format("ex.label"), _INIT.replace("== {}", "not in (None, ex.label)")

_PREDICT = 'ex.predict(child="dies", grandchild="{}", joined="{}", neighbour="{}")\n'
_KILL = "import os, signal\nos.kill(ex.container, signal.SIGKILL)\n"

_SORT = """
def read(name, what):
    return ex.read(name, "/proc/sys/kernel/" + what)
mine = open("/proc/sys/kernel/hostname").read()
boot = open("/proc/sys/kernel/random/boot_id").read()
host = next(name for name in "ABC" if read(name, "hostname") == mine)
guest = next(name for name in "ABC" if read(name, "random/boot_id") != boot)
box = next(name for name in "ABC" if name not in (host, guest))
"""

WRONG = {
    "01.1": [
        ("answer = 1", "pid 1 is what it calls itself; the host calls it something else"),
        (f"answer = {_MINE}.parent", "it is the parent"),
        (f"answer = {_OTHER}.pid", "right kind, wrong one: its LABEL is"),
        (
            f"init = {_MINE}.pid\n"
            "answer = next(p.pid for p in table().values() if p.parent == init)",
            "right container, but in there its number is",
        ),
        ("import os\nanswer = os.getpid()", "has one number only: it is in no container"),
        ("answer = 'sleep'", "the answer should be of type int"),
    ],
    "01.2": [
        (_PREDICT.format("lives", "dies", "lives") + _KILL, "a new session is not a new namespace"),
        (_PREDICT.format("dies", "lives", "lives") + _KILL, "the kernel killed every member"),
        (_PREDICT.format("dies", "dies", "dies") + _KILL, "it never was in that pid namespace"),
        (_PREDICT.format("dies", "dies", "lives"), "the container's first process still runs"),
        (_KILL, "nothing was predicted: ex.reset(), then say it"),
        (
            _KILL + "ex.family.ended()\n" + _PREDICT.format("dies", "dies", "lives"),
            "too late, child, grandchild, joined ended before",
        ),
        (_PREDICT.format("dies", "dies", "?"), 'say "dies" or "lives" for: neighbour'),
        (
            _PREDICT.format("dies", "dies", "lives")
            + "import os, signal\nos.kill(ex.family.pids['neighbour'], signal.SIGKILL)",
            "[broken] 01.2 what dies with it?: the neighbour was ended too",
        ),
    ],
    "01.3": [
        (
            _SORT + 'answer = {host: "host", box: "guest", guest: "container"}',
            "a container chooses its own host name, os-release is a file of its image",
        ),
        (
            _SORT + 'answer = {host: "guest", box: "container", guest: "host"}',
            "has the boot id of this notebook's kernel: it is no guest",
        ),
        (
            _SORT + 'answer = {host: "container", box: "host", guest: "guest"}',
            "has not the host name of this machine",
        ),
        ('answer = {"A": "host", "B": "host", "C": "guest"}', "one of host, container, guest each"),
        ("answer = 'B'", "the answer should be of type dict"),
    ],
    "01.4": [
        (
            'answer = ex.counter.box.run(["cat", "/etc/hostname"])[1].strip()',
            "the word is right, but one process was started inside for it",
        ),
        (
            'answer = open(lab.instance.base + "/etc/hostname").read().strip()',
            "that is the file of the image; the container has changed its own copy",
        ),
        (
            'answer = open(ex.sibling.root + "/etc/hostname").read().strip()',
            "that is the word of the other container",
        ),
        ('answer = "open sesame"', "'open sesame' is not in that file"),
        (
            "import os, signal\nos.kill(ex.container, signal.SIGKILL)\nex.counter.box.wait()\n"
            'answer = "gone"',
            "[broken] 01.4 the glass wall: a container was ended",
        ),
    ],
}
