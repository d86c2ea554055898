#!/bin/sh
# tar.sh HOST TREE: everything in one stream, a folder for each release.
set -eu
host=$1 tree=$2 root=/srv/shop
release=$(date +%Y%m%d%H%M%S)
tar -C "$tree" -c . | zstd -q -T0 -3 | ssh "$host" "
  set -e
  mkdir $root/releases/$release
  zstd -qdc | tar -C $root/releases/$release -x
  ln -s releases/$release $root/current.new
  mv -T $root/current.new $root/current
  sudo systemctl restart shop
"
