defmodule ToolBridge.Value.Moments do
  @moduledoc false
  # Dates and times: ISO 8601 text, with the name of the time zone as a separate field.
  #
  # A fixed offset is a DateTime whose time zone is the offset itself, such as "+02:00". A named zone needs the time
  # zone database of `Calendar.put_time_zone_database/1` only to tell equal local times apart.

  alias ToolBridge.Proto.RichDateTime
  alias ToolBridge.Value.Moment

  @spec write(DateTime.t() | NaiveDateTime.t() | Time.t() | Moment.t()) :: RichDateTime.t()
  def write(%Moment{} = moment) do
    %RichDateTime{iso: moment.iso, zone: moment.zone, fold: moment.fold, offset_name: moment.offset_name}
  end

  def write(%Time{} = time), do: %RichDateTime{iso: time_text(time)}
  def write(%NaiveDateTime{} = naive), do: %RichDateTime{iso: naive_text(naive)}

  def write(%DateTime{time_zone: zone} = moment) do
    offset = offset_text(moment.utc_offset + moment.std_offset)
    iso = naive_text(DateTime.to_naive(moment)) <> offset

    cond do
      zone in ["Etc/UTC", "UTC"] -> %RichDateTime{iso: iso}
      zone == offset and moment.zone_abbr in [offset, ""] -> %RichDateTime{iso: iso}
      zone == offset -> %RichDateTime{iso: iso, offset_name: moment.zone_abbr}
      true -> %RichDateTime{iso: iso, zone: zone, fold: fold?(moment)}
    end
  end

  defp fold?(moment) do
    case DateTime.from_naive(DateTime.to_naive(moment), moment.time_zone, Calendar.get_time_zone_database()) do
      {:ambiguous, _, second} -> DateTime.compare(second, moment) == :eq
      _ -> false
    end
  end

  # As Python's isoformat(): no fraction, or six digits.
  defp naive_text(%{year: year} = naive) do
    date = naive |> NaiveDateTime.to_date() |> Date.to_iso8601()
    if year < 1 or year > 9999, do: throw({:unserializable, "#{date} has no form: a year is 1 to 9999"})
    "#{date}T#{time_text(NaiveDateTime.to_time(naive))}"
  end

  defp time_text(%{microsecond: {microseconds, _}} = time) do
    Time.to_iso8601(%{time | microsecond: {microseconds, if(microseconds == 0, do: 0, else: 6)}})
  end

  defp offset_text(seconds) do
    sign = if seconds < 0, do: "-", else: "+"

    parts = [
      div(abs(seconds), 3600),
      rem(div(abs(seconds), 60), 60) | if(rem(seconds, 60) == 0, do: [], else: [rem(abs(seconds), 60)])
    ]

    sign <> Enum.map_join(parts, ":", &String.pad_leading(Integer.to_string(&1), 2, "0"))
  end

  # ------------------------------------------------------------------------------------------------- reading

  @spec read_date(String.t()) :: Date.t()
  def read_date(iso) do
    case Date.from_iso8601(iso) do
      {:ok, date} -> date
      {:error, _} -> bad(iso, "a date in ISO 8601")
    end
  end

  @spec read_time(RichDateTime.t()) :: Time.t() | Moment.t()
  def read_time(%RichDateTime{iso: iso, zone: zone, fold: fold, offset_name: name} = message) do
    case {Time.from_iso8601(without_time_offset(iso)), offset(iso)} do
      {{:ok, time}, nil} when zone == "" and not fold and name == "" -> precise(time)
      {{:ok, _}, _} -> moment(:time, message)
      {{:error, _}, _} -> bad(iso, "a time in ISO 8601")
    end
  end

  @spec read_datetime(RichDateTime.t()) :: DateTime.t() | NaiveDateTime.t() | Moment.t()
  def read_datetime(%RichDateTime{iso: iso, zone: zone, fold: fold, offset_name: name} = message) do
    naive =
      case NaiveDateTime.from_iso8601(without_offset(iso)) do
        {:ok, naive} -> precise(naive)
        {:error, _} -> bad(iso, "a datetime in ISO 8601")
      end

    case offset(iso) do
      nil when zone == "" and not fold ->
        naive

      {0, _} when zone == "" and not fold and name == "" ->
        with_offset(naive, 0, "Etc/UTC", "UTC")

      {seconds, text} when zone == "" and not fold ->
        with_offset(naive, seconds, text, if(name == "", do: text, else: name))

      offset when zone != "" ->
        in_zone(naive, offset, message)

      _ ->
        moment(:datetime, message)
    end
  end

  defp in_zone(naive, offset, %RichDateTime{zone: zone, fold: fold} = message) do
    case {DateTime.from_naive(naive, zone, Calendar.get_time_zone_database()), offset} do
      {{:ok, moment}, _} when not fold -> moment
      {{:ambiguous, first, second}, _} -> if fold, do: second, else: first
      {_, {seconds, text}} when not fold -> with_offset(naive, seconds, zone, text)
      _ -> moment(:datetime, message)
    end
  end

  defp with_offset(naive, seconds, zone, abbreviation) do
    naive
    |> Map.from_struct()
    |> Map.merge(%{time_zone: zone, zone_abbr: abbreviation, utc_offset: seconds, std_offset: 0})
    |> then(&struct!(DateTime, &1))
  end

  @zone ~r/\A[A-Za-z0-9_+\-]+(\/[A-Za-z0-9_+\-]+)*\z/

  defp moment(_, %RichDateTime{zone: zone}) when byte_size(zone) > 100, do: bad(zone, "the name of a time zone")

  defp moment(kind, message) do
    if message.zone != "" and not (message.zone =~ @zone), do: bad(message.zone, "the name of a time zone")
    %Moment{kind: kind, iso: message.iso, zone: message.zone, fold: message.fold, offset_name: message.offset_name}
  end

  # All of Python's times have microseconds.
  defp precise(%{microsecond: {microseconds, _}} = time), do: %{time | microsecond: {microseconds, 6}}

  defp offset(iso) do
    case Regex.run(~r/T?\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:(Z)|([+-])(\d\d):(\d\d)(?::(\d\d))?(?:\.\d+)?)\z/, iso) do
      nil -> nil
      [_, "Z"] -> {0, "+00:00"}
      [_, "", sign, hours, minutes | rest] -> signed(sign, [hours, minutes | rest])
    end
  end

  # Elixir takes no offset with seconds.
  defp without_offset(iso), do: Regex.replace(~r/(T[\d:.]+)[+-][\d:.]+\z/, iso, "\\1")

  defp without_time_offset(iso), do: Regex.replace(~r/\A([\d:.]+)[+-][\d:.]+\z/, iso, "\\1")

  defp signed(sign, parts) do
    [hours, minutes, seconds] = Enum.map(Enum.take(parts ++ ["0"], 3), &String.to_integer/1)
    total = hours * 3600 + minutes * 60 + seconds
    {if(sign == "-", do: -total, else: total), sign <> Enum.join(parts, ":")}
  end

  defp bad(text, what), do: throw({:unserializable, "#{inspect(String.slice(text, 0, 40))} is not #{what}"})
end
