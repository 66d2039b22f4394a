"""Nothing that data or a model directory says is run, and nothing of it goes to the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("toolprm_jax", "search", "train", "configs")
UNPICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
PROCESSES = {"subprocess", "pty", "commands", "runpy", "code", "codeop"}
NETWORK = {
    *("socket", "ssl", "urllib", "http", "requests", "httpx", "aiohttp", "ftplib", "smtplib"),
    *("huggingface_hub", "xmlrpc", "telnetlib"),
}
CALLS = {
    *("eval", "exec", "__import__", "os.system", "os.popen", "os.startfile"),
    *("yaml.load", "torch.load", "importlib.import_module", "spec.loader.exec_module"),
}
# The user's own program, by --config; and extras of this package, by a name that stands there.
ALLOWED = {
    ("train/main.py", "spec.loader.exec_module"),
    ("train/writers.py", "importlib.import_module"),
}
KEYWORDS = {("shell", True), ("allow_pickle", True), ("trust_remote_code", True)}


def name_of(node: ast.expr) -> str:
    """A dotted name, or ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".removeprefix(".")
    return ""


def dangers(source: str) -> Iterator[str]:
    """What a program could do on data's behalf: imports, calls and arguments of calls."""
    for node in ast.walk(ast.parse(source)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        doubtful = UNPICKLE | PROCESSES | NETWORK
        yield from (m for m in modules if m.split(".")[0] in doubtful and m != "urllib.parse")
        if isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in CALLS or name.startswith(("os.exec", "os.spawn", "os.posix_spawn")):
                yield name
            given = {k.arg: k.value for k in node.keywords}
            for keyword, value in KEYWORDS:
                found = given.get(keyword)
                if isinstance(found, ast.Constant) and found.value == value:
                    yield f"{keyword}={value}"
            local = given.get("local_files_only")
            if name.endswith(".from_pretrained") and not (
                isinstance(local, ast.Constant) and local.value is True
            ):
                yield "from_pretrained that may download"


def test_the_audit_sees_what_it_looks_for() -> None:
    source = (
        "import pickle, os\nfrom urllib.request import urlopen\nimport subprocess as s\n"
        "eval('1')\nos.system('x')\nos.execv('a', [])\ns.run('x', shell=True)\n"
        "np.load(p, allow_pickle=True)\nA.from_pretrained(p)\n"
        "A.from_pretrained(p, local_files_only=True, trust_remote_code=True)\n"
    )
    assert sorted(dangers(source)) == [
        *("allow_pickle=True", "eval", "from_pretrained that may download", "os.execv"),
        *("os.system", "pickle", "shell=True", "subprocess", "trust_remote_code=True"),
        "urllib.request",
    ]


# A tool of the makers that reads the GGUF file of the installed base; needs torch.
MAKERS = {"toolprm_jax/toolworld/smollm2_tokenizer.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_runs_data_or_reaches_the_network(room: str) -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), danger)
        for path in (ROOT / room).rglob("*.py")
        for danger in dangers(path.read_text(encoding="utf-8"))
    }
    wrong = {(path, danger) for path, danger in found - ALLOWED if path not in MAKERS}
    # The HTTP server is the one that listens.
    assert {each for each in wrong if not each[0].startswith("search/serve/")} == set()
    assert {each for each in ALLOWED if each[0].startswith(f"{room}/")} <= found
