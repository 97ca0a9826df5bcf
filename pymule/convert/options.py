"""What becomes of each option of uWSGI: a key of ours, or why there is none."""

import difflib
from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ("INCLUDES", "SETTING", "Meaning", "Reason", "guess", "meaning_of")


class Meaning(Enum):
    """What is made into something of ours."""

    MULE = "mule"
    MULES = "mules"
    FARM = "farm"
    HARAKIRI = "mule-harakiri"
    STOP_TIMEOUT = "mule-reload-mercy"
    TOUCH_RELOAD = "touch-reload"
    MODULE = "module"
    FILE = "wsgi-file"
    MOUNT = "mount"
    IMPORT = "import"
    LAZY = "lazy-apps"
    CWD = "chdir"
    PYTHON_PATH = "pythonpath"
    ENV = "env"
    USER = "uid"
    GROUP = "gid"
    UMASK = "umask"
    NICE = "prio"
    LIMIT = "limit-as"
    CRON = "cron"
    CRON2 = "cron2"
    LEGION_CRON = "legion-cron"
    TIMER = "timer"
    RBTIMER = "rbtimer"
    FILE_SIGNAL = "touch-signal"
    LOG_ENCODER = "log-encoder"


class Reason(Enum):
    """Why an option is left out; the value is what the converted file says."""

    DOUBT = "Look at these first."
    WEB = (
        "Web server: belongs to the command line of gunicorn, uvicorn or what serves"
        " the application."
    )
    SERVICE = "The daemon: pymuled does it anyway, or it belongs to systemd."
    LOADING = (
        "Loading: a mule is a process of its own, with threads, and imports what it"
        " needs."
    )
    PYTHON = (
        "Python: pymuled runs mules with its own, so install it in the virtual"
        " environment of the application."
    )
    IMPORTS = (
        "Imports: mules without a program import one module, app; import these there."
    )
    SIZES = (
        "Sizes: a queue is bounded by max_messages and max_bytes, a message by"
        " max_frame_bytes."
    )
    LOCKS = "Locks: need no declaration; the first use of a name or number makes one."
    SCHEDULE = (
        "Cron, timers, watched files: a decorator on the function that runs does it."
    )
    RELOAD = "Reloading: pymule reload does it, and a change of a path in touch_reload."
    SPOOLER = (
        "Spooler: send messages to a farm in its place; they have retries and dead"
        " letters."
    )
    STORE = "Cache, queue, sharedarea, RPC: not here; use a cache server or a database."
    LOG = (
        "Log: pymuled logs to stderr, as log_format says; files and rotation belong to"
        " systemd."
    )
    STATS = (
        "Statistics: pymule status shows mules and queues, with --json for programs."
    )
    HOOKS = "Hooks and other processes: belong to units of systemd, or to a program."
    SANDBOX = "Sandbox: belongs to the unit of systemd that starts pymuled."
    FLEET = "Emperor, legion, subscriptions: not here; convert each vassal by itself."
    LANGUAGES = "Other languages: mules run Python."
    CONDITIONS = "Conditions: were decided when and where this file was made."
    PLACEHOLDERS = "Names of your own: their values stand where they were used."
    UNKNOWN = "Unknown: no option that uWSGI documents."


INCLUDES: Final[Mapping[str, str]] = {
    "ini": "ini",
    "xml": "xml",
    "xmlconfig": "xml",
    "yaml": "yaml",
    "yml": "yaml",
    "json": "json",
    "js": "json",
    "config": "",
    "include": "",
    "inherit": "",
}
"""Options that read another file, and its form; empty if its name tells."""

SETTING: Final = frozenset({"set", "set-ph", "set-placeholder"})
"""Options that set another, ``NAME=VALUE``."""

_ALIASES: Final[Mapping[Meaning, str]] = {
    Meaning.TOUCH_RELOAD: "touch-mules-reload",
    Meaning.MODULE: "wsgi",
    Meaning.FILE: "file",
    Meaning.IMPORT: (
        "pyimport py-import python-import shared-import shared-pyimport"
        " shared-py-import shared-python-import early-pyimport early-python-import"
    ),
    Meaning.LAZY: "lazy",
    Meaning.PYTHON_PATH: "python-path pp early-pythonpath early-python-path",
    Meaning.ENV: "ienv",
    Meaning.USER: "immediate-uid",
    Meaning.GROUP: "immediate-gid",
    Meaning.LIMIT: "limit-nproc max-fd",
    Meaning.CRON: "unique-cron",
    Meaning.LEGION_CRON: "cron-legion unique-legion-cron unique-cron-legion",
    Meaning.TIMER: "signal-timer",
    Meaning.RBTIMER: "signal-rbtimer",
    Meaning.FILE_SIGNAL: "fs-signal",
    Meaning.LOG_ENCODER: "log-req-encoder worker-log-encoder worker-log-req-encoder",
}

_NAMES: Final[Mapping[Reason, str]] = {
    Reason.WEB: """
        abstract-socket add-header after-request-call after-request-hook
        allowed-modifiers app async asyncio auto-weight body-read-warning buffer-size
        callable catch-exceptions cgi-mode cheap check-cache check-mount
        check-mountpoint check-static check-static-docroot chmod chmod-socket
        chown-socket collect-header cpu-affinity del-header die-on-idle
        die-on-no-workers disable-async-warn-on-queue-full disable-sendfile
        disable-write-exception enable-proxy-protocol error-page-403 eval
        evil-reload-on-as evil-reload-on-rss exception-handler fiber file-serve-mode
        fileserve-mode force-gateway freebind gevent greenlet harakiri honour-range idle
        ignore-script-name ignore-sigpipe ignore-write-errors ini-paste ini-paste-logged
        limit-post listen loop loop-list loops-list manage-script-name map-socket
        max-apps max-requests max-requests-delta max-vars max-worker-lifetime
        max-worker-lifetime-delta mime-file mimefile min-worker-lifetime mount-check
        mountpoint-check no-default-app no-defer-accept no-fd-passing
        no-harakiri-after-req-hook no-harakiri-arh no-server no-threads-wait
        offload-thread offload-threads paste paste-logger paste-name pecan
        post-buffering post-buffering-bufsize processes profiler protocol pull-header
        pump puwsgi-socket reload-mercy reload-os-env rem-header remap-modifier
        response-header-collect response-headers-limit reuse-port show-config
        single-interpreter sni so-keepalive so-send-timeout so-write-timeout socket
        socket-protocol socket-timeout stackless start_response-nodelay suwsgi-socket
        tcp-nodelay thread-stack-size thread-stacksize threads threads-stack-size
        threads-stacksize thunder-lock thunder-lock-watchdog tornado touch-chain-reload
        touch-workers-reload udp ugreen ugreen-stacksize undeferred-shared-socket
        upload-progress uwsgi-socket vhost vhost-host web3 weight worker-reload-mercy
        workers write-errors-exception-only write-errors-tolerance zeus
    """,
    Reason.SERVICE: """
        auto-procname backtrace-depth binary-append-data binary-path build-plugin cflags
        check-interval clock clock-list clocks-list close-on-exec close-on-exec2
        command-mode config-py connect-and-read daemonize daemonize2 die-on-term dot-h
        dump-options exit exit-on-reload fd-safe file-write forkbomb-delay ftok get
        heartbeat help honour-stdin iprint ksm master master-fifo mem-collector-freq
        memory-report mode need-app never-swap no-orphans notify-socket pause pcre-jit
        pidfile pidfile2 print print-sym print-symbol procname procname-append
        procname-master procname-prefix procname-prefix-spaced propagate-touch reaper
        reload resume safe-fd safe-pidfile safe-pidfile2 signal skip-zero stop strict
        suspend usage vacuum version
    """,
    Reason.LOADING: """
        dlopen enable-threads no-initgroups post-pymodule-alias py-call-osafterfork
        py-call-uwsgi-fork-hooks py-master-check-signals py-tracebacker pyargv
        pymodule-alias python-worker-override reload-on-exception-repr skip-atexit
        skip-atexit-teardown threaded-logger use-abort worker-exec worker-exec2
    """,
    Reason.PYTHON: """
        autoload early-python home need-plugin need-plugins no-site optimize plugin
        plugin-dir plugin-list plugins plugins-dir plugins-list py py-executable
        py-program-name py-programname py-sys-executable pyhome pyrun pyshell
        pyshell-oneshot python python-raw python-version test venv virtualenv
    """,
    Reason.SIZES: "mule-msg-size mule-msg-recv-size signal-bufsize signals-bufsize",
    Reason.LOCKS: """
        flock flock-wait flock-wait2 flock2 lock-engine locks persistent-ipcsem
    """,
    Reason.SCHEDULE: """
        cron-curl cron-curl-legion cron-harakiri curl-cron curl-cron-legion
    """,
    Reason.RELOAD: """
        brutal-reload-on-fd fs-brutal-reload fs-reload py-auto-reload
        py-auto-reload-ignore py-autoreload python-auto-reload python-autoreload
        touch-spoolers-reload
    """,
    Reason.STORE: """
        add-cache-item load-file-in-cache load-file-in-cache-gzip py-sharedarea rpc-max
        sharedarea
    """,
    Reason.LOG: """
        backlog-alarm disable-logging listen-queue-alarm logdate logformat
        logformat-strftime logger logger-list logger-req loggers-list logto logto2
        lq-alarm notfound-log req-logger rsyslog-packet-size rsyslog-split-messages
        touch-logreopen touch-logrotate worker-logger worker-logger-req
    """,
    Reason.STATS: "enable-metrics",
    Reason.HOOKS: "daemons-honour-stdin touch-exec attach-daemon attach-daemon2",
    Reason.SANDBOX: """
        add-gid binsh cap cgroup cgroup-dir-mode cgroup-opt chroot drop-after-apps
        drop-after-init force-cwd jail jail2 jailed jid-file jidfile libjail
        master-as-root namespace namespace-keep-mount namespace-net ns ns-net pivot-root
        pivot_root privileged-binary-patch privileged-binary-patch-arg re-fork
        re-fork-as-root re-fork-post-jail refork refork-as-root refork-post-jail
        unprivileged-binary-patch unprivileged-binary-patch-arg unshare unshare2
    """,
    Reason.FLEET: """
        early-emperor multicast multicast-loop multicast-ttl st start-unsubscribed
        subscribe subscribe-freq subscribe-to subscribe-with-modifier1 subscribe2
        unsubscribe-on-graceful-reload zerg zerg-fallback zerg-server zergpool
    """,
    Reason.LANGUAGES: """
        coroae early-perl early-perl-exec early-php early-php-sapi-name early-psgi
        gemset goroutines jwsgi plshell plshell-oneshot psgi rack rails rbrequire
        require shared-rb-require shared-rbrequire shared-require shared-ruby-require
        shared-rubyrequire
    """,
    Reason.CONDITIONS: """
        else end end-for end-if endfor endif for for-glob for-readline for-times if-dir
        if-directory if-env if-exists if-file if-hostname if-hostname-match if-not-dir
        if-not-env if-not-exists if-not-file if-not-hostname if-not-hostname-match
        if-not-opt if-not-plugin if-not-reload if-opt if-plugin if-reload ifdir ifenv
        ifexists ifplugin
    """,
    Reason.PLACEHOLDERS: "set set-ph set-placeholder",
    # What a converter cannot follow; each is said to need a look by name.
    Reason.DOUBT: """
        blacklist chdir2 config declare-option declare-option2 early-envdir
        end-blacklist end-whitelist envdir extract fallback-config hook-as-mule include
        inherit ini inject-after inject-before js json resolve unenv whitelist xml
        xmlconfig yaml yml
    """,
}

_WEB_PREFIXES: Final = """
    cgi cheaper chunked- error-page error-route evil- fastcgi- fastrouter final-route
    forkptyrouter geoip gevent- harakiri- http http-socket http11 httprouter https
    https-socket limit- max- mongrel2 ping proxy raw- rawrouter redirect reload-on-
    response-route route router- routers- scgi- shared-socket sni- socket- spdy ssl-
    sslrouter static- tcp- uwsgi- webdav websocket worker- wsgi- xslt zeromq zmq
"""
# The first that fits; a name in the tables above comes before.
_PREFIXES: Final[tuple[tuple[Reason, str], ...]] = (
    (Reason.WEB, _WEB_PREFIXES),
    (Reason.SPOOLER, "spooler"),
    (Reason.STORE, "cache queue sharedarea sqlite ldap"),
    (Reason.LOG, "log- logfile- alarm not-alarm not-log segfault-alarm rsyslog ring"),
    (Reason.STATS, "stats metric snmp carbon statsd zabbix rrdtool nagios"),
    (Reason.HOOKS, "hook- exec- call- wait- smart-attach attach- legion-attach"),
    (Reason.SANDBOX, "mount- umount- setns jail- tuntap fork- pty forkpty"),
    (Reason.FLEET, "emperor vassal legion subscription imperial- zerg-"),
    (Reason.LANGUAGES, "php perl lua rb ruby rvm mono v8 jvm go- gccgo pypy psgi- sym"),
)


def _exact() -> dict[str, Meaning | Reason]:
    table: dict[str, Meaning | Reason] = {
        name: reason for reason, names in _NAMES.items() for name in names.split()
    }
    table |= {meaning.value: meaning for meaning in Meaning}
    for meaning, names in _ALIASES.items():
        table |= dict.fromkeys(names.split(), meaning)
    return table


_EXACT: Final = _exact()


def meaning_of(name: str) -> Meaning | Reason:
    """Return what becomes of the option *name*."""
    if found := _EXACT.get(name):
        return found
    for reason, prefixes in _PREFIXES:
        if name.startswith(tuple(prefixes.split())):
            return reason
    return Reason.UNKNOWN


def guess(name: str) -> str | None:
    """Return the option that someone who wrote *name* may have meant."""
    return next(iter(difflib.get_close_matches(name, _EXACT, n=1, cutoff=0.75)), None)
