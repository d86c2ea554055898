#!/bin/sh
# uv.sh HOST: the commit's files, and a virtualenv for each release that uv makes on the host.
set -eu
host=$1 root=/srv/shop
release=$(date +%Y%m%d%H%M%S)
git archive HEAD | ssh "$host" "
  mkdir -p $root/releases/$release/app && tar -x -C $root/releases/$release/app
"
ssh "$host" "
  set -e
  cd $root/releases/$release
  uv venv -q --python /usr/bin/python3.11 venv
  uv pip sync -q --compile-bytecode --python venv app/requirements.txt
  set -a; . /etc/shop.env
  (cd app && ../venv/bin/python manage.py collectstatic --noinput >/dev/null)
  ln -s releases/$release $root/current.new
  mv -T $root/current.new $root/current
  sudo systemctl restart shop
"
