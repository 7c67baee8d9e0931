"""The event bus: what anybody says goes to the log, what is in the log goes to whoever subscribed, at least once.

`subscription` is the state machine of one subscriber (pure), `event_bus` the actor around it. The log itself, its
cursors and its retention are `henslowe.storage`'s; the words are `henslowe.actors.vocabulary`'s; the messages
(`Publish`, `Subscribe`, `Delivery`, `Confirm`, `Unsubscribe`) are in `henslowe.actors.messages`.
"""

from henslowe.actors.bus.event_bus import EventBus, SubscriptionInfo, WhichSubscriptions

__all__ = ["EventBus", "SubscriptionInfo", "WhichSubscriptions"]
