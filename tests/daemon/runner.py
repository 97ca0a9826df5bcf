"""A pymuled with policies for which its file has no key.

``python -m tests.daemon.runner FILE '{"restarts": {"backoff_s": 0.01}}'``
"""

import asyncio
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

import uvloop

from pymule.config import load_settings
from pymule.master.daemon import Master
from pymule.master.listener import SocketClaim
from pymule.master.logs import JsonFormatter, LogSink
from pymule.master.plan import Patience, Plan, make_plan
from pymule.master.spawner import become_subreaper
from pymule.sansio.supervision import RestartPolicy

__all__ = ("main",)


def main(path: Path, policies: dict[str, dict[str, int]]) -> int:
    """Serve until stopped; return the exit status of pymuled."""
    sink = LogSink(sys.stderr, JsonFormatter())
    for name in ("pymule", "asyncio"):
        logging.getLogger(name).addHandler(sink)
        logging.getLogger(name).setLevel(logging.INFO)

    def load_plan() -> Plan:
        plan = make_plan(load_settings(path), os.environ)
        return replace(
            plan,
            restarts=RestartPolicy(**policies.get("restarts", {})),
            patience=Patience(**policies.get("patience", {})),
            transit_bytes=policies.get("bounds", {}).get(
                "transit_bytes", plan.transit_bytes
            ),
        )

    async def serve() -> bool:
        settings = load_settings(path)
        claim = SocketClaim.open(settings.socket, settings.socket_mode, None)
        return await Master(load_plan(), claim, load_plan, sink=sink).serve()

    become_subreaper()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        is_clean = runner.run(serve())
    sink.close()
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
