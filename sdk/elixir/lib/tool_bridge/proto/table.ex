# Written by scripts/generate_elixir_proto.py from proto/dspex_bridge.proto; do not edit.
defmodule ToolBridge.Proto.Table do
  @moduledoc false

  # {module, full name, [{number, name, kind, label, oneof}]}. A kind is a scalar, {:message, module} or
  # {:enum, module}; a label is :one, :optional, :repeated, :packed or {:map, kind of the keys}.

  @doc "All messages."
  def messages do
    [
      {ToolBridge.Proto.Google.Any, "google.protobuf.Any",
       [
         {1, :type_url, :string, :one, nil},
         {2, :value, :bytes, :one, nil}
       ]},
      {ToolBridge.Proto.Google.Duration, "google.protobuf.Duration",
       [
         {1, :seconds, :int64, :one, nil},
         {2, :nanos, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.Google.Empty, "google.protobuf.Empty",
       []},
      {ToolBridge.Proto.Google.Struct, "google.protobuf.Struct",
       [
         {1, :fields, {:message, ToolBridge.Proto.Google.Value}, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.Google.Value, "google.protobuf.Value",
       [
         {1, :null_value, {:enum, ToolBridge.Proto.Google.NullValue}, :one, :kind},
         {2, :number_value, :double, :one, :kind},
         {3, :string_value, :string, :one, :kind},
         {4, :bool_value, :bool, :one, :kind},
         {5, :struct_value, {:message, ToolBridge.Proto.Google.Struct}, :one, :kind},
         {6, :list_value, {:message, ToolBridge.Proto.Google.ListValue}, :one, :kind}
       ]},
      {ToolBridge.Proto.Google.ListValue, "google.protobuf.ListValue",
       [
         {1, :values, {:message, ToolBridge.Proto.Google.Value}, :repeated, nil}
       ]},
      {ToolBridge.Proto.Google.Timestamp, "google.protobuf.Timestamp",
       [
         {1, :seconds, :int64, :one, nil},
         {2, :nanos, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.Google.DoubleValue, "google.protobuf.DoubleValue",
       [
         {1, :value, :double, :one, nil}
       ]},
      {ToolBridge.Proto.Google.FloatValue, "google.protobuf.FloatValue",
       [
         {1, :value, :float, :one, nil}
       ]},
      {ToolBridge.Proto.Google.Int64Value, "google.protobuf.Int64Value",
       [
         {1, :value, :int64, :one, nil}
       ]},
      {ToolBridge.Proto.Google.UInt64Value, "google.protobuf.UInt64Value",
       [
         {1, :value, :uint64, :one, nil}
       ]},
      {ToolBridge.Proto.Google.Int32Value, "google.protobuf.Int32Value",
       [
         {1, :value, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.Google.UInt32Value, "google.protobuf.UInt32Value",
       [
         {1, :value, :uint32, :one, nil}
       ]},
      {ToolBridge.Proto.Google.BoolValue, "google.protobuf.BoolValue",
       [
         {1, :value, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.Google.StringValue, "google.protobuf.StringValue",
       [
         {1, :value, :string, :one, nil}
       ]},
      {ToolBridge.Proto.Google.BytesValue, "google.protobuf.BytesValue",
       [
         {1, :value, :bytes, :one, nil}
       ]},
      {ToolBridge.Proto.InitializeSessionRequest, "dspex.bridge.InitializeSessionRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :callback_address, :string, :one, nil},
         {3, :metadata, :string, {:map, :string}, nil},
         {4, :config, {:message, ToolBridge.Proto.SessionConfig}, :one, nil}
       ]},
      {ToolBridge.Proto.SessionConfig, "dspex.bridge.SessionConfig",
       [
         {1, :max_concurrent_tools, :int32, :one, nil},
         {2, :default_timeout_ms, :int32, :one, nil},
         {3, :enable_caching, :bool, :one, nil},
         {4, :enable_telemetry, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.InitializeSessionResponse, "dspex.bridge.InitializeSessionResponse",
       [
         {1, :success, :bool, :one, nil},
         {2, :tool_count, :int32, :one, nil},
         {3, :capabilities, :string, :repeated, nil},
         {4, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil},
         {5, :resumed, :bool, :one, nil},
         {6, :session_id, :string, :one, nil},
         {7, :tools, {:message, ToolBridge.Proto.ToolSpec}, :repeated, nil},
         {8, :more_tools, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.CleanupSessionRequest, "dspex.bridge.CleanupSessionRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :force, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.GetSessionInfoRequest, "dspex.bridge.GetSessionInfoRequest",
       [
         {1, :session_id, :string, :one, nil}
       ]},
      {ToolBridge.Proto.SessionInfo, "dspex.bridge.SessionInfo",
       [
         {1, :session_id, :string, :one, nil},
         {2, :created_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {3, :last_activity, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {4, :tool_count, :int32, :one, nil},
         {5, :variable_count, :int32, :one, nil},
         {6, :active_operations, :int32, :one, nil},
         {7, :metadata, :string, {:map, :string}, nil},
         {8, :hub, :string, :one, nil},
         {9, :access, {:message, ToolBridge.Proto.SessionAccess}, :one, nil}
       ]},
      {ToolBridge.Proto.SessionAccess, "dspex.bridge.SessionAccess",
       [
         {1, :owner, :string, :one, nil},
         {2, :shares, {:message, ToolBridge.Proto.SessionShare}, :repeated, nil}
       ]},
      {ToolBridge.Proto.SessionShare, "dspex.bridge.SessionShare",
       [
         {1, :principal, :string, :one, nil},
         {2, :group, :string, :one, nil},
         {3, :rights, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.ShareSessionRequest, "dspex.bridge.ShareSessionRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :share, {:message, ToolBridge.Proto.SessionShare}, :one, nil}
       ]},
      {ToolBridge.Proto.UnshareSessionRequest, "dspex.bridge.UnshareSessionRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :principal, :string, :one, nil},
         {3, :group, :string, :one, nil}
       ]},
      {ToolBridge.Proto.HeartbeatRequest, "dspex.bridge.HeartbeatRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :client_time, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil}
       ]},
      {ToolBridge.Proto.HeartbeatResponse, "dspex.bridge.HeartbeatResponse",
       [
         {1, :server_time, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {2, :session_valid, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.ToolSpec, "dspex.bridge.ToolSpec",
       [
         {1, :tool_id, :string, :one, nil},
         {2, :name, :string, :one, nil},
         {3, :description, :string, :one, nil},
         {4, :type, {:enum, ToolBridge.Proto.ToolType}, :one, nil},
         {5, :arguments, {:message, ToolBridge.Proto.ArgumentSpec}, :repeated, nil},
         {6, :return_type, {:message, ToolBridge.Proto.ArgumentSpec}, :one, nil},
         {7, :metadata, :string, {:map, :string}, nil},
         {8, :examples, :string, :repeated, nil},
         {9, :validation, {:message, ToolBridge.Proto.ValidationRules}, :one, nil},
         {10, :limits, {:message, ToolBridge.Proto.ResourceLimits}, :one, nil},
         {11, :input_schema, :string, :one, nil},
         {12, :output_schema, :string, :one, nil},
         {13, :version, :string, :one, nil},
         {14, :idempotent, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.ArgumentSpec, "dspex.bridge.ArgumentSpec",
       [
         {1, :name, :string, :one, nil},
         {2, :python_type, :string, :one, nil},
         {3, :elixir_type, :string, :one, nil},
         {4, :required, :bool, :one, nil},
         {5, :description, :string, :one, nil},
         {6, :default_value, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {7, :allowed_values, :string, :repeated, nil},
         {8, :validation, {:message, ToolBridge.Proto.ValidationRules}, :one, nil}
       ]},
      {ToolBridge.Proto.ValidationRules, "dspex.bridge.ValidationRules",
       [
         {1, :pattern, :string, :one, nil},
         {2, :min_value, :double, :optional, nil},
         {3, :max_value, :double, :optional, nil},
         {4, :min_length, :int32, :optional, nil},
         {5, :max_length, :int32, :optional, nil},
         {6, :custom_rules, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.ResourceLimits, "dspex.bridge.ResourceLimits",
       [
         {1, :timeout_ms, :int32, :one, nil},
         {2, :max_memory_bytes, :int64, :one, nil},
         {3, :max_concurrent_calls, :int32, :one, nil},
         {4, :rate_limit_per_minute, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.GetSessionToolsRequest, "dspex.bridge.GetSessionToolsRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :page_token, :string, :one, nil},
         {3, :page_size, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.GetSessionToolsResponse, "dspex.bridge.GetSessionToolsResponse",
       [
         {1, :tools, {:message, ToolBridge.Proto.ToolSpec}, :repeated, nil},
         {2, :revision, :uint64, :one, nil},
         {3, :next_page_token, :string, :one, nil}
       ]},
      {ToolBridge.Proto.RegisterToolsRequest, "dspex.bridge.RegisterToolsRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :tools, {:message, ToolBridge.Proto.ToolSpec}, :repeated, nil},
         {3, :worker_id, :string, :one, nil},
         {4, :capacity, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.RegisterToolsResponse, "dspex.bridge.RegisterToolsResponse",
       [
         {1, :success, :bool, :one, nil},
         {2, :tool_ids, :string, {:map, :string}, nil},
         {3, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil}
       ]},
      {ToolBridge.Proto.UnregisterToolsRequest, "dspex.bridge.UnregisterToolsRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :tool_ids, :string, :repeated, nil},
         {3, :worker_id, :string, :one, nil}
       ]},
      {ToolBridge.Proto.WatchSessionToolsRequest, "dspex.bridge.WatchSessionToolsRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :from_revision, :uint64, :one, nil}
       ]},
      {ToolBridge.Proto.ToolUpdate, "dspex.bridge.ToolUpdate",
       [
         {1, :tool, {:message, ToolBridge.Proto.ToolSpec}, :one, nil},
         {2, :operation, :string, :one, nil},
         {3, :revision, :uint64, :one, nil},
         {4, :epoch, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ToolCallRequest, "dspex.bridge.ToolCallRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :tool_id, :string, :one, nil},
         {3, :args, {:message, ToolBridge.Proto.Google.Any}, :repeated, nil},
         {4, :kwargs, {:message, ToolBridge.Proto.Google.Any}, {:map, :string}, nil},
         {5, :request_id, :string, :one, nil},
         {6, :timeout_ms, :int32, :one, nil},
         {7, :context, :string, {:map, :string}, nil},
         {8, :idempotency_key, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ToolCallResponse, "dspex.bridge.ToolCallResponse",
       [
         {1, :success, :bool, :one, nil},
         {2, :result, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {3, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil},
         {4, :metrics, {:message, ToolBridge.Proto.ExecutionMetrics}, :one, nil},
         {5, :request_id, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ToolStreamRequest, "dspex.bridge.ToolStreamRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :tool_id, :string, :one, nil},
         {3, :args, {:message, ToolBridge.Proto.Google.Any}, :repeated, nil},
         {4, :kwargs, {:message, ToolBridge.Proto.Google.Any}, {:map, :string}, nil},
         {5, :stream_id, :string, :one, nil},
         {6, :config, {:message, ToolBridge.Proto.StreamConfig}, :one, nil},
         {7, :timeout_ms, :int32, :one, nil},
         {8, :context, :string, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.StreamConfig, "dspex.bridge.StreamConfig",
       [
         {1, :chunk_size, :int32, :one, nil},
         {2, :buffer_size, :int32, :one, nil},
         {3, :backpressure_enabled, :bool, :one, nil},
         {4, :include_events, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.ToolStreamChunk, "dspex.bridge.ToolStreamChunk",
       [
         {1, :stream_id, :string, :one, nil},
         {2, :sequence, :int32, :one, nil},
         {3, :data, {:message, ToolBridge.Proto.Google.Any}, :one, :content},
         {4, :metadata, {:message, ToolBridge.Proto.StreamMetadata}, :one, :content},
         {5, :complete, {:message, ToolBridge.Proto.CompleteSignal}, :one, :content},
         {6, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, :content}
       ]},
      {ToolBridge.Proto.StreamMetadata, "dspex.bridge.StreamMetadata",
       [
         {1, :key, :string, :one, nil},
         {2, :value, {:message, ToolBridge.Proto.Google.Any}, :one, nil}
       ]},
      {ToolBridge.Proto.CompleteSignal, "dspex.bridge.CompleteSignal",
       [
         {1, :total_chunks, :int32, :one, nil},
         {2, :metrics, {:message, ToolBridge.Proto.ExecutionMetrics}, :one, nil}
       ]},
      {ToolBridge.Proto.BatchToolCallRequest, "dspex.bridge.BatchToolCallRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :batch_id, :string, :one, nil},
         {3, :items, {:message, ToolBridge.Proto.ToolCallItem}, :repeated, nil},
         {4, :config, {:message, ToolBridge.Proto.BatchConfig}, :one, nil}
       ]},
      {ToolBridge.Proto.ToolCallItem, "dspex.bridge.ToolCallItem",
       [
         {1, :index, :int32, :one, nil},
         {2, :tool_id, :string, :one, nil},
         {3, :args, {:message, ToolBridge.Proto.Google.Any}, :repeated, nil},
         {4, :kwargs, {:message, ToolBridge.Proto.Google.Any}, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.BatchConfig, "dspex.bridge.BatchConfig",
       [
         {1, :parallel, :bool, :one, nil},
         {2, :stop_on_error, :bool, :one, nil},
         {3, :max_parallel, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.BatchToolCallResponse, "dspex.bridge.BatchToolCallResponse",
       [
         {1, :batch_id, :string, :one, nil},
         {2, :results, {:message, ToolBridge.Proto.ToolCallResult}, :repeated, nil},
         {3, :metrics, {:message, ToolBridge.Proto.BatchMetrics}, :one, nil},
         {4, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil}
       ]},
      {ToolBridge.Proto.ToolCallResult, "dspex.bridge.ToolCallResult",
       [
         {1, :index, :int32, :one, nil},
         {2, :success, :bool, :one, nil},
         {3, :result, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {4, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil},
         {5, :metrics, {:message, ToolBridge.Proto.ExecutionMetrics}, :one, nil}
       ]},
      {ToolBridge.Proto.GetVariableRequest, "dspex.bridge.GetVariableRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :variable_name, :string, :one, nil},
         {3, :include_metadata, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.VariableResponse, "dspex.bridge.VariableResponse",
       [
         {1, :exists, :bool, :one, nil},
         {2, :value, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {3, :metadata, {:message, ToolBridge.Proto.VariableMetadata}, :one, nil}
       ]},
      {ToolBridge.Proto.SetVariableRequest, "dspex.bridge.SetVariableRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :variable_name, :string, :one, nil},
         {3, :value, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {4, :metadata, {:message, ToolBridge.Proto.VariableMetadata}, :one, nil},
         {5, :create_if_missing, :bool, :one, nil},
         {6, :expected_revision, :uint64, :optional, nil}
       ]},
      {ToolBridge.Proto.DeleteVariableRequest, "dspex.bridge.DeleteVariableRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :variable_name, :string, :one, nil},
         {3, :expected_revision, :uint64, :optional, nil}
       ]},
      {ToolBridge.Proto.VariableMetadata, "dspex.bridge.VariableMetadata",
       [
         {1, :type, :string, :one, nil},
         {2, :created_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {3, :updated_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {4, :created_by, :string, :one, nil},
         {5, :tags, :string, {:map, :string}, nil},
         {6, :revision, :uint64, :one, nil},
         {7, :secret, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.ListVariablesRequest, "dspex.bridge.ListVariablesRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :prefix, :string, :one, nil},
         {3, :tags, :string, :repeated, nil},
         {4, :limit, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.ListVariablesResponse, "dspex.bridge.ListVariablesResponse",
       [
         {1, :variables, {:message, ToolBridge.Proto.VariableInfo}, :repeated, nil}
       ]},
      {ToolBridge.Proto.VariableInfo, "dspex.bridge.VariableInfo",
       [
         {1, :name, :string, :one, nil},
         {2, :type, :string, :one, nil},
         {3, :size_bytes, :int32, :one, nil},
         {4, :metadata, {:message, ToolBridge.Proto.VariableMetadata}, :one, nil}
       ]},
      {ToolBridge.Proto.WatchVariablesRequest, "dspex.bridge.WatchVariablesRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :variable_names, :string, :repeated, nil},
         {3, :include_initial, :bool, :one, nil},
         {4, :from_revision, :uint64, :one, nil},
         {5, :epoch, :string, :one, nil}
       ]},
      {ToolBridge.Proto.VariableUpdate, "dspex.bridge.VariableUpdate",
       [
         {1, :name, :string, :one, nil},
         {2, :value, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {3, :operation, :string, :one, nil},
         {4, :timestamp, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {5, :revision, :uint64, :one, nil},
         {6, :epoch, :string, :one, nil},
         {7, :secret, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.CreateReActAgentRequest, "dspex.bridge.CreateReActAgentRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :signature, :string, :one, nil},
         {3, :tool_names, :string, :repeated, nil},
         {4, :max_iters, :int32, :one, nil},
         {5, :config, {:message, ToolBridge.Proto.AgentConfig}, :one, nil}
       ]},
      {ToolBridge.Proto.AgentConfig, "dspex.bridge.AgentConfig",
       [
         {1, :verbose, :bool, :one, nil},
         {2, :return_intermediate_steps, :bool, :one, nil},
         {3, :llm_config, {:message, ToolBridge.Proto.Google.Any}, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.CreateReActAgentResponse, "dspex.bridge.CreateReActAgentResponse",
       [
         {1, :agent_id, :string, :one, nil},
         {2, :tool_count, :int32, :one, nil},
         {3, :capabilities, :string, :repeated, nil},
         {4, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil}
       ]},
      {ToolBridge.Proto.ExecuteAgentRequest, "dspex.bridge.ExecuteAgentRequest",
       [
         {1, :agent_id, :string, :one, nil},
         {2, :input, {:message, ToolBridge.Proto.Google.Struct}, :one, nil},
         {3, :context, {:message, ToolBridge.Proto.Google.Any}, {:map, :string}, nil},
         {4, :stream, :bool, :one, nil},
         {5, :session_id, :string, :one, nil},
         {6, :run_id, :string, :one, nil},
         {7, :from_sequence, :int32, :one, nil},
         {8, :timeout_ms, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.CancelAgentRunRequest, "dspex.bridge.CancelAgentRunRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :run_id, :string, :one, nil}
       ]},
      {ToolBridge.Proto.AgentExecutionChunk, "dspex.bridge.AgentExecutionChunk",
       [
         {1, :agent_id, :string, :one, nil},
         {2, :thought, {:message, ToolBridge.Proto.ThoughtChunk}, :one, :content},
         {3, :action, {:message, ToolBridge.Proto.ActionChunk}, :one, :content},
         {4, :observation, {:message, ToolBridge.Proto.ObservationChunk}, :one, :content},
         {5, :result, {:message, ToolBridge.Proto.ResultChunk}, :one, :content},
         {6, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, :content},
         {7, :sequence, :int32, :one, nil},
         {8, :run_id, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ThoughtChunk, "dspex.bridge.ThoughtChunk",
       [
         {1, :text, :string, :one, nil},
         {2, :step, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.ActionChunk, "dspex.bridge.ActionChunk",
       [
         {1, :tool_name, :string, :one, nil},
         {2, :tool_input, {:message, ToolBridge.Proto.Google.Struct}, :one, nil},
         {3, :step, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.ObservationChunk, "dspex.bridge.ObservationChunk",
       [
         {1, :tool_output, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {2, :step, :int32, :one, nil},
         {3, :metrics, {:message, ToolBridge.Proto.ExecutionMetrics}, :one, nil},
         {4, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil}
       ]},
      {ToolBridge.Proto.ResultChunk, "dspex.bridge.ResultChunk",
       [
         {1, :final_answer, {:message, ToolBridge.Proto.Google.Struct}, :one, nil},
         {2, :total_steps, :int32, :one, nil},
         {3, :steps, {:message, ToolBridge.Proto.IntermediateStep}, :repeated, nil},
         {4, :stop_reason, :string, :one, nil},
         {5, :metrics, {:message, ToolBridge.Proto.ExecutionMetrics}, :one, nil}
       ]},
      {ToolBridge.Proto.IntermediateStep, "dspex.bridge.IntermediateStep",
       [
         {1, :thought, :string, :one, nil},
         {2, :action, :string, :one, nil},
         {3, :observation, :string, :one, nil}
       ]},
      {ToolBridge.Proto.StatusResponse, "dspex.bridge.StatusResponse",
       [
         {1, :success, :bool, :one, nil},
         {2, :message, :string, :one, nil},
         {3, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil}
       ]},
      {ToolBridge.Proto.ErrorInfo, "dspex.bridge.ErrorInfo",
       [
         {1, :type, :string, :one, nil},
         {2, :message, :string, :one, nil},
         {3, :details, :string, {:map, :string}, nil},
         {4, :stacktrace, :string, :one, nil},
         {5, :timestamp, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {6, :retryable, :bool, :one, nil}
       ]},
      {ToolBridge.Proto.ExecutionMetrics, "dspex.bridge.ExecutionMetrics",
       [
         {1, :duration_ms, :int64, :one, nil},
         {2, :cpu_time_ms, :int64, :one, nil},
         {3, :memory_bytes, :int64, :one, nil},
         {4, :custom_metrics, :double, {:map, :string}, nil},
         {5, :duration_us, :int64, :one, nil}
       ]},
      {ToolBridge.Proto.BatchMetrics, "dspex.bridge.BatchMetrics",
       [
         {1, :total_items, :int32, :one, nil},
         {2, :successful_items, :int32, :one, nil},
         {3, :failed_items, :int32, :one, nil},
         {4, :total_duration_ms, :int64, :one, nil},
         {5, :avg_duration_ms, :double, :one, nil}
       ]},
      {ToolBridge.Proto.HealthCheckRequest, "dspex.bridge.HealthCheckRequest",
       [
         {1, :service, :string, :one, nil}
       ]},
      {ToolBridge.Proto.HealthCheckResponse, "dspex.bridge.HealthCheckResponse",
       [
         {1, :status, {:enum, ToolBridge.Proto.HealthCheckResponse.Status}, :one, nil},
         {2, :dependencies, {:enum, ToolBridge.Proto.HealthCheckResponse.Status}, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.GetMetricsRequest, "dspex.bridge.GetMetricsRequest",
       [
         {1, :metric_names, :string, :repeated, nil},
         {2, :start_time, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {3, :end_time, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil}
       ]},
      {ToolBridge.Proto.MetricsResponse, "dspex.bridge.MetricsResponse",
       [
         {1, :metrics, {:message, ToolBridge.Proto.MetricValue}, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.MetricValue, "dspex.bridge.MetricValue",
       [
         {1, :integer_value, :int64, :one, :value},
         {2, :double_value, :double, :one, :value},
         {3, :string_value, :string, :one, :value},
         {4, :histogram, {:message, ToolBridge.Proto.MetricHistogram}, :one, :value}
       ]},
      {ToolBridge.Proto.MetricHistogram, "dspex.bridge.MetricHistogram",
       [
         {1, :buckets, {:message, ToolBridge.Proto.Bucket}, :repeated, nil},
         {2, :count, :int64, :one, nil},
         {3, :sum, :double, :one, nil}
       ]},
      {ToolBridge.Proto.Bucket, "dspex.bridge.Bucket",
       [
         {1, :upper_bound, :double, :one, nil},
         {2, :count, :int64, :one, nil}
       ]},
      {ToolBridge.Proto.LinkFrame, "dspex.bridge.LinkFrame",
       [
         {1, :envelopes, {:message, ToolBridge.Proto.Envelope}, :repeated, nil}
       ]},
      {ToolBridge.Proto.Envelope, "dspex.bridge.Envelope",
       [
         {1, :id, :uint64, :one, nil},
         {2, :call, {:message, ToolBridge.Proto.LinkCall}, :one, :kind},
         {3, :reply, :bytes, :one, :kind},
         {4, :chunk, :bytes, :one, :kind},
         {5, :end, {:message, ToolBridge.Proto.LinkStatus}, :one, :kind},
         {6, :cancel, {:message, ToolBridge.Proto.LinkCancel}, :one, :kind},
         {7, :credit, :uint32, :one, :kind},
         {8, :hello, {:message, ToolBridge.Proto.LinkHello}, :one, :kind},
         {9, :ping, :uint64, :one, :kind},
         {10, :pong, :uint64, :one, :kind},
         {11, :drain, {:message, ToolBridge.Proto.LinkDrain}, :one, :kind},
         {12, :part, :bytes, :one, :kind},
         {13, :event, {:message, ToolBridge.Proto.LinkEvent}, :one, :kind}
       ]},
      {ToolBridge.Proto.LinkHello, "dspex.bridge.LinkHello",
       [
         {1, :protocol, :uint32, :one, nil},
         {2, :peer, :string, :one, nil},
         {3, :features, :string, :repeated, nil},
         {4, :capacity, :uint32, :one, nil},
         {5, :metadata, :string, {:map, :string}, nil}
       ]},
      {ToolBridge.Proto.LinkCall, "dspex.bridge.LinkCall",
       [
         {1, :method, :string, :one, nil},
         {2, :payload, :bytes, :one, nil},
         {3, :timeout_ms, :uint32, :one, nil},
         {4, :metadata, :string, {:map, :string}, nil},
         {5, :initial_credit, :uint32, :one, nil}
       ]},
      {ToolBridge.Proto.LinkStatus, "dspex.bridge.LinkStatus",
       [
         {1, :code, :int32, :one, nil},
         {2, :message, :string, :one, nil},
         {3, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil}
       ]},
      {ToolBridge.Proto.LinkCancel, "dspex.bridge.LinkCancel",
       [
         {1, :reason, :string, :one, nil}
       ]},
      {ToolBridge.Proto.LinkDrain, "dspex.bridge.LinkDrain",
       [
         {1, :grace_ms, :uint32, :one, nil}
       ]},
      {ToolBridge.Proto.LinkEvent, "dspex.bridge.LinkEvent",
       [
         {1, :progress, {:message, ToolBridge.Proto.Progress}, :one, :kind},
         {2, :log, {:message, ToolBridge.Proto.LogRecord}, :one, :kind},
         {3, :ask, {:message, ToolBridge.Proto.Ask}, :one, :kind},
         {4, :answer, {:message, ToolBridge.Proto.Answer}, :one, :kind}
       ]},
      {ToolBridge.Proto.Ask, "dspex.bridge.Ask",
       [
         {1, :id, :string, :one, nil},
         {2, :message, :string, :one, nil},
         {3, :schema, :string, :one, nil}
       ]},
      {ToolBridge.Proto.Answer, "dspex.bridge.Answer",
       [
         {1, :id, :string, :one, nil},
         {2, :action, :string, :one, nil},
         {3, :content, {:message, ToolBridge.Proto.Google.Struct}, :one, nil}
       ]},
      {ToolBridge.Proto.Progress, "dspex.bridge.Progress",
       [
         {1, :current, :double, :one, nil},
         {2, :total, :double, :one, nil},
         {3, :message, :string, :one, nil}
       ]},
      {ToolBridge.Proto.LogRecord, "dspex.bridge.LogRecord",
       [
         {1, :level, :string, :one, nil},
         {2, :logger, :string, :one, nil},
         {3, :message, :string, :one, nil},
         {4, :fields, :string, {:map, :string}, nil},
         {5, :timestamp, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil}
       ]},
      {ToolBridge.Proto.ListHubsRequest, "dspex.bridge.ListHubsRequest",
       [
         {1, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListHubsResponse, "dspex.bridge.ListHubsResponse",
       [
         {1, :hubs, {:message, ToolBridge.Proto.HubInfo}, :repeated, nil},
         {2, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.HubInfo, "dspex.bridge.HubInfo",
       [
         {1, :name, :string, :one, nil},
         {2, :incarnation, :string, :one, nil},
         {3, :address, :string, :one, nil},
         {4, :http_url, :string, :one, nil},
         {5, :version, :string, :one, nil},
         {6, :started_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {7, :is_self, :bool, :one, nil},
         {8, :state, :string, :one, nil},
         {9, :reason, :string, :one, nil},
         {10, :sessions, :int64, :one, nil},
         {11, :workers, :int32, :one, nil},
         {12, :tools, :int32, :one, nil},
         {13, :active_calls, :int64, :one, nil},
         {14, :room, :int64, :one, nil},
         {15, :link, :string, :one, nil},
         {16, :link_error, :string, :one, nil},
         {17, :time, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {18, :clock_ahead_us, :int64, :one, nil}
       ]},
      {ToolBridge.Proto.ListOffersRequest, "dspex.bridge.ListOffersRequest",
       [
         {1, :page_token, :string, :one, nil},
         {2, :page_size, :int32, :one, nil},
         {3, :hub, :string, :one, nil},
         {4, :tool, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListOffersResponse, "dspex.bridge.ListOffersResponse",
       [
         {1, :offers, {:message, ToolBridge.Proto.ToolOffer}, :repeated, nil},
         {2, :next_page_token, :string, :one, nil},
         {3, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.ToolOffer, "dspex.bridge.ToolOffer",
       [
         {1, :tool, :string, :one, nil},
         {2, :hub, :string, :one, nil},
         {3, :worker_id, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListSessionsRequest, "dspex.bridge.ListSessionsRequest",
       [
         {1, :page_token, :string, :one, nil},
         {2, :page_size, :int32, :one, nil},
         {3, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListSessionsResponse, "dspex.bridge.ListSessionsResponse",
       [
         {1, :sessions, {:message, ToolBridge.Proto.SessionInfo}, :repeated, nil},
         {2, :next_page_token, :string, :one, nil},
         {3, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.ListWorkersRequest, "dspex.bridge.ListWorkersRequest",
       [
         {1, :page_token, :string, :one, nil},
         {2, :page_size, :int32, :one, nil},
         {3, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListWorkersResponse, "dspex.bridge.ListWorkersResponse",
       [
         {1, :workers, {:message, ToolBridge.Proto.WorkerInfo}, :repeated, nil},
         {2, :next_page_token, :string, :one, nil},
         {3, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.WorkerInfo, "dspex.bridge.WorkerInfo",
       [
         {1, :worker_id, :string, :one, nil},
         {2, :state, :string, :one, nil},
         {3, :capacity, :int32, :one, nil},
         {4, :active_calls, :int32, :one, nil},
         {5, :connected_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {6, :tools, :string, :repeated, nil},
         {7, :tool_count, :int32, :one, nil},
         {8, :peer, :string, :one, nil},
         {9, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListCallsRequest, "dspex.bridge.ListCallsRequest",
       [
         {1, :page_token, :string, :one, nil},
         {2, :page_size, :int32, :one, nil},
         {3, :session_id, :string, :one, nil},
         {4, :include_arguments, :bool, :one, nil},
         {5, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListCallsResponse, "dspex.bridge.ListCallsResponse",
       [
         {1, :calls, {:message, ToolBridge.Proto.CallInfo}, :repeated, nil},
         {2, :next_page_token, :string, :one, nil},
         {3, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.CallInfo, "dspex.bridge.CallInfo",
       [
         {1, :call_id, :string, :one, nil},
         {2, :session_id, :string, :one, nil},
         {3, :tool_id, :string, :one, nil},
         {4, :request_id, :string, :one, nil},
         {5, :parent_id, :string, :one, nil},
         {6, :worker_id, :string, :one, nil},
         {7, :state, :string, :one, nil},
         {8, :started_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {9, :time_left_ms, :int64, :one, nil},
         {10, :progress, {:message, ToolBridge.Proto.Progress}, :one, nil},
         {11, :args, {:message, ToolBridge.Proto.Google.Any}, :repeated, nil},
         {12, :kwargs, {:message, ToolBridge.Proto.Google.Any}, {:map, :string}, nil},
         {13, :duration_us, :int64, :one, nil},
         {14, :error, {:message, ToolBridge.Proto.ErrorInfo}, :one, nil},
         {15, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.CancelCallRequest, "dspex.bridge.CancelCallRequest",
       [
         {1, :call_id, :string, :one, nil},
         {2, :reason, :string, :one, nil},
         {3, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListApprovalsRequest, "dspex.bridge.ListApprovalsRequest",
       [
         {1, :page_token, :string, :one, nil},
         {2, :page_size, :int32, :one, nil},
         {3, :include_arguments, :bool, :one, nil},
         {4, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListApprovalsResponse, "dspex.bridge.ListApprovalsResponse",
       [
         {1, :approvals, {:message, ToolBridge.Proto.ApprovalInfo}, :repeated, nil},
         {2, :next_page_token, :string, :one, nil},
         {3, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.ApprovalInfo, "dspex.bridge.ApprovalInfo",
       [
         {1, :approval_id, :string, :one, nil},
         {2, :digest, :string, :one, nil},
         {3, :tool, :string, :one, nil},
         {4, :version, :string, :one, nil},
         {5, :session_id, :string, :one, nil},
         {6, :caller, :string, :one, nil},
         {7, :via, :string, :repeated, nil},
         {8, :time_left_ms, :int64, :one, nil},
         {9, :args, :string, :repeated, nil},
         {10, :kwargs, :string, {:map, :string}, nil},
         {11, :started_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {12, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.DecideApprovalRequest, "dspex.bridge.DecideApprovalRequest",
       [
         {1, :approval_id, :string, :one, nil},
         {2, :digest, :string, :one, nil},
         {3, :grant, :bool, :one, nil},
         {4, :reason, :string, :one, nil},
         {5, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListRunsRequest, "dspex.bridge.ListRunsRequest",
       [
         {1, :page_token, :string, :one, nil},
         {2, :page_size, :int32, :one, nil},
         {3, :session_id, :string, :one, nil},
         {4, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.ListRunsResponse, "dspex.bridge.ListRunsResponse",
       [
         {1, :runs, {:message, ToolBridge.Proto.RunInfo}, :repeated, nil},
         {2, :next_page_token, :string, :one, nil},
         {3, :missing_hubs, :string, :repeated, nil}
       ]},
      {ToolBridge.Proto.RunInfo, "dspex.bridge.RunInfo",
       [
         {1, :run_id, :string, :one, nil},
         {2, :agent_id, :string, :one, nil},
         {3, :session_id, :string, :one, nil},
         {4, :state, :string, :one, nil},
         {5, :started_at, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {6, :chunks, :int32, :one, nil},
         {7, :readers, :int32, :one, nil},
         {8, :hub, :string, :one, nil}
       ]},
      {ToolBridge.Proto.WatchEventsRequest, "dspex.bridge.WatchEventsRequest",
       [
         {1, :session_id, :string, :one, nil},
         {2, :kinds, :string, :repeated, nil},
         {3, :include_arguments, :bool, :one, nil},
         {4, :calls_per_second, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.AdminEvent, "dspex.bridge.AdminEvent",
       [
         {1, :sequence, :uint64, :one, nil},
         {2, :timestamp, {:message, ToolBridge.Proto.Google.Timestamp}, :one, nil},
         {3, :operation, :string, :one, nil},
         {4, :call, {:message, ToolBridge.Proto.CallInfo}, :one, :subject},
         {5, :worker, {:message, ToolBridge.Proto.WorkerInfo}, :one, :subject},
         {6, :session, {:message, ToolBridge.Proto.SessionInfo}, :one, :subject},
         {7, :log, {:message, ToolBridge.Proto.LogRecord}, :one, :subject},
         {8, :dropped, :uint64, :one, nil},
         {9, :result, {:message, ToolBridge.Proto.Google.Any}, :one, nil},
         {10, :omitted_calls, :uint64, :one, nil}
       ]},
      {ToolBridge.Proto.Json, "dspex.bridge.Json",
       [
         {1, :utf8, :bytes, :one, nil}
       ]},
      {ToolBridge.Proto.Tensor, "dspex.bridge.Tensor",
       [
         {1, :dtype, :string, :one, nil},
         {2, :shape, :int64, :packed, nil},
         {3, :data, :bytes, :one, nil}
       ]},
      {ToolBridge.Proto.RichValue, "dspex.bridge.RichValue",
       [
         {1, :null, :bool, :one, :kind},
         {2, :boolean, :bool, :one, :kind},
         {3, :integer, :sint64, :one, :kind},
         {4, :big_integer, :string, :one, :kind},
         {5, :number, :double, :one, :kind},
         {6, :text, :string, :one, :kind},
         {7, :binary, :bytes, :one, :kind},
         {8, :list, {:message, ToolBridge.Proto.RichList}, :one, :kind},
         {9, :tuple, {:message, ToolBridge.Proto.RichList}, :one, :kind},
         {10, :set, {:message, ToolBridge.Proto.RichList}, :one, :kind},
         {11, :frozenset, {:message, ToolBridge.Proto.RichList}, :one, :kind},
         {12, :dict, {:message, ToolBridge.Proto.RichDict}, :one, :kind},
         {13, :datetime, {:message, ToolBridge.Proto.RichDateTime}, :one, :kind},
         {14, :date, :string, :one, :kind},
         {15, :time, {:message, ToolBridge.Proto.RichDateTime}, :one, :kind},
         {16, :timedelta, {:message, ToolBridge.Proto.RichDelta}, :one, :kind},
         {17, :uuid, :string, :one, :kind},
         {18, :decimal, :string, :one, :kind},
         {19, :complex, {:message, ToolBridge.Proto.RichComplex}, :one, :kind},
         {20, :tensor, {:message, ToolBridge.Proto.Tensor}, :one, :kind},
         {21, :any, {:message, ToolBridge.Proto.Google.Any}, :one, :kind}
       ]},
      {ToolBridge.Proto.RichList, "dspex.bridge.RichList",
       [
         {1, :items, {:message, ToolBridge.Proto.RichValue}, :repeated, nil}
       ]},
      {ToolBridge.Proto.RichDict, "dspex.bridge.RichDict",
       [
         {1, :keys, {:message, ToolBridge.Proto.RichValue}, :repeated, nil},
         {2, :values, {:message, ToolBridge.Proto.RichValue}, :repeated, nil}
       ]},
      {ToolBridge.Proto.RichDateTime, "dspex.bridge.RichDateTime",
       [
         {1, :iso, :string, :one, nil},
         {2, :zone, :string, :one, nil},
         {3, :fold, :bool, :one, nil},
         {4, :offset_name, :string, :one, nil}
       ]},
      {ToolBridge.Proto.RichDelta, "dspex.bridge.RichDelta",
       [
         {1, :days, :sint32, :one, nil},
         {2, :seconds, :int32, :one, nil},
         {3, :microseconds, :int32, :one, nil}
       ]},
      {ToolBridge.Proto.RichComplex, "dspex.bridge.RichComplex",
       [
         {1, :real, :double, :one, nil},
         {2, :imag, :double, :one, nil}
       ]}
    ]
  end

  @doc "All enums: {module, [{number, name}]}."
  def enums do
    [
      {ToolBridge.Proto.Google.NullValue, [{0, :NULL_VALUE}]},
      {ToolBridge.Proto.ToolType, [{0, :STANDARD}, {1, :STREAMING}, {2, :BATCH}, {3, :COMPOSITE}]},
      {ToolBridge.Proto.HealthCheckResponse.Status, [{0, :UNKNOWN}, {1, :SERVING}, {2, :NOT_SERVING}]}
    ]
  end

  @doc "All methods: {name, request, response, is a stream}."
  def methods do
    [
      {"InitializeSession", ToolBridge.Proto.InitializeSessionRequest, ToolBridge.Proto.InitializeSessionResponse, false},
      {"CleanupSession", ToolBridge.Proto.CleanupSessionRequest, ToolBridge.Proto.StatusResponse, false},
      {"GetSessionInfo", ToolBridge.Proto.GetSessionInfoRequest, ToolBridge.Proto.SessionInfo, false},
      {"Heartbeat", ToolBridge.Proto.HeartbeatRequest, ToolBridge.Proto.HeartbeatResponse, false},
      {"GetSessionTools", ToolBridge.Proto.GetSessionToolsRequest, ToolBridge.Proto.GetSessionToolsResponse, false},
      {"RegisterTools", ToolBridge.Proto.RegisterToolsRequest, ToolBridge.Proto.RegisterToolsResponse, false},
      {"UnregisterTools", ToolBridge.Proto.UnregisterToolsRequest, ToolBridge.Proto.StatusResponse, false},
      {"WatchSessionTools", ToolBridge.Proto.WatchSessionToolsRequest, ToolBridge.Proto.ToolUpdate, true},
      {"ExecuteTool", ToolBridge.Proto.ToolCallRequest, ToolBridge.Proto.ToolCallResponse, false},
      {"StreamTool", ToolBridge.Proto.ToolStreamRequest, ToolBridge.Proto.ToolStreamChunk, true},
      {"BatchExecuteTools", ToolBridge.Proto.BatchToolCallRequest, ToolBridge.Proto.BatchToolCallResponse, false},
      {"GetSessionVariable", ToolBridge.Proto.GetVariableRequest, ToolBridge.Proto.VariableResponse, false},
      {"SetSessionVariable", ToolBridge.Proto.SetVariableRequest, ToolBridge.Proto.StatusResponse, false},
      {"DeleteSessionVariable", ToolBridge.Proto.DeleteVariableRequest, ToolBridge.Proto.StatusResponse, false},
      {"ListSessionVariables", ToolBridge.Proto.ListVariablesRequest, ToolBridge.Proto.ListVariablesResponse, false},
      {"WatchSessionVariables", ToolBridge.Proto.WatchVariablesRequest, ToolBridge.Proto.VariableUpdate, true},
      {"CreateReActAgent", ToolBridge.Proto.CreateReActAgentRequest, ToolBridge.Proto.CreateReActAgentResponse, false},
      {"ExecuteAgent", ToolBridge.Proto.ExecuteAgentRequest, ToolBridge.Proto.AgentExecutionChunk, true},
      {"CancelAgentRun", ToolBridge.Proto.CancelAgentRunRequest, ToolBridge.Proto.StatusResponse, false},
      {"HealthCheck", ToolBridge.Proto.HealthCheckRequest, ToolBridge.Proto.HealthCheckResponse, false},
      {"GetMetrics", ToolBridge.Proto.GetMetricsRequest, ToolBridge.Proto.MetricsResponse, false},
      {"ListHubs", ToolBridge.Proto.ListHubsRequest, ToolBridge.Proto.ListHubsResponse, false},
      {"ListOffers", ToolBridge.Proto.ListOffersRequest, ToolBridge.Proto.ListOffersResponse, false},
      {"ListSessions", ToolBridge.Proto.ListSessionsRequest, ToolBridge.Proto.ListSessionsResponse, false},
      {"ListWorkers", ToolBridge.Proto.ListWorkersRequest, ToolBridge.Proto.ListWorkersResponse, false},
      {"ListCalls", ToolBridge.Proto.ListCallsRequest, ToolBridge.Proto.ListCallsResponse, false},
      {"CancelCall", ToolBridge.Proto.CancelCallRequest, ToolBridge.Proto.StatusResponse, false},
      {"ListRuns", ToolBridge.Proto.ListRunsRequest, ToolBridge.Proto.ListRunsResponse, false},
      {"WatchEvents", ToolBridge.Proto.WatchEventsRequest, ToolBridge.Proto.AdminEvent, true},
      {"ShareSession", ToolBridge.Proto.ShareSessionRequest, ToolBridge.Proto.StatusResponse, false},
      {"UnshareSession", ToolBridge.Proto.UnshareSessionRequest, ToolBridge.Proto.StatusResponse, false},
      {"ListApprovals", ToolBridge.Proto.ListApprovalsRequest, ToolBridge.Proto.ListApprovalsResponse, false},
      {"DecideApproval", ToolBridge.Proto.DecideApprovalRequest, ToolBridge.Proto.StatusResponse, false}
    ]
  end
end
