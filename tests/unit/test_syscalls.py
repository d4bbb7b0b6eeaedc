"""The wrappers' own behaviour: argument passing and errors. What they do is in tests/kernel."""

import ctypes
import errno
import os

import pytest

from labkit.linux import constants, syscalls


def test_an_error_has_the_kernels_errno_and_names_the_path() -> None:
    with pytest.raises(FileNotFoundError, match="'/no/such/place'") as caught:
        syscalls.umount2("/no/such/place")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "/no/such/place"


def test_an_error_names_the_descriptor() -> None:
    with pytest.raises(OSError, match="'fd -1'") as caught:
        syscalls.setns(-1)
    assert caught.value.errno == errno.EBADF


def test_errno_zero_message_without_a_value() -> None:
    ctypes.set_errno(errno.EPERM)
    assert str(syscalls.oserror()) == "[Errno 1] Operation not permitted"


def test_integers_are_passed_in_64_bits() -> None:
    read, write = os.pipe()
    try:
        huge = 1 << 40  # as 32 bits it would be 0, and splice of 0 bytes succeeds
        with pytest.raises(OSError) as caught:
            syscalls.pidfd_open(huge)
        assert caught.value.errno in (errno.EINVAL, errno.ESRCH)
    finally:
        os.close(read)
        os.close(write)


def test_structures_have_the_kernels_sizes() -> None:
    assert ctypes.sizeof(syscalls.MountAttributes) == 32  # MOUNT_ATTR_SIZE_VER0
    assert ctypes.sizeof(syscalls.CloneArgs) == 88  # CLONE_ARGS_SIZE_VER2


def test_prctl_answers_with_the_value() -> None:
    assert syscalls.prctl(constants.Prctl.GET_NO_NEW_PRIVS) in (0, 1)


def test_a_pidfd_of_no_process_is_refused() -> None:
    with pytest.raises(ProcessLookupError):
        syscalls.pidfd_open(4_194_304)  # one above the largest pid there can be
