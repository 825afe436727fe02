#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing need from the distribution, and only what is missing.
set -eu
packages="gcc make pkg-config libh2o-evloop-dev libhiredis-dev libyaml-dev libcurl4-openssl-dev libjansson-dev libssl-dev
libxxhash-dev libsystemd-dev libcmocka-dev python3 redis-server nginx haproxy webdis wrk openssl cppcheck
clang-format-14 curl nodejs spin etcd-server etcd-client iproute2 iptables"
missing=
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
as_root=
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
# Packages of servers start them at once where a policy does not forbid it; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod +x $policy
    trap '$as_root rm -f $policy' EXIT
fi
install() { $as_root apt-get install -y -q --no-install-recommends $missing >/dev/null; }
install 2>/dev/null || { $as_root apt-get update -q >/dev/null; install; }
