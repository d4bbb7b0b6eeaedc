"""Layer 0: the kernel's interface and nothing of ours.

syscalls and constants speak the man pages' names; procfs reads /proc; capabilities, seccomp, bpf
and rtnetlink build the binary structures that the kernel takes. Standard library only.
"""
