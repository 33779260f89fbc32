"""
Runs what awaits in simulated time: hours pass in seconds, processes crash where a seed says, and one seed is one run.

`SimulatedLoop` is an event loop on virtual time, `SimulatedClock` the `Clock` that goes by it, `Process` what can be
killed on it. Nothing real may be waited for: no sockets to the outside, no threads.
"""

from pillarbox.testing.simulation.clock import SimulatedClock
from pillarbox.testing.simulation.loop import Deadlock, Order, SimulatedLoop
from pillarbox.testing.simulation.process import Killed, Process

__all__ = ["Deadlock", "Killed", "Order", "Process", "SimulatedClock", "SimulatedLoop"]
