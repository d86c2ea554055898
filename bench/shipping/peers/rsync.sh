#!/bin/sh
# rsync.sh HOST TREE: a folder for each release, hard links for what has not changed.
set -eu
host=$1 tree=$2 root=/srv/shop
release=$(date +%Y%m%d%H%M%S)
rsync -a --link-dest=$root/current/ "$tree/" "$host:$root/releases/$release/"
ssh "$host" "
  ln -s releases/$release $root/current.new
  mv -T $root/current.new $root/current
  sudo systemctl reload-or-restart shop
"
