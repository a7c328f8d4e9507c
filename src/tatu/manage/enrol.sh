#!/bin/sh
# Installs the agent that enrols this instance with Tatu, and keeps its sshd in step.
# Written by `tatu-manage vendordata static`; run once by cloud-init, when host keys are made.
set -eu
umask 022
program=/usr/lib/tatu-agent/tatu-agent
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() {
    python=$(command -v python3 || echo /usr/libexec/platform-python)
    # in bounded time and size: what answers may drip, or have no end
    timeout 120 "$python" -IS -c '
import base64, json, ssl, sys, urllib.request
limit = 4 * 2**20
context = ssl.create_default_context(cafile=sys.argv[2] or None)
with urllib.request.urlopen(sys.argv[1], timeout=30, context=context) as answer:
    agent = answer.read(limit + 1)
if len(agent) > limit:
    sys.exit(f"the agent is over {limit} bytes")
if sys.argv[3]:
    agent = base64.b64decode(json.loads(agent)["body"])
sys.stdout.buffer.write(agent)
' "$1" "$CA_FILE" "$IS_CARRIED" >"$work/agent"
}

fetched=
for pause in 0 1 2 5 10 20 30 60 120 300; do
    sleep "$pause"
    if fetch "$AGENT_URL"; then
        fetched=yes
        break
    fi
done
[ -n "$fetched" ]
# Whoever answered: only the very file that the operator named is run
echo "$AGENT_SHA256  $work/agent" | sha256sum -c - >/dev/null
mkdir -p "${program%/*}"
install -m 0755 "$work/agent" "$program"
# shellcheck disable=SC2086 # options are words
"$program" setup --platform $OPTIONS
