# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     title: A container is a process
#     minutes: 50
#     fast: 12
#     needs: [root]
#     requires: ["00"]
# ---

# %% [markdown] tags=["fast"]
# When you have run this notebook you will be able to explain
#
# - what a container and a virtual machine share with the host, and how to find out,
# - why one starts in a blink and the other boots, and what each costs in memory,
# - what the host can do to a container that it cannot do to a virtual machine.
#
# **It begins with a belief.** "A container is a lightweight virtual machine." It has a host name, an
# operating system, a process table and a root of its own, after all. We start one of each, a container and
# a real virtual machine, and treat them alike. It goes wrong at once.

# %% tags=["parameters"]
guest_mib: int = 128  # 64..512, memory of the virtual machine in MiB
containers: int = 5  # 1..20, how many containers are started to see what one costs

# %% tags=["setup", "fast"]
# %load_ext labkit.lab
import os

from labkit.lab import TODO, Card, Lab, Sandbox, versus
from labkit.lab.hosttable import table

lab = Lab("01")

# %% [markdown] tags=["fast"]
# ## A small machine, so it seems
#
# The *host* is the machine that this notebook runs on. (On a laptop with macOS or Windows that is the Linux
# machine that Vagrant started for you.) The next cell starts two things. `lab.virtual_machine` boots a
# *guest*: qemu imitates a computer, and a Linux kernel of its own starts on it. That takes some seconds and
# goes on while you read. `Sandbox` starts a *container*, with the program `sleep` in it. Then `ps` runs
# inside the container.

# %% tags=["fast"]
vm = lab.virtual_machine(guest_mib)
box = Sandbox(["sleep", "1000"], hostname="tiny")
name, seen = box.run(["hostname"])[1].strip(), box.run(["ps", "-o", "comm"])[1].split()[1:]
number = box.run(["pidof", "sleep"])[1].strip()
Card("from inside", {"host name": name, "processes": seen, "number of sleep": number})

# %% [markdown] tags=["fast"]
# Nobody else lives there, and `sleep` is process 1, as the first process of a computer is.
#
# Now somebody on
# the host, who knows nothing about containers, runs `kill -9`. `table()` is what `ps` shows on the host:
# a dictionary with a line for each process, by its number.

# %% tags=["fast"]
found = table()[box.pid]
os.kill(found.pid, 9)
facts = {"the host lists": found.command, "ended by signal": -box.wait()}
Card("from outside", {**facts, "container alive": box.alive}, {"its numbers": found.nspid})

# %% [markdown] tags=["fast"]
# The whole "machine" is gone. Nobody pressed its power button: one signal to one ordinary process was
# enough. A virtual machine does not allow that: the host has no number for a process in a guest.
#
# **Milestone:** the belief has its first crack. Four experiments follow: whose kernel, whose process table,
# what it costs, and what the wall between host and container is made of.

# %% [markdown] tags=["fast"]
# ## Whose kernel is it?
#
# A kernel makes a random number when it boots, the *boot id* (`random(4)`). It stays the same until
# the next boot, for every program that this kernel runs.

# %% tags=["fast"]
# ~ mine = TODO  # "a", "b" or "c"
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
which = ["three different ones", "host and container the same one", "all three the same one"]
lab.predict("01.p1", "Host, container and guest are asked for their boot id.", which, mine)

# %% [markdown] tags=["fast"]
# The same script is run in all three. Equal answers get equal names here; you see the answers themselves
# below, in italics. `os-release` is the file in which a system tells its name (`os-release(5)`).

# %% tags=["fast", "recorded:qemu"]
box = Sandbox(["sleep", "1000"], hostname="tiny")
who = versus.identities(box, lab.virtual_machine(guest_mib))
kernels = set(who.facts["boot_id"].values())
lab.reveal("01.p1", {3: "a", 2: "b", 1: "c"}[len(kernels)])
who

# %% [markdown] tags=["fast"]
# Read it line by line.
#
# - *boot_id*: the container runs on the **host's kernel**. It has none. The guest has its own.
# - *os-release* and *hostname*: three different ones. The same kernel does not mean the same system: what
#   we call an operating system is mostly files, and a container brings its own files.
# - *uname -r* is the trap. It is the kernel's version. The guest may boot the very same kernel file as the
#   host; then all three are equal, and there are still two kernels.
#
# If the line *guest* says *recorded*, no virtual machine could be started here, and its answers are from
# another machine. Everything about containers is still measured on yours.

# %% [markdown]
# ### Exercise 01.3 Whose kernel? (5 minutes)
#
# Three prompts, and one of them lies. You succeed when every one has its right name. A cell that says
# *skipped* has no virtual machine to ask.

# %% tags=["exercise-01.3", "needs:qemu"]
ex = lab.exercise("01.3")


# %% tags=["exercise-01.3", "needs:qemu"]
# ~ answer = {"A": TODO, "B": TODO, "C": TODO}  # "host", "container" or "guest"
### BEGIN SOLUTION
def ask(name, what):
    return ex.read(name, f"/proc/sys/kernel/{what}").strip()


boot = open("/proc/sys/kernel/random/boot_id").read().strip()
answer = {name: "guest" for name in "ABC" if ask(name, "random/boot_id") != boot}
for name in sorted({"A", "B", "C"} - set(answer)):
    answer[name] = "host" if ask(name, "hostname") == os.uname().nodename else "container"
### END SOLUTION

# %% tags=["exercise-01.3", "needs:qemu"]
ex.check(answer)

# %% [markdown] tags=["fast"]
# **Milestone:** one file told you which kernel a program runs on, whatever the names say.

# %% [markdown] tags=["fast"]
# ## Whose process table?
#
# One kernel has one list of all its processes. A *pid namespace* (`pid_namespaces(7)`) is a view on a part
# of it: the processes inside get a second number, which counts from 1. `/proc/PID/status` shows all numbers
# of a process in the line `NSpid`, the host's first. Now a `sleep` in the guest as well, which
# the guest's own `pidof` must find first. Does the host list it?

# %% tags=["fast", "recorded:qemu"]
box, vm = Sandbox(["sleep", "1000"]), lab.virtual_machine(guest_mib)
there = vm.run("sleep 7777 >/dev/null 2>&1 & until pidof sleep; do :; done")
lines, seen = table(), {process.command for process in table().values()}
guest = {"guest's sleep": "sleep 7777" in seen, "qemu": vm.pid in lines} if there else {}
Card("on the host", {"container's numbers": len(lines[box.pid].nspid), **guest, "guest": vm.label})

# %% [markdown] tags=["fast"]
# The container's `sleep` is in the host's list, with two numbers. Of the guest the host has one process:
# qemu, the program that imitates the computer. Its kernel keeps its list in its own memory.

# %% [markdown]
# ### Exercise 01.1 Find it from outside (5 minutes)
#
# You are on the host and a container misbehaves. Find its first process. You succeed when the number is
# the host's and the container is the right one of two.

# %% tags=["exercise-01.1"]
ex = lab.exercise("01.1")

# %% tags=["exercise-01.1"]
# ~ answer = TODO  # a pid; look at [p for p in table().values() if ...]
### BEGIN SOLUTION
labelled = [p for p in table().values() if p.environ.get("LABEL") == ex.label]
answer = next(process.pid for process in labelled if process.nspid[-1] == 1)
### END SOLUTION

# %% tags=["exercise-01.1"]
ex.check(answer)

# %% [markdown]
# ### Exercise 01.2 What dies with it? (6 minutes)
#
# In the first section one signal ended a container with one process. What if there are more, and some try
# to get away? `ex.members()` shows the numbers of each, which may help. Predict, then do it. You
# succeed when you were right about all four.

# %% tags=["exercise-01.2"]
ex = lab.exercise("01.2")

# %% tags=["exercise-01.2"]
import signal

# ~ ex.predict(child=TODO, grandchild=TODO, joined=TODO, neighbour=TODO)  # "dies" or "lives"
# ~ # then end the container: os.kill(PID, signal.SIGKILL)
### BEGIN SOLUTION
ex.predict(child="dies", grandchild="dies", joined="dies", neighbour="lives")
os.kill(ex.container, signal.SIGKILL)
### END SOLUTION

# %% tags=["exercise-01.2"]
ex.check()

# %% [markdown] tags=["fast"]
# **Milestone:** a container is found, watched and ended with the host's ordinary tools.

# %% [markdown] tags=["fast"]
# ## What it costs
#
# The story says: a virtual machine takes minutes and gigabytes, a container milliseconds and megabytes. We
# measure it. To start a container, the host starts a program, with some more system calls. To start a guest,
# a kernel has to find its hardware, set up its memory and then run its own first program.
#
# Memory is counted as *PSS* (`proc(5)`): a page that n processes share counts as 1/n for
# each. The containers all run the same file, so they share it, as processes do. Look at the bars: the
# scale is *logarithmic*, each line is ten times the one before.

# %% tags=["fast", "recorded:qemu"]
vm = lab.virtual_machine(guest_mib)
several = versus.start_containers(containers)
lab.record("containers", len(several.seconds))
lab.record("guest_mib", vm.memory_mib)
versus.cost_chart(several, vm)

# %% [markdown]
# Where is the story too simple?
#
# - *Minutes* are a whole distribution: dozens of services, one after the other. Our guest has a kernel and
#   one shell. How long this machine itself took to boot stands below, if systemd counted it.
# - *Gigabytes* are what one promises to a guest. It costs what it has touched, plus qemu itself.
# - Each of our containers has a *helper* outside, a Python program that started it and waits for its end.
#   Docker has a helper for each container too. What ours need is below.
#
# And a measurement needs its conditions. With the *accelerator* kvm the processor itself runs the guest's code;
# with tcg qemu translates it, and everything in the guest takes longer. The values of your machine stand in
# italics; the loop that compares the speeds runs for some seconds.

# %% tags=["recorded:qemu"]
versus.conditions(several, vm)

# %% [markdown] tags=["fast"]
# **Milestone:** you have numbers of your own, and know what they depend on.

# %% [markdown] tags=["fast"]
# ## What is the wall made of?
#
# A container has a root directory of its own. From inside, there is no way to the host's files. Now the other
# direction. `/proc/PID/root` is a link to the root directory of a process (`proc(5)`).

# %% tags=["fast"]
# ~ mine = TODO  # "a" or "b"
### BEGIN SOLUTION
mine = "a"
### END SOLUTION
which = ["is there, like any file", "is not there, the wall works both ways"]
lab.predict(
    "01.p2", "The host writes a file below /proc/PID/root. In the container it", which, mine
)

# %% tags=["fast"]
box = Sandbox(["sleep", "1000"])
with open(f"{box.root}/root/note", "w") as note:
    note.write("the host was here\n")
print(seen := box.run(["cat", "/root/note"])[1], end="")
lab.reveal("01.p2", "a" if seen == "the host was here\n" else "b")

# %% [markdown] tags=["fast"]
# The wall of a container is a set of rules in one kernel, and that kernel works for the host. Whoever is root
# there looks through it as through glass. Now a note in the guest: qemu is a process, so there is a
# `/proc/PID/root` of qemu. Is the note below it?

# %% tags=["fast", "needs:qemu"]
vm = lab.virtual_machine(guest_mib)
vm.run("echo nobody reads this > /tmp/note-of-the-guest")
here = os.path.exists(f"/proc/{vm.pid}/root/tmp/note-of-the-guest")
there = vm.run("cat /tmp/note-of-the-guest").strip()
Card("a note in the guest", {"the guest reads": there, "the host finds it": here})

# %% [markdown] tags=["fast"]
# The files of the guest are bytes in the memory of qemu, and only the guest's kernel knows which ones. The
# host can stop that whole machine, or ask through the line that we use. It cannot open a file of it.
#
# The other direction matters more. All containers of a host call **one kernel**: a fault in it is a fault in
# every wall. A fault in the guest's kernel breaks the guest. Notebook 08 makes the container's wall thicker.

# %% [markdown]
# ### Exercise 01.4 The glass wall (4 minutes)
#
# Read a file of a container, so that nobody in there could have noticed. You succeed when you know the word and no
# process was started inside.

# %% tags=["exercise-01.4"]
ex = lab.exercise("01.4")

# %% tags=["exercise-01.4"]
# ~ answer = TODO  # the word
### BEGIN SOLUTION
answer = open(f"/proc/{ex.container}/root/etc/hostname").read().strip()
### END SOLUTION

# %% tags=["exercise-01.4"]
ex.check(answer)

# %% [markdown] tags=["fast"]
# **Milestone:** you have read a secret through the wall, and know who else can.

# %% [markdown] tags=["fast"]
# ## The real tool
#
# Is that only so with our own little container? `runc` is the program that Docker starts for each of its
# containers. We give it the same file system and the same `sleep`, and ask the same questions.

# %% tags=["fast", "needs:runc"]
from labkit.lab.runc import Runc

with Runc(lab, ["sleep", "1000"]) as real:
    line, boot_id = table()[real.pid], "/proc/sys/kernel/random/boot_id"
    same = open(real.root + boot_id).read() == open(boot_id).read()
Card("runc", {"the host lists": line.command, "numbers": len(line.nspid), "same boot id": same})

# %% [markdown] tags=["fast"]
# | | container | virtual machine |
# | --- | --- | --- |
# | kernel | the host's | its own |
# | its processes | in the host's list | in a list of its own |
# | starts like | a program | a computer |
# | memory | what its programs use, files shared | what its kernel and programs use, and qemu |
# | the wall | rules in the shared kernel | imitated hardware |
#
# **What you now own of `docker run`:** the last word of it, the *process*. A container is a process with
# constraints. Which constraints? The view that it has of the machine comes next.
