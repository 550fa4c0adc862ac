#!/bin/sh
# Makes the passwords that compose.yaml names, once; what is there stays. The folder is its owner's alone; the files in
# it may be read by the users inside of the containers that get them.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
for name in postgres nats; do
  [ -s "secrets/$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name"
  chmod 444 "secrets/$name"
done
password=$(cat secrets/nats)
{
  echo "MEUSE_PASSWORD=$password"
  for n in 1 2 3; do echo "MEUSE_ROUTE_$n=nats://route:$password@nats-$n:6222"; done
} > nats.env
