"""Opens private connections to versions: at once to one that is up, later to one that has to be woken first.

What such a connection is, see `private`; who may have one is the gateway's business. Done on behalf of the instance
manager, in its messages.
"""

from __future__ import annotations

from henslowe.actors.ids import InstanceId
from henslowe.actors.instances.crew import Duty
from henslowe.actors.instances.instance import Surroundings
from henslowe.actors.instances.private import PrivateInstance, PrivateOrder
from henslowe.actors.instances.staffing import STOP_SPARE_S, Owner, Private, Wanted
from henslowe.actors.kernel import ActorExit, CallTimeout, ChildSpec, Ref, Reply, RestartType, StartChild
from henslowe.actors.messages import OpenPrivate
from henslowe.config.settings import InstanceSettings
from henslowe.errors import HensloweError, LimitReached, Unavailable


class Openings:
    """Opens private connections. Runs in: the node's loop.

    Args:
        owner: The instance manager.
        around: Shared by all instances.
        settings: How instances are run.

    Attributes:
        private: Those that are open, by instance.
    """

    def __init__(self, owner: Owner, around: Surroundings, settings: InstanceSettings) -> None:
        self.private: dict[InstanceId, Private] = {}
        self._owner = owner
        self._around = around
        self._settings = settings

    def keep(self, order: PrivateOrder, ref: Ref) -> None:
        """One is open, or about to be."""
        version = order.ensure.version
        self.private[order.instance] = Private(version, order.slot, ref, self._owner.monitor(ref))

    async def open(self, wanted: Wanted | None, message: OpenPrivate, sender: Reply) -> bool:
        """Open one; the answer comes from its actor. Whether its version has to be woken first.

        Raises:
            Unavailable: The version is not up.
            LimitReached: Too many are open, or wait.
        """
        if wanted is not None and wanted.crew.dormant is not None and not wanted.leaving:
            if len(wanted.openings) >= self._settings.private_max:
                raise LimitReached(
                    f"cannot open a private connection to {message.version}: too many wait until it is awake",
                    hint="raise instances.private_max",
                )
            wanted.openings.append((message, sender))
            return True
        if wanted is None or wanted.leaving:
            raise Unavailable(f"cannot open a private connection to {message.version}: it is not up")
        await self._start(wanted, message, sender)
        return False

    async def go_on(self, wanted: Wanted) -> None:
        """Open those that waited, once their version is awake."""
        if wanted.crew.dormant is None:
            waiting, wanted.openings = wanted.openings, []
            for message, sender in waiting:
                try:
                    await self._start(wanted, message, sender)
                except HensloweError as error:
                    sender.set_exception(error)

    def give_up(self, wanted: Wanted, reason: str) -> None:
        """Fail those that wait."""
        waiting, wanted.openings = wanted.openings, []
        for message, sender in waiting:
            sender.set_exception(Unavailable(f"cannot open a private connection to {message.version}: {reason}"))

    async def _start(self, wanted: Wanted, message: OpenPrivate, sender: Reply) -> None:
        version, crew, most = message.version, wanted.crew, self._settings.private_max
        if sum(each.version.service == version.service for each in self.private.values()) >= most:
            raise LimitReached(
                f"cannot open a private connection to {version}: {most} are open",
                hint="raise instances.private_max",
            )
        serving = [(member.endpoint.in_flight, member) for member in crew.on_duty(Duty.SERVING) if member.endpoint]
        if not serving:
            raise Unavailable(f"cannot open a private connection to {version}: it is not up")
        _, joined = min(serving, key=lambda each: each[0])
        instance = InstanceId(f"{version}~{next(crew.private_numbers)}")
        order = PrivateOrder(crew.ensure, instance, message.client, joined.url, joined.slot if joined.url else 0)
        spec = ChildSpec(
            instance,
            PrivateInstance,
            args=(order, self._around, sender),
            restart=RestartType.TEMPORARY,
            shutdown_s=self._settings.stop_grace_s + STOP_SPARE_S,
        )
        try:
            ref = await wanted.supervisor.call(StartChild(spec))
        except (ActorExit, CallTimeout) as failure:
            raise Unavailable(f"cannot open a private connection to {version}: {failure}") from failure
        self.keep(order, ref)
