#!/bin/sh
# Entry point of the container: secrets are files there, settings of the relay are in the environment.
set -eu
secrets=${CODEWORM_MONITOR_SECRETS:-/run/secrets}
if [ -e "$secrets/codeworm_monitor_token" ]; then
  CODEWORM_MONITOR_TOKEN=$(cat "$secrets/codeworm_monitor_token")
  export CODEWORM_MONITOR_TOKEN
fi
if [ -e "$secrets/codeworm_monitor_redis_url" ]; then
  CODEWORM_MONITOR_REDIS_URL=$(cat "$secrets/codeworm_monitor_redis_url")
  export CODEWORM_MONITOR_REDIS_URL
fi
exec python -P -m codeworm_monitor "$@"
