"""``completion``: prints the script with which a shell completes the command."""

import sys
from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.parameters import Argument
from grpc_tool_bridge.cli.streams import require_stdout

_BASH = r"""# Completion of grpc-tool-bridge in bash.
_grpc_tool_bridge() {
    local answer line first=1
    COMPREPLY=()
    answer=$(_GRPC_TOOL_BRIDGE_COMPLETE=bash _GRPC_TOOL_BRIDGE_BREAKS="$COMP_WORDBREAKS" \
        "$1" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null </dev/null) || return 0
    while IFS= read -r line; do
        if [[ -n $first ]]; then
            first=
            if [[ $line == files ]]; then compopt -o default 2>/dev/null; fi
        else
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done <<< "$answer"
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -F _grpc_tool_bridge grpc-tool-bridge
"""

_ZSH = r"""#compdef grpc-tool-bridge
# Completion of grpc-tool-bridge in zsh.
_grpc-tool-bridge() {
    local -a lines closed open
    local line value
    lines=("${(@f)$(_GRPC_TOOL_BRIDGE_COMPLETE=zsh "${(Q)words[1]}" "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" \
        2>/dev/null </dev/null)}")
    if [[ $lines[1] == files ]]; then
        compset -P '--[^=]#=' || true
        _files
        return
    fi
    for line in "${(@)lines[2,-1]}"; do
        value=${line%%$'\t'*}
        if [[ $value == *= ]]; then
            open+=("${value//:/\\:}:${line#*$'\t'}")
        else
            closed+=("${value//:/\\:}:${line#*$'\t'}")
        fi
    done
    (( $#open )) && _describe -V value open -S ''
    (( $#closed )) && _describe -V value closed
}
if [[ $funcstack[1] == _grpc-tool-bridge ]]; then
    _grpc-tool-bridge "$@"
else
    compdef _grpc-tool-bridge grpc-tool-bridge
fi
"""

_FISH = r"""# Completion of grpc-tool-bridge in fish.
function __grpc_tool_bridge_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l current (commandline -ct)
    set -l lines (_GRPC_TOOL_BRIDGE_COMPLETE=fish $program $words "$current" 2>/dev/null </dev/null)
    if test "$lines[1]" = files
        __fish_complete_path (string replace -r -- '^--[^=]*=' '' "$current")
    else if test (count $lines) -gt 1
        string join \n -- $lines[2..-1]
    end
end
complete -c grpc-tool-bridge -f -a '(__grpc_tool_bridge_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(
    shell: Annotated[str, Argument(metavar="SHELL", help=f"{', '.join(SCRIPTS)}: the shell.", choices=tuple(SCRIPTS))],
) -> int:
    """Print the script with which a shell completes commands, options, tools, their arguments and sessions.

    Bash: source <(grpc-tool-bridge completion bash), such as in ~/.bashrc.
    """
    if shell not in SCRIPTS:
        raise ArgumentError(f"completion: {shell} is not a shell that it knows; write {', '.join(SCRIPTS)}")
    require_stdout()
    sys.stdout.write(SCRIPTS[shell])
    return 0
