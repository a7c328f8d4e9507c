# shellcheck shell=bash
# What DevStack has for plugins, as much as Tatu's needs, for a cloud that runs already and is not DevStack's.
# The caller sets DevStack's variables, and FAKE, a folder to keep things in.

set -o errexit

sudo() { "$@"; }
echo_summary() { echo "$*"; }
die() {
    shift
    echo "$*" >&2
    exit 1
}
enable_service() { ENABLED_SERVICES+=",${*// /,}"; }
is_service_enabled() { [[ ,${ENABLED_SERVICES// /,}, == *,$1,* ]]; }
get_python_exec_prefix() { dirname "$PYTHON"; }
async_wait() { echo "waited for $1" >>"$FAKE/calls"; }
setup_develop() { echo "installed $*" >>"$FAKE/calls"; }
get_transport_url() { echo "$TRANSPORT_URL"; }
iniset_rpc_backend() { iniset "$2" "$3" transport_url "$(get_transport_url)"; }

trueorfalse() {
    case ${!2:-} in
    True | true | 1) echo True ;;
    False | false | 0) echo False ;;
    *) echo "$1" ;;
    esac
}

iniget() {
    awk -v section="[$2]" -v option="$3" '
        /^\[/ { inside = $0 == section }
        inside && $1 == option { sub(/^[^=]*= */, ""); print; exit }
    ' "$1"
}

iniset() {
    touch "$1"
    awk -v section="[$2]" -v option="$3" -v value="$4" '
        function put() { print option " = " value; done = 1 }
        /^\[/ { inside = $0 == section }
        inside && $1 == option { next }
        { print }
        $0 == section && !done { put() }
        END { if (!done) { print section; put() } }
    ' "$1" >"$1.new"
    cat "$1.new" >"$1" # its mode stays
    rm "$1.new"
}

run_process() {
    # shellcheck disable=SC2086  # a command line, which DevStack gives to systemd
    setsid $2 >"$FAKE/$1.log" 2>&1 &
    echo $! >"$FAKE/$1.pid"
}

stop_process() {
    local pid
    pid=$(cat "$FAKE/$1.pid")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

wait_for_service() {
    local until=$((SECONDS + $1))
    until curl --silent --fail --output /dev/null "$2"; do
        ((SECONDS < until)) || return 1
        sleep 0.1
    done
}
