"""A process whose client has a server that does not answer; it says how long opening took."""

import base64
import json
import os
import sys
import time
from pathlib import Path

from functorch_artifact.tracking import ClearML, MLflow, Neptune, WandB, extras
from tests.conformance import conftest as conftest  # its environment
from tests.conformance.material import run_info

CLIENTS = {
    "MLflow (server)": lambda address: MLflow(tracking_uri=address),
    "ClearML (offline)": lambda address: ClearML(),
    "Neptune (offline)": lambda address: Neptune(mode="async"),
    "WandB (offline)": lambda address: WandB(mode="online"),
}

if __name__ == "__main__":
    name, address = sys.argv[1:]
    token = base64.b64encode(json.dumps({"api_address": address, "api_url": address, "api_key": "key"}).encode())
    os.environ |= {
        "CLEARML_API_HOST": address,
        "CLEARML_WEB_HOST": address,
        "CLEARML_FILES_HOST": address,
        "CLEARML_API_ACCESS_KEY": "a" * 20,
        "CLEARML_API_SECRET_KEY": "b" * 40,
        "NEPTUNE_API_TOKEN": token.decode(),
        "WANDB_BASE_URL": address,
        "WANDB_API_KEY": "c" * 40,
    }
    client = CLIENTS[name](address)
    extras.load(type(client).__name__.lower(), "")  # importing is not counted
    began = time.monotonic()
    try:
        client.open(run_info(Path.cwd()))
    except Exception:
        print(time.monotonic() - began)
