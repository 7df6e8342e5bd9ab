"""A program that stands in for the relay in a unit: it says, as JSON, what it was given."""

import json
import os
import sys

if __name__ == "__main__":
    print(json.dumps({"arguments": sys.argv[1:], "url": os.environ.get("CODEWORM_MONITOR_REDIS_URL")}))
