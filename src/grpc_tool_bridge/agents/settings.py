"""Settings of an agent runtime."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from grpc_tool_bridge.config import Count, Seconds


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not a base URL such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        # Connection errors name the URL, and reach clients.
        raise ValueError("contains a user or a password; set API keys in the environment of the runtime")
    return url


def _model(name: str) -> str:
    if "/" not in name:
        raise ValueError(f"{name!r} has no provider; write it like openai/gpt-4o-mini")
    return name


BaseUrl = Annotated[str, AfterValidator(_base_url)]


class AgentSettings(BaseModel):
    """All settings of an agent runtime. API keys of models are read from its environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Which models.
    model: str | None = Field(default=None, description="default model of agents, such as openai/gpt-4o-mini")
    api_base: BaseUrl | None = Field(
        default=None, description="base URL of the default model, if not the provider's own"
    )
    allowed_models: tuple[Annotated[str, AfterValidator(_model)], ...] = Field(
        default=(),
        description="models that agents may name besides the default; if empty, those of the same provider or, "
        "if the runtime has neither model nor api_base, any",
    )
    allowed_api_bases: tuple[BaseUrl, ...] = Field(
        default=(),
        description="base URLs that agents may name besides the default; each receives the runtime's API keys",
    )
    cache: bool = Field(default=False, description="use DSPy's cache of model responses")
    lm: Any = Field(default=None, repr=False, description="a dspy.LM that every agent uses instead")

    # What a run may take.
    max_runs: Count = Field(default=100, description="concurrent runs; more are refused")
    max_iters: Count = Field(default=100, description="maximum steps of an agent")
    max_total_tokens: Annotated[int, Field(ge=0)] = Field(
        default=0, description="prompt and completion tokens of a run, as the model counts them; 0: unlimited"
    )
    run_timeout: Seconds = Field(default=600.0, description="default timeout of a run")
    model_timeout: Seconds = Field(default=120.0, description="timeout of one model response")
    max_observation_chars: Count = Field(
        default=20_000, description="characters of a tool's result that a model is shown"
    )
    max_agents: Count = Field(default=1_000, description="agents that are kept in memory; the oldest is evicted")
