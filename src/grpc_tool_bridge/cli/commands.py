"""All commands by name, in the order of the help; each is imported when it is asked for.

A command's module declares its options and its help, and imports what runs it when it runs.
"""

from collections.abc import Callable, Mapping, Sequence

from grpc_tool_bridge.cli.command import Command, client_command


def _serve() -> Command:
    from grpc_tool_bridge.cli import serve

    return Command(serve.serve)


def _worker() -> Command:
    import math

    from grpc_tool_bridge.cli import worker

    # Hub and workers may be started together, in any order.
    return Command(worker.worker, connect_timeout=math.inf)


def _tools() -> Command:
    from grpc_tool_bridge.cli import tools

    return client_command(tools.tools, check=tools.check)


def _stubs() -> Command:
    from grpc_tool_bridge.cli import stubs

    return client_command(stubs.stubs, check=stubs.check)


def _call() -> Command:
    from grpc_tool_bridge.cli import call

    return client_command(call.call)


def _stream() -> Command:
    from grpc_tool_bridge.cli import call

    return client_command(call.stream)


def _variables() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import variables

    return {
        "list": client_command(variables.list_variables),
        "get": client_command(variables.get_variable),
        "set": client_command(variables.set_variable),
        "delete": client_command(variables.delete_variable),
        "watch": client_command(variables.watch_variables),
    }


def _agent() -> Command:
    from grpc_tool_bridge.cli import agent

    return client_command(agent.agent, check=agent.check, takes_inputs=True)


def _admin() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import admin

    return {
        "sessions": client_command(admin.list_sessions),
        "workers": client_command(admin.list_workers),
        "calls": client_command(admin.list_calls),
        "runs": client_command(admin.list_runs),
        "cancel": client_command(admin.cancel_call),
        "events": client_command(admin.watch_events, check=admin.check_kinds),
    }


def _hubs() -> Command:
    from grpc_tool_bridge.cli import hubs

    return client_command(hubs.hubs)


def _sessions() -> Command:
    from grpc_tool_bridge.cli import admin

    return client_command(admin.list_sessions)


def _workers() -> Command:
    from grpc_tool_bridge.cli import admin

    return client_command(admin.list_workers)


def _calls() -> Command:
    from grpc_tool_bridge.cli import admin

    return client_command(admin.list_calls)


def _runs() -> Command:
    from grpc_tool_bridge.cli import admin

    return client_command(admin.list_runs)


def _metrics() -> Command:
    from grpc_tool_bridge.cli import metrics

    return client_command(metrics.metrics)


def _top() -> Command:
    from grpc_tool_bridge.cli import top

    return client_command(top.top)


def _logs() -> Command:
    from grpc_tool_bridge.cli import logs

    return client_command(logs.logs, check=logs.check)


def _approvals() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import approvals

    return {
        "list": client_command(approvals.list_approvals),
        "grant": client_command(approvals.grant_approval),
        "deny": client_command(approvals.deny_approval),
    }


def _init() -> Command:
    from grpc_tool_bridge.cli import init

    return Command(init.init)


def _settings() -> Command:
    from grpc_tool_bridge.cli import show_settings

    return Command(show_settings.settings)


def _shell() -> Command:
    from grpc_tool_bridge.cli import shell

    return Command(shell.shell)


def _completion() -> Command:
    from grpc_tool_bridge.cli import completion_scripts

    return Command(completion_scripts.completion)


def _store() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import store

    return {
        "info": Command(store.store_info),
        "backup": Command(store.back_up),
        "restore": Command(store.restore),
        "vacuum": Command(store.vacuum),
    }


def _policy() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import policy

    return {"check": Command(policy.check_policy), "explain": Command(policy.explain_policy)}


def _quotas() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import quotas

    return {"check": Command(quotas.check_quotas), "explain": Command(quotas.explain_quota)}


def _secrets() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import secrets

    return {"key": Command(secrets.make_key), "rotate": Command(secrets.rotate)}


def _audit() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import audit

    return {"key": Command(audit.make_key), "verify": Command(audit.verify), "show": Command(audit.show)}


def _mcp() -> Command:
    from grpc_tool_bridge.cli import mcp

    return Command(mcp.mcp)


def _open() -> Command:
    from grpc_tool_bridge.cli import dashboard

    return client_command(dashboard.open_dashboard)


def _bench() -> Command:
    from grpc_tool_bridge.cli import bench

    return client_command(bench.bench, check=bench.check)


def _doctor() -> Command:
    from grpc_tool_bridge.cli import doctor

    return client_command(doctor.doctor, check=doctor.check)


def _token() -> Mapping[str, Command]:
    from grpc_tool_bridge.cli import token

    return {
        "new": Command(token.new_token),
        "list": Command(token.list_tokens),
        "revoke": Command(token.revoke),
    }


def _approve() -> Command:
    from grpc_tool_bridge.cli import approve

    return Command(approve.approve)


def _replay() -> Command:
    from grpc_tool_bridge.cli import replay

    return Command(replay.replay)


def _chaos_proxy() -> Command:
    from grpc_tool_bridge.cli import chaos_proxy

    return Command(chaos_proxy.chaos_proxy)


COMMANDS: Mapping[str, Callable[[], Command | Mapping[str, Command]]] = {
    "init": _init,
    "serve": _serve,
    "worker": _worker,
    "mcp": _mcp,
    "tools": _tools,
    "call": _call,
    "stream": _stream,
    "agent": _agent,
    "vars": _variables,
    "shell": _shell,
    "stubs": _stubs,
    "top": _top,
    "open": _open,
    "hubs": _hubs,
    "sessions": _sessions,
    "workers": _workers,
    "calls": _calls,
    "runs": _runs,
    "approvals": _approvals,
    "logs": _logs,
    "metrics": _metrics,
    "admin": _admin,
    "doctor": _doctor,
    "settings": _settings,
    "store": _store,
    "token": _token,
    "policy": _policy,
    "quotas": _quotas,
    "secrets": _secrets,
    "audit": _audit,
    "approve": _approve,
    "completion": _completion,
    "bench": _bench,
    "replay": _replay,
    "chaos-proxy": _chaos_proxy,
}

# Where they stand in the help, by its titles.
PANELS: Mapping[str, Sequence[str]] = {
    "Serve tools": ("init", "serve", "worker", "mcp"),
    "Call tools": ("tools", "call", "stream", "agent", "vars", "shell", "stubs"),
    "Watch a hub": (
        "top",
        "open",
        "hubs",
        "sessions",
        "workers",
        "calls",
        "runs",
        "approvals",
        "logs",
        "metrics",
        "admin",
    ),
    "Set up and maintain": (
        "doctor",
        "settings",
        "store",
        "token",
        "policy",
        "quotas",
        "secrets",
        "audit",
        "approve",
        "completion",
    ),
    "Test": ("bench", "replay", "chaos-proxy"),
}

# The help of those that have commands of their own.
GROUPS: Mapping[str, str] = {
    "vars": "List, read, write and watch the variables of a session.",
    "admin": "See what is going on in the hub, and cancel calls.",
    "approvals": "See which calls wait for approval, and grant or deny them.",
    "store": "See what is in the store of a hub, and make and restore backups.",
    "token": "Make, list and revoke the tokens of callers by name.",
    "policy": "Check the rules of who may do what, and say which rule decides.",
    "quotas": "Check how much each principal may use of a hub.",
    "secrets": "Make keys that the values of secret variables are sealed with, and seal a store with another one.",
    "audit": "Make the key of an audit trail, and check and read what a hub has written.",
}
