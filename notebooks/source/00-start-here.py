# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   labkit:
#     title: Start here
#     minutes: 20
#     fast: 5
#     needs: [root]
# ---

# %% [markdown] tags=["fast"]
# When you have run this notebook you will be able to
#
# - see whether this machine is ready, and mend it if it is not,
# - use the tools that all notebooks share: **predict**, **check**, **hint** and **reset**,
# - find your place on the map of this course.
#
# How to work: select the first cell, press Shift+Enter, read what appears, go on. What the cells of this
# course break, they break in a sandbox. But you are root here: outside of it, be as careful as always.
#
# Two words. The **kernel** is the Linux kernel, the one program that all others ask for everything.
# (Jupyter uses the same word for the Python process that runs your cells; we call that *the notebook's
# process*.) **The kit** is this course and its Python package, `labkit`.
#
# **It begins with something broken.** A program has just been killed on your machine, and it left
# things behind in the kernel.
#
# The first cell of each notebook holds numbers that you may change. Then run the notebook from there on.

# %% tags=["parameters"]
leftovers_made: int = 2  # 1..4, how many control groups the killed program leaves behind
neighbours: int = 1  # 1..3, how many control groups a living program has beside them

# %% tags=["setup", "fast"]
# %load_ext labkit.lab
from labkit.lab import TODO, Card, Lab
from labkit.lab.doctor import diagnose
from labkit.lab.planted import Neighbour
from labkit.lab.reset import reset

# %% tags=["setup", "fast"]
lab = Lab("00")

# %% [markdown] tags=["fast"]
# ## A machine that is not ready
#
# A *control group* is a directory in the kernel that limits processes; notebook 03 is about them. Here
# it is only something that can be left behind. The next cell starts a program that makes some, and kills
# it with SIGKILL (`signal(7)`): it gets no chance to tidy up. A second program, its *neighbour*, does
# the same and lives. A `Card` shows facts.

# %% tags=["fast"]
killed = Neighbour(lab.instance, "nb00-killed", [f"old{n}" for n in range(leftovers_made)])
living = Neighbour(lab.instance, "nb00-living", [f"used{n}" for n in range(neighbours)])
killed.die()
Card("groups in the kernel", {"killed": len(killed.present()), "living": len(living.present())})

# %% [markdown] tags=["fast"]
# The program is gone, its groups are not: the kernel keeps them until somebody removes them. Ask the
# **doctor**. It looks at everything that the notebooks need, one line for each need. A line marked
# *fix* names its own fix. *ok* is fine, and so is *note*: it tells of something that is not
# necessary. Many of the words belong to later notebooks.

# %% tags=["fast"]
diagnose()

# %% [markdown] tags=["fast"]
# ## Say it before you see it
#
# The fix is called *reset*. Before you run it, write down what you expect. That is the most useful
# habit in this course: a guess that turns out wrong is remembered, a result that was only read is not.
# Your prediction is stored *before* the experiment and scored after it.

# %% tags=["fast"]
#~ mine = TODO  # put "a", "b" or "c" here, with the quotes, then run the cell
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
what = ["all groups of the kit", "those of the killed program only", "nothing, it only reports"]
lab.predict("00.p1", "What will reset remove?", what, mine)

# %% tags=["fast"]
outcomes = reset(lab.instance)
left = {"killed": len(killed.present()), "living": len(living.present())}
Card("groups in the kernel after reset", left)

# %% tags=["fast"]
lab.reveal("00.p1", "c" if left["killed"] else "b" if left["living"] == neighbours else "a")
lab.record("removed", [o.what for o in outcomes if o.owner == killed.owner].count("removed"))
lab.record("spared", left["living"])

# %% [markdown] tags=["fast"]
# (`lab.record` notes a value for an instructor's report. You can ignore it.)
#
# How did reset know? Every program of the kit keeps a *ledger*: a small file that names each kernel
# object just **before** it is made, together with the process that makes it. Reset reads the ledgers. The
# owner is dead: remove exactly what is named. The owner lives, and it is not you: leave it alone. It never
# guesses by a name that merely looks similar.

# %% tags=["fast"]
living.close()
Card("doctor", {"machine is ready": diagnose().ready})

# %% [markdown]
# **Milestone:** you found a fault by its symptom, knew the cause, mended it and checked that nothing
# else was touched. Every incident in notebook 13 is solved in this way.
#
# ## Exercises, checks and hints
#
# An exercise sets a stage and prints a task. You write a cell. Then `ex.check(...)` looks **at the
# kernel**, not at what you typed, so every way that works is right. It answers with one of four words:
#
# - *passed*: what you did is there, and what must not be harmed is not harmed;
# - *not yet*: something is missing, and the text says what was seen;
# - *broken*: something else was damaged; `ex.reset()` gives a fresh stage;
# - *skipped*: the check cannot run here, and the text says why. That is never a pass.
#
# When you are stuck, `ex.hint()` gives three hints, one at a time: where to look, which call to use,
# a piece of the code. After the third, or after a pass, `ex.solution()` shows one way to do it.

# %% [markdown]
# ### Exercise 00.1 Heal the machine
#
# Again a program was killed. Make the doctor content, and do not touch what belongs to the program that
# is alive.

# %% tags=["exercise-00.1"]
ex = lab.exercise("00.1")

# %% tags=["exercise-00.1"]
#~ # write your line here; you have seen it above
### BEGIN SOLUTION
removed = reset(lab.instance)
### END SOLUTION

# %% tags=["exercise-00.1"]
ex.check()

# %% [markdown]
# Not sure? Put `ex.hint()` in a cell of its own and run it, once, twice, three times.
#
# ### Exercise 00.2 Say it before you see it
#
# Every process was started by another one, its *parent*. `/proc` is a window into the kernel: it has one
# directory for each process, and the file `status` in it tells the parent's number (`proc(5)`).
# `procfs.status(pid)` reads that file into a dictionary of texts. Guess first; then look.

# %% tags=["exercise-00.2"]
ex = lab.exercise("00.2")

# %% tags=["exercise-00.2"]
import os

from labkit.linux import procfs

#~ answer = TODO  # one of the names in ex.processes
### BEGIN SOLUTION
parents = {name: int(procfs.status(pid)["PPid"]) for name, pid in ex.processes.items()}
answer = next(name for name, parent in parents.items() if parent == os.getpid())
### END SOLUTION

# %% tags=["exercise-00.2"]
ex.check(answer)

# %% [markdown]
# Names told you nothing there, and numbers change at every start. So this course shows *relations*:
# the same or different, parent or child, inside or outside. One more guess, about a thing that decides
# whether you can trust a check.

# %%
#~ mine = TODO  # "a" or "b"
### BEGIN SOLUTION
mine = "b"
### END SOLUTION
how = ["its number", "its number and the moment at which it started"]
lab.predict("00.p2", "Process numbers are used again. What names one process for ever?", how, mine)

# %%
started = procfs.start_time(os.getpid())
same = procfs.alive(os.getpid(), started)
other = procfs.alive(os.getpid(), started + 1)
Card("is the owner alive", {"same number, same start": same, "same number, other start": other})

# %%
lab.reveal("00.p2", "b" if same and not other else "a")

# %% [markdown]
# **Milestone:** you can ask the kernel about a process, and you know why a number alone is not enough.
#
# ### Exercise 00.3 Make a mess, reset exactly it
#
# Now you are the one who makes something. `cgroups.create(name)` makes a control group;
# `lab.ledger.record("cgroup", name)` notes it and returns the name. Note first, make second: if you are
# killed in between, the note names something that never came to be, and that harms nobody.
# `ex.look()` tells the check what is there. `lab.reset(only="cgroup")` removes the groups that *this*
# notebook noted (without `only` it would also end this exercise). Another notebook seems to be open
# too, and it wants to keep what it has.

# %% tags=["exercise-00.3"]
ex = lab.exercise("00.3")

# %% tags=["exercise-00.3"]
from labkit import cgroups

#~ # note the group ex.name, make it, call ex.look(), then reset this notebook
### BEGIN SOLUTION
cgroups.create(lab.ledger.record("cgroup", ex.name))
ex.look()
lab.reset(only="cgroup")
### END SOLUTION

# %% tags=["exercise-00.3"]
ex.check()

# %% [markdown] tags=["fast"]
# ## The map
#
# This course builds Docker from the bottom up. Each notebook adds one part of a single command,
# `docker run`. A part is yours when you have passed the exercises of its notebook.

# %% tags=["fast"]
lab.progress

# %% tags=["fast"]
lab.progress.map()

# %% [markdown]
# The one idea of the whole course: *a container is just a process with constraints, and Docker is Linux
# primitives glued together with tooling*. You need not believe it: notebook 01 measures it.
