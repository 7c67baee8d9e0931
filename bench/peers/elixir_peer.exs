# Elixir's GenServer, Supervisor and DynamicSupervisor.  elixir elixir_peer.exs SHARE
Logger.configure(level: :none)
:logger.set_primary_config(:level, :none)

defmodule Echo do
  use GenServer
  def start_link(arg), do: GenServer.start_link(__MODULE__, arg)
  def init(arg), do: {:ok, arg}
  def handle_cast(_, state), do: {:noreply, state}
  def handle_call(message, _from, state), do: {:reply, message, state}
end

defmodule Ponger do
  use GenServer
  def init(boss), do: {:ok, {boss, nil}}
  def handle_cast({:other, pid}, {boss, _}), do: {:noreply, {boss, pid}}
  def handle_cast(0, {boss, _} = state), do: send(boss, :done) && {:noreply, state}
  def handle_cast(left, {_, other} = state), do: GenServer.cast(other, left - 1) && {:noreply, state}
end

defmodule Crasher do
  use GenServer
  def start_link(boss), do: GenServer.start_link(__MODULE__, boss)

  def init(boss) do
    send(boss, {:up, self(), System.monotonic_time(:nanosecond)})
    {:ok, boss}
  end

  def handle_cast(_, _), do: raise("on purpose")
end

defmodule Bench do
  def now, do: System.monotonic_time(:nanosecond)
  def per_s(count, began), do: count / ((now() - began) / 1.0e9)

  def tell(n) do
    {:ok, pid} = Echo.start_link(0)
    began = now()
    Enum.each(1..n, &GenServer.cast(pid, &1))
    GenServer.call(pid, :done, :infinity)
    per_s(n, began)
  end

  def call(n) do
    {:ok, pid} = Echo.start_link(0)
    began = now()
    Enum.each(1..n, &GenServer.call(pid, &1))
    per_s(n, began)
  end

  def concurrent(n) do
    {:ok, pid} = Echo.start_link(0)
    began = now()

    1..100
    |> Enum.map(fn _ -> Task.async(fn -> Enum.each(1..div(n, 100), &GenServer.call(pid, &1)) end) end)
    |> Enum.each(&Task.await(&1, :infinity))

    per_s(n, began)
  end

  def ping_pong(n) do
    {:ok, a} = GenServer.start_link(Ponger, self())
    {:ok, b} = GenServer.start_link(Ponger, self())
    GenServer.cast(a, {:other, b})
    GenServer.cast(b, {:other, a})
    began = now()
    GenServer.cast(a, n)
    receive do :done -> per_s(n, began) end
  end

  def spawn_many(n) do
    began = now()
    pids = Enum.map(1..n, fn _ -> {:ok, pid} = Echo.start_link(0); pid end)
    rate = per_s(n, began)
    Enum.each(pids, &GenServer.stop/1)
    rate
  end

  def start_child(n) do
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one)
    spec = %{id: Echo, start: {Echo, :start_link, [0]}, restart: :temporary}
    began = now()
    Enum.each(1..n, fn _ -> {:ok, _} = DynamicSupervisor.start_child(supervisor, spec) end)
    rate = per_s(n, began)
    DynamicSupervisor.stop(supervisor)
    rate
  end

  def restart_us(n) do
    children = [%{id: Crasher, start: {Crasher, :start_link, [self()]}}]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one, max_restarts: 1_000_000_000)
    pid = receive do {:up, pid, _} -> pid end

    {times, _} =
      Enum.map_reduce(1..n, pid, fn _, pid ->
        began = now()
        GenServer.cast(pid, :crash)
        receive do {:up, next, at} -> {at - began, next} end
      end)

    Supervisor.stop(supervisor)
    Enum.at(Enum.sort(times), div(n, 2)) / 1000
  end

  def young_restart_us(supervisors) do
    times = Enum.map(1..supervisors, fn _ -> restart_us(20) end)
    Enum.at(Enum.sort(times), div(supervisors, 2))
  end

  def idle_bytes(n) do
    :erlang.garbage_collect()
    before = :erlang.memory(:total)
    pids = Enum.map(1..n, fn _ -> {:ok, pid} = Echo.start_link(0); pid end)
    bytes = (:erlang.memory(:total) - before) / n
    Enum.each(pids, &GenServer.stop/1)
    bytes
  end
end

share = String.to_float(hd(System.argv()))
n = fn count -> max(200, trunc(count * share)) end
Bench.call(n.(20_000))

figures = [
  tell_per_s: Bench.tell(n.(500_000)),
  call_per_s: Bench.call(n.(100_000)),
  concurrent_call_per_s: Bench.concurrent(n.(100_000)),
  ping_pong_per_s: Bench.ping_pong(n.(200_000)),
  spawn_per_s: Bench.spawn_many(n.(30_000)),
  start_child_per_s: Bench.start_child(n.(10_000)),
  restart_us: Bench.restart_us(n.(1_000)),
  young_restart_us: Bench.young_restart_us(50),
  idle_bytes: Bench.idle_bytes(n.(20_000))
]

IO.puts("{" <> Enum.map_join(figures, ",", fn {k, v} -> "\"#{k}\": #{v * 1.0}" end) <> "}")
