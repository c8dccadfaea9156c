"""Certificates of hubs at this machine."""

from pathlib import Path

import trustme


def certificate_files(folder: Path) -> dict[str, Path]:
    """Writes PEM files of an authority, and of a hub at 127.0.0.1: ``ca``, ``cert`` and ``key``."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    issued.cert_chain_pems[0].write_to_path(str(files["cert"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    return files
