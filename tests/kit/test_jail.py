from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lamina
from lamina.kit.errors import BusyError, DocumentError, LaminaError
from lamina.kit.jail import Jail, keep

SRC = str(Path(lamina.__file__).parents[1])

PARSERS = '''
import ctypes, errno, os, socket, subprocess, sys, time
from pathlib import Path
from lamina.kit.errors import DocumentError, TooLargeError

def poison(payload, data):
    """Leaves the process so broken that the next call kills it."""
    sys.modules[__name__].echo = leave
    from lamina.kit import jail_worker
    sys.modules["__main__"]._answer = leave
    return "poisoned"

def echo(payload, data):
    print("noise on standard output")
    return {"payload": payload, "length": None if data is None else len(data), "pid": os.getpid()}

def crash(payload, data):
    ctypes.string_at(0)

def leave(payload, data, functions=None):
    os._exit(3)

def hang(payload, data):
    while True:
        pass

def sleep(payload, data):
    time.sleep(60)

def nap(payload, data):
    time.sleep(1.2)
    return "awake"

def eat(payload, data):
    return len(bytearray(300 * 2**20))

def hoard(payload, data):
    kept.append(bytearray(150 * 2**20))
    return 150

kept = []

def map_much(payload, data):
    import mmap
    kept = [mmap.mmap(-1, 16 * 2**20) for _ in range(100)]

def ours(payload, data):
    raise TooLargeError("50 MB of HTML", where="page.html", hint="the limit is 20 MB")

def theirs(payload, data):
    raise ValueError("bad xref")

def recurse(payload, data):
    return recurse(payload, data)

def deep(payload, data):
    value = []
    for _ in range(100_000):
        value = [value]
    return value

def strange(payload, data):
    return {"nan": float("inf"), "lone": "\\ud800"}

def unserialisable(payload, data):
    return object()

def connect(payload, data):
    socket.create_connection(("127.0.0.1", payload["port"]), 2)

def raw_connect(payload, data):
    """Past Python: straight at the C library."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.socket(2, 1, 0)
    address = b"\\x02\\x00" + payload["port"].to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    result = libc.connect(fd, address, 16)
    return errno.errorcode[ctypes.get_errno()] if result else "connected"

def write(payload, data):
    Path(payload["path"]).write_text("x")

def raw_write(payload, data):
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.open(payload["path"].encode(), 0o101, 0o600)
    return libc.write(fd, b"abc", 3)

def run(payload, data):
    subprocess.run(["true"])

def remove(payload, data):
    os.remove(payload["path"])

def unpickle(payload, data):
    import pickle
    return pickle.loads(b"cos\\nsystem\\n(S'true'\\ntR.")

def environment(payload, data):
    return sorted(os.environ)

def html(payload, data):
    import trafilatura
    return trafilatura.extract(data.decode())
'''


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "parsers.py").write_text(PARSERS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([SRC, str(folder)])
    yield folder
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def jail(code):
    with Jail(workers=1, memory_mb=256, seconds=0.8) as opened:
        yield opened


def good(jail: Jail) -> int:
    reply = jail.call("parsers:echo", {"a": ["ü", 1]}, b"x" * 300_000)
    assert reply["payload"] == {"a": ["ü", 1]}
    assert reply["length"] == 300_000
    return int(reply["pid"])


def test_a_call_goes_to_a_living_worker(jail):
    assert good(jail) == good(jail) != os.getpid()
    assert jail.call("parsers:echo", {})["length"] is None
    assert jail.call("parsers:echo", {}, b"")["length"] == 0


def test_what_counts_is_processor_time_so_that_other_work_of_the_machine_costs_no_document(jail):
    assert jail.call("parsers:nap", {}) == "awake"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("crash", "the parser was killed by SIGSEGV"),
        ("leave", "the parser ended with status 3"),
        ("hang", "took longer than 0.8 s"),
        ("sleep", "took longer than 0.8 s"),
        ("eat", "needs more than 256 MiB of memory"),
        ("map_much", "needs more than 256 MiB of memory"),
    ],
)
def test_a_bad_document_costs_itself_only(jail, function, words):
    before = good(jail)
    with pytest.raises(DocumentError, match=words):
        jail.call(f"parsers:{function}", {})
    assert good(jail) != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("theirs", "^ValueError: bad xref$"),
        ("recurse", "RecursionError"),
        ("missing", "AttributeError"),
        ("run", r"subprocess\.Popen is not allowed"),
        ("unpickle", r"pickle\.find_class is not allowed"),
    ],
)
def test_an_exception_comes_back_and_the_worker_lives(jail, function, words):
    before = good(jail)
    with pytest.raises(DocumentError, match=words):
        jail.call(f"parsers:{function}", {})
    assert good(jail) == before


def test_an_error_of_ours_keeps_its_parts(jail):
    with pytest.raises(DocumentError) as caught:
        jail.call("parsers:ours", {})
    assert str(caught.value) == "page.html: 50 MB of HTML (the limit is 20 MB)"


@pytest.mark.parametrize("function", ["deep", "unserialisable"])
def test_an_answer_that_is_no_json_is_the_documents_fault(jail, function):
    before = good(jail)
    with pytest.raises(DocumentError, match="no JSON"):
        jail.call(f"parsers:{function}", {})
    assert good(jail) == before


def test_odd_values_survive(jail):
    reply = jail.call("parsers:strange", {})
    assert reply["nan"] == float("inf")
    assert reply["lone"] == "\ud800"


def test_no_network(jail):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DocumentError, match=r"socket\.\w+ is not allowed"):
            jail.call("parsers:connect", {"port": port})
        if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode != 0:
            pytest.skip("the kernel gives this user no network namespace")
        assert jail.call("parsers:raw_connect", {"port": port}) == "ENETUNREACH"


def test_no_writing_and_no_removing(jail, tmp_path):
    victim = tmp_path / "f"
    victim.write_text("kept")
    with pytest.raises(DocumentError, match="may not write"):
        jail.call("parsers:write", {"path": str(tmp_path / "g")})
    with pytest.raises(DocumentError, match=r"os\.remove is not allowed"):
        jail.call("parsers:remove", {"path": str(victim)})
    assert jail.call("parsers:raw_write", {"path": str(tmp_path / "h")}) == -1
    assert victim.read_text() == "kept"
    assert (tmp_path / "h").read_bytes() == b""


def test_secrets_of_the_environment_stay_outside(code, monkeypatch):
    monkeypatch.setenv("LAMINA_API_KEY", "secret")
    with Jail(workers=1) as jail:
        assert not [name for name in jail.call("parsers:environment", {}) if "KEY" in name]


def test_a_real_parser_works_inside(code):
    pytest.importorskip("trafilatura")
    page = (
        "<html><body><article><h1>Whales</h1>" + "<p>The whale is a mammal of the sea.</p>" * 20 + "</article></body>"
    )
    with Jail(workers=1) as jail:
        assert "mammal of the sea" in jail.call("parsers:html", {}, page.encode())


def test_calls_from_many_threads_share_the_workers(code):
    with Jail(workers=2, seconds=10) as jail, ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: jail.call("parsers:echo", {"n": n}), range(60)))
    assert [reply["payload"]["n"] for reply in replies] == list(range(60))
    assert len({reply["pid"] for reply in replies}) <= 2


def test_a_worker_outlives_the_thread_that_first_used_it(code):
    with Jail(workers=1) as jail:
        pids: list[int] = []
        thread = threading.Thread(target=lambda: pids.append(jail.call("parsers:echo", {})["pid"]))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert jail.call("parsers:echo", {})["pid"] == pids[0]


def test_a_worker_that_was_killed_while_idle_is_replaced_without_a_word(jail):
    os.kill(good(jail), 9)
    time.sleep(0.1)
    good(jail)


def test_a_document_does_not_pay_for_the_one_before(jail):
    assert jail.call("parsers:poison", {}) == "poisoned"
    good(jail)


def test_a_document_does_not_pay_for_the_memory_of_the_one_before(jail):
    for _ in range(3):
        assert jail.call("parsers:hoard", {}) == 150


def test_a_worker_is_replaced_after_many_calls(code, monkeypatch):
    monkeypatch.setattr("lamina.kit.jail._CALLS", 3)
    with Jail(workers=1) as jail:
        assert len({jail.call("parsers:echo", {})["pid"] for _ in range(7)}) == 3


def test_workers_die_with_the_parent(code):
    script = "import os, time; from lamina.kit.jail import Jail; j = Jail(workers=1); "
    script += "print(j.call('parsers:echo', {})['pid'], flush=True); j.call('parsers:sleep', {})"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split(")")[1][:3]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_serves_the_next_jail_of_its_owner_and_no_other(code):
    def pid(memory_mb=1024):
        with Jail(workers=1, memory_mb=memory_mb) as jail:
            return jail.call("parsers:echo", {})["pid"]

    try:
        keep("one")
        first = pid()
        assert pid() == first
        assert pid(memory_mb=512) != first  # another limit is another worker
        keep("two")
        assert not Path(f"/proc/{first}").exists()
        assert pid() != first
    finally:
        keep(None)
    alone = pid()
    assert not Path(f"/proc/{alone}").exists(), "without an owner a closed jail leaves nothing"


def test_a_closed_jail_says_so(code):
    jail = Jail(workers=1)
    pid = jail.call("parsers:echo", {})["pid"]
    jail.close()
    jail.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(BusyError, match="closed"):
        jail.call("parsers:echo", {})


def test_a_program_that_cannot_start_a_worker_says_so(code, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Jail(workers=1) as jail, pytest.raises(LaminaError, match="before it began"):
        jail.call("parsers:echo", {})
