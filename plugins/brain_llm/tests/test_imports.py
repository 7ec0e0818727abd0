"""What is not needed is not imported: by `import brain_llm`, by `brain --help`, and by a step that is only loaded."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROVIDERS = {"pydantic_ai", "openai", "anthropic", "httpx", "httpx2", "jsonschema", "genai_prices", "tiktoken"}
REPORT = (
    "import atexit, json, sys; atexit.register(lambda: sys.stderr.write(chr(10) + json.dumps(sorted(sys.modules))));"
)
FLOW = """
from pydantic import BaseModel
from brain_core import Workflow
from brain_llm import LLMStep
class A(BaseModel):
    n: int
workflow = Workflow(name="asks", steps=[LLMStep(name="ask", prompt="Say hello.", output=A)])
"""


def _modules(code: str, folder) -> set[str]:
    done = subprocess.run([sys.executable, "-c", REPORT + code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rstrip().rpartition("\n")[2]))


def test_the_package_imports_nothing(tmp_path):
    loaded = _modules("import brain_llm", tmp_path)
    assert not loaded & (PROVIDERS | {"pydantic", "brain_core", "asyncio"})


def test_the_plugin_module_imports_nothing_heavy(tmp_path):
    loaded = _modules("import brain_llm.plugin", tmp_path)
    assert not loaded & (PROVIDERS | {"pydantic", "typer", "asyncio", "brain_llm.step"})


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"], ["llm", "--help"]], ids=" ".join)
def test_commands_import_no_library_of_a_provider(tmp_path, arguments):
    code = f"import sys; from brain_core.cli.main import main; sys.exit(main({arguments!r}))"
    loaded = _modules(code, tmp_path)
    assert not loaded & PROVIDERS
    # For help its module is only read, never imported.
    assert ("brain_llm.plugin" in loaded) == (arguments != ["--help"])


def test_help_names_the_command_and_stays_cheap(tmp_path):
    code = "import sys; from brain_core.cli.main import main; sys.exit(main(['--help']))"
    # What `tests/house/test_imports.py` asks of `brain --help` holds with this plugin, too.
    assert not _modules(code, tmp_path) & {"asyncio", "asyncpg", "pydantic", "pydantic_settings", "rich", "ssl"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "  llm  " in done.stdout


def test_loading_a_file_imports_no_library_of_a_provider(tmp_path):
    (tmp_path / "asks.py").write_text(FLOW)
    code = "import sys; from brain_core.cli.main import main; sys.exit(main(['run', 'asks.py', '--dry-run']))"
    assert not _modules(code, tmp_path) & (PROVIDERS - {"jsonschema"})
