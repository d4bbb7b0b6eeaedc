# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     title: Control groups
#     minutes: 75
#     fast: 13
#     needs: [root]
#     requires: ["02"]
# ---

# %% [markdown] tags=["fast"]
# When you have run this notebook you will be able to explain
#
# - why a namespace alone does not protect anybody: it changes what a process *sees*, not what it *takes*,
# - how a *control group* limits memory, CPU time, processes and disk, and what happens at each limit,
# - how to prove from the kernel's own counters that a limit was reached,
# - which files `docker run --memory --cpus --pids-limit` writes.
#
# A control group, *cgroup* for short, is a directory below `/sys/fs/cgroup` (`cgroups(7)`). Processes are
# put into it, and files in it hold limits and counters. A child is born into the group of its parent.
# The part of the kernel that limits one resource is a *controller*. Version 1 (v1) has a tree of groups
# for each controller, v2 has one tree for all. Our words are the same for both.
#
# Everything here happens in the sandboxed machine of notebook 02. It has little memory, and a *victim*
# lives in it: a process that counts fifty times a second and has done nothing wrong.

# %% tags=["parameters"]
memory_mib: int = 48  # 16..512, the memory limit of the experiments in MiB
cpu_percent: int = 30  # 5..100, the ceiling for CPU time in percent of one CPU
max_pids: int = 16  # 4..256, how many processes a group may hold

# %% tags=["setup", "fast"]
# %load_ext labkit.lab
from labkit.cgroups import IoMax, Limits, device_of
from labkit.lab import TODO, Card, Lab, Live, Slider
from labkit.lab.meter import Meter, favoured, follow, measure, pressure
from labkit.lab.workloads import MIB, Work, until, write_times

# %% tags=["setup", "fast"]
lab = Lab("03")
world = lab.world(memory_mib=max(256, memory_mib + 192), pids=max_pids + 128)

# %% [markdown] tags=["fast"]
# ## A machine without walls
#
# Two tenants share the machine. A database holds 80 MiB and does not grow. A swarm of sixteen small
# processes is going to take all of the machine's memory but 70 MiB. That is too much, but nobody has set
# a limit inside.

# %% tags=["fast"]
#~ mine = TODO  # "a", "b", "c" or "d"
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
who = ["one of the swarm", "the database", "the victim", "nobody, the allocation fails"]
lab.predict("03.p1", "The memory of the machine is full. Whom does the kernel kill?", who, mine)

# %% tags=["fast"]
database = world.child("database")
database.run("data = None; data = bytearray(80 << 20)")
size = world.cgroup.limits().memory_max // MIB
swarm = Work(world, "swarm", "swarm", 16, size - 70)
Card("the machine", {"memory, MiB": size, "wanted, MiB": 80 + size - 70})

# %% [markdown] tags=["fast"]
# `Work` is a small program with a *starter*: a process that waits, so that you can move it before it
# starts anything. Now let the swarm go, and look who is left.

# %% tags=["fast"]
with swarm.start():
    until(lambda: not database.alive, 30)
    left = {"database": database.alive, "swarm": swarm.running, "victim": world.victim.ticking()}
lab.reveal("03.p1", "a" if database.alive else "b")
Card("alive in the full machine", left)

# %% [markdown] tags=["fast"]
# The *OOM killer* (out of memory) does not look for the guilty one. It looks for the process whose end
# frees the most memory; `/proc/PID/oom_score_adj` can shift its choice (`proc(5)`). A
# new namespace would have changed nothing. What is missing is a wall between the tenants.
#
# **Milestone:** you have seen one tenant die of another one's appetite.
#
# ## A limit for memory
#
# `world.group(name, limits)` makes a group inside the machine. `memory_max` is its limit: the kernel
# first takes back what it can, such as copies of file contents (the *page cache*), and then kills *in
# this group*. `memory_swap_max=0` forbids the way out into *swap*, the disk space to which memory can be
# moved. An eater in the group wants twice the limit.

# %% tags=["fast"]
limits = Limits(memory_max=memory_mib * MIB, memory_swap_max=0)
web = world.group("web", limits)
eater = Work(world, "eater", "eat", 2 * memory_mib, 1000, group=web).start()
history = follow(Meter(web).memory, 20, every=0.03, end=lambda: not eater.running)
history.chart("memory of the eater's group")

# %% [markdown] tags=["fast"]
# The curve stops at the limit, because there the eater was killed. Do not believe the picture: the
# kernel has counted. `statistics()` reads the group's files into one object.

# %% tags=["fast"]
seen, limit = web.statistics(), web.limits().memory_max
lab.record("memory_mib", limit // MIB)
facts = {"eater": eater.state, "OOM kills": seen.oom_kills, "victim ticks": world.victim.ticking()}
facts |= {"peak within the limit": seen.memory_peak <= 1.02 * limit}
Card("the group's own counters", facts, {"peak, MiB": round(seen.memory_peak / MIB, 1)})

# %% [markdown]
# The rest of the machine had memory to spare all the time. The trouble stayed where it was made.
#
# ### Exercise 03.3 Kill the leaker, spare the database
#
# Two processes share one group and its limit. That is the disaster of the first section again, only
# smaller. Build the wall. `group.add(pid)` moves one process into a group, with the memory limit that
# holds there from now on. Its children follow only if they are born afterwards.

# %% tags=["exercise-03.3"]
ex = lab.exercise("03.3")

# %% tags=["exercise-03.3"]
#~ # make a group, move a process, then call ex.leak()
### BEGIN SOLUTION
cage = world.group("cage", Limits(memory_max=32 << 20, memory_swap_max=0))
cage.add(ex.leaker.pid)
ex.leak()
### END SOLUTION

# %% tags=["exercise-03.3"]
ex.check()

# %% [markdown]
# **Milestone:** a process can be killed by the limit of its own group, and nobody else pays.
#
# ## A limit that moves
#
# The next process breathes: it fills two thirds of what its group may have, gives all back, and begins
# again. It reads its limit from the group's file at each step, as careful runtimes do. Move the slider
# (arrow keys work, too) and watch the limit line, and then the curve.

# %%
lungs = Meter(world.group("lungs", Limits(memory_max=memory_mib * MIB, memory_swap_max=0)))
breather = Work(world, "breather", "breathe", group=lungs.group, seconds=1800).start()
memory = Slider("memory limit, MiB", memory_mib, 16, max(128, memory_mib), lungs.set_memory, step=8)
display(Live("memory of a breathing process", lungs.memory, 0.5, limits=["limit"], unit="MiB"))
memory

# %% [markdown]
# The slider calls one function, and a cell can do the same. A limit below what is in use now is a
# delicate thing: cgroup v1 refuses it, cgroup v2 obeys and kills. So `set_memory` waits until the
# process has breathed out.

# %%
before = follow(lungs.memory, 1.5, every=0.05)
memory.set(max(16, memory_mib // 2))
before.then(follow(lungs.memory, 1.5, every=0.05)).chart("the limit was moved")

# %% [markdown] tags=["fast"]
# **Milestone:** a limit is a number in a file. It can be changed while the process runs, and that is
# what `docker update` does.
#
# ## A ceiling for CPU time
#
# Memory that is missing kills. CPU time that is missing only makes slow, but how? `cpu_max=0.3` says:
# in each *period* of 100 ms the group may use 30 ms of CPU time, its *quota*.

# %% tags=["fast"]
#~ mine = TODO  # "a", "b" or "c"
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
how = ["it runs at a lower clock rate", "it stands still for a part of each period",
       "it runs only when nobody else wants to"]  # fmt: skip
lab.predict("03.p2", "How does the kernel hold a process to its quota?", how, mine)

# %% tags=["fast"]
capped = world.group("capped", Limits(cpu_max=cpu_percent / 100))
burner = Work(world, "burner", "burn", group=capped, seconds=1800).start()
with favoured(world):
    history = follow(Meter(capped).cpu, 2)
history.cpu_chart("a process that wants a whole CPU")

# %% [markdown] tags=["fast"]
# `favoured` lets the machine go before other programs of your computer while we measure. The second
# curve, *periods cut short*, comes from a counter: `throttled` in `statistics()`, `nr_throttled` in the
# kernel's file `cpu.stat`. Of the periods that passed, it says how many ended early because the quota was
# used up; `throttled_us` is the time lost. Until the next period nobody in the group runs at all. A single
# point of the first curve may lie above the ceiling: it looks at about one period, and these do not begin
# when we look. The average keeps it.

# %% tags=["fast"]
spent = measure(world, capped)[0]
lab.record("cpu_ceiling", capped.limits().cpu_max)
lab.reveal("03.p2", "b" if spent.throttled else "c")
counts = {"periods": spent.periods, "cut short": spent.throttled, "CPUs": round(spent.cpus, 2)}
Card("the kernel's counters", {"periods were cut short": spent.throttled > 0}, counts)

# %% [markdown]
# Here is the same as a live picture with a slider. *stopped* is the percentage of periods cut short.
# *waiting* is the percentage of time in which somebody waited for a CPU: see "Pressure", further down.

# %%
ceiling = Slider("CPU ceiling, percent", cpu_percent, 5, 100, Meter(capped).set_cpu, step=5)
ceiling.set(max(5, cpu_percent // 2))
display(Live("CPU time", Meter(capped).cpu, 1.0, limits=["limit"], unit="%"))
ceiling

# %% [markdown]
# ### Exercise 03.2 Half a CPU, proved
#
# A job that takes half a CPU may have been cut short, or it may simply have little to do. Give the job
# its half, and name the number that tells one from the other.

# %% tags=["exercise-03.2"]
ex = lab.exercise("03.2")

# %% tags=["exercise-03.2"]
#~ answer = TODO  # make a group, move the starter, start the job, name the counter
### BEGIN SOLUTION
half = world.group("half", Limits(cpu_max=0.5))
half.add(ex.job.pid)
ex.job.start()
answer = "throttled"
### END SOLUTION

# %% tags=["exercise-03.2"]
ex.check(answer)

# %% [markdown]
# **Milestone:** you can tell a slow program from a throttled one.
#
# ## A share of the CPU
#
# A ceiling wastes time when nobody else wants it. A *weight* does not: it counts only while two groups
# want the same CPU, and then divides it. `cpus="0"` makes both want CPU 0.

# %%
heavy = Work(world, "heavy", "burn", group=world.group("heavy", Limits(cpus="0", cpu_weight=300)))
light = Work(world, "light", "burn", group=world.group("light", Limits(cpus="0", cpu_weight=100)))
with heavy.start(), light.start():
    more, less = (spent.cpus for spent in measure(world, heavy.group, light.group))
Card("300 to 100", {"about three to one": 2 < more / less < 4.5}, {"ratio": round(more / less, 2)})

# %% [markdown]
# ### Exercise 03.4 Three to one
#
# Now without a recipe, and with a check that also looks for ceilings.

# %% tags=["exercise-03.4"]
ex = lab.exercise("03.4")

# %% tags=["exercise-03.4"]
#~ # two groups, two moves, two starts
### BEGIN SOLUTION
for work, weight in ((ex.a, 300), (ex.b, 100)):
    world.group(work.name, Limits(cpus="0", cpu_weight=weight)).add(work.pid)
    work.start()
### END SOLUTION

# %% tags=["exercise-03.4"]
ex.check()

# %% [markdown]
# **Milestone:** you know two knobs for one resource, and when each of them does nothing.
#
# ## A number of processes
#
# A *fork bomb* wants neither memory nor CPU time. It makes processes until there are no more numbers
# for new ones, and then nobody on the machine can start anything. `pids_max` is the wall: beyond it
# `fork(2)` fails with EAGAIN, errno 11; Python calls that `BlockingIOError`.

# %%
few = world.group("few", Limits(pids_max=max_pids))
bomb = Work(world, "bomb", "bomb", max_pids + 16, group=few).start()
seen = {"fork was refused": until(lambda: few.statistics().pids_refused)}
lab.record("processes", few.statistics().pids_current)
Card("a fork bomb", seen | {"victim ticks": world.victim.ticking()}, dict(few.statistics().items()))

# %% [markdown]
# ### Exercise 03.1 Contain the fork bomb

# %% tags=["exercise-03.1"]
ex = lab.exercise("03.1")

# %% tags=["exercise-03.1"]
#~ # the order of your three lines matters
### BEGIN SOLUTION
shelter = world.group("shelter", Limits(pids_max=20))
shelter.add(ex.bomb.pid)
ex.bomb.start()
### END SOLUTION

# %% tags=["exercise-03.1"]
ex.check()

# %% [markdown]
# **Milestone:** you have held a fork bomb without touching a single one of its processes.
#
# ## Stop all, end all
#
# Signals go to processes. To stop *all* of a crowd that keeps forking you would have to be faster than
# it is. A group does not have this problem: the kernel knows its members at every moment. `freeze()`
# stops them where they are, without a signal that they could catch, and `thaw()` lets them go on.
# `kill()` ends the whole group, frozen or not: one write to `cgroup.kill` on cgroup v2. On v1 a frozen
# process dies only when it is thawed, so there `kill()` freezes, signals everybody, and thaws.
#
# ### Exercise 03.5 Stop the world, then end it

# %% tags=["exercise-03.5"]
ex = lab.exercise("03.5")

# %% tags=["exercise-03.5"]
#~ # three calls; ex.look() is one of them
### BEGIN SOLUTION
ex.group.freeze()
ex.look()
ex.group.kill()
### END SOLUTION

# %% tags=["exercise-03.5"]
ex.check()

# %% [markdown]
# **Milestone:** `docker pause`, and a clean-up that forgets nobody.
#
# ## A limit for the disk (further)
#
# `io_max` is a ceiling for one disk: the *whole* disk, not a partition, since that is where requests
# queue. Four MiB are written at two MiB a second, twice. First with `O_DIRECT`, which goes to the disk
# at once (`open(2)`). Then as programs do it: into the page cache, from where the kernel writes later.
# A page that is not on the disk yet is *dirty*.

# %% tags=["further"]
slow = world.group("slow", Limits(io_max={device_of(lab.instance.root): IoMax(wbps=2 * MIB)}))
slow.add(world.child("writer").pid)
direct, buffered = write_times(world.child("writer"), 4)
facts = {"direct waits": direct > 0.6, "buffered is faster": buffered < direct / 1.5}
Card("4 MiB", facts, {"direct, s": round(direct, 2), "buffered, s": round(buffered, 4)})

# %% [markdown]
# The buffered write has escaped: `write(2)` returned before the disk was asked. On cgroup v1 nobody is
# charged for the work that follows; cgroup v2 remembers who made each page dirty, and slows down the
# later write instead, on file systems that support it. Docker's `--device-write-bps` writes this file.
#
# **Milestone:** you know which writes a disk limit sees, and which it does not.
#
# ## Pressure
#
# A CPU that is 100 percent busy is not yet a problem. It becomes one when somebody *waits*. The kernel
# adds up the time in which at least one thread wanted a CPU and had none: *pressure stall information*,
# `/proc/pressure/cpu`, and the same for memory and io. The totals only grow, so take two and subtract.
# Two processes want one CPU: one of them waits, always.

# %%
crowd = world.group("crowd", Limits(cpus="0"))
one, two = (Work(world, name, "burn", group=crowd) for name in ("one", "two"))
with one.start(), two.start():
    lost = pressure("cpu", 1.0)
Card("in one second", {"somebody waited": lost.some_us > 200_000}, {"percent": lost.some_us / 1e4})

# %% [markdown]
# **Milestone:** three questions to ask a slow machine: who uses, who is throttled, who waits.
#
# ## Only in cgroup v2
#
# With one tree for all controllers some rules became possible. This section needs a machine that runs v2,
# which most do today. Its cells begin with `%%needs cgroup2`: elsewhere they only say why they do not run.
#
# **No internal processes.** A group either holds processes or hands controllers down to its children.
# Otherwise a process would compete with groups for the same memory. `cgroup.subtree_control` names what
# is handed down. (`cpu` and `pids` can deal with such a mixture, and are excused in simple cases.)

# %% tags=["needs:cgroup2"]
# %%fails OSError
a = world.child("a")
world.group("parent").add(a.pid)
control = "/sys/fs/cgroup/parent/cgroup.subtree_control"
a.run(f"os.write(os.open({control!r}, os.O_WRONLY), b'+memory')")

# %% [markdown]
# EBUSY: somebody lives there. Move him out, and the parent can hand down what its child needs. `child()`
# writes `cgroup.subtree_control` for you.

# %% tags=["needs:cgroup2"]
world.group("aside").add(world.child("a").pid)
parent = world.group("parent")
leaf = parent.child("leaf", Limits(memory_max=8 * MIB))
down = parent.read("cgroup.subtree_control").split()
Card("leaf", {"got the controller": "memory" in down, "MiB": leaf.limits().memory_max // MIB})

# %% [markdown]
# **Delegation.** Give the directory and three files to a user, and he can make groups of his own below
# it. The limits of the group itself stay yours. That is how podman works without root.

# %% tags=["needs:cgroup2"]
yours = world.group("yours", Limits(pids_max=20))
yours.delegate(65534)
world.child("guest").run("os.setuid(65534); os.mkdir('/sys/fs/cgroup/yours/own')")
raises = world.child("guest").eval("os.access('/sys/fs/cgroup/yours/pids.max', os.W_OK)")
Card("uid 65534", {"has made a group": len(yours.children()) == 1, "may raise the limit": raises})

# %% [markdown]
# **A soft limit, and pressure of one group.** Above `memory_high` nobody is killed. The group is slowed
# down, more and more, and its own pressure file tells how long it waited.

# %% tags=["needs:cgroup2"]
soft = world.group("soft", Limits(memory_high=memory_mib * MIB, memory_swap_max=0))
with Work(world, "greedy", "eat", 2 * memory_mib, 500, group=soft).start() as greedy:
    waited = until(lambda: soft.pressure("memory").some_us > 100_000)
    facts = {"waited for memory": waited, "killed": soft.statistics().oom_kills}
Card("above memory_high", facts)

# %% [markdown]
# **All or nothing.** A service that has lost one of its processes is often worse than one that is gone.
# With `memory_oom_group` the OOM killer takes the whole group.

# %% tags=["needs:cgroup2"]
limits = Limits(memory_max=memory_mib * MIB, memory_swap_max=0, memory_oom_group=True)
calm = Work(world, "calm", "sleep", group=world.group("both", limits)).start()
hungry = Work(world, "hungry", "eat", 2 * memory_mib, 500, group=calm.group).start().wait()
until(lambda: not calm.running)
Card("one group", {"the hungry one": hungry.state, "the calm one": calm.state})

# %% [markdown]
# **Milestone:** where your machine runs v2 you can read its tree, and say why a write was refused.
#
# ## The real tool
#
# `docker run --memory 48m --memory-swap 48m --cpus 0.3 --pids-limit 16` asks for four limits that you
# have met. Docker's `--memory-swap` is the sum of memory and swap: the same number twice means no swap.
# `plan` lists the files that our kit writes for them. In JupyterLab you see their names;
# they differ between v1 and v2, the words above them do not.

# %%
wish = Limits(memory_max=memory_mib * MIB, memory_swap_max=0, cpu_max=0.3, pids_max=max_pids)
ours = world.group("ours")
plan = ours.plan(wish)
ours.set(wish)
Card("docker run", {"each limit has a file": len(plan) >= 4}, dict(plan))

# %% [markdown]
# Docker does not write them itself: it gives them to `runc`, as the part `linux.resources` of a file
# `config.json`. So let runc make a container with the same wish, and compare what the kernel holds.

# %% tags=["needs:runc"]
from labkit.lab.realtool import limits_by_runc

theirs = limits_by_runc(world, wish)
names = ("memory_max", "memory_swap_max", "cpu_max", "pids_max")
Card("runc and we", {n: getattr(theirs, n) == getattr(ours.limits(), n) for n in names})

# %% [markdown]
# What you now own of `docker run`: `--memory`, `--memory-swap`, `--cpus`, `--cpu-shares`, `--cpuset-cpus`,
# `--pids-limit` and `--device-write-bps`, and besides `docker pause`, `docker update`, `docker stats` and
# the *OOMKilled* in `docker inspect`. Each of them is a file in one directory.
