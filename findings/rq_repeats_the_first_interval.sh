#!/bin/sh
# RQ 3.0.0: the delays of a job that has more retries than intervals.
#
# Belief: Retry(max=3, interval=[1, 8]) waits 1, 8 and again 8 seconds: a list of delays that is used up goes on with its last one,
# as a list does for backoff= here.
# Seen: it waits 1, 1 and 8 seconds. The list is read from its end, and the first delay is repeated before the others. So
# whoever moves to autotask writes backoff=[1, 1, 8]. (And only a worker with --with-scheduler runs a job again after a delay.)
# Needs the program redis-server. Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/redis.pid") 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet rq==3.0.0 redis
port=$(venv/bin/python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --save '' --daemonize yes --pidfile "$folder/redis.pid" >redis.log
cat >work.py <<'PYTHON'
import time


def fail():
    with open("times", "a") as file:
        print(time.time(), file=file)
    raise ValueError("no")
PYTHON
export PYTHONPATH="$folder" REDIS="redis://127.0.0.1:$port/0"
venv/bin/python - <<'PYTHON'
import os
import subprocess
import sys
import time
from importlib.metadata import version

import work
from redis import Redis
from rq import Queue, Retry

print("rq", version("rq"), "redis", Redis.from_url(os.environ["REDIS"]).info("server")["redis_version"])
Queue(connection=Redis.from_url(os.environ["REDIS"])).enqueue(work.fail, retry=Retry(max=3, interval=[1, 8]))
command = [f"{os.path.dirname(sys.executable)}/rq", "worker", "--with-scheduler", "--quiet", "--url", os.environ["REDIS"]]
worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    times = []
    deadline = time.monotonic() + 60
    while len(times) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
        times = [float(line) for line in open("times")] if os.path.exists("times") else []
finally:
    worker.terminate()
    worker.wait()
waits = [second - first for first, second in zip(times, times[1:])]
print("waits of Retry(max=3, interval=[1, 8]):", ", ".join(f"{wait:.1f} s" for wait in waits))
right = len(waits) == 3 and waits[1] < 8 <= waits[2] + 0.5
print("belief:", "wrong" if right else "right after all")
sys.exit(0 if right else 1)
PYTHON
