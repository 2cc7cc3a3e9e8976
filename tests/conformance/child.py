"""A process that logs a run, epoch by epoch, and says when each has been taken, until it is killed."""

import sys
from pathlib import Path

from tests.conformance import conftest as conftest  # its environment
from tests.conformance import subjects
from tests.conformance.material import epochs, run_info

if __name__ == "__main__":
    subject = getattr(subjects, sys.argv[1])(Path(sys.argv[2]))
    client = subject.client()
    client.open(run_info(subject.root, sys.argv[3]))
    for batch in epochs(40):
        print("next", flush=True)
        client.log(batch)
    print("done", flush=True)
    client.close()
