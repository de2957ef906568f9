"""A child process that never begins."""

import time

if __name__ == "__main__":
    time.sleep(60)
