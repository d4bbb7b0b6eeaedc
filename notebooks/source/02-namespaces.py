# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     title: Namespaces
#     minutes: 75
#     fast: 15
#     needs: [root]
#     requires: ["01"]
# ---

# %% [markdown] tags=["fast"]
# When you have run this notebook you will be able to explain
#
# - what each of the eight kinds of namespaces hides, and which two Docker leaves shared,
# - why `ps` in a container is short, and what else it needs besides a pid namespace,
# - why `chroot` is not a wall and `pivot_root` is one,
# - what process 1 owes to everybody else, and how `docker exec` gets in.
#
# Everything happens in **the machine**: a small world of processes that belongs to this notebook, with
# its own root, its own host name and a limit on memory. A cell that starts with `%%child a` runs in a
# process of that machine called `a`. System calls and their flags are ready there, under the names that
# the man pages use. So are `procfs`, which reads `/proc`, and `spawn(f)`, which starts a process that runs
# the function `f`. `help(mount)` says what a name wants; where a man page says NULL, write `None`.
#
# **It begins with a process that nobody invited.** `a` is an ordinary process. It has no namespace of
# its own, so it sees what the machine sees. Somebody else lives here too: the *victim*, a process that
# only counts, fifty times a second, and shows by that whether the machine is well. Look at what one
# ordinary process can do.

# %% tags=["parameters"]
hostname: str = "mars"  # mars|venus|pluto, the name that a process gives itself
orphans: int = 5  # 1..20, how many zombies a careless process 1 collects
time_offset_days: int = 30  # 1..1000, how far the clock of a time namespace is moved, in days

# %% tags=["setup", "fast"]
# %load_ext labkit.lab
from labkit.lab import TODO, Card, Lab, Names, propagation, spaces

lab = Lab("02")
world = lab.world()
world.mend()

# %% tags=["fast"]
# %%child a
everybody = {procfs.status(pid)["Name"]: pid for pid in procfs.pids()}
print("a sees:", *everybody)
sethostname("mine")
os.kill(everybody["victim"], signal.SIGKILL)

# %% [markdown] tags=["fast"]
# A second process, `b`, tells what became of the machine. (`world.mend` then mends it. A `Card` is a list
# of facts, as they are now.)

# %% tags=["fast"]
dead = spaces.until(lambda: not world.victim.alive)
now = world.child("b").eval("gethostname()")
world.mend(keep=True)
Card("the machine, after a", {"its name, as b sees it": now, "the victim is dead": dead})

# %% [markdown] tags=["fast"]
# `a` saw a stranger, killed it, and renamed the house for everybody. No permission was missing:
# `a` is root, and names, process numbers and mounts are *global* to all who share them.
#
# A **namespace** is a copy of one such global thing for some processes only. `namespaces(7)` lists eight
# kinds. There is no other magic in a container's isolation.

# %% [markdown] tags=["fast"]
# ## A name of its own
#
# We start with the smallest kind, *uts*: it holds the host name. `unshare(2)` takes the calling process
# out of a namespace and puts it into a new one, which starts as a copy.

# %% tags=["fast"]
# %%child c
before = gethostname()
unshare(CLONE_NEWUTS)
sethostname("mine")
print(before, "->", gethostname())

# %% [markdown] tags=["fast"]
# The same call as in the first cell, and this time nobody else notices. In `/proc/PID/ns` the kernel
# shows each namespace of a process as a file with a number, its *inode*. Two processes share a namespace
# if the numbers are equal. Numbers differ at each run, so we print *aliases*: `machine` is where
# everybody starts, `uts#1` is the first other one.

# %% tags=["fast"]
c, d = world.child("c"), world.child("d")
c.run(f"sethostname({hostname!r})")
lab.record("the name that c sees", c.eval("gethostname()"))
names = Names(world.namespaces(), "machine")
Card("host name, uts", {p.name: [p.eval("gethostname()"), names.ns(p, "uts")] for p in (c, d)})

# %% [markdown]
# Next, a whole container. `world.sandbox` makes what `docker run` makes by default on cgroup v2: new
# namespaces of six kinds. Two kinds stay shared with the machine. (On v1 Docker shares *cgroup*, too.)

# %%
#~ mine = TODO  # "a", "b" or "c"
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
pairs = ["net and ipc", "user and time", "uts and cgroup"]
lab.predict("02.p1", "Which two kinds does docker run leave shared?", pairs, mine)

# %%
rows = {"machine": world, "c": world.child("c")}
with world.sandbox(["sleep", "60"]) as box:
    picture = Names(world.namespaces(), "machine").map(rows | {"container": box})
lab.reveal("02.p1", " and ".join(kind for kind in picture.kinds if len(picture.groups(kind)) == 1))
picture

# %% [markdown]
# Read it by columns: a line joins those who share. Shared *user* means that root in the container is the
# real root of the machine; a section below is about that.
#
# **Milestone:** you can make a namespace, and see from outside who shares which.

# %% [markdown] tags=["fast"]
# ## A process table of its own
#
# A *pid* namespace numbers its processes from 1. `p` asks for one. What is its own number after that?

# %% tags=["fast"]
#~ mine = TODO  # "a" or "b"
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
what = ["it becomes 1", "it stays what it was"]
lab.predict("02.p2", "p calls unshare(CLONE_NEWPID). What becomes of its number?", what, mine)

# %% tags=["fast"]
# %%child p
number = os.getpid()
unshare(CLONE_NEWPID)
child = spawn(lambda: print("I am number", os.getpid(), "and /proc/1 is", procfs.status(1)["Name"]))
ended = os.waitpid(child, 0)

# %% tags=["fast"]
lab.reveal("02.p2", "b" if world.child("p").eval("os.getpid() == number") else "a")

# %% [markdown] tags=["fast"]
# A process keeps its number for life, so a new pid namespace is for the **next child**. That child has two
# numbers: 1 inside, another one outside. The line `NSpid` of `/proc/PID/status` has them all.
#
# The child is number 1, and yet `/proc/1` is somebody else. `/proc` is a mount, and it shows the processes
# of the pid namespace in which it was *mounted*: that of the machine. The child sees everybody. It can no
# longer harm them: a number that it reads there means another process, or none, in its own namespace. To
# look like a container it needs one thing more.
#
# That thing is a mount, and mounts may travel from one copy of the mount table to another. So first cut
# yours loose: `mount("none", "/", "none", MS_REC | MS_PRIVATE)`. The reason comes in the next section.
# `signal.pause()` keeps a process waiting. A child stays where a first try has led it: to try an exercise
# again from the start, run `ex.reset()`. It gives you fresh children.
#
# ### Exercise 02.1 Alone in the process table

# %% tags=["exercise-02.1", "fast"]
ex = lab.exercise("02.1")

# %% tags=["exercise-02.1", "fast"]
# %%child alone
#~ # unshare(flags), mount(source, target, fstype, flags): unshare(2), mount(2), pid_namespaces(7)
#~ # spawn(f), without brackets after f, returns the number of the new process, in which f runs
### BEGIN SOLUTION
unshare(CLONE_NEWPID | CLONE_NEWNS)
mount("none", "/", "none", MS_REC | MS_PRIVATE)


def first():
    mount("proc", "/proc", "proc")
    signal.pause()


process = spawn(first)
### END SOLUTION

# %% tags=["exercise-02.1", "fast"]
ex.check()

# %% [markdown] tags=["fast"]
# **Milestone:** two namespaces, pid and mnt, and one mount: that is the short `ps` of a container.

# %% [markdown] tags=["fast"]
# ## Mounts of its own
#
# A *mnt* namespace is a table of mounts: which file system is seen at which directory. A new one is a copy
# of the caller's. From then on each goes its own way. (A *tmpfs* is a file system in memory, empty at first.)

# %% tags=["fast"]
m, n = world.child("m"), world.child("n")
m.run("unshare(CLONE_NEWNS); os.makedirs('/scratch/desk', exist_ok=True)")
m.run("mount('desk', '/scratch/desk', 'tmpfs'); open('/scratch/desk/letter', 'w').close()")
Card("what is on the desk", {one.name: one.eval("os.listdir('/scratch/desk')") for one in (m, n)})

# %% [markdown]
# Here each copy went its own way because the mounts of this machine are *private*. Most machines have
# *shared* mounts, and so has the stage of 02.1: there, a new mount travels on to every copy. A word of
# each mount decides, and a copy can change its own: `shared`, `slave` or `private`
# (`mount_namespaces(7)`, "Shared subtrees").
#
# `travels` makes a shared mount, gives another process a copy of it, and sets the copy's word. Then each
# of the two mounts something below it, and the other one looks.

# %%
words = ("shared", "slave", "private")
travelled = {word: propagation.travels(world, word) for word in words}
Card("does a mount travel?", travelled)

# %% [markdown]
# That is why every runtime begins with "make `/` a slave, or private": what it mounts for the
# container must not appear on the machine. The check of 02.1 watches for exactly this.
#
# **Milestone:** you know what a container's mount table starts as, and how it is cut loose.

# %% [markdown]
# ## A root of its own
#
# `chroot(2)` is older than all namespaces. It changes one thing: where the paths of one process start. The
# exercise shows what it does not change, and then what does the job: `pivot_root(2)` swaps the root of a
# whole mount namespace, and the old one can be unmounted. It wants a new root that is a mount point; a
# *bind mount* makes any directory one: the same directory, mounted once more, here on itself (`MS_BIND`).
# The mount above it must not be shared. The file to be stolen is called the *canary*.
#
# ### Exercise 02.2 Escape the chroot, then close the door

# %% tags=["exercise-02.2"]
ex = lab.exercise("02.2")

# %% tags=["exercise-02.2"]
# %%child inmate
#~ # chroot(path), chdir(path); once out: secret = open("." + canary).read()
### BEGIN SOLUTION
chroot("etc")
for _ in range(20):
    chdir("..")
secret = open("." + canary).read()
### END SOLUTION

# %% tags=["exercise-02.2"]
# %%child guarded
#~ # put yourself into the directory `jail`, for good: mount(source, target, fstype, flags),
#~ # pivot_root(new_root, put_old), umount2(target, flags)
### BEGIN SOLUTION
unshare(CLONE_NEWNS)
mount("none", "/", "none", MS_REC | MS_PRIVATE)
mount(jail, jail, None, MS_BIND)
chdir(jail)
pivot_root(".", ".")
umount2(".", MNT_DETACH)
chdir("/")
### END SOLUTION

# %% tags=["exercise-02.2"]
ex.check()

# %% [markdown]
# The package does the same for every container that it starts. Compare the order of its calls with yours:
# where does it stand when it pivots, and how does it get rid of the old root?

# %%
from inspect import getsource

from labkit import rootfs

print(getsource(rootfs.pivot))

# %% [markdown]
# **Milestone:** you can get out of a chroot, and you can build a root that nobody gets out of that way.

# %% [markdown]
# ## Joining
#
# `docker exec` starts a second program in a container. `setns(2)` moves the caller into a namespace that
# somebody else made; it wants an open file from `/proc/PID/ns`. `j` opens two of these doors and goes through
# *mnt*. Then its `/proc` is the container's, where the number it knew means nothing. An open door stays open.

# %%
box, j = world.sandbox(["sleep", "600"], hostname="inside"), world.child("j")
j.run(f"doors = '/proc/{spaces.number_at(world.pid, box.pid)}/ns/'")
j.run("uts, mnt = [os.open(doors + kind, os.O_RDONLY) for kind in ('uts', 'mnt')]; setns(mnt)")
late, early = j.eval("os.path.exists(doors)"), j.run("setns(uts); print(gethostname())")
Card("j is behind mnt", {"its /proc has these doors": late, "a door opened before": early.strip()})

# %% [markdown]
# So: open all first, and all that *differ* from your own. To join the *user* namespace that one is in is an
# error, EINVAL. A new *pid* namespace is for the next child, as before.
#
# ### Exercise 02.3 Join in the right order

# %% tags=["exercise-02.3"]
ex = lab.exercise("02.3")

# %% tags=["exercise-02.3"]
# %%child visitor
#~ # start the program `tool` inside the container of process `target`: os.open(path, os.O_RDONLY),
#~ # setns(fd), then spawn(os.execv, tool, [tool]): function and arguments apart
### BEGIN SOLUTION
kinds = ("uts", "ipc", "net", "cgroup", "pid", "mnt")
doors = [os.open(f"/proc/{target}/ns/{kind}", os.O_RDONLY) for kind in kinds]
for door in doors:
    setns(door)
process = spawn(os.execv, tool, [tool])
### END SOLUTION

# %% tags=["exercise-02.3"]
ex.check()

# %% [markdown]
# **Milestone:** you wrote `docker exec`, without a terminal.

# %% [markdown]
# ## Root that is nobody
#
# A *user* namespace has user ids and permissions of its own. Whoever makes one has every permission in it,
# over what belongs to it, and none outside. As long as nobody says who is who, each id is shown as 65534,
# "nobody" (`user_namespaces(7)`).

# %%
# %%child u
unshare(CLONE_NEWUSER)
print("my user id is", os.getuid())
unshare(CLONE_NEWUTS)
sethostname("mine")
print("and I may name this machine:", gethostname())

# %% [markdown]
# The uts namespace that it named was made after the user namespace, so it belongs to it. Now say who is
# who: `write_maps` writes `/proc/PID/uid_map` and `gid_map`. One line of them is *inside, outside, length*.
#
# ### Exercise 02.4 Root that owns nothing

# %% tags=["exercise-02.4"]
ex = lab.exercise("02.4")

# %% tags=["exercise-02.4"]
from labkit.namespaces import IdMap, write_maps

guest = ex.guest
#~ guest.run("unshare(CLONE_NEWUSER)")  # then the maps, then guest takes its id and writes:
#~ # write_maps(pid, [IdMap(inside, outside)], [IdMap(inside, outside)], setgroups=False)
### BEGIN SOLUTION
guest.run("unshare(CLONE_NEWUSER)")
maps = [IdMap(0, ex.uid)]
write_maps(guest.pid, maps, maps, setgroups=False)
guest.run("os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)")
guest.run("open('/scratch/shared/proof', 'w').close()")
### END SOLUTION

# %% tags=["exercise-02.4"]
ex.check()

# %% [markdown]
# **Milestone:** you know what Docker leaves shared with *user*, and what its option `userns-remap`
# would add: such a map for every container.

# %% [markdown]
# ## Process 1
#
# In a pid namespace, number 1 has duties. A process that has ended stays in the table as a *zombie* until
# its parent has asked for its exit code, `wait(2)`. A process whose parent has ended, an *orphan*, gets
# number 1 as its new parent. If that one never asks, zombies pile up, and each takes a number.
#
# `storm.first_process` starts a number 1 and a program that makes orphans. This one is careless: it only
# sleeps. Number 1 must also end when it is told to: `docker stop` sends SIGTERM to it.

# %%
(k := world.child("k")).run("from labkit.lab import storm")
k.run(f"first = storm.first_process(storm.careless, {orphans}, 0)")
lab.record("zombies", spaces.zombies(spaces.youngest(k)))
k.run("first.kill(signal.SIGTERM)")
print("SIGTERM ends it:", spaces.until(lambda: not k.eval("procfs.alive(first.pid)"), 0.5))

# %% [markdown]
# The kernel protects number 1 from signals that it has no handler for (`pid_namespaces(7)`), since its end
# is the end of all: only SIGKILL from outside helps, and it takes every process of the namespace along.
#
# Your own number 1 may ignore SIGCHLD, so that the kernel reaps for it; then wait(2) has no exit code for it
# and says ChildProcessError.
#
# ### Exercise 02.5 A process 1 that does its job

# %% tags=["exercise-02.5"]
ex = lab.exercise("02.5")


# %% tags=["exercise-02.5"]
# %%child cradle
def init(main):
    #~ return os.waitstatus_to_exitcode(os.waitpid(main, 0)[1])
    ### BEGIN SOLUTION
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == main:
            return os.waitstatus_to_exitcode(status)
    ### END SOLUTION


# %% tags=["exercise-02.5"]
ex.check()

# %% [markdown]
# **Milestone:** you wrote what `docker run --init` puts into a container.

# %% [markdown]
# ## Threads
#
# A namespace belongs to a *thread*, not to a process. `t` starts a thread that leaves its uts namespace.

# %%
# %%child t
from concurrent.futures import ThreadPoolExecutor

thread = ThreadPoolExecutor(1)
renamed = thread.submit(lambda: [unshare(CLONE_NEWUTS), sethostname("mine"), gethostname()])
print("in the thread:", renamed.result()[-1])

# %% [markdown]
# The rest of the process stays where it was. For two kinds that cannot work, since the threads of a process
# share permissions and a number: the kernel refuses *user*, and after *pid* it starts no more threads. The
# package says so before it tries. (The notebook's own process has many threads. That is why everything
# here happens in children.)

# %%
# %%fails Conflict
# %%child t
from labkit import namespaces as kinds

print("in the rest of the process:", gethostname())
kinds.unshare(["user"])

# %% [markdown]
# **Milestone:** you know why runtimes are written with a small process that has one thread.

# %% [markdown]
# ## The other kinds
#
# *net*: links, addresses, routes and ports. Notebook 07 is about it. Here: two servers, one port.

# %%
# %%child w
first = socket.create_server(("", 8080))
unshare(CLONE_NEWNET)
second = socket.create_server(("", 8080))
print("both have port 8080:", first.getsockname()[1] == second.getsockname()[1] == 8080)

# %% [markdown] tags=["further"]
# *ipc*: message queues and shared memory that go by a number, `sysvipc(7)`. *cgroup*: where the tree of
# control groups begins, `cgroup_namespaces(7)`; it hides the path and limits nothing.

# %% tags=["further"]
# %%child x
libc = ctypes.CDLL(None)
made = libc.msgget(77, 0o1600)  # a queue with number 77, IPC_CREAT
print("before:", libc.msgget(77, 0) == made, max(procfs.cgroups().values(), key=len))
unshare(CLONE_NEWIPC | CLONE_NEWCGROUP)
print("after: ", libc.msgget(77, 0) == made, max(procfs.cgroups().values(), key=len))

# %% [markdown] tags=["further"]
# *time*: the clocks that count from boot. As with pid, the next child gets them. Docker does not use it.

# %% tags=["further"]
before = (y := world.child("y")).run("sh('cut -d. -f1 /proc/uptime')")
y.run("from labkit.namespaces import set_time_offsets as move; unshare(CLONE_NEWTIME)")
y.run(f"move('self', boottime={time_offset_days * 86400})")
after = y.run("sh('cut -d. -f1 /proc/uptime')")
lab.record("days that the machine seems to have run longer", (int(after) - int(before)) // 86400)

# %% [markdown]
# **Milestone:** you have seen all eight kinds, before and after.

# %% [markdown]
# ## The real tools
#
# `lsns` lists namespaces, `nsenter` joins them. Both come with every Linux (package util-linux). They know
# nothing of this course; they read the same files in `/proc`. Here both look at one container: `target` is
# its number as `z` sees it.

# %%
box, z = world.sandbox(["sleep", "60"], hostname="inside"), world.child("z")
target, ours = spaces.number_at(world.pid, box.pid), set(map(str, box.namespaces().values()))
listed = set(z.run(f"sh('/usr/bin/lsns -n -o NS -p {target}')").split())
name = z.run(f"sh('/usr/bin/nsenter -t {target} -u hostname')").strip()
Card("real tools", {"lsns lists the same ones": listed <= ours, "nsenter -u hostname": name})

# %% [markdown]
# `runc` is the program that starts Docker's containers. `runc spec` writes its default plan. (*cgroup* is not
# in this table: the plan has it on v2 and leaves it out on v1.)

# %% tags=["needs:runc"]
import json

write = "os.chdir('/scratch'); sh('rm -f config.json; runc spec; cat config.json')"
spec = world.child("z").run(write)
new = [entry["type"] for entry in json.loads(spec)["linux"]["namespaces"]]
Card("new in runc's plan", {k: k in new for k in "mount pid uts ipc network user time".split()})

# %% [markdown]
# **Milestone:** a real runtime makes the namespaces that you made.
#
# **What you now own of `docker run`:** the walls. A process with its own names, numbers, mounts and root, a
# proper process 1, and the way in for `docker exec`. What it may *use up* is still without limit: that is
# the next notebook.
