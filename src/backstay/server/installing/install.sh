#!/bin/sh
# Installs the Backstay agent from its server: downloads it, checks it, enrols this machine, starts the service.
# Usage: install.sh [TOKEN [NAME]], as root. It can be run again: to renew the agent, or to enrol anew.
set -eu

server=@@SERVER@@
package=@@PACKAGE@@
name=@@NAME@@
digest=@@DIGEST@@
token=${1:-}
called=${2:-}
target=${BACKSTAY_TARGET:-/opt/backstay}

fail() { echo "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail 'Run this as root: the agent reads every file.'
python=
for one in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$one" >/dev/null && "$one" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    then python=$one; break; fi
done
[ -n "$python" ] || fail 'The agent needs Python 3.11 or newer, with its module venv (package python3-venv).'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
echo "Downloading the agent from $server ..."
# Whoever answers: what comes is used only if it has the digest.
curl -fsSk -o "$folder/$name" "$package" || fail 'The agent could not be downloaded; the line above says why.'
echo "$digest  $folder/$name" | sha256sum -c --status ||
    fail "The download does not have the SHA-256 $digest; nothing was installed."

[ -x "$target/bin/python" ] || "$python" -m venv "$target"
"$target/bin/python" -m pip install -q --disable-pip-version-check --force-reinstall --no-deps "$folder/$name"
"$target/bin/python" -m pip install -q --disable-pip-version-check "$folder/$name[agent]"
if [ -n "$token" ]; then
    if [ -n "$called" ]; then "$target/bin/backstay" agent enrol "$server" "$token" --again --name "$called"
    else "$target/bin/backstay" agent enrol "$server" "$token" --again; fi
fi
if [ -d /run/systemd/system ]; then
    "$target/bin/backstay" agent install
    systemctl restart backstay-agent
    echo 'The agent runs as the service backstay-agent. Its messages: journalctl -u backstay-agent'
else
    echo "There is no systemd here: start the agent in your own way, as $target/bin/backstay agent run"
fi
