#!/bin/sh
# image.sh DIR SUITE MIRROR [BACKPORT...]: a root file system for hosts: systemd, sshd, PAM, sudo, cron, at, cloud-init.
# The packages after MIRROR are taken from the suite's backports.  All that is installed starts masked or on demand.
set -eu
dir=$1 suite=$2 mirror=$3
shift 3

inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$dir" "$@"; }

debootstrap --variant=minbase \
    --include=at,ca-certificates,cron,dbus,iproute2,netbase,openssh-server,procps,python3,sudo,systemd-sysv,tmux,udev \
    "$suite" "$dir" "$mirror"
printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
chmod 755 "$dir/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$dir/etc/resolv.conf"
printf 'deb %s %s main\ndeb %s %s-backports main\n' "$mirror" "$suite" "$mirror" "$suite" >"$dir/etc/apt/sources.list"
inside apt-get update -q
# by apt itself: debootstrap orders these wrongly, and does not find what trixie's cloud-init needs
inside apt-get install -y -q --no-install-recommends cloud-init dbus-user-session libnss-myhostname libpam-systemd
[ $# = 0 ] || inside apt-get install -y -q --no-install-recommends -t "$suite-backports" "$@"
inside apt-get clean
rm -rf "$dir/var/lib/apt/lists" "$dir/usr/sbin/policy-rc.d" "$dir/etc/resolv.conf" "$dir/etc/hostname"
rm -f "$dir"/etc/ssh/ssh_host_*
: >"$dir/etc/machine-id"
: >"$dir/etc/fstab"

for unit in networking.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
    ln -sf /dev/null "$dir/etc/systemd/system/$unit"
done

cat >"$dir/etc/cloud/cloud.cfg.d/99-lab.cfg" <<'END'
datasource_list: [ConfigDrive, OpenStack, None]
network: {config: disabled}
locale: false
resize_rootfs: false
growpart: {mode: "off"}
ssh_genkeytypes: [ed25519, ecdsa]
END

# A host without a drive has no cloud-init that makes its keys.
mkdir -p "$dir/etc/systemd/system/ssh.service.d"
cat >"$dir/etc/systemd/system/ssh.service.d/lab.conf" <<'END'
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'for t in ed25519 ecdsa; do f=/etc/ssh/ssh_host_$${t}_key; [ -e $$f ] || ssh-keygen -q -N "" -t $$t -f $$f; done'
ExecStartPre=/usr/sbin/sshd -t
END
