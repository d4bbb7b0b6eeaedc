"""Wrong answers of notebook 03 and what the check says to them."""

_NO_LIMIT = "ex.bomb.start()"

_LIMIT_ON_AN_EMPTY_GROUP = """
world.group("shelter", Limits(pids_max=20))
ex.bomb.start()
"""

_LIMIT_OF_ONE = """
shelter = world.group("shelter", Limits(pids_max=1))
shelter.add(ex.bomb.pid)
ex.bomb.start()
"""

_TOO_LATE = """
shelter = world.group("shelter")
shelter.add(ex.bomb.pid)
ex.bomb.start()
until(lambda: shelter.statistics().pids_current > 10)
shelter.set(Limits(pids_max=5))
"""

_KILLED_BY_HAND = """
shelter = world.group("shelter", Limits(pids_max=200))
shelter.add(ex.bomb.pid)
ex.bomb.start()
shelter.kill()
"""

_LIMIT_TOO_HIGH = """
shelter = world.group("shelter", Limits(pids_max=100))
shelter.add(ex.bomb.pid)
ex.bomb.start()
"""

_WEIGHT = """
half = world.group("half", Limits(cpu_weight=50))
half.add(ex.job.pid)
ex.job.start()
answer = "throttled"
"""

_QUOTA_ON_AN_EMPTY_GROUP = """
half = world.group("half", Limits(cpu_max=0.5))
ex.job.start()
answer = "throttled"
"""

_A_RIVAL = """
pin = Limits(cpus="0", cpu_weight=100)
mine, other = world.group("mine", pin), world.group("other", pin)
mine.add(ex.job.pid)
rival = Work(world, "rival", "burn", group=other, seconds=60).start()
ex.job.start()
answer = "throttled"
"""

_A_FIFTH = """
half = world.group("half", Limits(cpu_max=0.2))
half.add(ex.job.pid)
ex.job.start()
answer = "throttled"
"""

_WRONG_COUNTER = """
half = world.group("half", Limits(cpu_max=0.5))
half.add(ex.job.pid)
ex.job.start()
answer = "cpu_usage_us"
"""

_NO_COUNTER = _WRONG_COUNTER.replace("cpu_usage_us", "nr_periods")

_RAISED_THE_LIMIT = """
ex.shared.set(Limits(memory_max=180 << 20))
ex.leak()
"""

_SPARED_BY_SCORE = """
with open(f"/proc/{ex.leaker.pid}/oom_score_adj", "w") as file:
    file.write("1000")
ex.leak()
"""

_ENDED_BY_HAND = """
import os
cage = world.group("cage", Limits(memory_max=200 << 20))
cage.add(ex.leaker.pid)
ex.leaker.start()
os.kill(ex.leaker.program_pid, 9)
ex.leaker.wait()
"""

_QUOTAS = """
for work, part in ((ex.a, 0.75), (ex.b, 0.25)):
    world.group(work.name, Limits(cpus="0", cpu_max=part)).add(work.pid)
    work.start()
"""

_TWO_CPUS = """
for work, weight in ((ex.a, 300), (ex.b, 100)):
    world.group(work.name, Limits(cpu_weight=weight)).add(work.pid)
    work.start()
"""

_NICE = """
import os
for work, value in ((ex.a, 0), (ex.b, 5)):
    world.group(work.name, Limits(cpus="0", cpu_weight=100)).add(work.pid)
    work.start()
    os.setpriority(os.PRIO_PROCESS, work.program_pid, value)
"""

_ONE_GROUP = """
both = world.group("both", Limits(cpus="0", cpu_weight=300))
for work in (ex.a, ex.b):
    both.add(work.pid)
    work.start()
"""

_SIGSTOP = """
import os, signal
for pid in ex.group.pids():
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        pass
ex.look()
ex.group.kill()
"""

_KILL_ONE_BY_ONE = """
import os, time
ex.group.freeze()
ex.look()
ex.group.thaw()
pids = ex.group.pids()
time.sleep(0.2)
for pid in pids:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        pass
"""

WRONG = {
    "03.1": [
        (_NO_LIMIT, "the bomb runs in init, and nothing limits it there"),
        (_LIMIT_ON_AN_EMPTY_GROUP, "pids_max is set in shelter, but the bomb runs in init"),
        (_LIMIT_OF_ONE, "it could never start, its starter alone fills a pids_max of 1"),
        (_TOO_LATE, "the limit of 5 came too late"),
        (_KILLED_BY_HAND, "the bomb is gone, but it was never refused"),
        (_LIMIT_TOO_HIGH, "in a group that may hold 100"),
    ],
    "03.2": [
        ("answer = 'throttled'", "the job is not started"),
        (_WEIGHT, "there is no ceiling: alone on its CPU, the job used"),
        (_QUOTA_ON_AN_EMPTY_GROUP, "a ceiling is set in half, which was throttled 0 times, but"),
        (_A_RIVAL, "but nothing throttled it: it has a rival"),
        (_A_FIFTH, "the ceiling of half is 0.2 CPUs"),
        (_WRONG_COUNTER, "cpu_usage_us does not tell whether it was cut short"),
        (_NO_COUNTER, "there is no counter 'nr_periods' in group.statistics(); there are memory_"),
    ],
    "03.3": [
        ("ex.leak()", "the database was killed: it held the most memory in the leaker's group"),
        (_RAISED_THE_LIMIT, "the leaker got all it wanted and ended by itself"),
        (_SPARED_BY_SCORE, "the database is alive, but still shares the leaker's limit"),
        (_ENDED_BY_HAND, "SIGKILL came from a process and not from the kernel"),
    ],
    "03.4": [
        (_QUOTAS, "alone share_a would still be capped at 0.75 CPUs"),
        (_TWO_CPUS, "they do not have to share one"),
        (_NICE, "times what b gets, with weights 100 and 100"),
        (_ONE_GROUP, "both are in both: weights are between groups, not inside one"),
    ],
    "03.5": [
        (_SIGSTOP, "processes were stopped by a signal, the group was not frozen"),
        (_KILL_ONE_BY_ONE, "processes are in the group, born while you were busy"),
        ("ex.group.freeze()\nex.look()", "the group is still frozen, with"),
        ("ex.look()\nex.group.kill()", "when you looked, the group was not frozen"),
        ("ex.group.kill()", "0 processes are in the group; ex.reset() gives a fresh crowd"),
    ],
}
