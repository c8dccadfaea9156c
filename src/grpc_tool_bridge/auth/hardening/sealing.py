"""What the store keeps, and whether its secrets are sealed."""

from collections.abc import Iterator

from grpc_tool_bridge.auth.hardening.deployment import Deployment, Finding, refused

_REMEDY = "make a key with grpc-tool-bridge secrets key --file FILE, and set secrets_key_file"


def sealing(hub: Deployment) -> Iterator[Finding]:
    """Checks whether secret values are encrypted at rest."""
    settings = hub.settings
    has_key = settings.secrets_key is not None or settings.secrets_key_file is not None
    if not hub.is_durable:
        yield Finding("secrets", "ok", "nothing is stored beyond the process")
        return
    if not has_key:
        text = "the store keeps the values of secret variables in plain: whoever reads it reads them"
        yield Finding("secrets", "warn", f"{text}; {_REMEDY}")
        return
    try:
        from grpc_tool_bridge.auth.secrets.sealer import sealer_of  # noqa: PLC0415 - it needs an extra

        sealer_of(settings)
    except OSError as error:
        yield refused("secrets", f"secrets_key_file {settings.secrets_key_file}: {error.strerror or error}")
        return
    except (ImportError, ValueError) as error:
        yield refused("secrets", str(error))
        return
    if settings.secrets_key is not None:
        text = "secrets_key is in the environment or in the settings, where tools of this process can read it"
        yield Finding("secrets", "warn", f"{text}; write it to a file, and set secrets_key_file")
        return
    what = "all variables" if settings.secrets_seal_all else "secret variables"
    yield Finding("secrets", "ok", f"the store keeps the values of {what} encrypted")


def cluster(hub: Deployment) -> Iterator[Finding]:
    """Checks how hubs reach NATS, and how they know each other."""
    nats, settings = hub.nats, hub.settings
    if nats is None:
        return
    found: list[Finding] = []
    credentials = nats.has_credentials or settings.nats_creds is not None or settings.nats_tls_cert is not None
    if not nats.is_local and not (nats.tls and credentials):
        what = "without credentials" if nats.tls else "in plain"
        remedy = "write tls:// and set nats_creds, or nats_tls_cert and nats_tls_key"
        text = f"{nats.shown} is beyond this machine and used {what}"
        found.append(
            Finding("nats", "fail", f"{text}; {remedy}")
            if settings.allow_insecure
            else refused("nats", f"{text}; {remedy}")
        )
    if nats.has_credentials:
        text = "the URL of the store has a password or a token in it"
        found.append(Finding("nats", "warn", f"{text}; set nats_creds, or nats_tls_cert and nats_tls_key"))
    yield from found or [Finding("nats", "ok", f"{nats.shown} is reached in a safe way")]
    if settings.cluster_secret is not None:
        text = "it is in the environment or in the settings, where tools of this process can read it"
        yield Finding("cluster_secret", "warn", f"{text}; write it to a file, and set cluster_secret_file")
    elif settings.cluster_secret_file is None:
        text = "not set: whoever can read and write NATS can call tools as any principal"
        yield Finding("cluster_secret", "warn", f"{text}; set cluster_secret_file at all hubs")
    else:
        try:
            settings.secret_of_cluster()
        except ValueError as error:
            yield refused("cluster_secret", str(error))
        except OSError as error:
            text = f"cluster_secret_file {settings.cluster_secret_file}: {error.strerror or error}"
            yield refused("cluster_secret", text)
        else:
            yield Finding("cluster_secret", "ok", "whoever reads and writes NATS alone cannot call tools")
