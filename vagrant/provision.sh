#!/bin/sh
# Make the guest a labkit machine; runs as root in the guest, as often as one likes.
#
# It adds nothing to `make setup` but a service: the packages are those of scripts/packages.txt and
# uv.lock, and the learner's folder is never written over. The last thing it prints is the address.
set -eu

checkout="${LABKIT_CHECKOUT:-/opt/labkit}"
port="${LABKIT_PORT:-8888}"
token=/etc/labkit/token

# What a Vagrant box may lack and make setup needs to begin.
if ! command -v make >/dev/null || ! command -v python3 >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q install -y --no-install-recommends make python3
fi

# The first import of an uncompiled package is slow on an emulated processor.
export UV_COMPILE_BYTECODE=1
make -C "$checkout" setup

install -d -m 0700 /etc/labkit
if [ ! -s "$token" ]; then
    (umask 077 && python3 -c 'import secrets; print(secrets.token_urlsafe(24))' >"$token")
fi

install -d -m 0755 /srv/labkit-work
install -m 0644 "$checkout/vagrant/labkit-lab.service" /etc/systemd/system/labkit-lab.service
systemctl daemon-reload
systemctl enable --quiet labkit-lab.service
systemctl restart labkit-lab.service

# Wait until it answers: 403 without a token is an answer too.
python3 - <<'PYTHON'
import socket
import sys
import time

for _ in range(180):
    try:
        socket.create_connection(("127.0.0.1", 8888), timeout=1).close()
        sys.exit(0)
    except OSError:
        time.sleep(1)
sys.exit("labkit: JupyterLab does not answer; look at: journalctl -u labkit-lab")
PYTHON

echo "JupyterLab is ready. Open this address in a browser on your own machine:"
echo
echo "    http://127.0.0.1:$port/?token=$(cat "$token")"
