#!/bin/sh
# vm.sh DIR IMAGE: what a virtual machine of an image for hosts boots from: DIR/disk, DIR/vmlinuz, DIR/initrd.
set -eu
dir=$1 image=$2
tree=$dir/tree

inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$tree" "$@"; }

mkdir "$dir"
cp -a "$image" "$tree"
printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$tree/etc/resolv.conf"
mount -t proc proc "$tree/proc"
inside apt-get update -q
inside apt-get install -y -q --no-install-recommends initramfs-tools linux-image-cloud-amd64
inside apt-get clean
umount "$tree/proc"
rm -rf "$tree/var/lib/apt/lists" "$tree/usr/sbin/policy-rc.d" "$tree/etc/resolv.conf"

# cloud-init is given the network by the drive, as in a cloud
sed -i '/^network:/d' "$tree/etc/cloud/cloud.cfg.d/99-lab.cfg"
rm "$tree/etc/systemd/system/systemd-networkd.service"
inside systemctl enable systemd-networkd
printf '/dev/vda / ext4 defaults 0 1\n' >"$tree/etc/fstab"

cp "$tree"/boot/vmlinuz-* "$dir/vmlinuz"
cp "$tree"/boot/initrd.img-* "$dir/initrd"
mkfs.ext4 -q -L root -d "$tree" "$dir/disk" 1500M
rm -rf "$tree"
