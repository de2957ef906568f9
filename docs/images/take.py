"""Take the pictures of the dashboard from the running demo: python docs/images/take.py [seconds that the demo runs before].

It needs playwright and Chromium, as the environment of ``tox -e browser`` has them; CHROMIUM names another Chromium.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "testproject" / "run_demo.py"

PICTURES = {"dashboard": "/admin/autotask/dashboard/", "admin": "/admin/autotask/taskrecord/"}


def main(seconds: float) -> None:
    """Start the demo, wait, and take the pictures."""
    demo = subprocess.Popen([sys.executable, "-u", str(DEMO)], stdout=subprocess.PIPE, text=True)
    try:
        url, user, password = _greeting(demo)
        # What the demo prints has to be read, or it would wait.
        reader = subprocess.Popen(["cat"], stdin=demo.stdout, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        _take(url, user, password)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait()
        reader.wait()


def _greeting(demo: "subprocess.Popen[str]") -> tuple[str, str, str]:
    for line in demo.stdout or ():
        if found := re.search(r"(http\S+)/admin/\s+user (\w+), password (\S+)", line):
            return found[1], found[2], found[3]
    raise SystemExit("The demo has not said where its admin is.")


def _take(url: str, user: str, password: str) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"{url}/admin/login/")
        page.fill("#id_username", user)
        page.fill("#id_password", password)
        page.click("[type=submit]")
        for name, address in PICTURES.items():
            page.goto(url + address)
            page.screenshot(path=HERE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120)
