"""What to install for a framework that is not there."""


def missing(error: ImportError, module: str, *, extra: str) -> ImportError:
    """Makes the error for a framework's module that cannot be imported.

    Args:
        error: What importing it raised.
        module: The framework's top module.
        extra: Of this package, which installs the framework.

    Returns:
        An error that names the extra; ``error`` itself where the framework is there but fails by itself.
    """
    if (error.name or "").partition(".")[0] != module:
        return error
    text = f'{module} is not installed; pip install "grpc-tool-bridge[{extra}]" adds it'
    return ImportError(text, name=error.name)
