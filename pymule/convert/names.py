"""How uWSGI's options stand on a command line: alone, with a value, as one letter."""

from typing import Final

__all__ = ("FLAGS", "LETTERS", "OPTIONAL")

_FLAGS: Final = """
    abstract-socket auto-procname autoload cache-no-expire cache-report-freed-items
    cache-use-last-modified catch-exceptions cgi-mode cheap cheaper-busyness-verbose
    check-static-docroot close-on-exec close-on-exec2 command-mode daemons-honour-stdin
    die-on-idle die-on-no-workers die-on-term disable-async-warn-on-queue-full
    disable-logging disable-sendfile disable-write-exception drop-after-apps
    drop-after-init dump-options emperor-graceful-shutdown emperor-magic-exec
    emperor-no-blacklist emperor-nofollow emperor-subreaper emperor-tyrant
    enable-metrics enable-proxy-protocol enable-threads end-blacklist end-whitelist
    exit-on-reload fastrouter-cheap force-gateway freebind gevent-early-monkey-patch
    gevent-monkey-patch gevent-wait-for-hub greenlet harakiri-no-arh harakiri-verbose
    help honour-range honour-stdin http-auto-chunked http-auto-gzip http-backend-http
    http-cheap http-chunked-input http-manage-rtsp http-manage-source http-raw-body
    http-websockets https-export-cert if-not-reload if-reload ignore-script-name
    ignore-sigpipe ignore-write-errors jailed lazy lazy-apps log-4xx log-5xx
    log-format-strftime log-master log-master-req-stream log-master-stream log-micros
    log-reopen log-truncate log-x-forwarded-for log-zero logfile-chown
    logformat-strftime logger-list loggers-list manage-script-name master master-as-root
    metric-dir-restore metrics-dir-restore metrics-no-cores never-swap no-default-app
    no-defer-accept no-fd-passing no-harakiri-after-req-hook no-harakiri-arh
    no-initgroups no-orphans no-server no-site no-threads-wait paste-logger pcre-jit
    persistent-ipcsem propagate-touch pty-input pty-log pty-no-isig py-call-osafterfork
    py-call-uwsgi-fork-hooks py-master-check-signals python-version re-fork
    re-fork-as-root re-fork-post-jail reaper refork refork-as-root refork-post-jail
    reload-on-exception reload-os-env reuse-port show-config single-interpreter
    skip-atexit skip-atexit-teardown skip-zero so-keepalive socket-send-timeout
    spooler-cheap spooler-ordered spooler-quiet spooler-signal-as-task ssl-verbose
    start-unsubscribed start_response-nodelay static-gzip-all stats-http stats-min
    stats-minified stats-no-cores stats-no-metrics strict subscription-clear-on-shutdown
    subscription-dotsplit tcp-fast-open-client tcp-fastopen-client tcp-nodelay
    threaded-logger thunder-lock thunder-lock-watchdog ugreen
    unsubscribe-on-graceful-reload usage use-abort vacuum version vhost vhost-host
    write-errors-exception-only wsgi-accept-buffer wsgi-accept-buffers
    wsgi-disable-file-wrapper wsgi-manage-chunked-input wsgi-strict zerg-fallback
"""
_OPTIONAL: Final = """
    check-cache chmod chmod-socket end-for end-if endfor endif exit http-keepalive
    http-manage-expect http-use-cache http-use-socket ksm log-date log-prefix log-syslog
    logdate memory-report mule need-app pyshell pyshell-oneshot snmp
    ssl-session-use-cache ssl-sessions-use-cache ssl-verify-depth
"""

FLAGS: Final = frozenset(_FLAGS.split())
"""They take no value."""

OPTIONAL: Final = frozenset(_OPTIONAL.split())
"""Their value is never the next word: it is in the same one, after a ``=``."""

LETTERS: Final = {
    "A": "sharedarea",
    "C": "chmod-socket",
    "H": "virtualenv",
    "J": "test",
    "L": "disable-logging",
    "M": "master",
    "O": "optimize",
    "Q": "spooler",
    "R": "max-requests",
    "S": "set",
    "T": "enable-threads",
    "a": "abstract-socket",
    "b": "buffer-size",
    "c": "cgi-mode",
    "d": "daemonize",
    "h": "help",
    "i": "single-interpreter",
    "j": "json",
    "l": "listen",
    "m": "memory-report",
    "p": "processes",
    "r": "reaper",
    "s": "socket",
    "t": "harakiri",
    "v": "max-vars",
    "w": "module",
    "x": "xml",
    "y": "yaml",
    "z": "socket-timeout",
}
