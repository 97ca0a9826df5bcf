"""What stays with uWSGI: each name, and what to use here instead."""

from collections.abc import Callable
from typing import Final, NoReturn

__all__ = ("REFUSED", "refusals")

_SPOOLER: Final = "send a message with uwsgi.mule_msg"
_CACHE: Final = "use a cache of your application, such as redis or memcached"
_RPC: Final = "send a message with pymule.mule_msg, or call a service of your own"
_MEMORY: Final = "use multiprocessing.shared_memory"
_WEB: Final = "use what your web server and its framework offer"
_ASYNC: Final = "write the program as an async def, and await"
_METRICS: Final = "use a metrics library, such as prometheus_client"
_STATUS: Final = "ask pymule status, or Client.call('status')"
_LOGS: Final = "use logging, or print: the output of a mule goes to the log"
_LEGION: Final = "let your orchestration decide which machine leads"

_BY_ADVICE: Final = {
    _SPOOLER: (
        "send_to_spooler spool spooler_get_task spooler_jobs spooler_pid spooler_pids"
        " set_spooler_frequency"
    ),
    _CACHE: (
        "cache_clear cache_dec cache_del cache_div cache_exists cache_get cache_inc"
        " cache_keys cache_mul cache_num cache_set cache_update"
    ),
    _RPC: "call rpc rpc_list register_rpc send_to_erlang",
    _MEMORY: (
        "sharedarea_add sharedarea_dec16 sharedarea_dec32 sharedarea_dec64"
        " sharedarea_dec8 sharedarea_inc16 sharedarea_inc32 sharedarea_inc64"
        " sharedarea_inc8 sharedarea_memoryview sharedarea_object sharedarea_read"
        " sharedarea_read16 sharedarea_read32 sharedarea_read64 sharedarea_read8"
        " sharedarea_rlock sharedarea_unlock sharedarea_wait sharedarea_wlock"
        " sharedarea_write sharedarea_write16 sharedarea_write32 sharedarea_write64"
        " sharedarea_write8 queue_get queue_get_last queue_last queue_pop queue_pull"
        " queue_pull_last queue_push queue_set queue_slot"
    ),
    _WEB: (
        "accepting add_var chunked_read chunked_read_nb close connect connection_fd"
        " disconnect embedded_data extract get_logvar i_am_the_lord is_connected"
        " listen_queue offload parsefile ready_fd recv request_id route send"
        " send_fd sendfile set_logvar set_warning_message start_response"
        " total_requests websocket_handshake websocket_recv websocket_recv_nb"
        " websocket_send websocket_send_binary snmp_decr_counter32"
        " snmp_decr_counter64 snmp_incr_counter32 snmp_incr_counter64"
        " snmp_set_community snmp_set_counter32 snmp_set_counter64 snmp_set_gauge32"
    ),
    _ASYNC: (
        "async_connect async_sleep green_schedule suspend wait_fd_read wait_fd_write"
    ),
    _METRICS: (
        "metric_dec metric_div metric_get metric_inc metric_mul metric_set"
        " metric_set_max metric_set_min"
    ),
    _STATUS: "mem mule_file workers",
    _LOGS: "alarm logsize log_this_request",
    _LEGION: "lord_scroll scrolls",
}

REFUSED: Final = {
    name: advice for advice, names in _BY_ADVICE.items() for name in names.split()
}
"""By name, what to use instead."""


def _refusal(name: str, advice: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise NotImplementedError(f"uwsgi.{name} is not part of pymule: {advice}")

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def refusals() -> dict[str, Callable[..., NoReturn]]:
    """Return a function by each name that raises NotImplementedError, and says why."""
    return {name: _refusal(name, advice) for name, advice in REFUSED.items()}
