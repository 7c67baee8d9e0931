# Plays scenarios of processes that link, monitor, signal and register on real OTP, and records what happened.
#   elixir peers.exs SCENARIOS.terms OUTCOMES
Logger.configure(level: :none)
:logger.set_primary_config(:level, :none)

defmodule Peer do
  use GenServer
  def init({name, trap}) do
    Process.flag(:trap_exit, trap)
    {:ok, %{name: name, heard: [], monitors: %{}}}
  end

  def handle_call({:do, fun}, _from, state), do: fun.(state)
  def handle_call(:heard, _from, state), do: {:reply, state.heard, state}
  def handle_info({:EXIT, from, reason}, state), do: {:noreply, hear(state, ["exit", from, reason])}

  def handle_info({:DOWN, _ref, :process, from, reason}, state),
    do: {:noreply, hear(state, ["down", from, reason])}

  def handle_cast({:do, fun}, state), do: fun.(state)
  defp hear(state, what), do: %{state | heard: state.heard ++ [what]}
end

defmodule Recorder do
  def word(reason) when reason in [:normal, :shutdown, :killed, :noproc, :odd], do: Atom.to_string(reason)
  def word({:noproc, _}), do: "noproc"
  def word(_), do: "error"

  def play(s, number) do
    unique = :"unique#{number}"
    duplicate = :"duplicate#{number}"
    {:ok, u} = Registry.start_link(keys: :unique, name: unique)
    {:ok, d} = Registry.start_link(keys: :duplicate, name: duplicate)

    peers =
      for {name, trap} <- Enum.sort(Map.to_list(s.peers)), into: %{} do
        # Not GenServer.start: it makes a server its own parent, whose exit signals then end it.
        {:ok, pid} = GenServer.start_link(Peer, {name, trap})
        Process.unlink(pid)
        {name, {pid, Process.monitor(pid)}}
      end

    world = %{unique: unique, duplicate: duplicate, peers: peers}
    {steps, _} = Enum.map_reduce(s.steps, %{}, fn step, dead ->
      answer = step(step, world)
      {snapshot, dead} = settle(world, dead)
      {[answer, snapshot], dead}
    end)

    for {_, {pid, _}} <- peers, do: Process.exit(pid, :kill)
    Supervisor.stop(u)
    Supervisor.stop(d)
    json(steps)
  end

  defp pid(world, name), do: elem(world.peers[name], 0)

  # Runs in the process itself, and waits for it.
  defp run(world, name, fun) do
    if Process.alive?(pid(world, name)) do
      try do
        GenServer.call(pid(world, name), {:do, fn state -> {:reply, fun.(), state} end})
      catch
        :exit, _ -> "ended"
      end
    else
      "skip"
    end
  end

  def step([:link, a, b], w), do: run(w, a, fn -> Process.link(pid(w, b)) && "ok" end)
  def step([:unlink, a, b], w), do: run(w, a, fn -> Process.unlink(pid(w, b)) && "ok" end)
  def step([:monitor, a, b], w), do: run(w, a, fn -> Process.monitor(pid(w, b)) && "ok" end)

  def step([:exit, a, b, reason], w), do: run(w, a, fn -> Process.exit(pid(w, b), reason) && "ok" end)
  def step([:crash, a], w), do: do_end(w, a, fn _ -> raise("crash") end)
  def step([:stop, a, reason], w), do: do_end(w, a, fn state -> {:stop, reason, state} end)

  def step([:register, a, key], w) do
    run(w, a, fn ->
      case Registry.register(w.unique, key, nil) do
        {:ok, _} -> "ok"
        {:error, {:already_registered, _}} -> "taken"
      end
    end)
  end

  def step([:unregister, a, key], w), do: run(w, a, fn -> Registry.unregister(w.unique, key) && "ok" end)

  def step([:join, a, key, value], w),
    do: run(w, a, fn -> {:ok, _} = Registry.register(w.duplicate, key, value); "ok" end)

  def step([:leave, a, key], w), do: run(w, a, fn -> Registry.unregister(w.duplicate, key) && "ok" end)

  defp do_end(w, a, fun) do
    if Process.alive?(pid(w, a)) do
      GenServer.cast(pid(w, a), {:do, fun})
      "ok"
    else
      "skip"
    end
  end

  defp settle(world, dead, last \\ nil, same \\ 0) do
    {now, dead} = snapshot(world, dead)
    cond do
      now == last and same >= 3 -> {now, dead}
      true ->
        Process.sleep(if same > 0, do: 1, else: 0)
        settle(world, dead, now, if(now == last, do: same + 1, else: 0))
    end
  end

  defp snapshot(world, dead) do
    by_pid = for {name, {pid, _}} <- world.peers, into: %{}, do: {pid, Atom.to_string(name)}

    {peers, dead} =
      Enum.map_reduce(Enum.sort(Map.to_list(world.peers)), dead, fn {name, {pid, monitor}}, dead ->
        dead =
          receive do
            {:DOWN, ^monitor, _, _, reason} -> Map.put(dead, name, reason)
          after
            0 -> dead
          end

        case dead do
          %{^name => reason} ->
            {[Atom.to_string(name), "dead", word(reason)], dead}

          _ ->
            heard = try do GenServer.call(pid, :heard) catch :exit, _ -> [["dying", pid, :odd]] end
            heard = for [kind, from, reason] <- heard, do: [kind, by_pid[from], word(reason)]
            links = case Process.info(pid, :links) do
              {:links, links} -> for(l <- links, by_pid[l], do: by_pid[l]) |> Enum.sort()
              nil -> ["dying"]
            end
            {[Atom.to_string(name), "alive", Enum.sort(heard), links], dead}
        end
      end)

    names = for key <- [:k1, :k2], do: Enum.map(Registry.lookup(world.unique, key), fn {pid, _} -> by_pid[pid] end)
    groups =
      for key <- [:k1, :k2] do
        for({pid, value} <- Registry.lookup(world.duplicate, key), do: [by_pid[pid], value]) |> Enum.sort()
      end

    {[peers, names, groups], dead}
  end

  def json(list) when is_list(list), do: "[" <> Enum.map_join(list, ",", &json/1) <> "]"
  def json(number) when is_integer(number), do: Integer.to_string(number)
  def json(word), do: "\"#{word}\""
end

[input, output] = System.argv()
{:ok, scenarios} = :file.consult(String.to_charlist(input))

lines =
  scenarios
  |> Enum.with_index()
  |> Task.async_stream(fn {s, n} -> Recorder.play(s, n) end, max_concurrency: 8, timeout: 60_000)
  |> Enum.map(fn {:ok, line} -> line end)

File.write!(output, Enum.join(lines, "\n"))
