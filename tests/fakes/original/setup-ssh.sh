#!/bin/bash
# What a machine of the original does once, at its first boot, under ROOT instead of /.
# Its ways of cutting answers up are the point: every byte of them is relied upon.
set -u
drive=$ROOT/mnt/config/openstack/latest
ssh=$ROOT/etc/ssh

auth_id=$(grep -Po 'project_id": "\K[^"]*' "$drive/meta_data.json")
host_id=$(grep -Po 'uuid": "\K[^"]*' "$drive/meta_data.json")
[ -n "$auth_id" ] || exit 1

text() { grep -Po "\"$1\": \"\K[^\"]*" "$drive/vendor_data2.json"; }
word() { grep -Po "\"$1\": \K[^,]*" "$drive/vendor_data2.json"; }
token=$(text token)
[ -n "$token" ] || exit 1
pam_sudo=$(word pam_sudo | tr '[:upper:]' '[:lower:]')
text auth_pub_key_user > "$ssh/ca_user.pub"
users=$(text users)
sudoers=$(text sudoers)
ssh_port=$(word ssh_port)
api_endpoint=$(text api_endpoint)

request=$ROOT/tmp/tatu_cert_request.json
printf '{"token_id": "%s", "host_id": "%s", "pub_key": "%s"}' \
    "$token" "$host_id" "$(cat "$ssh/ssh_host_rsa_key.pub")" > "$request"
answer=$(curl -s -w "%{http_code}" -d "@$request" -X POST "$api_endpoint/noauth/hostcerts")
status=${answer##*\}}
[ "$status" = 200 ] || { echo "status $status of $answer"; exit 1; }
cert=$(grep -Po 'cert": "\K[^"]*' <<< "$answer")
printf '%s\n' "${cert%\\n}" > "$ssh/ssh_host_rsa_key-cert.pub"

mkdir -p "$ssh/auth_principals"
: > "$ssh/revoked-keys"
cat > "$ROOT/facts" <<END
auth_id=$auth_id
pam_sudo=$pam_sudo
ssh_port=$ssh_port
users=$users
sudoers=$sudoers
END
printf '%s\n' "$api_endpoint" > "$ROOT/api_endpoint"
printf '%s\n' "$auth_id" > "$ROOT/auth_id"
