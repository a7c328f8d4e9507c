#!/bin/sh
# The PAM session hook: writes down which certificate opened a session of a managed account.
#
# It stands alone, and is no Python, since every login of such an account waits for it:
#
#     session required pam_exec.so seteuid quiet type=open_session /bin/sh THIS FOLDER
#
# first in sshd's file, behind what gives the process its audit session. Any failure refuses the
# session: one without a record could not be ended. There is no hook for the close: by then a user's
# `~/.pam_environment` is in the environment, LD_PRELOAD too, and a forged SSH_AUTH_INFO_0.
set -ufC # what is not set ends this, nothing is a pattern, no file is replaced
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
folder=$1

refuse() {
    logger -t tatu-session -p authpriv.err -- "a session is refused: $1"
    exit 1
}

# What neither ends a JSON text nor escapes in one
plain() {
    case $1 in
    *[!A-Za-z0-9@._+/=:%-]*) return 1 ;;
    esac
}

number() {
    case $1 in
    '' | *[!0-9]*) return 1 ;;
    esac
}

# The one certificate that sshd let in, of this connection's making: sshd itself puts it into PAM's
# environment, while SSH_USER_AUTH names a file that the user owns
shown=${SSH_AUTH_INFO_0-}
shown=${shown%"
"}
line=${shown#publickey }
case $shown in
"publickey "*-cert-v01@openssh.com\ *) ;;
*) refuse "sshd names no certificate" ;;
esac
plain "${line%% *}${line#* }" || refuse "sshd names no certificate"

session='' stat=''
read -r session <"/proc/$PPID/sessionid" # which has no end of a line
number "$session" || refuse "sshd's process cannot be read"
[ "$session" != 4294967295 ] || refuse "there is no audit session: pam_loginuid.so did not work"
read -r stat <"/proc/$PPID/stat"
# a process may be called `) S 1 (`: what follows the last bracket is the kernel's
# shellcheck disable=SC2086 # fields are words
set -- ${stat##*)}
number "${20-}" || refuse "sshd's process cannot be read"
started=${20}

account=${PAM_USER-} source=${PAM_RHOST-}
if [ -z "$account" ] || ! plain "$account"; then
    refuse "PAM names no account"
fi
plain "$source" || source=

[ -d "$folder" ] || mkdir -p "$folder" || refuse "there is no $folder"
# One in ten blocks and files stays free: /run is memory, and not only ours
# shellcheck disable=SC2046 # numbers are words
set -- $(stat -f -c '%a %b %d %c' "$folder") 0
if [ $# != 5 ] || [ $(($1 * 10)) -lt "$2" ] || [ $(($3 * 10)) -lt "$4" ]; then
    refuse "there is no room in $folder: does tatu-agent run?"
fi

at=$(date -u +%Y-%m-%dT%H:%M:%SZ) || refuse "there is no time"
record=$folder/$session
true >"$record" || refuse "its record is there already, or cannot be made"
# Nobody of this session runs yet: who reads it half-written finds no record, as before
printf '{"session": %s, "monitor": %s, "started": %s, "account": "%s", "certificate": "%s", "source": "%s", "at": "%s"}\n' \
    "$session" "$PPID" "$started" "$account" "$line" "$source" "$at" >>"$record" || {
    rm -f "$record"
    refuse "the record was not written whole: is $folder full?"
}
