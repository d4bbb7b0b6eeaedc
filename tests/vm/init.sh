#!/bin/busybox sh
# The first process of the test machine: set it up as systemd would, run the job, power off.
#   /dev/vda  the root   /dev/vdb  a tar: /job.sh and the repository   /dev/vdc  takes /results
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
export LANG=C.UTF-8 SHELL=/bin/bash

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid devtmpfs /dev
mkdir -p /dev/pts /dev/shm /results
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mount --make-rshared /
ln -s /proc/self/fd /dev/fd
hostname labkit-vm
ip link set lo up
stty -onlcr 2>/dev/null

tar -xf /dev/vdb -C / && sh /job.sh
tar -cf /dev/vdc -C / results
sync
poweroff -f
