"""Settings of an agent runtime."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from grpc_tool_bridge.config import Count, Seconds


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no base URL such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        # Whoever cannot connect says where to, and that reaches clients.
        raise ValueError("has a user or a password in it; a key stands in the environment of the runtime")
    return url


def _model(name: str) -> str:
    if "/" not in name:
        raise ValueError(f"{name!r} names no provider; write it as in openai/gpt-4o-mini")
    return name


BaseUrl = Annotated[str, AfterValidator(_base_url)]


class AgentSettings(BaseModel):
    """Everything that can be set at an agent runtime, but for the keys of models: they stand in its environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Which models.
    model: str | None = Field(default=None, description="model of agents that name none, such as openai/gpt-4o-mini")
    api_base: BaseUrl | None = Field(
        default=None, description="base URL of that model's provider; its own where not set"
    )
    allowed_models: tuple[Annotated[str, AfterValidator(_model)], ...] = Field(
        default=(),
        description="further models that an agent may name, and no others; none: those of the model's provider or, "
        "where the runtime has neither model nor api_base, any",
    )
    allowed_api_bases: tuple[BaseUrl, ...] = Field(
        default=(), description="further base URLs that an agent may name; each is trusted with the runtime's keys"
    )
    cache: bool = Field(default=False, description="answer from DSPy's cache what a model was asked before")
    lm: Any = Field(default=None, repr=False, description="a dspy.LM that answers every agent instead")

    # What a run may take.
    max_runs: Count = Field(default=100, description="runs at once; more are refused")
    max_iters: Count = Field(default=100, description="steps that an agent may be given")
    max_total_tokens: Annotated[int, Field(ge=0)] = Field(
        default=0, description="tokens of a run, asked and answered together, as the model counts them; 0: any"
    )
    run_timeout: Seconds = Field(default=600.0, description="a run that is given no time-out")
    model_timeout: Seconds = Field(default=120.0, description="one answer of a model")
    max_observation_chars: Count = Field(default=20_000, description="text of one tool's result that a model is shown")
    max_agents: Count = Field(default=1_000, description="agents that are kept made; the oldest is made again")
