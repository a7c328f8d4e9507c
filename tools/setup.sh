#!/bin/sh
# Sets up all that the project's commands need, and only what is missing: uv, the locked environment in
# .venv, and for the words "sshd", "databases" Debian's packages (as root; otherwise it says what to install).
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

for part in "$@"; do
    case $part in
    sshd) [ -x /usr/sbin/sshd ] || install_packages openssh-server openssh-client ;;
    databases)
        [ -x /usr/sbin/mariadbd ] || install_packages mariadb-server
        ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || install_packages postgresql
        ;;
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

# The environment is ready when it was made from this lock.
stamp=.venv/.made-from
want=$(cat requirements.lock pyproject.toml tools/setup.sh | sha256sum)
[ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && exit 0

"$python" -c 'import venv, ensurepip' 2>/dev/null || install_packages python3-venv
if [ ! -x .cache/uv/bin/uv ]; then
    say "setting up uv"
    "$python" -m venv .cache/uv
    .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.9'
fi
say "setting up the environment in .venv"
uv=.cache/uv/bin/uv
[ -x .venv/bin/python ] || $uv venv --quiet --python "$(command -v "$python")" .venv
export VIRTUAL_ENV="$PWD/.venv"
$uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
$uv pip install --quiet --no-deps --no-build-isolation --editable .
.venv/bin/python -m compileall -q src
printf '%s\n' "$want" >"$stamp"
