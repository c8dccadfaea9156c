defmodule ToolBridge.Value.Bytes do
  @moduledoc """
  Bytes that are not a text, Python's `bytes`.

  A binary that is UTF-8 travels as a text; wrap it to send it as bytes. Bytes always arrive wrapped.
  """
  @enforce_keys [:data]
  defstruct [:data]
  @type t :: %__MODULE__{data: binary()}
end

defmodule ToolBridge.Value.FrozenSet do
  @moduledoc "Python's `frozenset`; a `MapSet` is its `set`."
  @enforce_keys [:members]
  defstruct [:members]
  @type t :: %__MODULE__{members: MapSet.t()}
end

defmodule ToolBridge.Value.OrderedMap do
  @moduledoc """
  A map whose keys have an order, as Python's `dict` has.

  `ToolBridge.Value.decode/2` gives it with `maps: :ordered`; as an argument or a result, it keeps its order.

      iex> map = ToolBridge.Value.OrderedMap.new([{"b", 1}, {"a", 2}])
      iex> ToolBridge.Value.OrderedMap.to_map(map)
      %{"a" => 2, "b" => 1}
  """
  @enforce_keys [:pairs]
  defstruct [:pairs]
  @type t :: %__MODULE__{pairs: [{term(), term()}]}

  @doc "Makes it of pairs, whose keys must be distinct."
  @spec new([{term(), term()}]) :: t()
  def new(pairs) when is_list(pairs), do: %__MODULE__{pairs: pairs}

  @doc "The map of the pairs, without their order."
  @spec to_map(t()) :: map()
  def to_map(%__MODULE__{pairs: pairs}), do: Map.new(pairs)
end

defmodule ToolBridge.Value.Duration do
  @moduledoc "Python's `timedelta`: `days`, and `seconds` and `microseconds` that are never negative."
  defstruct days: 0, seconds: 0, microseconds: 0
  @type t :: %__MODULE__{days: integer(), seconds: 0..86_399, microseconds: 0..999_999}

  @doc """
  Makes it of microseconds.

      iex> ToolBridge.Value.Duration.new(-1)
      %ToolBridge.Value.Duration{days: -1, seconds: 86399, microseconds: 999999}
  """
  @spec new(integer()) :: t()
  def new(microseconds) when is_integer(microseconds) do
    seconds = Integer.floor_div(microseconds, 1_000_000)

    %__MODULE__{
      days: Integer.floor_div(seconds, 86_400),
      seconds: Integer.mod(seconds, 86_400),
      microseconds: Integer.mod(microseconds, 1_000_000)
    }
  end

  @doc """
  All of it in microseconds.

      iex> ToolBridge.Value.Duration.to_microseconds(%ToolBridge.Value.Duration{seconds: 2, microseconds: 5})
      2000005
  """
  @spec to_microseconds(t()) :: integer()
  def to_microseconds(%__MODULE__{} = duration) do
    (duration.days * 86_400 + duration.seconds) * 1_000_000 + duration.microseconds
  end
end

defmodule ToolBridge.Value.UUID do
  @moduledoc "Python's `UUID`, in its canonical text form."
  @enforce_keys [:text]
  defstruct [:text]
  @type t :: %__MODULE__{text: String.t()}
end

defmodule ToolBridge.Value.Decimal do
  @moduledoc "Python's `Decimal`, as `str()` writes it."
  @enforce_keys [:text]
  defstruct [:text]
  @type t :: %__MODULE__{text: String.t()}
end

defmodule ToolBridge.Value.Complex do
  @moduledoc "Python's `complex`. A part may be `:nan`, `:infinity` or `:neg_infinity`."
  defstruct real: 0.0, imag: 0.0
  @type part :: float() | :nan | :infinity | :neg_infinity
  @type t :: %__MODULE__{real: part(), imag: part()}
end

defmodule ToolBridge.Value.Moment do
  @moduledoc """
  A Python `datetime` or `time` that Elixir's types do not hold: a time of day with an offset, and a time with `fold`
  in a zone that is not known here. It goes back unchanged.

    * `:kind` - `:datetime` or `:time`
    * `:iso` - ISO 8601, with the offset if there is one
    * `:zone` - IANA name of its time zone, or ""
    * `:fold` - whether it is the second of two equal local times
    * `:offset_name` - name of a fixed offset, or ""
  """
  @enforce_keys [:kind, :iso]
  defstruct [:kind, :iso, zone: "", fold: false, offset_name: ""]

  @type t :: %__MODULE__{
          kind: :datetime | :time,
          iso: String.t(),
          zone: String.t(),
          fold: boolean(),
          offset_name: String.t()
        }
end

defmodule ToolBridge.Value.Tensor do
  @moduledoc """
  A NumPy array or scalar.

    * `:dtype` - NumPy's `dtype.str`, such as `"<f8"`
    * `:shape` - a list of sizes; `[]` has no dimensions
    * `:data` - the elements, in C order
    * `:scalar` - whether a tensor without dimensions is a NumPy scalar, and not an array

  Read with `for <<x::float-little-64 <- tensor.data>>, do: x`, or `Nx.from_binary/2`.
  """
  @enforce_keys [:dtype, :shape, :data]
  defstruct [:dtype, :shape, :data, scalar: false]
  @type t :: %__MODULE__{dtype: String.t(), shape: [non_neg_integer()], data: binary(), scalar: boolean()}
end

defmodule ToolBridge.Value.Frame do
  @moduledoc """
  A table: a DataFrame, Series or Index of pandas, a Table of pyarrow, a DataFrame of polars.

    * `:kind` - such as `"pandas.DataFrame"`
    * `:arrow` - an Arrow IPC stream, which `Explorer.DataFrame.load_ipc_stream/1` reads

  It goes back unchanged.
  """
  @enforce_keys [:kind, :arrow]
  defstruct [:kind, :arrow]
  @type t :: %__MODULE__{kind: String.t(), arrow: binary()}
end

defprotocol ToolBridge.Value.Plain do
  @moduledoc """
  What a struct is sent as.

  A struct of an application is sent as a map of its fields, unless it implements this protocol:

      defimpl ToolBridge.Value.Plain, for: Money do
        def plain(money), do: Money.to_string(money)
      end
  """
  @fallback_to_any true

  @doc "Returns plain data for a struct."
  @spec plain(t) :: term()
  def plain(struct)
end

defimpl ToolBridge.Value.Plain, for: Any do
  def plain(struct), do: Map.from_struct(struct)
end

defimpl ToolBridge.Value.Plain, for: [Range, Stream] do
  def plain(enumerable), do: Enum.to_list(enumerable)
end
