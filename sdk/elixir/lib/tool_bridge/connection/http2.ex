defmodule ToolBridge.Connection.HTTP2 do
  @moduledoc false
  # One gRPC stream of the method Link over HTTP/2, by gun. Its messages go to the process that dialled.
  #
  # gun's own pings are off, since the hub ends a connection that pings without calls; a link has pings of its own.

  alias ToolBridge.Error

  @path "/dspex.bridge.SnakepitBridge/Link"
  @dial_timeout 10_000
  # gRPC's limit of a hub is below this.
  @max_message 16 * 1024 * 1024

  defstruct [:gun, :monitor, :stream, buffer: [], buffered: 0, needed: 5, status: nil]

  @type t :: %__MODULE__{}
  @type endpoint :: %{
          host: String.t(),
          port: :inet.port_number(),
          tls: false | keyword(),
          token: String.t() | nil
        }

  @doc "Parses and checks an address; `tls` and `token` say whether it may be used."
  @spec endpoint(String.t(), keyword()) :: {:ok, endpoint()} | {:error, Error.t()}
  def endpoint(address, opts) do
    with {:ok, host, port} <- split(address) do
      tls = tls_options(Keyword.get(opts, :tls, false), host)
      token = Keyword.get(opts, :token)

      if token != nil and tls == false and not loopback?(host) and not Keyword.get(opts, :allow_insecure, false) do
        {:error,
         Error.new(
           "ValidationError",
           "the token would be sent to #{host} without TLS; set tls: true, or allow_insecure: true if the network itself is trusted"
         )}
      else
        {:ok, %{host: host, port: port, tls: tls, token: token}}
      end
    end
  end

  defp split(address) do
    with true <- is_binary(address) and not String.contains?(address, ["://", "@", "/", "?", "#", " "]),
         [_, host, port] <- Regex.run(~r/\A(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):([0-9]{1,5})\z/, address),
         port when port in 1..65_535 <- String.to_integer(port) do
      {:ok, String.trim(host, "[") |> String.trim("]"), port}
    else
      _ ->
        {:error,
         Error.new(
           "ValidationError",
           "#{inspect(shown(address))} is not a valid address; write host:port or [ipv6]:port, such as 127.0.0.1:50051"
         )}
    end
  end

  # What is before an @ may be a secret.
  defp shown(address) when is_binary(address), do: address |> String.split("@") |> List.last() |> String.slice(0, 200)
  defp shown(address), do: address

  defp loopback?("localhost"), do: true

  defp loopback?(host) do
    case :inet.parse_address(to_charlist(host)) do
      {:ok, {127, _, _, _}} -> true
      {:ok, {0, 0, 0, 0, 0, 0, 0, 1}} -> true
      _ -> false
    end
  end

  defp tls_options(false, _), do: false
  defp tls_options(true, host), do: tls_options([], host)

  defp tls_options(opts, host) when is_list(opts) do
    defaults = [
      verify: :verify_peer,
      depth: 10,
      # A refusal is this connection's to report.
      log_level: :error,
      server_name_indication: to_charlist(host),
      customize_hostname_check: [match_fun: :public_key.pkix_verify_hostname_match_fun(:https)]
    ]

    trusted = if opts[:cacertfile] || opts[:cacerts], do: [], else: [cacerts: :public_key.cacerts_get()]
    defaults |> Keyword.merge(trusted) |> Keyword.merge(opts)
  end

  @doc "Starts to dial; the stream is open once `up/2` has handled `{:gun_up, …}`."
  @spec dial(endpoint()) :: {:ok, t()} | {:error, Error.t()}
  def dial(endpoint) do
    {:ok, _} = Application.ensure_all_started(:gun)
    tls = if endpoint.tls == false, do: [], else: endpoint.tls

    options = %{
      protocols: [:http2],
      retry: 0,
      connect_timeout: @dial_timeout,
      transport: if(endpoint.tls == false, do: :tcp, else: :tls),
      # Else small frames wait for 40 ms.
      transport_opts: [{:nodelay, true} | tls],
      http2_opts: %{keepalive: :infinity}
    }

    case :gun.open(host_of(endpoint.host), endpoint.port, options) do
      {:ok, gun} -> {:ok, %__MODULE__{gun: gun, monitor: Process.monitor(gun)}}
      {:error, reason} -> {:error, Error.connection("the hub cannot be dialled: #{inspect(reason)}")}
    end
  end

  defp host_of(host) do
    case :inet.parse_address(to_charlist(host)) do
      {:ok, ip} -> ip
      {:error, _} -> to_charlist(host)
    end
  end

  @doc "Opens the stream of an established connection."
  @spec open(t(), endpoint()) :: t()
  def open(http, endpoint) do
    headers = [
      {"content-type", "application/grpc"},
      {"te", "trailers"},
      {"user-agent", "tool-bridge-elixir/#{version()}"}
    ]

    token = if endpoint.token == nil, do: [], else: [{"authorization", "Bearer " <> endpoint.token}]
    %{http | stream: :gun.post(http.gun, @path, headers ++ token)}
  end

  defp version, do: Application.spec(:tool_bridge, :vsn) || "dev"

  @doc "Sends a frame."
  @spec send_frame(t(), iodata()) :: :ok
  def send_frame(http, frame) do
    data = IO.iodata_to_binary(frame)
    :gun.data(http.gun, http.stream, :nofin, [<<0, byte_size(data)::32>>, data])
  end

  @spec close(t()) :: :ok
  def close(http) do
    Process.demonitor(http.monitor, [:flush])
    # What was sent before is written first.
    _ = written(http.gun)
    :gun.close(http.gun)
    :gun.flush(http.gun)
  end

  defp written(gun) do
    :sys.get_status(gun, 1_000)
  catch
    :exit, _ -> :ok
  end

  @doc """
  Handles a message of gun.

  Returns `:up`, the frames that are complete, or why the stream has ended; `:ignore` for messages of anything else.
  """
  @spec handle(t(), term()) :: :up | :ignore | {:frames, [binary()], t()} | {:status, t()} | {:ended, Error.t()}
  def handle(%{gun: gun} = http, message) do
    case message do
      {:gun_up, ^gun, :http2} -> :up
      {:gun_up, ^gun, other} -> {:ended, Error.connection("the peer speaks #{other}, not HTTP/2")}
      {:gun_response, ^gun, _, :fin, status, headers} -> {:ended, refusal(status, headers)}
      {:gun_response, ^gun, _, :nofin, 200, _} -> {:status, http}
      {:gun_response, ^gun, _, :nofin, status, headers} -> {:ended, refusal(status, headers)}
      {:gun_data, ^gun, _, fin, data} -> data(http, fin, data)
      {:gun_trailers, ^gun, _, headers} -> {:ended, refusal(200, headers)}
      {:gun_error, ^gun, _, reason} -> {:ended, Error.connection("the stream broke: #{text(reason)}")}
      {:gun_error, ^gun, reason} -> {:ended, Error.connection("the connection broke: #{text(reason)}")}
      {:gun_down, ^gun, _, reason, _, _} -> {:ended, Error.connection("the connection was lost: #{text(reason)}")}
      {:DOWN, _, :process, ^gun, reason} -> {:ended, Error.connection("the hub cannot be reached: #{text(reason)}")}
      _ -> :ignore
    end
  end

  defp data(http, fin, data) do
    http = %{http | buffer: [data | http.buffer], buffered: http.buffered + byte_size(data)}

    case frames(http) do
      {:error, why} -> {:ended, Error.new("ProtocolError", why)}
      {:ok, frames, http} when fin == :nofin -> {:frames, frames, http}
      {:ok, _, _} -> {:ended, Error.connection("the hub ended it")}
    end
  end

  defp frames(%{buffered: size, needed: needed} = http) when size < needed, do: {:ok, [], http}

  defp frames(http) do
    bytes =
      case http.buffer do
        [one] -> one
        many -> many |> :lists.reverse() |> IO.iodata_to_binary()
      end

    with {:ok, frames, rest, needed} <- cut(bytes, []) do
      {:ok, frames, %{http | buffer: [rest], buffered: byte_size(rest), needed: needed}}
    end
  end

  defp cut(<<0, size::32, frame::binary-size(size), rest::binary>>, frames), do: cut(rest, [frame | frames])

  defp cut(<<0, size::32, _::binary>>, _) when size > @max_message,
    do: {:error, "a frame of #{size} bytes is too large"}

  defp cut(<<0, size::32, _::binary>> = rest, frames), do: {:ok, :lists.reverse(frames), rest, size + 5}
  defp cut(<<flag, _::binary>>, _) when flag != 0, do: {:error, "a frame is compressed, which was not asked for"}
  defp cut(rest, frames), do: {:ok, :lists.reverse(frames), rest, 5}

  # The error with which the hub ended the stream.
  defp refusal(200, headers) do
    code = headers |> header("grpc-status") |> String.to_integer()
    message = headers |> header("grpc-message") |> URI.decode()

    case {code, Base.decode64(header(headers, "tool-bridge-error-bin"), padding: false)} do
      {0, _} -> Error.connection("the hub ended it")
      {12, _} -> Error.new("Unimplemented", "the hub does not support Link")
      {code, {:ok, trailer}} when trailer != "" -> Error.from_trailer(code, message, trailer)
      {code, _} -> Error.from_code(code, message)
    end
  rescue
    # A status that is no number, or a text that is not percent-encoded.
    ArgumentError -> Error.connection("the hub ended it without a status")
  end

  defp refusal(status, _), do: Error.connection("the hub answered with the HTTP status #{status}")

  defp header(headers, name) do
    case List.keyfind(headers, name, 0) do
      {_, value} -> String.trim_trailing(value, "=")
      nil -> ""
    end
  end

  # It ended before it was monitored.
  defp text(:noproc), do: "the connection was not accepted"
  defp text({:shutdown, reason}), do: text(reason)
  defp text({:error, reason}), do: text(reason)
  defp text(reason) when is_atom(reason), do: posix(reason)

  defp text(reason) do
    # gun says some in words.
    case reason do
      {_, [_ | _] = words} -> if List.ascii_printable?(words), do: to_string(words), else: inspect(words, limit: 5)
      _ -> inspect(reason, limit: 5, printable_limit: 200)
    end
  end

  defp posix(reason) do
    case :inet.format_error(reason) do
      ~c"unknown POSIX error" ++ _ -> to_string(reason)
      words -> to_string(words)
    end
  end
end
