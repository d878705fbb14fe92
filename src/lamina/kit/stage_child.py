"""The child of a stage: ``python -m lamina.kit.stage_child PIPE LOCK PARENT``, its request in JSON on its input."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lamina.kit.durable import failpoint, publish
from lamina.kit.errors import StorageError
from lamina.kit.process import die_with_parent, terminable
from lamina.kit.stage_relay import Reporter

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


def main() -> int:
    """Run the stage that standard input asks for; 0 when its result is published."""
    fd, held, parent = map(int, sys.argv[1:])
    for inherited in (fd, held):  # mine, not my children's
        os.set_inheritable(inherited, False)
    die_with_parent(parent)
    request = json.loads(sys.stdin.buffer.read())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides: it sends SIGTERM
    reporter = Reporter(fd)
    sys.stderr.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {request['function']}\n")
    try:
        with terminable():
            _run(request, reporter)
    except SystemExit as leaving:
        sys.stderr.write("--- ended on request\n")
        return int(leaving.code or 1) if isinstance(leaving.code, int | None) else 1
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno in _DISK:
            error = StorageError(
                f"cannot write: {error.strerror}",
                where=str(error.filename or request["folder"]),
                hint="free some space",
            )
        reporter.failed(error)
        return 1
    reporter.done()
    return 0


def _run(request: dict[str, Any], reporter: Reporter) -> None:
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {key: Path(path) for key, path in request["inputs"].items()}
    with publish(Path(request["folder"])) as staging:
        function(staging, Path(request["work"]), request["parameters"], inputs, reporter)
        failpoint("stage.publish")
    failpoint("stage.published")


if __name__ == "__main__":
    sys.exit(main())
