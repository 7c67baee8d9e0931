# Plays scenarios on real OTP and records what happened, one JSON line each.
#   elixir record.exs SCENARIOS.terms OUTCOMES
Logger.configure(level: :none)
:logger.set_primary_config(:level, :none)

defmodule Child do
  use GenServer

  def start_link(config, table), do: GenServer.start_link(__MODULE__, {config, table})

  def init({%{id: id} = config, table}) do
    Process.flag(:trap_exit, true)
    life = :ets.update_counter(table, {:lives, id}, 1, {{:lives, id}, 0})

    cond do
      life in config.fails -> Recorder.event(table, ["init_fails", id, life]) && {:stop, :init_failed}
      life in config.ignores -> Recorder.event(table, ["ignores", id, life]) && :ignore
      true -> Recorder.event(table, ["starts", id, life]) && begin_life(id, life, table)
    end
  end

  defp begin_life(id, life, table) do
    :ets.insert(table, {{:pid, id}, self()})
    {:ok, {id, life, table}}
  end

  def handle_call(:life, _from, {id, life, _} = state), do: {:reply, {id, life}, state}
  def handle_info(:crash, _state), do: raise("crash")
  def handle_info({:stop, reason}, state), do: {:stop, reason, state}
  def handle_info(_other, state), do: {:noreply, state}
  def terminate(reason, {id, life, table}), do: Recorder.event(table, ["ends", id, life, Recorder.word(reason)])
end

defmodule Static do
  @behaviour :supervisor
  def init(arg), do: {:ok, arg}
end

defmodule Recorder do
  def event(table, event), do: :ets.insert(table, {{:event, :erlang.unique_integer([:monotonic])}, event})

  def events(table),
    do: for({{:event, _}, event} <- :ets.match_object(table, {{:event, :_}, :_}) |> Enum.sort(), do: event)

  def word(reason) when reason in [:normal, :shutdown, :killed], do: Atom.to_string(reason)
  def word({:shutdown, _}), do: "shutdown_detail"
  def word(_), do: "error"

  # -- supervisors --------------------------------------------------------------------------------
  def start(%{kind: :static} = s, table) do
    flags = %{strategy: s.strategy, intensity: s.max_restarts, period: 3600, auto_shutdown: s.auto_shutdown}
    :supervisor.start_link(Static, {flags, Enum.map(s.children, &spec(&1, table))})
  end

  def start(%{kind: :dynamic} = s, _table) do
    DynamicSupervisor.start_link(
      strategy: :one_for_one, max_restarts: s.max_restarts, max_seconds: 3600, max_children: s.max_children
    )
  end

  def spec(c, table),
    do: %{
      id: c.id, start: {Child, :start_link, [c, table]}, restart: c.restart,
      shutdown: c.shutdown, significant: c.significant
    }

  def children(%{kind: :static}, sup) do
    for {id, pid, _, _} <- Enum.reverse(:supervisor.which_children(sup)), do: [id, life(pid)]
  end

  def children(%{kind: :dynamic}, sup) do
    for({_, pid, _, _} <- DynamicSupervisor.which_children(sup), do: dynamic_child(pid)) |> Enum.sort()
  end

  defp dynamic_child(:restarting), do: ["?", "restarting"]

  defp dynamic_child(pid) do
    case ask_life(pid) do
      {id, life} -> [id, life]
      :dead -> ["?", "dead"]
    end
  end

  defp life(:undefined), do: "stopped"
  defp life(:restarting), do: "restarting"

  defp life(pid) do
    case ask_life(pid) do
      {_, life} -> life
      :dead -> "dead"
    end
  end

  defp ask_life(pid), do: if_alive(fn -> GenServer.call(pid, :life) end, :dead)
  defp if_alive(fun, otherwise), do: (try do fun.() catch :exit, _ -> otherwise end)

  # Waits until the tree has come to rest, and gives its children.
  def settle(s, sup, last \\ nil, same \\ 0) do
    now = if_alive(fn -> children(s, sup) end, "down")
    moving = is_list(now) and Enum.any?(now, fn [_, state] -> state in ["restarting", "dead"] end)

    cond do
      now == "down" -> now
      now == last and same >= 2 and not moving -> now
      true -> settle(s, sup, now, if(now == last, do: same + 1, else: 0))
    end
  end

  # -- steps ----------------------------------------------------------------------------------------
  def step([:crash, id], s, sup, table), do: hit(id, s, sup, table, &send(&1, :crash))
  def step([:kill, id], s, sup, table), do: hit(id, s, sup, table, &Process.exit(&1, :kill))

  def step([:stop, id, reason], s, sup, table) do
    reason = if reason == :shutdown_detail, do: {:shutdown, :detail}, else: reason
    hit(id, s, sup, table, &send(&1, {:stop, reason}))
  end

  def step([:shutdown], _s, sup, _table) do
    Process.exit(sup, :shutdown)
    wait_dead(sup)
    "ok"
  end

  def step([:start_child, c], %{kind: :dynamic}, sup, table),
    do: answer(if_alive(fn -> DynamicSupervisor.start_child(sup, spec(c, table)) end, :down))

  def step([:terminate_child, id], %{kind: :dynamic} = s, sup, table) do
    case pid(id, s, sup, table) do
      nil -> "skip"
      pid -> answer(if_alive(fn -> DynamicSupervisor.terminate_child(sup, pid) end, :down))
    end
  end

  def step([:start_child, c], _s, sup, table),
    do: answer(if_alive(fn -> :supervisor.start_child(sup, spec(c, table)) end, :down))

  def step([operation, id], _s, sup, _table),
    do: answer(if_alive(fn -> apply(:supervisor, operation, [sup, id]) end, :down))

  defp answer({:ok, _}), do: "ok"
  defp answer(:ok), do: "ok"
  defp answer(:ignore), do: "ok"
  defp answer(:down), do: "down"
  defp answer({:error, {:already_started, _}}), do: "already_started"
  defp answer({:error, word}) when word in [:already_present, :not_found, :running, :restarting, :max_children],
    do: Atom.to_string(word)
  defp answer({:error, _}), do: "failed"

  defp hit(id, s, sup, table, action) do
    case pid(id, s, sup, table) do
      nil -> "skip"
      pid -> action.(pid) && wait_dead(pid) && "ok"
    end
  end

  # The newest child with this id, if it lives.
  defp pid(id, _s, sup, table) do
    with true <- Process.alive?(sup), [{_, pid}] <- :ets.lookup(table, {:pid, id}), true <- Process.alive?(pid) do
      pid
    else
      _ -> nil
    end
  end

  defp wait_dead(pid) do
    monitor = Process.monitor(pid)
    receive do {:DOWN, ^monitor, _, _, _} -> true end
  end

  def play(s) do
    Process.flag(:trap_exit, true)
    table = :ets.new(:table, [:public, :ordered_set])

    outcome =
      case start(s, table) do
        {:ok, sup} ->
          first = settle(s, sup)
          steps = for one <- s.steps, do: [step(one, s, sup, table), settle(s, sup)]
          the_end = if Process.alive?(sup), do: "alive", else: (receive do {:EXIT, ^sup, reason} -> word(reason) end)
          recorded = events(table)
          if the_end == "alive", do: (Process.unlink(sup); Process.exit(sup, :kill))
          %{first: first, steps: steps, end: the_end, events: recorded}

        {:error, reason} ->
          %{first: "start_error", steps: [], end: word(reason), events: events(table)}
      end

    json(outcome)
  end

  def json(map) when is_map(map), do: "{" <> Enum.map_join(map, ",", fn {k, v} -> json(k) <> ":" <> json(v) end) <> "}"
  def json(list) when is_list(list), do: "[" <> Enum.map_join(list, ",", &json/1) <> "]"
  def json(number) when is_integer(number), do: Integer.to_string(number)
  def json(word), do: "\"#{word}\""
end

[input, output] = System.argv()
{:ok, scenarios} = :file.consult(String.to_charlist(input))

lines =
  scenarios |> Task.async_stream(&Recorder.play/1, max_concurrency: 4, timeout: 60_000) |> Enum.map(fn {:ok, line} -> line end)

File.write!(output, Enum.join(lines, "\n"))
