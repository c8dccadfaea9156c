// What happens at each limit, by the setting that it is set by.

const MEANINGS = {
  max_sessions: "Another session is refused until one ends.",
  max_connections: "Further connections are closed at once.",
  max_hub_bytes: "Requests are refused, with the time after which to call again; small ones still get through.",
  max_peer_bytes: "Requests of that connection are refused, with the time after which to call again.",
  max_session_bytes: "Requests of the session are refused until it holds less.",
  max_tools: "Further tools are not registered.",
  max_tool_bytes: "Further tools are not registered.",
  max_threads: "Calls of synchronous tools wait for a thread.",
  max_processes: "Calls of tools that run in processes wait for one.",
  max_agent_run_bytes: "The steps of the oldest run that has ended are forgotten.",
  max_store_bytes: "Changes are refused until sessions end or variables are deleted.",
  max_admin_watches: "Another watch of events is refused, and so is another page like this one.",
  max_session_calls: "Further calls of the session wait, in order.",
  max_session_waiting: "Further calls of the session are refused.",
  max_session_variables: "Another variable is refused.",
  max_session_variable_bytes: "A variable that needs more is refused.",
  max_session_tools: "Further tools of the session are not registered.",
  max_session_tool_bytes: "Further tools of the session are not registered.",
  max_session_watches: "Another watch of the session is refused.",
  max_session_agents: "Another agent of the session is refused.",
  max_session_runs: "A run that has ended makes room; if none has, another run is refused.",
  max_tool_calls: "Further calls of the tool wait, in order.",
  max_concurrent_calls: "Further calls of the tool wait, in order.",
  rate_limit_per_minute: "Further calls are refused, with the time after which to call again.",
  max_worker_waiting: "Further calls of the tool are refused.",
  capacity: "The worker gets no further calls; if all workers of a tool are busy, its calls wait, in order.",
};
// Those that are not settings of the hub, as they are set.
const ELSEWHERE = { capacity: "worker --capacity", max_concurrent_calls: "limits.max_concurrent_calls" };

/** What happens when a limit is reached, in one sentence; empty: it is not known here. */
export function meaning(name) {
  return Object.hasOwn(MEANINGS, name) ? MEANINGS[name] : "";
}

/** What a limit is set by: a setting of the hub, an option of a worker, a limit of a tool. */
export function setting(name) {
  return Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : name;
}
