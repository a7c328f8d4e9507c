#!/bin/sh
# Sets up all that the project's commands need, and only what is missing: uv, the locked environment in
# .venv, and for the words "sshd", "databases", "dns", "hosts", "qemu" Debian's packages (as root; otherwise it says what to install),
# for "openstack" also the services of its release in .cache/openstack.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

policy=/usr/sbin/policy-rc.d

have_package() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_packages() {
    missing=""
    for package in "$@"; do have_package "$package" || missing="$missing $package"; done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "missing:$missing. Install with: sudo apt-get install$missing"
        exit 1
    fi
    say "installing$missing"
    # No service may start by itself: a policy that says no, until this script ends.
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    }
}

openstack=""
for part in "$@"; do
    case $part in
    sshd) [ -x /usr/sbin/sshd ] || install_packages openssh-server openssh-client ;;
    databases)
        [ -x /usr/sbin/mariadbd ] || install_packages mariadb-server
        ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || install_packages postgresql
        ;;
    openstack)
        openstack=yes
        [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || install_packages rabbitmq-server
        [ -x /usr/sbin/mariadbd ] || install_packages mariadb-server
        ;;
    dns) [ -x /usr/sbin/named ] || install_packages bind9 bind9-utils ;;
    hosts) install_packages debootstrap haproxy iproute2 nginx-light openssh-client systemd-container util-linux ;;
    qemu) install_packages e2fsprogs qemu-system-x86 qemu-utils xorriso ;;
    shellcheck) command -v shellcheck >/dev/null || install_packages shellcheck ;;
    *) say "setup.sh: unknown part: $part"; exit 2 ;;
    esac
done

python=""
for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    install_packages python3
    python=python3
fi

get_uv() {
    uv=.cache/uv/bin/uv
    [ -x $uv ] && return 0
    "$python" -c 'import venv, ensurepip' 2>/dev/null || install_packages python3-venv
    say "setting up uv"
    "$python" -m venv .cache/uv
    .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'
}

# An environment is ready when it was made from this lock.
stamp=.venv/.made-from
want=$(cat requirements.lock pyproject.toml tools/setup.sh | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    get_uv
    say "setting up the environment in .venv"
    [ -x .venv/bin/python ] || $uv venv --quiet --python "$(command -v "$python")" .venv
    VIRTUAL_ENV="$PWD/.venv" $uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
    VIRTUAL_ENV="$PWD/.venv" $uv pip install --quiet --no-deps --no-build-isolation --editable .
    .venv/bin/python -m compileall -q src
    printf '%s\n' "$want" >"$stamp"
fi

[ -n "$openstack" ] || exit 0
pins=tests/lab/openstack/constraints.txt
stamp=.cache/openstack/.made-from
want=$(sha256sum <$pins)
[ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && exit 0
get_uv
# uwsgi is compiled
headers='import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
command -v cc >/dev/null || install_packages gcc libc6-dev
"$python" -c "$headers" || install_packages python3-dev
say "setting up OpenStack in .cache/openstack"
[ -x .cache/openstack/bin/python ] || $uv venv --quiet --python "$(command -v "$python")" .cache/openstack
VIRTUAL_ENV="$PWD/.cache/openstack" $uv pip sync --quiet --compile-bytecode $pins
printf '%s\n' "$want" >"$stamp"
