#!/bin/sh
# rollback.sh HOST restart|reload: back to the folder before the current one.
set -eu
ssh "$1" "
  set -e
  cd /srv/shop/releases
  now=\$(basename \$(readlink /srv/shop/current))
  before=\$(ls -1 | grep -B1 -x \$now | head -1)
  ln -s releases/\$before /srv/shop/current.new
  mv -T /srv/shop/current.new /srv/shop/current
  sudo systemctl $2 shop
"
