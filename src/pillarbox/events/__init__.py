"""What happened, for programs that listen: typed events, the bus, and the log lines made of them."""

from pillarbox.events.bus import Bus as Bus
from pillarbox.events.bus import Subscriber as Subscriber
from pillarbox.events.events import Alarm as Alarm
from pillarbox.events.events import BusEvent as BusEvent
from pillarbox.events.events import ChannelPaused as ChannelPaused
from pillarbox.events.events import Drained as Drained
from pillarbox.events.events import HookCancelled as HookCancelled
from pillarbox.events.events import LeaseLost as LeaseLost
from pillarbox.events.events import MessageCancelled as MessageCancelled
from pillarbox.events.events import MessageDelivered as MessageDelivered
from pillarbox.events.events import MessageDied as MessageDied
from pillarbox.events.events import MessageEnqueued as MessageEnqueued
from pillarbox.events.events import MessageEvent as MessageEvent
from pillarbox.events.events import MessageExpired as MessageExpired
from pillarbox.events.events import MessageHeld as MessageHeld
from pillarbox.events.events import PartDelivered as PartDelivered
from pillarbox.events.events import RetryScheduled as RetryScheduled
