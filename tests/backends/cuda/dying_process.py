"""In place of the process that compiles kernels: one that is killed while it has a request."""

import os
import pickle
import signal
import sys

if __name__ == "__main__":
    pickle.load(sys.stdin.buffer)
    os.kill(os.getpid(), signal.SIGKILL)
