"""Die of the message "crash", hang on "hang", and print every other one."""

import os
import signal
import time

from pymule.sync import receive


def main() -> None:
    while True:
        # Done at the end of the block, and given back if the block raises.
        with receive("trouble") as message:
            text = message.body.decode(errors="replace")
            print(f"got {text!r}, attempt {message.attempt}")
            if text == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            if text == "hang":
                time.sleep(3600)
