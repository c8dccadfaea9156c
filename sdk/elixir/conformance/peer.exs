defmodule ToolBridge.Conformance.Meaning do
  @moduledoc false
  # Values in the neutral form of the vectors, and back.

  alias ToolBridge.Proto.Google.BytesValue
  alias ToolBridge.Value

  alias ToolBridge.Value.{
    Bytes,
    Complex,
    Decimal,
    Duration,
    Frame,
    FrozenSet,
    Moment,
    Moments,
    OrderedMap,
    Tensor,
    UUID
  }

  # In the order of the README.
  @keys ~w(kind value text bits base64 items entries iso zone fold offset_name days seconds microseconds real imag) ++
          ~w(dtype shape type_url)

  def of(value) do
    meaning = form(value)
    OrderedMap.new(for key <- @keys ++ (Map.keys(meaning) -- @keys), is_map_key(meaning, key), do: {key, meaning[key]})
  end

  defp form(nil), do: %{"kind" => "null"}
  defp form(value) when is_boolean(value), do: %{"kind" => "boolean", "value" => value}
  defp form(value) when is_integer(value), do: %{"kind" => "integer", "text" => Integer.to_string(value)}
  defp form(value) when is_float(value) or is_atom(value), do: %{"kind" => "float", "bits" => bits(value)}
  defp form(value) when is_binary(value), do: %{"kind" => "text", "text" => value}
  defp form(%Bytes{data: data}), do: %{"kind" => "bytes", "base64" => Base.encode64(data)}
  defp form(value) when is_list(value), do: items("list", value)
  defp form(value) when is_tuple(value), do: items("tuple", Tuple.to_list(value))
  defp form(%MapSet{} = set), do: items("set", MapSet.to_list(set))
  defp form(%FrozenSet{members: set}), do: items("frozenset", MapSet.to_list(set))

  defp form(%OrderedMap{pairs: pairs}),
    do: %{"kind" => "dict", "entries" => for({key, value} <- pairs, do: [of(key), of(value)])}

  # In a zone that may not exist: it is kept as it came.
  defp form(%Moment{zone: zone, fold: false} = moment) when zone != "" do
    any = Value.encode!(moment)
    %{"kind" => "opaque", "type_url" => any.type_url, "base64" => Base.encode64(any.value)}
  end

  defp form(%Moment{kind: kind} = moment), do: moment(Atom.to_string(kind), moment)
  defp form(%Time{} = time), do: moment("time", Moments.write(time))
  defp form(%struct{} = moment) when struct in [DateTime, NaiveDateTime], do: moment("datetime", Moments.write(moment))
  defp form(%Date{} = date), do: %{"kind" => "date", "iso" => Date.to_iso8601(date)}
  defp form(%UUID{text: text}), do: %{"kind" => "uuid", "text" => text}
  defp form(%Decimal{text: text}), do: %{"kind" => "decimal", "text" => text}
  defp form(%Complex{real: real, imag: imag}), do: %{"kind" => "complex", "real" => bits(real), "imag" => bits(imag)}

  defp form(%Duration{} = duration) do
    %{
      "kind" => "timedelta",
      "days" => duration.days,
      "seconds" => duration.seconds,
      "microseconds" => duration.microseconds
    }
  end

  defp form(%Tensor{scalar: scalar} = tensor) do
    %{
      "kind" => if(scalar, do: "tensor_scalar", else: "tensor"),
      "dtype" => tensor.dtype,
      "shape" => tensor.shape,
      "base64" => Base.encode64(tensor.data)
    }
  end

  defp form(%Frame{kind: kind, arrow: arrow}) do
    %{
      "kind" => "typed",
      "type_url" => "type.googleapis.com/" <> kind,
      "base64" => Base.encode64(BytesValue.encode(%BytesValue{value: arrow}))
    }
  end

  defp items(kind, values), do: %{"kind" => kind, "items" => Enum.map(values, &of/1)}

  defp moment(kind, moment) do
    %{
      "kind" => kind,
      "iso" => moment.iso,
      "zone" => moment.zone,
      "fold" => moment.fold,
      "offset_name" => moment.offset_name
    }
  end

  def value(%{"kind" => "null"}), do: nil
  def value(%{"kind" => "boolean", "value" => value}), do: value
  def value(%{"kind" => "integer", "text" => text}), do: String.to_integer(text)
  def value(%{"kind" => "float", "bits" => bits}), do: number(bits)
  def value(%{"kind" => "text", "text" => text}), do: text
  def value(%{"kind" => "bytes", "base64" => text}), do: %Bytes{data: Base.decode64!(text)}
  def value(%{"kind" => "list", "items" => items}), do: Enum.map(items, &value/1)
  def value(%{"kind" => "tuple", "items" => items}), do: items |> Enum.map(&value/1) |> List.to_tuple()
  def value(%{"kind" => "set", "items" => items}), do: MapSet.new(items, &value/1)
  def value(%{"kind" => "frozenset", "items" => items}), do: %FrozenSet{members: MapSet.new(items, &value/1)}

  def value(%{"kind" => "dict", "entries" => entries}),
    do: OrderedMap.new(for([key, item] <- entries, do: {value(key), value(item)}))

  def value(%{"kind" => "datetime"} = meaning), do: meaning |> rich_moment() |> Moments.read_datetime()
  def value(%{"kind" => "time"} = meaning), do: meaning |> rich_moment() |> Moments.read_time()
  def value(%{"kind" => "date", "iso" => iso}), do: Date.from_iso8601!(iso)
  def value(%{"kind" => "uuid", "text" => text}), do: %UUID{text: text}
  def value(%{"kind" => "decimal", "text" => text}), do: %Decimal{text: text}

  def value(%{"kind" => "complex", "real" => real, "imag" => imag}),
    do: %Complex{real: number(real), imag: number(imag)}

  def value(%{"kind" => "timedelta"} = delta) do
    %Duration{days: delta["days"], seconds: delta["seconds"], microseconds: delta["microseconds"]}
  end

  def value(%{"kind" => kind} = tensor) when kind in ["tensor", "tensor_scalar"] do
    %Tensor{
      dtype: tensor["dtype"],
      shape: tensor["shape"],
      data: Base.decode64!(tensor["base64"]),
      scalar: kind == "tensor_scalar"
    }
  end

  def value(%{"kind" => "typed", "type_url" => url, "base64" => text}) do
    {:ok, bytes} = text |> Base.decode64!() |> BytesValue.decode()
    %Frame{kind: url |> String.split("/") |> List.last(), arrow: bytes.value}
  end

  defp rich_moment(meaning) do
    %ToolBridge.Proto.RichDateTime{
      iso: meaning["iso"],
      zone: meaning["zone"] || "",
      fold: meaning["fold"] || false,
      offset_name: meaning["offset_name"] || ""
    }
  end

  def bits(:nan), do: "7ff8000000000000"
  def bits(:infinity), do: "7ff0000000000000"
  def bits(:neg_infinity), do: "fff0000000000000"
  def bits(number), do: Base.encode16(<<number * 1.0::float>>, case: :lower)

  def number("7ff0000000000000"), do: :infinity
  def number("fff0000000000000"), do: :neg_infinity

  def number(text) do
    case Base.decode16!(text, case: :lower) do
      <<number::float>> -> number
      _ -> :nan
    end
  end
end

defmodule ToolBridge.Conformance.Fields do
  @moduledoc false
  # Messages as plain data, with the fields that are set, and back.

  alias ToolBridge.Conformance.Meaning

  def of(%module{} = message) do
    for {_, name, kind, label, oneof} <- module.fields(),
        {:ok, value} <- [set(message, name, kind, label, oneof)],
        into: %{},
        do: {Atom.to_string(name), written(kind, label, value)}
  end

  defp set(message, name, _, _, oneof) when oneof != nil do
    case Map.fetch!(message, oneof) do
      {^name, value} -> {:ok, value}
      _ -> :error
    end
  end

  defp set(message, name, kind, label, nil) do
    value = Map.fetch!(message, name)
    default = ToolBridge.Proto.Message.default(kind, label)
    # Minus zero is not the default.
    if value === default and not negative_zero?(value), do: :error, else: {:ok, value}
  end

  defp negative_zero?(value), do: is_float(value) and <<value::float>> == <<1::1, 0::63>>

  defp written(kind, {:map, _}, map), do: Map.new(map, fn {key, value} -> {to_string(key), one(kind, value)} end)
  defp written(kind, label, list) when label in [:repeated, :packed], do: Enum.map(list, &one(kind, &1))
  defp written(kind, _, value), do: one(kind, value)

  defp one({:message, _}, message), do: of(message)
  defp one({:enum, module}, value), do: module.number(value)
  defp one(:bytes, data), do: Base.encode64(data)
  defp one(kind, value) when kind in [:int64, :uint64, :sint64], do: Integer.to_string(value)
  defp one(kind, value) when kind in [:double, :float], do: Meaning.bits(value)
  defp one(_, value), do: value

  def message(module, fields) do
    Enum.reduce(module.fields(), struct(module), fn {_, name, kind, label, oneof}, message ->
      case fields do
        %{^name => _} -> message
        _ -> put(message, Map.fetch(fields, Atom.to_string(name)), name, kind, label, oneof)
      end
    end)
  end

  defp put(message, :error, _, _, _, _), do: message

  defp put(message, {:ok, given}, name, kind, _, oneof) when oneof != nil,
    do: Map.put(message, oneof, {name, read(kind, given)})

  defp put(message, {:ok, given}, name, kind, {:map, _}, _) do
    Map.put(message, name, Map.new(given, fn {key, value} -> {key, read(kind, value)} end))
  end

  defp put(message, {:ok, given}, name, kind, label, _) when label in [:repeated, :packed] do
    Map.put(message, name, Enum.map(given, &read(kind, &1)))
  end

  defp put(message, {:ok, given}, name, kind, _, _), do: Map.put(message, name, read(kind, given))

  defp read({:message, module}, fields), do: message(module, fields)
  defp read({:enum, module}, number), do: module.name(number)
  defp read(:bytes, text), do: Base.decode64!(text)
  defp read(kind, text) when kind in [:int64, :uint64, :sint64], do: String.to_integer(text)
  defp read(kind, bits) when kind in [:double, :float], do: Meaning.number(bits)
  defp read(_, value), do: value
end

defmodule ToolBridge.Conformance.Link do
  @moduledoc false
  # Plays a transcript at one end of a link.

  alias ToolBridge.Error
  alias ToolBridge.Link.Protocol
  alias ToolBridge.Proto.{Answer, ErrorInfo, LinkEvent, LinkHello, LinkStatus}

  @max_payload 4_096

  def play(role, hello, steps) do
    hello = %LinkHello{
      peer: hello["peer"] || "",
      capacity: hello["capacity"] || 0,
      features: hello["features"] || [],
      metadata: hello["metadata"] || %{}
    }

    link = Protocol.new(if(role == "hub", do: :hub, else: :dialer), hello)
    play(steps, link, 0, [])
  end

  defp play([], _, _, results), do: Enum.reverse(results)

  defp play([%{"feed" => frame} = step | steps], link, made, results) do
    case feed(link, Base.decode64!(frame), step["times"] || 1, []) do
      {:ok, events, link} ->
        {frames, link} = frames(link, [])
        play(steps, link, made, [%{"frames" => frames, "events" => events} | results])

      {:error, _} ->
        Enum.reverse([%{"frames" => [], "events" => [], "failed" => "ProtocolError"} | results])
    end
  end

  defp play([%{"acts" => acts} | steps], link, made, results) do
    {link, made, raised} = Enum.reduce(acts, {link, made, nil}, &act/2)
    {frames, link} = frames(link, [])
    result = %{"frames" => frames, "events" => []}
    result = if raised, do: Map.put(result, "raised", raised), else: result
    play(steps, link, made, [result | results])
  end

  defp feed(link, _, 0, events), do: {:ok, events, link}

  defp feed(link, frame, times, events) do
    ids = Map.new(link.ids, fn {id, key} -> {key, id} end)

    with {:ok, new, link} <- Protocol.receive_frame(link, frame) do
      feed(link, frame, times - 1, events ++ Enum.flat_map(new, &report(&1, ids)))
    end
  end

  defp frames(link, frames) do
    if Protocol.output?(link) do
      {frame, link} = Protocol.next_frame(link)
      data = IO.iodata_to_binary(frame)
      frames(link, if(data == "", do: frames, else: [Base.encode64(data) | frames]))
    else
      {Enum.reverse(frames), link}
    end
  end

  # ------------------------------------------------------------------------------------------------------- acts

  defp act(%{"do" => "call"} = act, {link, made, raised}) do
    opts = [
      timeout_ms: act["timeout_ms"] || 0,
      metadata: act["metadata"] || %{},
      stream: act["streaming"] || false,
      credit: act["initial_credit"] || 0
    ]

    case Protocol.call(link, made + 1, act["method"], payload(act), opts) do
      {:ok, link} -> {link, made + 1, raised}
      {:error, error} -> {link, made + 1, error.type}
    end
  end

  defp act(%{"do" => "cancel"} = act, {link, made, raised}) do
    {Protocol.cancel(link, own(link, act, made), act["reason"] || ""), made, raised}
  end

  defp act(%{"do" => "consume"} = act, {link, made, raised}) do
    {Protocol.grant(link, own(link, act, made), act["bytes"]), made, raised}
  end

  defp act(%{"do" => "reply", "id" => id} = act, {link, made, raised}),
    do: checked(Protocol.reply(link, id, payload(act)), link, made, raised)

  defp act(%{"do" => "chunk", "id" => id} = act, {link, made, raised}),
    do: checked(Protocol.chunk(link, id, payload(act)), link, made, raised)

  defp act(%{"do" => "end", "id" => id} = act, {link, made, raised}) do
    error =
      case Base.decode64!(act["error"] || "") do
        "" -> nil
        bytes -> elem({:ok, _} = ErrorInfo.decode(bytes), 1)
      end

    {Protocol.finish(link, id, %LinkStatus{code: act["code"], message: act["message"] || "", error: error}), made,
     raised}
  end

  defp act(%{"do" => "event", "id" => id} = act, {link, made, raised}) do
    {:ok, event} = LinkEvent.decode(Base.decode64!(act["event_message"]))

    link =
      if match?({:answer, %Answer{}}, event.kind),
        do: Protocol.answer(link, own(link, act, made), event),
        else: Protocol.tell(link, id, event)

    {link, made, raised}
  end

  defp act(%{"do" => "ping"}, {link, made, raised}), do: {link |> Protocol.ping() |> elem(1), made, raised}

  defp act(%{"do" => "drain"} = act, {link, made, raised}),
    do: {Protocol.drain(link, act["grace_ms"] || 0), made, raised}

  defp checked({:ok, link}, _, made, raised), do: {link, made, raised}
  defp checked({:error, %Error{type: type}}, link, made, _), do: {link, made, type}

  # A call has no id until it is sent: then it is the latest.
  defp own(link, %{"id" => id}, made), do: Map.get(link.ids, id, made)

  defp payload(%{"zeros" => count}), do: :binary.copy(<<0>>, count)
  defp payload(act), do: Base.decode64!(act["payload"] || "")

  # ----------------------------------------------------------------------------------------------------- events

  defp report({:hello, hello}, _) do
    [
      %{
        "event" => "hello",
        "peer" => hello.peer,
        "capacity" => hello.capacity,
        "features" => hello.features,
        "metadata" => hello.metadata
      }
    ]
  end

  defp report({:call, id, call}, _) do
    [
      %{
        "event" => "call",
        "id" => id,
        "method" => call.method,
        "payload" => shown(call.payload),
        "timeout_ms" => call.timeout_ms,
        "metadata" => call.metadata,
        "initial_credit" => if(call.initial_credit == 0, do: 1_048_576, else: call.initial_credit)
      }
    ]
  end

  defp report({:reply, key, payload}, ids), do: [%{"event" => "reply", "id" => ids[key], "payload" => shown(payload)}]
  defp report({:chunk, key, payload}, ids), do: [%{"event" => "chunk", "id" => ids[key], "payload" => shown(payload)}]

  defp report({:end, key, status}, ids) do
    error = if status.error, do: Base.encode64(ErrorInfo.encode(status.error)), else: ""
    [%{"event" => "end", "id" => ids[key], "code" => status.code, "message" => status.message, "error" => error}]
  end

  defp report({:cancel, id, reason}, _), do: [%{"event" => "cancel", "id" => id, "reason" => reason}]
  defp report({:event, key, event}, ids), do: [event(ids[key], event)]
  defp report({:answer, id, answer}, _), do: [event(id, %LinkEvent{kind: {:answer, answer}})]
  defp report({:pong, number}, _), do: [%{"event" => "pong", "number" => number}]
  defp report({:drain, grace_ms}, _), do: [%{"event" => "drain", "grace_ms" => grace_ms}]
  defp report({:credit, _}, _), do: []

  defp event(id, event),
    do: %{"event" => "event", "id" => id, "event_message" => Base.encode64(LinkEvent.encode(event))}

  defp shown(payload) when byte_size(payload) <= @max_payload, do: Base.encode64(payload)

  defp shown(payload) do
    %{"size" => byte_size(payload), "sha256" => Base.encode16(:crypto.hash(:sha256, payload), case: :lower)}
  end
end

defmodule ToolBridge.Conformance.Sessions do
  @moduledoc false
  # What the peer does at a hub: a client and a worker. The state is {client, worker, watch, calls}.

  alias ToolBridge.{Agents, Client, Context, Error, Tool, Variables, Worker}
  alias ToolBridge.Conformance.Meaning

  @patience 60_000

  def act(%{"do" => "connect"} = request), do: connect(request, [])
  def act(%{"do" => "connect_with_token", "token" => token} = request), do: connect(request, token: token)

  def act(%{"do" => "call"} = request), do: meaning(call(client(), request))

  def act(%{"do" => "start", "call" => name} = request) do
    client = client()
    Process.put({:call, name}, Task.async(fn -> call(client, request) end))
    {:ok, %{}}
  end

  def act(%{"do" => "cancel", "call" => name}) do
    Task.shutdown(Process.get({:call, name}), :brutal_kill)
    Process.put({:call, name}, :cancelled)
    {:ok, %{}}
  end

  def act(%{"do" => "wait", "call" => name}) do
    case Process.delete({:call, name}) do
      :cancelled -> {:error, Error.new("Cancelled", "the call was cancelled")}
      task -> task |> Task.await(@patience) |> meaning()
    end
  end

  def act(%{"do" => "stream"} = request) do
    {args, named} = arguments(request)
    stream = Client.stream(client(), request["tool"], args, named: named, maps: :ordered)
    items = if request["take"], do: Enum.take(stream, request["take"]), else: Enum.to_list(stream)
    {:ok, %{"items" => Enum.map(items, &Meaning.of/1)}}
  end

  def act(%{"do" => "call_with_events"} = request) do
    {args, named} = arguments(request)

    events =
      client() |> Client.stream(request["tool"], args, named: named, maps: :ordered, events: true) |> Enum.to_list()

    [value] = for {:data, value} <- events, do: value

    progress =
      for {:progress, at} <- events, do: %{"current" => at.current, "total" => at.total, "message" => at.message}

    logs = for {:log, line} <- events, do: %{"level" => line.level, "message" => line.message, "fields" => line.fields}
    {:ok, %{"meaning" => Meaning.of(value), "progress" => progress, "logs" => logs}}
  end

  def act(%{"do" => "batch", "items" => items}) do
    calls = for item <- items, {args, named} = arguments(item), do: {item["tool"], args, named}

    with {:ok, results} <- Client.batch(client(), calls, maps: :ordered) do
      {:ok, %{"items" => Enum.map(results, &item/1)}}
    end
  end

  def act(%{"do" => "set_variable", "name" => name, "meaning" => meaning} = request) do
    opts = Keyword.reject([expected_revision: request["expected_revision"]], &match?({_, nil}, &1))

    with {:ok, revision} <- Variables.put(client(), name, Meaning.value(meaning), opts),
         do: {:ok, %{"revision" => revision}}
  end

  def act(%{"do" => "get_variable", "name" => name}), do: client() |> Variables.get(name, maps: :ordered) |> meaning()

  def act(%{"do" => "delete_variable", "name" => name}),
    do: with(:ok <- Variables.delete(client(), name), do: {:ok, %{}})

  def act(%{"do" => "list_variables"} = request) do
    with {:ok, variables} <- Variables.list(client(), prefix: request["prefix"] || ""),
         do: {:ok, %{"names" => Enum.map(variables, & &1.name)}}
  end

  def act(%{"do" => "watch", "names" => names}) do
    {:ok, watch} = Variables.watch(client(), names, initial: true)
    Process.put(:watch, watch)
    {:ok, %{}}
  end

  def act(%{"do" => "next_update"}) do
    watch = Process.get(:watch)

    receive do
      {Variables, ^watch, {:error, error}} ->
        {:error, error}

      {Variables, ^watch, change} ->
        {:ok,
         %{"name" => change.name, "operation" => to_string(change.operation), "meaning" => Meaning.of(change.value)}}
    after
      @patience -> {:error, Error.new("TimeoutError", "no change came")}
    end
  end

  def act(%{"do" => "run_agent"} = request) do
    with {:ok, agent} <- Agents.create(client(), request["signature"]) do
      events = client() |> Agents.run(agent, request["input"]) |> Enum.to_list()
      {:ok, %{"chunks" => Enum.map(events, &to_string(&1.type)), "answer" => List.last(events).answer}}
    end
  end

  def act(%{"do" => "close"}) do
    if watch = Process.delete(:watch), do: Variables.unwatch(watch)
    :ok = Client.stop(client(), keep_session: true)
    {:ok, %{}}
  end

  def act(%{"do" => "serve"} = request) do
    options = [
      address: request["address"],
      worker_id: request["worker_id"],
      capacity: request["capacity"],
      tools: tools()
    ]

    {:ok, worker} = Worker.start_link(options)
    Process.put(:worker, worker)
    with :ok <- Worker.await_ready(worker, @patience), do: {:ok, %{}}
  end

  def act(%{"do" => "stop_serving"}) do
    Worker.drain(Process.get(:worker))
    {:ok, %{}}
  end

  def act(_), do: nil

  defp client, do: Process.get(:client)

  defp connect(request, opts) do
    {:ok, client} = Client.start_link([address: request["address"], session_id: request["session_id"]] ++ opts)
    Process.put(:client, client)

    with {:ok, info} <- Client.await_ready(client, @patience),
         {:ok, tools} <- Client.tools(client) do
      {:ok, %{"session_id" => info.session_id, "tools" => Map.keys(tools)}}
    end
  end

  defp item({:ok, value}), do: %{"meaning" => Meaning.of(value)}
  defp item({:error, error}), do: %{"error" => %{"type" => error.type, "message" => error.message}}

  defp call(client, request) do
    {args, named} = arguments(request)
    opts = [named: named, maps: :ordered]
    opts = if request["timeout_ms"], do: [{:timeout, request["timeout_ms"]} | opts], else: opts
    Client.call(client, request["tool"], args, opts)
  end

  defp arguments(request) do
    named = Map.new(request["kwargs"] || %{}, fn {name, meaning} -> {name, Meaning.value(meaning)} end)
    {Enum.map(request["args"] || [], &Meaning.value/1), named}
  end

  defp meaning({:ok, value}), do: {:ok, %{"meaning" => Meaning.of(value)}}
  defp meaning({:error, error}), do: {:error, error}

  defp tools do
    [
      Tool.new("peer_echo", & &1, spec: "(value :: term()) :: term()", maps: :ordered),
      Tool.new("peer_fail", &raise(ArgumentError, &1), spec: "(message :: String.t()) :: no_return()"),
      Tool.new("peer_count", &Stream.take(Stream.iterate(0, fn n -> n + 1 end), &1),
        spec: "(to :: integer()) :: Enumerable.t()"
      ),
      Tool.new("peer_wait", fn -> Process.sleep(:infinity) end),
      Tool.new("peer_nested", fn value, context -> Client.call(context, "echo", [value], maps: :ordered) end,
        spec: "(value :: term(), context :: ToolBridge.Context.t()) :: term()",
        maps: :ordered
      ),
      Tool.new("peer_report", &report/1, spec: "(context :: ToolBridge.Context.t()) :: String.t()"),
      Tool.new("peer_variable", fn name, context -> Variables.get(context, name, maps: :ordered) end,
        spec: "(name :: String.t(), context :: ToolBridge.Context.t()) :: term()"
      )
    ]
  end

  defp report(context) do
    Context.progress(context, 1, 2, "half")
    Context.log(context, :warning, "halfway")
    "done"
  end
end

defmodule ToolBridge.Conformance.Peer do
  @moduledoc false
  # Answers requests, a line of JSON each, until stdin ends.

  alias ToolBridge.Conformance.{Fields, Link, Meaning, Sessions}
  alias ToolBridge.{Error, Proto, Value}
  alias ToolBridge.Proto.ErrorInfo
  alias ToolBridge.Proto.Google.{Any, Timestamp}
  alias ToolBridge.Value.JSON

  @forms %{
    "null" => "nil",
    "boolean" => "boolean",
    "integer" => "integer",
    "float" => "float",
    "text" => "String.t()",
    "bytes" => "Value.Bytes",
    "list" => "list",
    "dict" => "map, or Value.OrderedMap",
    "tuple" => "tuple",
    "set" => "MapSet",
    "frozenset" => "Value.FrozenSet",
    "datetime" => "DateTime, NaiveDateTime, Value.Moment",
    "date" => "Date",
    "time" => "Time, Value.Moment",
    "timedelta" => "Value.Duration",
    "uuid" => "Value.UUID",
    "decimal" => "Value.Decimal",
    "complex" => "Value.Complex",
    "tensor" => "Value.Tensor",
    "tensor_scalar" => "Value.Tensor",
    "typed" => "Value.Frame"
  }

  def run do
    case IO.binread(:stdio, :line) do
      line when is_binary(line) ->
        request = JSON.read(line, 1000)
        answer = Map.put(answer(request), "id", request["id"])
        IO.binwrite(:stdio, [JSON.write(answer, 1000), ?\n])
        run()

      _ ->
        :ok
    end
  end

  defp answer(request) do
    case act(request) do
      {:ok, result} -> %{"ok" => result}
      {:error, %Error{} = error} -> refused(error)
    end
  rescue
    error in Error -> refused(error)
  catch
    {:unserializable, why} -> %{"error" => %{"type" => "SerializationError", "message" => why}}
  end

  defp refused(error), do: %{"error" => Map.merge(%{"type" => error.type, "origin" => "bridge"}, error(error))}

  defp act(%{"do" => "hello"}) do
    {:ok,
     %{
       "language" => "Elixir",
       "version" => System.version(),
       "forms" => @forms,
       "roles" => ["dialler", "worker", "hub"]
     }}
  end

  defp act(%{"do" => "decode_value"} = request) do
    with {:ok, value} <- value(request), do: {:ok, %{"meaning" => Meaning.of(value)}}
  end

  defp act(%{"do" => "encode_value", "meaning" => meaning}) do
    with {:ok, any} <- Value.encode(Meaning.value(meaning)), do: {:ok, %{"any" => Base.encode64(Any.encode(any))}}
  end

  defp act(%{"do" => "round_trip"} = request) do
    with {:ok, value} <- value(request),
         {:ok, any} <- Value.encode(value) do
      {:ok, %{"any" => Base.encode64(Any.encode(any))}}
    end
  end

  defp act(%{"do" => "decode_error", "info" => info}) do
    with {:ok, info} <- ErrorInfo.decode(Base.decode64!(info)), do: {:ok, %{"meaning" => error(Error.from_info(info))}}
  end

  defp act(%{"do" => "decode_error", "status" => status} = request) do
    trailer = request["trailers"]["tool-bridge-error-bin"]
    error = Error.from_trailer(status["code"], status["message"], trailer && Base.decode64!(trailer))
    {:ok, %{"meaning" => error(error)}}
  end

  defp act(%{"do" => "encode_error", "meaning" => meaning, "timestamp" => moment}) do
    error = %Error{
      type: meaning["type"],
      message: meaning["message"],
      details: meaning["details"],
      origin: if(meaning["origin"] == "tool", do: :tool, else: :bridge),
      retryable: meaning["retryable"],
      stacktrace: meaning["stacktrace"]
    }

    status = Error.to_status(error)
    timestamp = %Timestamp{seconds: String.to_integer(moment["seconds"]), nanos: moment["nanos"]}
    {:ok, %{"info" => Base.encode64(ErrorInfo.encode(%{status.error | timestamp: timestamp})), "code" => status.code}}
  end

  defp act(%{"do" => "decode_message", "message" => name, "bytes" => bytes}) do
    {:ok, module} = Proto.message(name)
    with {:ok, message} <- module.decode(Base.decode64!(bytes)), do: {:ok, %{"fields" => Fields.of(message)}}
  end

  defp act(%{"do" => "encode_message", "message" => name, "fields" => fields}) do
    {:ok, module} = Proto.message(name)
    {:ok, %{"bytes" => module |> Fields.message(fields) |> module.encode() |> Base.encode64()}}
  end

  defp act(%{"do" => "link", "role" => role, "hello" => hello, "steps" => steps}) do
    {:ok, %{"steps" => Link.play(role, hello, steps)}}
  end

  defp act(%{"do" => other} = request) do
    Sessions.act(request) || {:error, Error.new("Unimplemented", "this peer does not have #{other}")}
  end

  defp value(%{"any" => text}) do
    with {:ok, any} <- Any.decode(Base.decode64!(text)), do: Value.decode(any, maps: :ordered)
  end

  defp error(%Error{origin: :connection} = error) do
    %{"status" => error.details["status"], "message" => error.message, "retryable" => error.retryable}
  end

  defp error(error) do
    %{
      "type" => error.type,
      "message" => error.message,
      "details" => error.details,
      "origin" => Atom.to_string(error.origin),
      "stacktrace" => error.stacktrace,
      "retryable" => error.retryable
    }
  end
end

:ok = :io.setopts(:standard_io, encoding: :latin1)
# Only answers go to stdout.
Logger.configure_backend(:console, device: :standard_error)
ToolBridge.Conformance.Peer.run()
