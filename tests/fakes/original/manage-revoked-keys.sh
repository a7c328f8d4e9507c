#!/bin/bash
# What a machine of the original does each minute, under ROOT instead of /.
set -u
answer=$(curl -s -w "%{http_code}" "$(cat "$ROOT/api_endpoint")/noauth/revokeduserkeys/$(cat "$ROOT/auth_id")")
status=${answer##*\}}
[ "$status" = 200 ] || { echo "status $status of $answer"; exit 1; }
grep -Po 'revoked_keys_data": "\K[^"]*' <<< "$answer" | base64 -d > "$ROOT/etc/ssh/revoked-keys"
