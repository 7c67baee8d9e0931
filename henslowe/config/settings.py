"""Every setting of a node, with its unit, its default and its limits: pure pydantic models, no loading.

Where values come from (flags, environment, `henslowe.toml`, defaults) is `henslowe.config.loading`'s business; what a
service says of itself is `henslowe.config.manifest`'s.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from henslowe.config.exposure import DifferencesPolicy, ReplayPolicy, Sticky
from henslowe.config.freeze import Freeze
from henslowe.config.hooks import NodeHook, WebhookSettings
from henslowe.config.ramp import StrategyName
from henslowe.config.references import Referring
from henslowe.config.section import Percent, Seconds, Section
from henslowe.config.upkeep import Health, HealthSettings, Scale, ScaleSettings


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from error
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=1_000), AfterValidator(_compiles)]


class StorageSettings(Section):
    """The data directory."""

    map_size_gib: Annotated[int, Field(ge=1, le=1024)] = 64
    """Address space reserved for the core environment; costs nothing on disk, never resized."""
    writer_queue: Annotated[int, Field(ge=16, le=1_000_000)] = 50_000
    """Most transactions waiting for the writer; beyond it writes are refused with `limit_reached`."""
    activity_events_max: Annotated[int, Field(ge=1_000)] = 1_000_000
    output_lines_max: Annotated[int, Field(ge=1_000)] = 1_000_000
    """Retention of the two streams that are not the history; the oldest partition is dropped whole."""
    activity_age_max_s: Annotated[float, Field(ge=0, le=100 * 366 * 24 * 3600)] = 90 * 24 * 3600.0
    output_age_max_s: Annotated[float, Field(ge=0, le=100 * 366 * 24 * 3600)] = 30 * 24 * 3600.0
    """Older events of these streams are dropped, too, at most a fifteenth of the time later; 0 for no limit."""
    scrub_interval_s: Annotated[float, Field(ge=0, le=366 * 24 * 3600)] = 24 * 3600.0
    """From the end of one reading of all that is stored to the next; 0 for none."""
    scrub_mib_per_s: Annotated[float, Field(gt=0, le=10_000)] = 4.0
    """Most that it reads in a second, in a process of lowest priority."""
    read_s_max: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """A read that is open for longer is told, with its place in the source: the file grows meanwhile."""
    migrations: Literal["auto", "manual"] = "auto"
    """`auto` begins the migration of a table when a new Henslowe brings one; `manual` waits for
    `henslowe storage migrate`. What is under way goes on in either."""
    migration_rows_per_s: Annotated[float, Field(gt=0)] = 2_000.0
    """Most rows that migrations copy or compare; pages never take more than a quarter of the time."""
    rollback_window_s: Seconds = 3 * 24 * 3600.0
    """How long the old form of a migrated table is kept up to date, so that a rollback takes no time."""
    secret_key_file: Path | None = None
    """File of mode 0600 with the keys of secrets, outside the data directory; also `HENSLOWE_SECRET_KEY_FILE`.
    Default: the systemd credential `henslowe.key`, else a file below `~/.config/henslowe/keys/`."""


class WatcherSettings(Section):
    """How saved files become changes."""

    debounce_ms: Annotated[int, Field(ge=0, le=10_000)] = 75
    """Quiet time after the last event before a change is looked at."""
    debounce_max_ms: Annotated[int, Field(ge=0, le=60_000)] = 500
    """Longest delay while events keep coming."""
    rescan_s: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Interval of the full scan that heals what the kernel did not report; longer where scans take more than 0.3 %."""
    polling: Literal["auto", "always", "never"] = "auto"
    """`auto` polls only when the kernel's watch limit is reached."""
    poll_s: Annotated[float, Field(ge=0.1, le=60)] = 0.75
    ignore: tuple[str, ...] = ()
    """More gitignore patterns, beside `.gitignore`, `.henslowe-ignore` and the built-in ones."""


class PipelineSettings(Section):
    """How sources become a build."""

    parallel: Annotated[int, Field(ge=1, le=64)] = 2
    """Most stages running at once on the node."""
    stage_timeout_s: Annotated[float, Field(gt=0, le=24 * 3600)] = 300.0
    output_lines_max: Annotated[int, Field(ge=100)] = 10_000
    """Most lines kept per stage run; the rest is counted."""
    output_bytes_max: Annotated[int, Field(ge=4096)] = 4 * 1024 * 1024
    """The same in bytes."""
    output_line_bytes_max: Annotated[int, Field(ge=256)] = 8_192
    isolation: Literal["auto", "bwrap", "landlock", "none"] = "auto"
    """What keeps stages within their run's folders. `auto`: the best that works here; a version says what it was."""
    processes_max: Annotated[int, Field(ge=8)] = 512
    """Most processes of one stage."""
    run_mib_max: Annotated[int, Field(ge=16)] = 4_096
    """Most that one run may write into its folder."""
    free_mib_min: Annotated[int, Field(ge=0)] = 256
    """A stage is ended when less than this is free on the disk of the data directory."""
    python: str = ""
    """Interpreter for Python services; "" for the node's own."""


class DeliverySettings(Section):
    """How versions reach traffic."""

    strategy: StrategyName = "auto"
    on_break: Literal["go", "hold", "fail"] = "go"
    """What becomes of a version that breaks clients of the active one without a greater major version."""
    canary_percent: Percent = 10.0
    """Share of a service's units that meet a canary."""
    auto_units_min: Annotated[int, Field(ge=1)] = 20
    auto_window_s: Seconds = 600.0
    """`auto` makes a canary when at least this many units were seen in this window."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Most probability of ever rolling back a version that is as good as the stable one."""
    beta: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Probability of promoting a version that is worse by the margin."""
    margin_points: Percent = 5.0
    """A version is bad when it fails this many percentage points more than the stable one, or 1.6 times as often."""
    slow_factor: Annotated[float, Field(ge=0, le=100)] = 1.5
    """A call is slow when it takes longer than so many times what three of four calls took before the rollout. Slow
    calls speak against a version like failures; 0 to leave latencies out."""
    units_min: Annotated[int, Field(ge=1)] = 10
    """Fewest canary units before a promotion."""
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    """Consecutive transport failures that roll back at once."""
    probation_s: Seconds = 300.0
    """How long a new active version is on probation; a node crash meanwhile boots the previous permanent one."""
    holdback_percent: Percent = 5.0
    sticky_epoch_s: Annotated[float, Field(ge=1)] = 300.0
    """Stateless clients keep their arm this long."""
    drain_s: Seconds = 30.0
    """Longest wait for calls in flight before an instance is stopped."""
    keep_versions: Annotated[int, Field(ge=2)] = 20
    """Archived versions kept per service, beside the active, the previous and the permanent one."""
    sticky: Sticky = "session"
    """What stays with one version during a rollout: each session (a stateless client for `sticky_epoch_s`), all that
    one principal does, or all that comes from one client program at one address."""
    replay: ReplayPolicy = "gate"
    """Before a version meets a client, captured calls of read-only tools are sent to it and to the active version.
    `gate`: one that fails what the active one answers is taken back; `hold`: it waits for a person; `report`: it goes
    on, and says so; `off`: nothing is replayed."""
    replay_differences: DifferencesPolicy = "report"
    """The same for a version that answers, but differently."""
    replay_calls_max: Annotated[int, Field(ge=1, le=5_000)] = 200
    """Most calls that are replayed, the newest of each tool first."""
    replay_bytes_max: Annotated[int, Field(ge=1_024)] = 16 * 1024 * 1024
    """Most bytes of arguments and answers of one replay, as they were captured."""
    replay_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    """Longest replay before a canary."""
    replay_immediate_s: Annotated[float, Field(gt=0, le=600)] = 1.0
    """The same before a version that takes all traffic at once; only a failure that is being looked into takes
    longer."""


class InstanceSettings(Section):
    """How MCP servers are run."""

    ready_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    stop_grace_s: Seconds = 3.0
    """From closing standard input (then SIGTERM) to SIGKILL of the process group."""
    max_restarts: Annotated[int, Field(ge=0)] = 5
    max_seconds: Annotated[float, Field(gt=0)] = 30.0
    """An instance that crashes more often than this is broken; its version is rolled back or shown as unhealthy."""
    backoff_first_s: Seconds = 0.0
    backoff_max_s: Seconds = 10.0
    in_flight_max: Annotated[int, Field(ge=1)] = 1_000
    """Most calls in flight towards one instance. How many it gets adapts to how it does; the others wait."""
    in_flight_min: Annotated[int, Field(ge=1)] = 4
    """So many it always gets."""
    in_flight_start: Annotated[int, Field(ge=1)] = 200
    """So many it gets at first."""
    message_bytes_max: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Longest single message accepted from a server."""
    output_lines_per_s: Annotated[float, Field(ge=1)] = 200.0
    """Most lines of one instance that are kept, on average; ten seconds of it at once. The rest is counted."""
    output_bytes_per_s: Annotated[float, Field(ge=1024)] = 64.0 * 1024
    """The same in bytes. A line is cut at 8 KiB."""
    probe_s: Annotated[float, Field(ge=0)] = 30.0
    """An instance that was silent and idle for so long is asked whether it is there; 0 for never."""
    probe_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    probe_failures: Annotated[int, Field(ge=1)] = 3
    """Probes in a row without an answer after which it counts as stuck, and is started anew."""
    private_max: Annotated[int, Field(ge=0)] = 32
    """Most connections of a service that belong to one client each (with a process of their own for servers on pipes),
    so that a server of the handshake era can ask that client something. Clients beyond it share one that cannot ask."""


class BreakerSettings(Section):
    """When instances that do not answer are left alone, each by itself. What they answer, errors included, is no sign.

    Whether a version is rolled back is `delivery`'s business.
    """

    failures: Annotated[int, Field(ge=1)] = 5
    """In a row that open the breaker of an instance."""
    failure_percent: Annotated[float, Field(gt=0, le=100)] = 50.0
    """Failures per hundred calls of the window that open it."""
    window_s: Annotated[float, Field(ge=1)] = 30.0
    calls_min: Annotated[int, Field(ge=1)] = 20
    """Fewest calls in the window from which the share counts."""
    open_s: Annotated[float, Field(gt=0)] = 2.0
    """From opening to the first probe; doubled each time that the probes fail."""
    open_max_s: Annotated[float, Field(gt=0)] = 60.0
    probes: Annotated[int, Field(ge=1, le=100)] = 1
    """Calls that go through to see; as many have to succeed."""
    outlier_points: Percent = 30.0
    """Percentage points more failures than the other instances of the version that open it, too."""
    ejected_percent_max: Percent = 50.0
    """Largest share of a version's instances that is left alone for that."""


class GatewaySettings(Section):
    """The MCP endpoints."""

    hosts: tuple[str, ...] = ()
    """More Host names accepted, beside the listener's own loopback names."""
    origins: tuple[str, ...] = ()
    """More Origins accepted, beside the listener's own."""
    request_bytes_max: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    read_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """How long a client may take to send a request's body."""
    call_timeout_s: Annotated[float, Field(gt=0)] = 300.0
    wait_for_instance_s: Seconds = 30.0
    """How long a call waits for an instance that is starting or restarting."""
    sessions_max: Annotated[int, Field(ge=1)] = 10_000
    session_idle_s: Annotated[float, Field(ge=60)] = 24 * 3600.0
    streams_max: Annotated[int, Field(ge=1)] = 10_000
    sse_keepalive_s: Annotated[float, Field(ge=1)] = 15.0
    unsent_bytes_max: Annotated[int, Field(ge=1024 * 1024)] = 128 * 1024 * 1024
    """Most bytes of large answers that clients have not read yet, of all clients together; beyond it calls fail."""
    list_ttl_ms: Annotated[int, Field(ge=0)] = 5_000
    """How long modern clients may cache lists when no canary is under way."""
    private_idle_s: Annotated[float, Field(gt=0)] = 300.0
    """How long a connection that belongs to one client is kept without a call."""
    parked_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a call waits for a stateless client to bring the answers to its server's questions."""
    waiting_max: Annotated[int, Field(ge=1)] = 10_000
    """Most calls of one service that wait for an instance, or for room at one; further ones fail at once."""
    repeats_percent: Percent = 20.0
    """Calls that are made again after a lost connection, per hundred calls of a service (50 in ten seconds always)."""
    hedge_percent: Percent = 0.0
    """Reads that a second instance is asked when the first is slower than usual, per hundred calls; 0: none."""
    range_idle_s: Annotated[float, Field(gt=0)] = 300.0
    """How long a version that only `/mcp/SERVICE@RANGE` leads to runs on after its last call."""
    replay_s: Annotated[float, Field(ge=0, le=3600)] = 300.0
    """How long events of the handshake era are kept for clients that come back with `Last-Event-ID`; 0: not at all."""
    replay_events_max: Annotated[int, Field(ge=1)] = 256
    """Most of them per stream."""
    replay_session_bytes_max: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """Most bytes of them per session."""
    replay_bytes_max: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """Most bytes of them altogether."""
    cache: bool = True
    """Whether results are answered again for as long as their server says (`ttlMs`), to those it says."""
    cache_tools: dict[str, Annotated[int, Field(ge=1, le=7 * 24 * 3600 * 1000)]] = {}
    """Milliseconds for which results of read-only tools are good whose servers do not say: `"SERVICE/TOOL" = 5000`."""
    cache_bytes_max: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """Most bytes of results that are kept; those that were not used for longest make room."""
    tasks_max: Annotated[int, Field(ge=1)] = 10_000
    """Most tasks that are remembered; those that are done make room."""


class AdminSettings(Section):
    """The admin API."""

    rate_per_s: Annotated[float, Field(gt=0)] = 200.0
    """Requests per second and client (token bucket, burst of twice this)."""
    token_file: Path | None = None
    """File of mode 0600 with the bearer token; default `<data>/admin.token`, made at first start."""


class OAuthSettings(Section):
    """The authorization server whose tokens are taken, for `access.mode = "oauth"`."""

    issuer: str = ""
    """Its issuer identifier, as in the `iss` of its tokens; https, but for loopback."""
    jwks_url: str = ""
    """Where its signing keys are; default: as its metadata (RFC 8414 or OpenID Connect) says."""
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = ("RS256", "ES256", "EdDSA")
    """Signatures that are taken. There is no `none` and no shared secret."""
    resource: str = ""
    """What every endpoint is to an issuer that knows the node as one resource; default: each its own address."""
    audiences: tuple[str, ...] = ()
    """More values of `aud` that are taken, beside the endpoint's own address (RFC 8707)."""
    leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How much the issuer's clock may differ."""
    subject_claim: str = "sub"
    """The claim that names the principal."""
    scopes_supported: tuple[str, ...] = ()
    """What the resource metadata offers; clients ask for all of it when no challenge says less."""
    challenge_scopes: tuple[str, ...] = ()
    """What a 401 asks for; default: what the endpoint needs."""
    scope_map: dict[str, tuple[str, ...]] = {}
    """The issuer's scopes as ours: `"files.read" = ["mcp:files"]`. Without any, its `mcp` and `mcp:NAME` are ours."""
    scopes_granted: tuple[str, ...] = ()
    """Our scopes that every token of the issuer has, whatever it says: `["mcp"]` for an issuer without scopes."""
    introspection_url: str = ""
    """Where tokens that are not JWTs are asked about (RFC 7662); "" refuses them."""
    introspection_authorization: str = ""
    """The `Authorization` header for it, for example `Basic secret:NAME` (see `henslowe secrets`)."""


class PolicyRule(Section):
    """One rule over what principals may use: `[access.policy.NAME]`. A rule can only take away."""

    principals: tuple[str, ...] = ("*",)
    """Whom it is about, as patterns: `token:ci-*`, `oauth:alice`, `local:*`, `anonymous`."""
    unless_scopes: tuple[str, ...] = ()
    """It is not about those who hold all of these; a client with too few is told to ask for them."""
    services: tuple[str, ...] = ("*",)
    """Which services it is about, as patterns."""
    allow_tools: tuple[str, ...] = ("*",)
    """Tools that may be used, as patterns; others are not listed, and calls of them are refused."""
    deny_tools: tuple[str, ...] = ()
    """Tools that may not be used."""
    allow_prompts: tuple[str, ...] = ("*",)
    deny_prompts: tuple[str, ...] = ()
    """The same for prompts."""
    allow_resources: tuple[str, ...] = ("*",)
    deny_resources: tuple[str, ...] = ()
    """The same for the URIs of resources."""


class AccessSettings(Section):
    """Who is let in, and to what."""

    mode: Literal["auto", "none", "token", "oauth"] = "auto"
    """What MCP clients show. `auto`: nothing on loopback, elsewhere a token. `none`: nothing, wherever the node
    listens. `token`: a token of this node. `oauth`: that, or one of `access.oauth.issuer`. The admin API asks for a
    token in every mode."""
    public_url: str = ""
    """Where clients find the node, when that is not where it listens: `https://mcp.example.org`. Tokens are for it."""
    rate_per_s: Annotated[float, Field(ge=0)] = 0.0
    """Requests to MCP endpoints per second and principal (token bucket, burst of twice this); 0: no limit on loopback,
    1000 elsewhere."""
    failures_per_minute: Annotated[float, Field(gt=0)] = 60.0
    """Tokens that are not good, per address; beyond it 429."""
    oauth: OAuthSettings = OAuthSettings()
    policy: dict[str, PolicyRule] = {}


class CaptureSettings(Section):
    """Which traffic is recorded for replay, and what is kept of it. Secrets are taken out before anything is stored."""

    enabled: bool = True
    services: tuple[str, ...] = ()
    """Services whose traffic is recorded, as patterns (`"*"` for all); by default those that are developed here."""
    methods: tuple[str, ...] = ("tools/call", "prompts/get", "resources/read")
    sample_percent: Percent = 100.0
    """Share of the sessions (or stateless clients) that are recorded."""
    per_second_max: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    """Most exchanges recorded per second and service, on average; as many at once. Bounds what recording costs."""
    record_bytes_max: Annotated[int, Field(ge=1_024, le=1_048_576)] = 65_536
    """Longer parameters and results are cut, and marked so."""
    queue_bytes_max: Annotated[int, Field(ge=65_536)] = 8 * 1024 * 1024
    """Most that waits to be recorded; beyond it exchanges are dropped and counted. Calls never wait."""
    keep_exchanges: Annotated[int, Field(ge=100)] = 100_000
    keep_mib: Annotated[int, Field(ge=1, le=65_536)] = 64
    keep_days: Annotated[float, Field(gt=0, le=3_650)] = 7.0
    """The oldest are dropped beyond any of the three."""
    redact_keys: tuple[str, ...] = ()
    """More names of fields that hold secrets, beside `password`, `token`, `api_key` and the like."""
    redact_patterns: dict[str, Pattern] = {}
    """More shapes of secrets: a name for the marker, and a regular expression."""
    redact_email: bool = False
    redact_entropy: bool = True
    """Whether long words of letters and digits that look drawn by chance are taken for secrets."""
    entropy_chars_min: Annotated[int, Field(ge=16, le=256)] = 24


class TlsSettings(Section):
    """The listener's certificate. Both files, PEM, or neither; changed files are loaded within seconds."""

    cert_file: Path | None = None
    """The certificate with its chain."""
    key_file: Path | None = None
    """Its key, without a password."""


class LogSettings(Section):
    """The node's own log on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: text on a terminal, JSON lines elsewhere."""


class DeclaredService(Section):
    """A service that is run, not developed: `[services.NAME]` in `henslowe.toml`."""

    command: tuple[str, ...] = ()
    url: str = ""
    """A remote Streamable HTTP server, or with `{port}` where `command` listens."""
    cwd: str = ""
    env: dict[str, Referring] = {}
    headers: dict[str, Referring] = {}
    """What is sent with every request to a `url`. A value here or in `env` may be `secret:NAME`, here also
    `Bearer secret:NAME`: see `henslowe secrets`."""
    ready_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    health: Health = Health()
    """As `[health]` in a `service.toml`."""
    scale: Scale = Scale()
    """As `[scale]` there. Both count from the next start of the node on, without a new version."""


class ModuleSettings(Section):
    """Extensions of the node, as other packages bring them."""

    disabled: tuple[str, ...] = ()
    """Names of those that are not to be used; `*` for all."""
    options: dict[str, dict[str, Any]] = {}
    """`[modules.options.NAME]`: what the extension of that name is told."""


class Settings(Section):
    """All settings of one node. `henslowe.toml` has one table per section and `[services.NAME]` tables."""

    workspace: Path = Path()
    data: Path | None = None
    """The data directory; default `<workspace>/.henslowe`."""
    listen: str = "127.0.0.1:8400"
    """HOST:PORT of the one listener; port 0 takes a free one."""
    name: str = "node"
    """The node's name in events."""
    allow_remote: bool = False
    """Permits a non-loopback `listen`; then every route but the health checks asks for a token (`access.mode`)."""
    storage: StorageSettings = StorageSettings()
    watcher: WatcherSettings = WatcherSettings()
    pipeline: PipelineSettings = PipelineSettings()
    delivery: DeliverySettings = DeliverySettings()
    freeze: Freeze = Freeze()
    instances: InstanceSettings = InstanceSettings()
    breaker: BreakerSettings = BreakerSettings()
    health: HealthSettings = HealthSettings()
    scale: ScaleSettings = ScaleSettings()
    gateway: GatewaySettings = GatewaySettings()
    admin: AdminSettings = AdminSettings()
    capture: CaptureSettings = CaptureSettings()
    access: AccessSettings = AccessSettings()
    tls: TlsSettings = TlsSettings()
    log: LogSettings = LogSettings()
    modules: ModuleSettings = ModuleSettings()
    webhooks: WebhookSettings = WebhookSettings()
    hooks: dict[str, NodeHook] = {}
    services: dict[str, DeclaredService] = {}

    @property
    def data_dir(self) -> Path:
        """The data directory, resolved against the workspace."""
        return (self.data or self.workspace / ".henslowe").expanduser()
