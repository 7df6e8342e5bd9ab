#!/bin/sh
# Builds the client, the publisher and the C servers beside their sources.
set -e
cd "$(dirname "$0")"
for program in client publish servers/climit servers/bridge; do
  "${CC:-gcc}" -O2 -o "$program" "$program.c" -lz
done
