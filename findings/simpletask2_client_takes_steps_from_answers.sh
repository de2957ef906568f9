#!/bin/sh
# django-simpletask2-server 0.1.1: which step of a task its client asks for next.
#
# Belief: the client counts the steps of a task by itself: after step 1 comes step 2. So a task whose first steps have ended, and
# whose former client died, can only begin at step 1 again.
# Seen: it always begins with step 1, but then asks for the step that "next_step" of the answer names, whatever that is. A server
# that keeps what steps have returned can answer step 1 from its records and send an unmodified client to the step that is due.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu

CLIENT=0.1.1 # of django-simpletask2-server

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "django-simpletask2-server==$CLIENT"
"$work/venv/bin/pip" list 2>/dev/null | grep -i -E "django-simpletask2-server|^requests "

cat >"$work/server.py" <<'PYTHON'
import http.server
import json
import pathlib
import subprocess
import sys
import threading

work = pathlib.Path(sys.argv[1])
offers, steps, finished = ["shop.order:7"], [], threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result = None
        if self.path.endswith("get_a_task"):
            result = offers.pop() if offers else None
        elif self.path.endswith("do_task"):
            steps.append(body["step"])
            more = body["step"] == 1
            result = {"continue_flag": more, "task_info": body["task_info"], "next_step": 5 if more else 6, "data": {}}
            if not more:
                finished.set()
        else:
            result = {}
        answer = json.dumps({"success": True, "result": result, "error": {"code": 0, "message": "OK"}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
config = {
    "server": f"http://127.0.0.1:{server.server_port}/",
    "aclkey": "a-key",
    "channels": "default",
    "task-pull-engine": "api",
    "threads": 1,
    "idle-sleep": 1,
    "pidfile": str(work / "client.pid"),
}
(work / "client.yml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in config.items()))
program = [str(work / "venv/bin/django-simpletask2-server"), "-c", str(work / "client.yml"), "--no-daemon", "start"]
with open(work / "log", "wb") as log:
    client = subprocess.Popen(program, stdout=log, stderr=log, cwd=work)
    finished.wait(30)
    client.kill()
    client.wait()
print(f"The answer to step 1 names step 5 as the next one: believed steps [1, 2], seen {steps}")
sys.exit(steps != [1, 5])
PYTHON
python3 "$work/server.py" "$work"
