#!/usr/bin/env python3
"""Negative control: the client must see what is wrong.

Publishes 1,000 messages with a hole of 10 and 5 repeats through the C relay to 10 readers, and checks what they report.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from run import HERE, build, free_port, private_redis, stop, wait_listen

READERS = 10
PUBLISHED = ((0, 500), (510, 485), (0, 5), (995, 5))
"""First number and how many, one after the other."""


def main() -> int:
    """Return 0 if the client saw all of it."""
    build()
    port = free_port()
    with private_redis() as (redis_port, _):
        relay = subprocess.Popen(
            [f"{HERE}/servers/climit", str(port), str(redis_port), "batch"], start_new_session=True
        )
        try:
            wait_listen(port, "/ws", relay)
            words = ["--port", str(port), "--n", str(READERS), "--expect", "1000", "--idle-ms", "1500"]
            with subprocess.Popen([f"{HERE}/client", *words], stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                client.stdout.readline()
                for first, count in PUBLISHED:
                    publish = [f"{HERE}/publish", "--redis-port", str(redis_port), "--seq0", str(first)]
                    subprocess.run([*publish, "--n", str(count)], stdout=subprocess.DEVNULL, check=True)
                    time.sleep(0.1)
                seen = json.loads(client.stdout.readline())
        finally:
            stop(relay)
    expected = {"gaps": 10 * READERS, "out_of_order": 5 * READERS, "deliveries": 995 * READERS}
    found = {name: seen[name] for name in expected}
    print("control ok:" if found == expected else f"control FAILED, expected {expected}:", found)
    return 0 if found == expected else 1


if __name__ == "__main__":
    sys.exit(main())
